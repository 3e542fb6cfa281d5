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

enum { WAIT_S = 60, WAIT_S_MAX = 3600, EXTRA = 6 };

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

static const char *hosts_of(const PQconninfoOption *all)
{
    const char *hosts = value_of(all, "host"), *env = getenv("PGHOST");
    if (!hosts)
        hosts = value_of(all, "hostaddr");
    return hosts ? hosts : env ? env : "";
}

static void add(ds_pg_place *p, size_t *n, const char *key, const char *value)
{
    p->keys[*n] = ds_strdup(key);
    p->values[(*n)++] = ds_strdup(value);
}

static void take(const PQconninfoOption *all, bool read_only, ds_pg_place *p)
{
    size_t n = 0;
    const char *hosts = hosts_of(all);
    for (const PQconninfoOption *o = all; o->keyword; o++)
        n++;
    p->keys = ds_alloc((n + EXTRA + 1) * sizeof *p->keys);
    p->values = ds_alloc((n + EXTRA + 1) * sizeof *p->values);
    n = 0;
    for (const PQconninfoOption *o = all; o->keyword; o++)
        if (o->val && o->val[0] && strcmp(o->keyword, "client_encoding") != 0)
            add(p, &n, o->keyword, o->val);
    add(p, &n, "client_encoding", "UTF8");
    if (!value_of(all, "application_name"))
        add(p, &n, "fallback_application_name", "devstamp");
    if (!value_of(all, "sslmode") && !value_of(all, "service") && !getenv("PGSSLMODE") && !getenv("PGSERVICE") &&
        !is_local(hosts))
        add(p, &n, "sslmode", "verify-full");
    if (!read_only && strchr(hosts, ',') && !value_of(all, "target_session_attrs"))
        add(p, &n, "target_session_attrs", "read-write");
    if (!value_of(all, "tcp_user_timeout")) {
        DS_CLEANUP_FREE char *ms = ds_asprintf("%d", p->wait_ms);
        add(p, &n, "tcp_user_timeout", ms);
    }
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
        take(all, read_only, ret);
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
