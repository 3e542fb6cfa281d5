// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// SQL as our records use it: statements prepared once, values with their types, failures as ds_err with what to do
// next. Two engines take the same text (? or ?1 for values): SQLite (WAL, synchronous=FULL, foreign keys; not
// thread-safe: the owner locks) and PostgreSQL (sql_pg.h; each thread holds a connection of its own). What text means
// to both is in docs/ledger.md. Source: sqlite.org, "Write-Ahead Logging", "PRAGMA synchronous", "PRAGMA
// application_id".
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

typedef struct ds_sql_engine ds_sql_engine; // sql_engine.h
typedef struct ds_sql_rows ds_sql_rows;     // a query that runs

typedef struct ds_sql {
    const ds_sql_engine *engine; // NULL: not open
    char *path;                  // file, or place of a database without any secret: for messages
    const char *what;
    sqlite3 *db;              // SQLite's
    struct ds_sqlite *sqlite; // its prepared statements
    struct ds_pg *pg;         // PostgreSQL's connections
} ds_sql;

// Open a file, or make it where read_only is false (mode 0600). DS_STORE: not such a file, newer version, disk.
enum ds_class ds_sql_open(ds_sql *s, const char *path, const ds_sql_schema *schema, bool read_only, ds_err *e) DS_MUST;
void ds_sql_close(ds_sql *s);

// Is it PostgreSQL's? For the few places where text differs.
bool ds_sql_is_pg(const ds_sql *s);

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

// Bytes as lower-case hex digits, in SQLite's words and in PostgreSQL's.
#define DS_SQL_HEX(value) "lower(hex(" value "))"
#define DS_SQL_HEX_PG(value) "encode(" value ", 'hex')"

// Behind a SELECT: its row is about to be changed. Only a writing transaction of PostgreSQL takes a lock by it.
#define DS_SQL_LOCK " /* lock */"

// Run a statement that returns no rows. sql is a literal (its address and text key the cache); args NULL = none. In a
// transaction of PostgreSQL a failure may show only at the next query or at the end.
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
// A reading one: all of its queries see one moment of the record. Ended as above.
enum ds_class ds_sql_begin_read(ds_sql *s, ds_err *e) DS_MUST;

// After a transaction failed: may it be run again from its beginning? Waits a little where it may. Never with SQLite.
enum ds_sql_fate {
    DS_SQL_FAILED, // for good
    DS_SQL_AGAIN,  // others were quicker, or the database was lost: nothing of it happened
    DS_SQL_ASK,    // the database was lost while it was confirmed: nobody knows yet
};
enum ds_sql_fate ds_sql_fate(ds_sql *s);

// Rows that the statement changed which was run last.
int64_t ds_sql_changes(ds_sql *s);

// Columns: text cut to cap-1 bytes; a blob of exactly len bytes or false (and zeros).
int64_t ds_sql_int(ds_sql_rows *stmt, int column); // 0 for NULL
bool ds_sql_is_null(ds_sql_rows *stmt, int column);
void ds_sql_text(ds_sql_rows *stmt, int column, char *ret, size_t cap);
bool ds_sql_blob(ds_sql_rows *stmt, int column, void *ret, size_t len);
ds_view ds_sql_view(ds_sql_rows *stmt, int column);    // borrowed until the next step
const char *ds_sql_str(ds_sql_rows *stmt, int column); // the same, ends with NUL; "" for NULL

#endif
