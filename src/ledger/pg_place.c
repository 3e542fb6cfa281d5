// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where a database is: a URI or libpq's "key=value" text, read by libpq. A place is seen by everybody who can list
// processes, so that it may hold no password. What crosses a network is encrypted and the server proven, unless the
// place says otherwise.
#include "src/ledger/pg.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_S = 60, WAIT_S_MAX = 3600, WAIT_SHARED_MS = 10000, EXTRA = 6 };

static bool is_uri(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0;
}

bool ds_pg_is_place(const char *text)
{
    if (is_uri(text))
        return true;
    if (!strchr(text, '='))
        return false;
    PQconninfoOption *all = PQconninfoParse(text, NULL);
    PQconninfoFree(all);
    return all != NULL;
}

static const char *value_of(const PQconninfoOption *all, const char *key)
{
    for (const PQconninfoOption *o = all; o->keyword; o++)
        if (strcmp(o->keyword, key) == 0)
            return o->val && o->val[0] ? o->val : NULL;
    return NULL;
}

static enum ds_class refuse_secrets(const PQconninfoOption *all, ds_err *e)
{
    if (value_of(all, "password") || value_of(all, "sslpassword"))
        ds_fail(e, DS_USAGE, "the place of the ledger holds a password, which everybody here can read");
    else if (getenv("PGPASSWORD"))
        ds_fail(e, DS_USAGE, "PGPASSWORD holds a password, which other programs can read");
    else
        return DS_OK;
    return ds_hint(e,
                   "put it into a file of mode 0600 that PGPASSFILE names (host:port:database:user:password), or use "
                   "a client certificate");
}

// "postgresql://host:port/database", or the service that says them.
static char *name_of(const PQconninfoOption *all)
{
    const char *service = value_of(all, "service"), *host = value_of(all, "host"), *port = value_of(all, "port"),
               *database = value_of(all, "dbname");
    if (service)
        return ds_asprintf("service=%s", service);
    if (!host)
        host = value_of(all, "hostaddr");
    return ds_asprintf("postgresql://%s%s%s/%s", host ? host : "", port ? ":" : "", port ? port : "",
                       database ? database : "");
}

static bool is_local(const char *hosts)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1"};
    for (const char *p = hosts; *p; p += *p == ',') {
        size_t len = strcspn(p, ",");
        bool here = *p == '/' || *p == '@' || !len;
        for (size_t i = 0; !here && i < sizeof names / sizeof *names; i++)
            here = strlen(names[i]) == len && memcmp(p, names[i], len) == 0;
        if (!here)
            return false;
        p += len;
    }
    return true;
}

// What libpq will use, out of place, environment and service; freed by the caller. It is told so that it goes no
// further than reading: with a setting that it refuses before it connects.
static PQconninfoOption *all_of(const ds_pg_place *p)
{
    size_t n = 0;
    while (p->keys[n])
        n++;
    const char **keys = ds_alloc((n + 2) * sizeof *keys), **values = ds_alloc((n + 2) * sizeof *values);
    memcpy(keys, p->keys, n * sizeof *keys);
    memcpy(values, p->values, n * sizeof *values);
    keys[n] = "channel_binding";
    values[n] = "read, and do not connect";
    PGconn *c = PQconnectStartParams(keys, values, 0);
    PQconninfoOption *all = PQconninfo(c);
    PQfinish(c);
    free(keys);
    free(values);
    return all;
}

static void add(ds_pg_place *p, size_t *n, const char *key, const char *value)
{
    p->keys[*n] = ds_strdup(key);
    p->values[(*n)++] = ds_strdup(value);
}

static bool is_ours(const char *key)
{
    return strcmp(key, "client_encoding") == 0 || strcmp(key, "connect_timeout") == 0;
}

// What depends on hosts and settings, wherever they are said. libpq's own default is not taken for somebody's wish.
static void complete(const PQconninfoOption *said, ds_pg_place *p, size_t n)
{
    PQconninfoOption *all = all_of(p);
    const char *host = all ? value_of(all, "host") : NULL, *address = all ? value_of(all, "hostaddr") : NULL,
               *tls = all ? value_of(all, "sslmode") : NULL,
               *session = all ? value_of(all, "target_session_attrs") : NULL;
    const char *list = host ? host : address ? address : "";
    int hosts = 1;
    if (!value_of(said, "sslmode") && !getenv("PGSSLMODE") && (!tls || strcmp(tls, "prefer") == 0) &&
        !(is_local(host ? host : "") && is_local(address ? address : "")))
        add(p, &n, "sslmode", "verify-full");
    for (const char *c = list; *c; c++)
        hosts += *c == ',';
    p->many = hosts > 1;
    if (p->many && !p->read_only && !value_of(said, "target_session_attrs") &&
        (!session || strcmp(session, "any") == 0))
        add(p, &n, "target_session_attrs", "read-write");
    // Of several hosts, one that is silent must leave time for the others: libpq counts for each. It takes 2 s at
    // least.
    int share = (p->wait_ms < WAIT_SHARED_MS ? p->wait_ms : WAIT_SHARED_MS) / hosts / 1000;
    DS_CLEANUP_FREE char *s = ds_asprintf("%d", share > 2 ? share : 2);
    if (p->many)
        add(p, &n, "connect_timeout", s);
    PQconninfoFree(all);
}

static void take(const PQconninfoOption *all, ds_pg_place *p)
{
    size_t n = 0;
    for (const PQconninfoOption *o = all; o->keyword; o++)
        n++;
    p->keys = ds_alloc((n + EXTRA + 1) * sizeof *p->keys);
    p->values = ds_alloc((n + EXTRA + 1) * sizeof *p->values);
    n = 0;
    for (const PQconninfoOption *o = all; o->keyword; o++)
        if (o->val && o->val[0] && !is_ours(o->keyword))
            add(p, &n, o->keyword, o->val);
    add(p, &n, "client_encoding", "UTF8");
    if (!value_of(all, "application_name"))
        add(p, &n, "fallback_application_name", "devstamp");
    if (!value_of(all, "tcp_user_timeout")) {
        DS_CLEANUP_FREE char *ms = ds_asprintf("%d", p->wait_ms);
        add(p, &n, "tcp_user_timeout", ms);
    }
    complete(all, p, n);
}

static enum ds_class take_wait(const char *text, ds_pg_place *p, ds_err *e)
{
    char *end = NULL;
    long s = text ? strtol(text, &end, 10) : WAIT_S;
    if (text && (*end || s < 1 || s > WAIT_S_MAX))
        return ds_fail(e, DS_USAGE, "connect_timeout: must be 1 to %d seconds", WAIT_S_MAX);
    p->wait_ms = (int)s * 1000;
    return DS_OK;
}

enum ds_class ds_pg_place_read(const char *text, bool read_only, ds_pg_place *ret, ds_err *e)
{
    *ret = (ds_pg_place){0};
    PQconninfoOption *all = PQconninfoParse(text, NULL); // its own words may repeat a password
    if (!all)
        return ds_hint((ds_fail(e, DS_USAGE, "the place of the ledger is no PostgreSQL URI"), e),
                       "postgresql://USER@HOST:PORT/DATABASE?sslrootcert=FILE; other characters as %%XX");
    enum ds_class rc = refuse_secrets(all, e);
    if (!rc)
        rc = take_wait(value_of(all, "connect_timeout"), ret, e);
    if (!rc) {
        ret->name = name_of(all);
        ret->read_only = read_only;
        take(all, ret);
    }
    PQconninfoFree(all);
    return rc;
}

void ds_pg_place_free(ds_pg_place *p)
{
    for (size_t i = 0; p->keys && p->keys[i]; i++) {
        free(p->keys[i]);
        free(p->values[i]);
    }
    free(p->keys);
    free(p->values);
    free(p->name);
    *p = (ds_pg_place){0};
}
