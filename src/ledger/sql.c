// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Statements, values and transactions; see sql.h. Opening is in sql_open.c.
#include "src/ledger/sql.h"

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

enum ds_class ds_sql_fail(ds_sql *s, int rc, ds_err *e)
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
static size_t make_room(ds_sql *s)
{
    size_t i = s->next_out;
    while (sqlite3_stmt_busy(s->cache[i].stmt))
        i = (i + 1) % DS_SQL_STATEMENTS;
    s->next_out = (i + 1) % DS_SQL_STATEMENTS;
    sqlite3_finalize(s->cache[i].stmt);
    s->cache[i].stmt = NULL;
    s->cache[i].text = NULL;
    return i;
}

// The statement for a literal: by its address, or by its text, as equal literals may or may not be merged.
static enum ds_class prepared(ds_sql *s, const char *sql, ds_sql_rows **ret, ds_err *e)
{
    size_t i = 0;
    while (i < DS_SQL_STATEMENTS && s->cache[i].text && s->cache[i].text != sql && strcmp(s->cache[i].text, sql) != 0)
        i++;
    if (i == DS_SQL_STATEMENTS)
        i = make_room(s);
    if (!s->cache[i].text) {
        int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->cache[i].stmt, NULL);
        if (rc != SQLITE_OK)
            return ds_sql_fail(s, rc, e);
        s->cache[i].text = sql;
    }
    *ret = s->cache[i].stmt;
    return DS_OK;
}

static int bind(ds_sql_rows *stmt, int index, const ds_sql_arg *arg)
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

enum ds_class ds_sql_query(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_sql_rows **ret, ds_err *e)
{
    ds_sql_rows *stmt = NULL;
    enum ds_class rc = prepared(s, sql, &stmt, e);
    if (rc)
        return rc;
    sqlite3_reset(stmt);
    for (int i = 0; args && args[i].kind != DS_SQL_END; i++) {
        int src = bind(stmt, i + 1, &args[i]);
        if (src != SQLITE_OK)
            return ds_sql_fail(s, src, e);
    }
    *ret = stmt;
    return DS_OK;
}

void ds_sql_done(ds_sql_rows *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt); // no copy of a secret stays in a statement
}

enum ds_class ds_sql_next(ds_sql *s, ds_sql_rows *stmt, bool *more, ds_err *e)
{
    int src = sqlite3_step(stmt);
    *more = src == SQLITE_ROW;
    if (*more)
        return DS_OK;
    enum ds_class rc = src == SQLITE_DONE ? DS_OK : ds_sql_fail(s, src, e);
    ds_sql_done(stmt);
    return rc;
}

enum ds_class ds_sql_run(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_err *e)
{
    ds_sql_rows *stmt;
    bool more = false;
    enum ds_class rc = ds_sql_query(s, sql, args, &stmt, e);
    if (!rc)
        rc = ds_sql_next(s, stmt, &more, e);
    if (more)
        ds_sql_done(stmt);
    return rc;
}

enum ds_class ds_sql_number(ds_sql *s, const char *sql, const ds_sql_arg *args, int64_t fallback, int64_t *ret,
                            ds_err *e)
{
    ds_sql_rows *stmt;
    bool more = false;
    enum ds_class rc = ds_sql_query(s, sql, args, &stmt, e);
    if (!rc)
        rc = ds_sql_next(s, stmt, &more, e);
    if (rc)
        return rc;
    *ret = more && !ds_sql_is_null(stmt, 0) ? ds_sql_int(stmt, 0) : fallback;
    if (more)
        ds_sql_done(stmt);
    return DS_OK;
}

enum ds_class ds_sql_begin(ds_sql *s, ds_err *e)
{
    return ds_sql_run(s, "BEGIN IMMEDIATE", NULL, e);
}

enum ds_class ds_sql_end(ds_sql *s, enum ds_class rc, ds_err *e)
{
    if (!rc)
        rc = ds_sql_run(s, "COMMIT", NULL, e);
    if (rc && !sqlite3_get_autocommit(s->db)) // some failures have rolled back already
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int64_t ds_sql_int(ds_sql_rows *stmt, int column)
{
    return sqlite3_column_int64(stmt, column);
}

bool ds_sql_is_null(ds_sql_rows *stmt, int column)
{
    return sqlite3_column_type(stmt, column) == SQLITE_NULL;
}

void ds_sql_text(ds_sql_rows *stmt, int column, char *ret, size_t cap)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);
    size_t len = text ? strnlen((const char *)text, cap - 1) : 0;
    if (len)
        memcpy(ret, text, len);
    ret[len] = '\0';
}

ds_view ds_sql_view(ds_sql_rows *stmt, int column)
{
    const void *ptr = sqlite3_column_blob(stmt, column);
    int len = sqlite3_column_bytes(stmt, column);
    return (ds_view){ptr, ptr && len > 0 ? (size_t)len : 0};
}

bool ds_sql_blob(ds_sql_rows *stmt, int column, void *ret, size_t len)
{
    ds_view v = ds_sql_view(stmt, column);
    memset(ret, 0, len);
    if (v.len != len)
        return false;
    memcpy(ret, v.ptr, len);
    return true;
}
