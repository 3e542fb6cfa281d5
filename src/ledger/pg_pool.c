// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Which thread holds which connection.
#include "src/ledger/pg.h"
#include "src/base/clock.h"

#include <string.h>

static ds_pg_conn *held_by_me(ds_pg *p)
{
    for (size_t i = 0; i < DS_PG_CONNECTIONS; i++)
        if (p->conns[i].held && pthread_equal(p->conns[i].owner, pthread_self()))
            return &p->conns[i];
    return NULL;
}

// One that is connected where there is one.
static ds_pg_conn *free_one(ds_pg *p)
{
    ds_pg_conn *any = NULL;
    for (size_t i = 0; i < DS_PG_CONNECTIONS; i++) {
        if (p->conns[i].held)
            continue;
        if (p->conns[i].c)
            return &p->conns[i];
        if (!any)
            any = &p->conns[i];
    }
    return any;
}

void ds_pg_hold(ds_sql *s)
{
    ds_pg *p = s->pg;
    ds_pg_conn *k;
    pthread_mutex_lock(&p->mutex);
    while ((k = free_one(p)) == NULL)
        pthread_cond_wait(&p->freed, &p->mutex);
    k->held = true;
    k->owner = pthread_self();
    pthread_mutex_unlock(&p->mutex);
    k->fate = DS_SQL_FAILED;
    k->tries = k->doubles = 0;
    k->until_ms = 0;
    k->held_ms = ds_now_ms();
    k->marked = false;
}

void ds_pg_let_go(ds_sql *s)
{
    ds_pg *p = s->pg;
    pthread_mutex_lock(&p->mutex);
    ds_pg_conn *k = held_by_me(p);
    if (k)
        k->held = false;
    pthread_cond_signal(&p->freed);
    pthread_mutex_unlock(&p->mutex);
}

ds_pg_conn *ds_pg_mine(ds_sql *s)
{
    pthread_mutex_lock(&s->pg->mutex);
    ds_pg_conn *k = held_by_me(s->pg);
    pthread_mutex_unlock(&s->pg->mutex);
    return k;
}

bool ds_pg_held(ds_sql *s)
{
    return ds_pg_mine(s) != NULL;
}

void *ds_pg_scratch(ds_sql *s)
{
    ds_pg_conn *k = ds_pg_mine(s);
    return k && k->in_transaction && k->writing ? k->scratch : NULL;
}

void ds_pg_mark(ds_sql *s, const uint8_t mark[32])
{
    ds_pg_conn *k = ds_pg_mine(s);
    k->marked = true;
    memcpy(k->mark, mark, sizeof k->mark);
}

bool ds_pg_marked(ds_sql *s, uint8_t ret[32])
{
    const ds_pg_conn *k = ds_pg_mine(s);
    if (k->marked)
        memcpy(ret, k->mark, sizeof k->mark);
    return k->marked;
}
