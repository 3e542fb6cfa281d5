// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// SQLite's statements, values and transactions; see sql.h. Opening is in sql_open.c.
#include "src/ledger/sql_engine.h"

#include <stdlib.h>
#include <string.h>

static enum ds_class fail_full(ds_sql *s, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: the disk is full", s->what, s->path);
    return ds_hint(e, "nothing was changed; free space where the %s lies and run again", s->what);
}

static enum ds_class fail_io(ds_sql *s, int rc, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: %s", s->what, s->path,
            rc == SQLITE_IOERR_WRITE ? "could not be written" : sqlite3_errmsg(s->db));
    if (e)
        e->code = (uint32_t)sqlite3_system_errno(s->db);
    return ds_hint(e, "nothing was changed; check the disk, its mount and its free space, then run again");
}

enum ds_class ds_sqlite_fail(ds_sql *s, int rc, ds_err *e)
{
    switch (rc & 0xFF) {
    case SQLITE_FULL:
        return fail_full(s, e);
    case SQLITE_IOERR:
        return fail_io(s, rc, e);
    case SQLITE_CONSTRAINT:
        return ds_fail(e, DS_POLICY, "%s", sqlite3_errmsg(s->db));
    case SQLITE_BUSY:
        ds_fail(e, DS_STORE, "%s %s: another program holds it", s->what, s->path);
        return ds_hint(e, "close database tools that have the file open, then run again");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        ds_fail(e, DS_STORE, "%s %s: not a %s, or damaged", s->what, s->path, s->what);
        return ds_hint(e, "restore the file from its last copy; keep the damaged one");
    case SQLITE_READONLY:
        ds_fail(e, DS_STORE, "%s %s: may not be written", s->what, s->path);
        return ds_hint(e, "check owner and permissions of the file and its folder");
    default:
        return ds_fail(e, DS_STORE, "%s %s: %s", s->what, s->path, sqlite3_errmsg(s->db));
    }
}

// Where the cache is full, any statement that is not running makes room.
static size_t make_room(ds_sqlite *c)
{
    size_t i = c->next_out;
    while (sqlite3_stmt_busy(c->cache[i].rows.stmt))
        i = (i + 1) % DS_SQL_STATEMENTS;
    c->next_out = (i + 1) % DS_SQL_STATEMENTS;
    sqlite3_finalize(c->cache[i].rows.stmt);
    c->cache[i].rows.stmt = NULL;
    c->cache[i].text = NULL;
    return i;
}

// The statement for a literal: by its address, or by its text, as equal literals may or may not be merged.
static enum ds_class prepared(ds_sql *s, const char *sql, ds_sql_rows **ret, ds_err *e)
{
    ds_sqlite *c = s->sqlite;
    size_t i = 0;
    while (i < DS_SQL_STATEMENTS && c->cache[i].text && c->cache[i].text != sql && strcmp(c->cache[i].text, sql) != 0)
        i++;
    if (i == DS_SQL_STATEMENTS)
        i = make_room(c);
    if (!c->cache[i].text) {
        c->cache[i].rows.engine = &ds_sqlite_engine;
        int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->cache[i].rows.stmt, NULL);
        if (rc != SQLITE_OK)
            return ds_sqlite_fail(s, rc, e);
        c->cache[i].text = sql;
    }
    *ret = &c->cache[i].rows;
    return DS_OK;
}

static int bind(sqlite3_stmt *stmt, int index, const ds_sql_arg *arg)
{
    switch (arg->kind) {
    case DS_SQL_INT:
        return sqlite3_bind_int64(stmt, index, arg->number);
    case DS_SQL_TEXT:
        return sqlite3_bind_text(stmt, index, arg->ptr, -1, SQLITE_TRANSIENT);
    case DS_SQL_BLOB: // an empty blob, not NULL, for no bytes
        return sqlite3_bind_blob64(stmt, index, arg->len ? arg->ptr : "", arg->len, SQLITE_TRANSIENT);
    case DS_SQL_NULL:
        return sqlite3_bind_null(stmt, index);
    case DS_SQL_END:
    default:
        return SQLITE_MISUSE;
    }
}

static enum ds_class query(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_sql_rows **ret, ds_err *e)
{
    ds_sql_rows *q = NULL;
    enum ds_class rc = prepared(s, sql, &q, e);
    if (!q)
        return rc ? rc : DS_INTERNAL;
    sqlite3_reset(q->stmt);
    for (int i = 0; args && args[i].kind != DS_SQL_END; i++) {
        int src = bind(q->stmt, i + 1, &args[i]);
        if (src != SQLITE_OK)
            return ds_sqlite_fail(s, src, e);
    }
    *ret = q;
    return DS_OK;
}

static void done(ds_sql_rows *q)
{
    sqlite3_reset(q->stmt);
    sqlite3_clear_bindings(q->stmt); // no copy of a secret stays in a statement
}

static enum ds_class next(ds_sql *s, ds_sql_rows *q, bool *more, ds_err *e)
{
    int src = sqlite3_step(q->stmt);
    *more = src == SQLITE_ROW;
    if (*more)
        return DS_OK;
    enum ds_class rc = src == SQLITE_DONE ? DS_OK : ds_sqlite_fail(s, src, e);
    done(q);
    return rc;
}

static enum ds_class run(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    enum ds_class rc = query(s, sql, args, &q, e);
    if (!rc)
        rc = next(s, q, &more, e);
    if (more)
        done(q);
    return rc;
}

static enum ds_class begin(ds_sql *s, bool writing, ds_err *e)
{
    return run(s, writing ? "BEGIN IMMEDIATE" : "BEGIN", NULL, e);
}

static enum ds_class end(ds_sql *s, enum ds_class rc, ds_err *e)
{
    if (!rc)
        rc = run(s, "COMMIT", NULL, e);
    if (rc && !sqlite3_get_autocommit(s->db)) // some failures have rolled back already
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static enum ds_sql_fate fate(ds_sql *s)
{
    (void)s;
    return DS_SQL_FAILED;
}

static int64_t changes(ds_sql *s)
{
    return sqlite3_changes64(s->db);
}

static int64_t number(ds_sql_rows *q, int column)
{
    return sqlite3_column_int64(q->stmt, column);
}

static bool is_null(ds_sql_rows *q, int column)
{
    return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

static ds_view view(ds_sql_rows *q, int column)
{
    const void *ptr = sqlite3_column_blob(q->stmt, column);
    int len = sqlite3_column_bytes(q->stmt, column);
    return (ds_view){ptr, ptr && len > 0 ? (size_t)len : 0};
}

static const char *str(ds_sql_rows *q, int column)
{
    const unsigned char *text = sqlite3_column_text(q->stmt, column);
    return text ? (const char *)text : "";
}

static void close_file(ds_sql *s)
{
    for (size_t i = 0; s->sqlite && i < DS_SQL_STATEMENTS; i++)
        sqlite3_finalize(s->sqlite->cache[i].rows.stmt);
    free(s->sqlite);
    sqlite3_close(s->db);
}

const ds_sql_engine ds_sqlite_engine = {close_file, query,   next,   run,     done, begin, end,
                                        fate,       changes, number, is_null, view, str};
