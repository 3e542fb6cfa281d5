// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What an engine behind sql.h must be able to do; the contracts are those of the functions of sql.h with these names.
#ifndef DS_LEDGER_SQL_ENGINE_H
#define DS_LEDGER_SQL_ENGINE_H

#include "src/ledger/sql.h"

struct ds_sql_engine {
    void (*close)(ds_sql *s);
    enum ds_class (*query)(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_sql_rows **ret, ds_err *e);
    enum ds_class (*next)(ds_sql *s, ds_sql_rows *q, bool *more, ds_err *e);
    enum ds_class (*run)(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_err *e);
    void (*done)(ds_sql_rows *q);
    enum ds_class (*begin)(ds_sql *s, bool writing, ds_err *e);
    enum ds_class (*end)(ds_sql *s, enum ds_class rc, ds_err *e);
    enum ds_sql_fate (*fate)(ds_sql *s);
    int64_t (*changes)(ds_sql *s);
    int64_t (*number)(ds_sql_rows *q, int column);
    bool (*is_null)(ds_sql_rows *q, int column);
    ds_view (*view)(ds_sql_rows *q, int column);
    const char *(*str)(ds_sql_rows *q, int column);
};

struct ds_sql_rows {
    const ds_sql_engine *engine;
    sqlite3_stmt *stmt;       // SQLite's
    struct pg_result *result; // PostgreSQL's
    int row;                  // of the result; -1 before the first
};

// SQLite's prepared statements.
enum { DS_SQL_STATEMENTS = 64 };
typedef struct ds_sqlite {
    struct {
        const char *text; // the literal it was prepared from
        ds_sql_rows rows;
    } cache[DS_SQL_STATEMENTS];
    size_t next_out; // whose turn it is to leave a full cache
} ds_sqlite;
extern const ds_sql_engine ds_sqlite_engine;

// The failure SQLite just reported, as DS_STORE; DS_POLICY where one of our triggers or constraints refused.
enum ds_class ds_sqlite_fail(ds_sql *s, int rc, ds_err *e);

#endif
