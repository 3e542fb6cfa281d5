// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// PostgreSQL's statements, values and transactions; see sql.h and sql_pg.h. Values go and come in binary form: integers
// as int8, big-endian; text and bytea as they are.
#include "src/ledger/pg.h"
#include "src/base/clock.h"
#include "src/base/secret.h"

#include <ctype.h>
#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 16, TRIES_MAX = 30, DOUBLES_MAX = 3, OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25 };

static bool ends_with_lock(const char *sql)
{
    size_t len = strlen(sql), mark = sizeof DS_SQL_LOCK - 1;
    return len >= mark && memcmp(sql + len - mark, DS_SQL_LOCK, mark) == 0;
}

// ? and ?3 become $1 and $3. No literal of ours holds a question mark.
static char *translate(const char *sql, bool lock)
{
    ds_buf out = {0};
    unsigned count = 0;
    for (const char *p = sql; *p; p++) {
        if (*p != '?') {
            ds_buf_add_u8(&out, (uint8_t)*p);
            continue;
        }
        char number[16];
        unsigned n = isdigit((unsigned char)p[1]) ? 0 : ++count;
        while (isdigit((unsigned char)p[1]))
            n = n * 10 + (unsigned)(*++p - '0');
        int len = snprintf(number, sizeof number, "$%u", n);
        ds_buf_add(&out, number, (size_t)len);
    }
    if (lock)
        ds_buf_add(&out, " FOR NO KEY UPDATE", 18);
    ds_buf_add_u8(&out, 0);
    return (char *)out.ptr;
}

typedef struct values {
    int count;
    Oid types[ARGS_MAX];
    const char *data[ARGS_MAX];
    int lengths[ARGS_MAX], formats[ARGS_MAX];
    uint64_t numbers[ARGS_MAX];
} values;

static enum ds_class take_values(const ds_sql_arg *args, values *v, ds_err *e)
{
    v->count = 0;
    for (; args && args->kind != DS_SQL_END; args++) {
        int i = v->count++;
        if (i == ARGS_MAX || args->len > INT32_MAX)
            return ds_fail(e, DS_INTERNAL, "a statement with values that are too many or too long");
        v->types[i] = 0;
        v->data[i] = args->ptr;
        v->lengths[i] = (int)args->len;
        v->formats[i] = 1;
        if (args->kind == DS_SQL_INT) {
            v->numbers[i] = htobe64((uint64_t)args->number);
            v->data[i] = (const char *)&v->numbers[i];
            v->lengths[i] = 8;
            v->types[i] = OID_INT8;
        } else if (args->kind == DS_SQL_TEXT) {
            v->lengths[i] = (int)strlen(args->ptr);
            v->types[i] = OID_TEXT;
        } else if (args->kind == DS_SQL_BLOB) {
            v->data[i] = args->len ? args->ptr : "";
            v->types[i] = OID_BYTEA;
        } else {
            v->data[i] = NULL;
        }
    }
    return DS_OK;
}

// The statement's name on this connection, prepared where it was not; false where the connection is no more.
static bool prepared(ds_pg_conn *k, const char *sql, bool lock, const values *v, char ret[16])
{
    size_t i = 0;
    while (i < k->statement_count &&
           (k->statements[i].lock != lock || (k->statements[i].text != sql && strcmp(k->statements[i].text, sql) != 0)))
        i++;
    if (i == DS_PG_STATEMENTS) { // more than there are literals: begin again
        k->statement_count = 0;
        i = 0;
    }
    bool good = true;
    if (i == k->statement_count) {
        k->statements[i].text = sql;
        k->statements[i].lock = lock;
        k->statements[i].name = k->names++;
        k->statements[i].batch = k->batch;
        k->statement_count++;
        snprintf(ret, 16, "s%u", k->statements[i].name);
        DS_CLEANUP_FREE char *text = translate(sql, lock);
        good = PQsendPrepare(k->c, ret, text, v->count, v->types);
        k->pending++;
    }
    snprintf(ret, 16, "s%u", k->statements[i].name);
    return good;
}

static enum ds_class send(ds_sql *s, ds_pg_conn *k, const char *sql, const ds_sql_arg *args, ds_err *e)
{
    values v;
    char name[16];
    enum ds_class rc = take_values(args, &v, e);
    if (rc)
        return rc;
    if (!k->c)
        return ds_pg_lost(s, k, "", e);
    bool lock = k->in_transaction && !s->pg->read_only && ends_with_lock(sql);
    if (!prepared(k, sql, lock, &v, name) || !PQsendQueryPrepared(k->c, name, v.count, v.data, v.lengths, v.formats, 1))
        return ds_pg_lost(s, k, PQerrorMessage(k->c), e);
    k->pending++;
    return DS_OK;
}

static ds_pg_conn *mine(ds_sql *s, ds_err *e)
{
    ds_pg_conn *k = ds_pg_mine(s);
    if (!k)
        ds_fail(e, DS_INTERNAL, "%s %s: used without being held", s->what, s->path);
    return k;
}

// Reading outside a transaction may be done again as it is.
static enum ds_class ask(ds_sql *s, ds_pg_conn *k, const char *sql, const ds_sql_arg *args, PGresult **ret, ds_err *e)
{
    for (;;) {
        enum ds_class rc = k->in_transaction ? DS_OK : ds_pg_ensure(s, k, e);
        if (rc)
            return rc;
        rc = send(s, k, sql, args, e);
        if (!rc)
            rc = ds_pg_sync(s, k, ret, e);
        if (!rc || k->in_transaction || ds_sql_fate(s) != DS_SQL_AGAIN)
            return rc;
    }
}

static enum ds_class query(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_sql_rows **ret, ds_err *e)
{
    PGresult *r = NULL;
    ds_pg_conn *k = mine(s, e);
    enum ds_class rc = k ? ask(s, k, sql, args, &r, e) : DS_INTERNAL;
    if (rc)
        return rc;
    ds_sql_rows *q = ds_alloc(sizeof *q);
    *q = (ds_sql_rows){.engine = &ds_pg_engine, .result = r, .row = -1};
    *ret = q;
    return DS_OK;
}

static void done(ds_sql_rows *q)
{
    PQclear(q->result);
    free(q);
}

static enum ds_class next(ds_sql *s, ds_sql_rows *q, bool *more, ds_err *e)
{
    (void)s, (void)e;
    *more = ++q->row < PQntuples(q->result);
    if (!*more)
        done(q);
    return DS_OK;
}

static enum ds_class run(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_err *e)
{
    ds_pg_conn *k = mine(s, e);
    if (!k)
        return DS_INTERNAL;
    if (!k->in_transaction)
        return ask(s, k, sql, args, NULL, e);
    enum ds_class rc = send(s, k, sql, args, e);
    return rc || k->pending < DS_PG_PENDING_MAX ? rc : ds_pg_sync(s, k, NULL, e);
}

enum ds_class ds_pg_begin(ds_sql *s, bool writing, ds_err *e)
{
    ds_pg_conn *k = mine(s, e);
    if (!k)
        return DS_INTERNAL;
    k->fate = DS_SQL_FAILED;
    if (writing && s->pg->read_only)
        return ds_fail(e, DS_STORE, "%s %s: was opened for reading", s->what, s->path);
    k->lost = k->committing = k->marked = false;
    k->writing = writing;
    memset(k->scratch, 0, sizeof k->scratch);
    enum ds_class rc = ds_pg_ensure(s, k, e);
    if (!rc)
        rc = ds_pg_send(
            s, k, writing ? "BEGIN ISOLATION LEVEL READ COMMITTED" : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            e);
    k->in_transaction = !rc;
    return rc;
}

static enum ds_class commit(ds_sql *s, ds_pg_conn *k, ds_err *e)
{
    PGresult *r = NULL;
    enum ds_class rc = ds_pg_send(s, k, "COMMIT", e);
    k->committing = !rc;
    if (!rc)
        rc = ds_pg_sync(s, k, &r, e);
    if (!rc && strcmp(PQcmdStatus(r), "COMMIT") != 0) // it had failed before
        rc = ds_fail(e, DS_STORE, "%s %s: the change was rolled back", s->what, s->path);
    PQclear(r);
    k->committing = false;
    return rc;
}

enum ds_class ds_pg_end(ds_sql *s, enum ds_class rc, ds_err *e)
{
    ds_pg_conn *k = mine(s, e);
    if (!k)
        return DS_INTERNAL;
    if (!rc)
        rc = commit(s, k, e);
    if (rc && k->c) {
        enum ds_sql_fate fate = k->fate;
        ds_err why = DS_ERR_INIT; // the one at hand is the one to tell
        if (ds_pg_send(s, k, "ROLLBACK", &why) || ds_pg_sync(s, k, NULL, &why))
            ds_pg_drop(k); // which rolls back too
        k->fate = fate;
    }
    k->in_transaction = false;
    return rc;
}

static enum ds_sql_fate fate(ds_sql *s)
{
    ds_pg_conn *k = ds_pg_mine(s);
    if (!k || k->fate == DS_SQL_FAILED || ++k->tries > TRIES_MAX || k->doubles > DOUBLES_MAX)
        return DS_SQL_FAILED;
    if (!k->lost && ds_now_ms() - k->held_ms > s->pg->place.wait_ms) // others hold what we need for too long
        return DS_SQL_FAILED;
    uint8_t random;
    ds_random(&random, 1);
    unsigned scale = k->tries < 5 ? k->tries : 5;
    ds_sleep_ms(random % (4 << scale)); // so that two that met do not meet again
    return k->fate;
}

static int64_t changes(ds_sql *s)
{
    ds_pg_conn *k = ds_pg_mine(s);
    if (!k || (k->pending && ds_pg_sync(s, k, NULL, NULL)))
        return 0;
    return k->changes;
}

static int64_t number(ds_sql_rows *q, int column)
{
    const uint8_t *p = (const uint8_t *)PQgetvalue(q->result, q->row, column);
    int len = PQgetlength(q->result, q->row, column);
    if (PQgetisnull(q->result, q->row, column) || len < 1 || len > 8)
        return 0;
    uint64_t v = len > 1 && p[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < len; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

static bool is_null(ds_sql_rows *q, int column)
{
    return PQgetisnull(q->result, q->row, column);
}

static ds_view view(ds_sql_rows *q, int column)
{
    size_t len = (size_t)PQgetlength(q->result, q->row, column);
    return (ds_view){len ? (const uint8_t *)PQgetvalue(q->result, q->row, column) : NULL, len};
}

static const char *str(ds_sql_rows *q, int column)
{
    return PQgetvalue(q->result, q->row, column);
}

static void close_all(ds_sql *s)
{
    for (size_t i = 0; i < DS_PG_CONNECTIONS; i++)
        ds_pg_drop(&s->pg->conns[i]);
    pthread_cond_destroy(&s->pg->freed);
    pthread_mutex_destroy(&s->pg->mutex);
    ds_pg_place_free(&s->pg->place);
    free(s->pg);
}

const ds_sql_engine ds_pg_engine = {close_all, query,   next,   run,     done, ds_pg_begin, ds_pg_end,
                                    fate,      changes, number, is_null, view, str};
