// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening a database: is it ours, of a version this program knows, and brought forward where it is older. Versions only
// go forward; each step is one transaction where the engine can, and may be run again where it cannot.
#include "src/ledger/pg.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

static enum ds_class has_table(ds_sql *s, const char *name, bool *ret, ds_err *e)
{
    int64_t n = 0;
    enum ds_class rc = ds_sql_number(
        s, "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?",
        DS_ARGS(DS_TEXT(name)), 0, &n, e);
    *ret = n > 0;
    return rc;
}

// The version, 0 where nothing was made yet. DS_STORE where the tables are somebody else's.
static enum ds_class read_version(ds_sql *s, const ds_pg_schema *schema, const char *sql, int64_t *ret, ds_err *e)
{
    bool has = false;
    *ret = 0;
    enum ds_class rc = has_table(s, schema->marker, &has, e);
    if (!rc && has)
        return ds_sql_number(s, sql, NULL, 0, ret, e);
    for (size_t i = 0; !rc && schema->tables[i]; i++) {
        rc = has_table(s, schema->tables[i], &has, e);
        if (!rc && has)
            return ds_hint((ds_fail(e, DS_STORE, "%s %s: is no %s, and has a table '%s'", s->what, s->path, s->what,
                                    schema->tables[i]),
                            e),
                           "give the %s a database of its own", s->what);
    }
    return rc;
}

static enum ds_class refuse_newer(ds_sql *s, const ds_pg_schema *schema, int64_t version, ds_err *e)
{
    if (version <= schema->version)
        return DS_OK;
    ds_fail(e, DS_STORE, "%s %s: has schema %lld, this program knows up to %d", s->what, s->path, (long long)version,
            schema->version);
    return ds_hint(e, "use the devstamp version that wrote it, or a newer one");
}

static enum ds_class run_all(ds_sql *s, ds_pg_conn *k, const char *const *list, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (; !rc && *list; list++)
        rc = ds_pg_send(s, k, *list, e);
    return rc ? rc : ds_pg_sync(s, k, NULL, e);
}

// Triggers, where the server is PostgreSQL itself.
static enum ds_class add_guards(ds_sql *s, ds_pg_conn *k, const ds_pg_schema *schema, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false, own = false;
    enum ds_class rc = ds_sql_query(s, "SELECT version()", NULL, &q, e);
    if (!rc)
        rc = ds_sql_next(s, q, &more, e);
    if (!rc && more) {
        own = strncmp(ds_sql_str(q, 0), "PostgreSQL ", 11) == 0 && !strstr(ds_sql_str(q, 0), "-YB-");
        ds_sql_done(q);
    }
    return rc || !own ? rc : run_all(s, k, schema->guards, e);
}

typedef struct plan {
    const ds_pg_schema *schema;
    char *make, *fill, *look, *note; // statements with the marker's name in them
} plan;

// Inside a transaction. Whoever comes second waits for the marker's row and finds the work done.
static enum ds_class migrate(ds_sql *s, ds_pg_conn *k, const plan *p, ds_err *e)
{
    int64_t version = 0;
    const char *const begin[] = {p->make, p->fill, NULL};
    enum ds_class rc = run_all(s, k, begin, e);
    if (!rc)
        rc = ds_sql_number(s, p->look, NULL, 0, &version, e);
    if (!rc)
        rc = refuse_newer(s, p->schema, version, e);
    if (rc || version == p->schema->version)
        return rc;
    for (; !rc && version < p->schema->version; version++)
        rc = run_all(s, k, p->schema->steps[version], e);
    if (!rc)
        rc = add_guards(s, k, p->schema, e);
    return rc ? rc : ds_sql_run(s, p->note, DS_ARGS(DS_INT(p->schema->version)), e);
}

static enum ds_class bring_forward(ds_sql *s, ds_pg_conn *k, const plan *p, ds_err *e)
{
    enum ds_class rc;
    do {
        rc = ds_pg_begin(s, true, e);
        if (!rc)
            rc = ds_pg_end(s, migrate(s, k, p, e), e);
    } while (rc && ds_sql_fate(s) != DS_SQL_FAILED); // where a COMMIT's answer was lost too: it may be run twice
    return rc;
}

static enum ds_class recognise(ds_sql *s, ds_pg_conn *k, const plan *p, ds_err *e)
{
    int64_t version = 0;
    enum ds_class rc = read_version(s, p->schema, p->look, &version, e);
    if (!rc)
        rc = refuse_newer(s, p->schema, version, e);
    if (rc || version == p->schema->version)
        return rc;
    if (!s->pg->read_only)
        return bring_forward(s, k, p, e);
    if (!version)
        return ds_hint(
            (ds_fail(e, DS_STORE, "%s %s: the database holds no %s that this user may see", s->what, s->path, s->what),
             e),
            "devstamp ledger init makes it; or its owner lets this user read: docs/ledger.md");
    return ds_hint((ds_fail(e, DS_STORE, "%s %s: has schema %lld, this program reads %d", s->what, s->path,
                            (long long)version, p->schema->version),
                    e),
                   "its owner brings it forward: devstamp ledger init");
}

enum ds_class ds_pg_open(ds_sql *s, const char *place, const ds_pg_schema *schema, bool read_only, ds_err *e)
{
    ds_pg_place where;
    enum ds_class rc = ds_pg_place_read(place, read_only, &where, e);
    if (rc)
        return rc;
    ds_pg *pg = ds_alloc(sizeof *pg);
    pg->place = where;
    pg->read_only = read_only;
    pthread_mutex_init(&pg->mutex, NULL);
    pthread_cond_init(&pg->freed, NULL);
    *s = (ds_sql){.engine = &ds_pg_engine, .path = ds_strdup(where.name), .what = schema->what, .pg = pg};
    plan p = {
        .schema = schema,
        .make = ds_asprintf("CREATE TABLE IF NOT EXISTS %s(one BIGINT PRIMARY KEY CHECK(one = 1), version BIGINT NOT "
                            "NULL)",
                            schema->marker),
        .fill = ds_asprintf("INSERT INTO %s(one, version) VALUES(1, 0) ON CONFLICT DO NOTHING", schema->marker),
        .look = ds_asprintf("SELECT version FROM %s WHERE one = 1" DS_SQL_LOCK, schema->marker),
        .note = ds_asprintf("UPDATE %s SET version = ? WHERE one = 1", schema->marker),
    };
    ds_pg_hold(s);
    ds_pg_conn *k = ds_pg_mine(s);
    rc = ds_pg_ensure(s, k, e);
    pg->reached = !rc;
    if (!rc)
        rc = recognise(s, k, &p, e);
    k->statement_count = 0; // these texts are not literals
    ds_pg_let_go(s);
    free(p.make);
    free(p.fill);
    free(p.look);
    free(p.note);
    if (rc)
        ds_sql_close(s);
    return rc;
}
