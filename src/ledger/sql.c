// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What is the same over every engine; see sql.h.
#include "src/ledger/sql_engine.h"

#include <stdlib.h>
#include <string.h>

void ds_sql_close(ds_sql *s)
{
    if (s->engine)
        s->engine->close(s);
    free(s->path);
    *s = (ds_sql){0};
}

bool ds_sql_is_pg(const ds_sql *s)
{
    return s->pg != NULL;
}

enum ds_class ds_sql_query(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_sql_rows **ret, ds_err *e)
{
    return s->engine->query(s, sql, args, ret, e);
}

enum ds_class ds_sql_next(ds_sql *s, ds_sql_rows *q, bool *more, ds_err *e)
{
    return s->engine->next(s, q, more, e);
}

void ds_sql_done(ds_sql_rows *q)
{
    q->engine->done(q);
}

enum ds_class ds_sql_run(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_err *e)
{
    return s->engine->run(s, sql, args, e);
}

enum ds_class ds_sql_number(ds_sql *s, const char *sql, const ds_sql_arg *args, int64_t fallback, int64_t *ret,
                            ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    enum ds_class rc = ds_sql_query(s, sql, args, &q, e);
    if (!rc)
        rc = ds_sql_next(s, q, &more, e);
    if (rc)
        return rc;
    *ret = more && !ds_sql_is_null(q, 0) ? ds_sql_int(q, 0) : fallback;
    if (more)
        ds_sql_done(q);
    return DS_OK;
}

enum ds_class ds_sql_begin(ds_sql *s, ds_err *e)
{
    return s->engine->begin(s, true, e);
}

enum ds_class ds_sql_begin_read(ds_sql *s, ds_err *e)
{
    return s->engine->begin(s, false, e);
}

enum ds_class ds_sql_end(ds_sql *s, enum ds_class rc, ds_err *e)
{
    return s->engine->end(s, rc, e);
}

enum ds_sql_fate ds_sql_fate(ds_sql *s)
{
    return s->engine->fate(s);
}

int64_t ds_sql_changes(ds_sql *s)
{
    return s->engine->changes(s);
}

int64_t ds_sql_int(ds_sql_rows *q, int column)
{
    return q->engine->number(q, column);
}

bool ds_sql_is_null(ds_sql_rows *q, int column)
{
    return q->engine->is_null(q, column);
}

ds_view ds_sql_view(ds_sql_rows *q, int column)
{
    return q->engine->view(q, column);
}

const char *ds_sql_str(ds_sql_rows *q, int column)
{
    return q->engine->str(q, column);
}

void ds_sql_text(ds_sql_rows *q, int column, char *ret, size_t cap)
{
    const char *text = ds_sql_str(q, column);
    size_t len = strnlen(text, cap - 1);
    memcpy(ret, text, len);
    ret[len] = '\0';
}

bool ds_sql_blob(ds_sql_rows *q, int column, void *ret, size_t len)
{
    ds_view v = ds_sql_view(q, column);
    memset(ret, 0, len);
    if (v.len != len)
        return false;
    if (len)
        memcpy(ret, v.ptr, len);
    return true;
}
