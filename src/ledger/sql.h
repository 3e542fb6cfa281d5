// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// SQLite as our records use it: opened with WAL, synchronous=FULL and foreign keys, one schema with its version,
// statements prepared once, values with their types, failures as ds_err with what to do next. Not thread-safe: the
// owner locks. Source: sqlite.org, "Write-Ahead Logging", "PRAGMA synchronous", "PRAGMA application_id".
#ifndef DS_LEDGER_SQL_H
#define DS_LEDGER_SQL_H

#include "src/base/buf.h"

#include <sqlite3.h>

// What kind of file this is and how an empty one is filled.
typedef struct ds_sql_schema {
    const char *what;       // "ledger": for messages
    int32_t application_id; // tells our files from anybody's SQLite file
    int version;            // user_version
    const char *script;     // makes version from an empty file
} ds_sql_schema;

#define DS_SQL_STATEMENTS 64

typedef sqlite3_stmt ds_sql_rows; // a query that runs

typedef struct ds_sql {
    sqlite3 *db;
    char *path;
    const char *what;
    struct {
        const char *text; // the literal it was prepared from
        sqlite3_stmt *stmt;
    } cache[DS_SQL_STATEMENTS];
    size_t next_out; // whose turn it is to leave a full cache
} ds_sql;

// Open, or make where read_only is false (mode 0600). DS_STORE: not such a file, newer version, disk.
enum ds_class ds_sql_open(ds_sql *s, const char *path, const ds_sql_schema *schema, bool read_only, ds_err *e) DS_MUST;
void ds_sql_close(ds_sql *s);

// One value for a ? of a statement; lists end with DS_SQL_END, which DS_ARGS() adds.
typedef struct ds_sql_arg {
    enum { DS_SQL_END = 0, DS_SQL_INT, DS_SQL_TEXT, DS_SQL_BLOB, DS_SQL_NULL } kind;
    int64_t number;
    const void *ptr; // borrowed until the statement was run
    size_t len;
} ds_sql_arg;
#define DS_INT(v) ((ds_sql_arg){.kind = DS_SQL_INT, .number = (v)})
#define DS_TEXT(v) ((ds_sql_arg){.kind = DS_SQL_TEXT, .ptr = (v)})
#define DS_BLOB(p, n) ((ds_sql_arg){.kind = DS_SQL_BLOB, .ptr = (p), .len = (n)})
#define DS_NULL_ARG ((ds_sql_arg){.kind = DS_SQL_NULL})
#define DS_ARGS(...) ((const ds_sql_arg[]){__VA_ARGS__, {.kind = DS_SQL_END}})

// Run a statement that returns no rows. sql is a literal (its address and text key the cache); args NULL = none.
enum ds_class ds_sql_run(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_err *e) DS_MUST;

// Start a query; then ds_sql_next() until *more is false or it failed, or ds_sql_done() to stop early. A statement may
// not be started again before it ended.
enum ds_class ds_sql_query(ds_sql *s, const char *sql, const ds_sql_arg *args, ds_sql_rows **ret, ds_err *e) DS_MUST;
enum ds_class ds_sql_next(ds_sql *s, ds_sql_rows *stmt, bool *more, ds_err *e) DS_MUST;
void ds_sql_done(ds_sql_rows *stmt);

// The first column of the first row; fallback where there is none or it is NULL.
enum ds_class ds_sql_number(ds_sql *s, const char *sql, const ds_sql_arg *args, int64_t fallback, int64_t *ret,
                            ds_err *e) DS_MUST;

// A writing transaction. ds_sql_end(s, rc) commits where rc is DS_OK and rolls back otherwise; returns rc or the
// failure of the commit, after which nothing has changed.
enum ds_class ds_sql_begin(ds_sql *s, ds_err *e) DS_MUST;
enum ds_class ds_sql_end(ds_sql *s, enum ds_class rc, ds_err *e) DS_MUST;

// Columns: text cut to cap-1 bytes; a blob of exactly len bytes or false (and zeros).
int64_t ds_sql_int(ds_sql_rows *stmt, int column); // 0 for NULL
bool ds_sql_is_null(ds_sql_rows *stmt, int column);
void ds_sql_text(ds_sql_rows *stmt, int column, char *ret, size_t cap);
bool ds_sql_blob(ds_sql_rows *stmt, int column, void *ret, size_t len);
ds_view ds_sql_view(ds_sql_rows *stmt, int column); // borrowed until the next step

// The failure SQLite just reported, as DS_STORE; DS_POLICY where one of our triggers or constraints refused.
enum ds_class ds_sql_fail(ds_sql *s, int rc, ds_err *e);

#endif
