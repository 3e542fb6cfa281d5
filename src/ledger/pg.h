// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of the PostgreSQL engine (sql_pg.c, pg_*.c) share.
#ifndef DS_LEDGER_PG_H
#define DS_LEDGER_PG_H

#include "src/ledger/sql_engine.h"
#include "src/ledger/sql_pg.h"

#include <pthread.h>

struct pg_conn;
struct pg_result;

enum { DS_PG_CONNECTIONS = 8, DS_PG_STATEMENTS = 128, DS_PG_PENDING_MAX = 200 };

// A place, read: what libpq is told (lists that end with NULL), and what people are told.
typedef struct ds_pg_place {
    char *name; // without secrets
    char **keys, **values;
    int wait_ms;          // how long an answer, or a database that is away, is waited for
    bool read_only, many; // many: it names several hosts
} ds_pg_place;
enum ds_class ds_pg_place_read(const char *text, bool read_only, ds_pg_place *ret, ds_err *e) DS_MUST;
void ds_pg_place_free(ds_pg_place *p);

typedef struct ds_pg_conn {
    struct pg_conn *c; // NULL: not connected
    bool held;
    pthread_t owner; // where held
    bool in_transaction, committing;
    bool lost;        // since the transaction began
    unsigned pending; // commands whose answers were not read
    unsigned batch;   // counts what is sent together
    int64_t changes;
    enum ds_sql_fate fate;
    unsigned tries, doubles; // of a transaction that is run again
    int64_t held_ms;         // since when
    int64_t until_ms;        // how long a lost database is waited for; 0: it is there
    bool marked, writing;
    uint8_t mark[32];
    _Alignas(8) uint8_t scratch[DS_PG_SCRATCH];
    size_t statement_count;
    unsigned names; // of statements, so far
    struct {
        const char *text; // the literal it was prepared from
        bool lock;
        unsigned name, batch;
    } statements[DS_PG_STATEMENTS];
} ds_pg_conn;

typedef struct ds_pg {
    ds_pg_place place;
    bool read_only;
    bool reached; // once: from then on a database that is away is waited for
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    ds_pg_conn conns[DS_PG_CONNECTIONS];
} ds_pg;
extern const ds_sql_engine ds_pg_engine;

// The connection this thread holds.
ds_pg_conn *ds_pg_mine(ds_sql *s);

// Connected, or DS_STORE: waits for a database that was there before.
enum ds_class ds_pg_ensure(ds_sql *s, ds_pg_conn *k, ds_err *e) DS_MUST;
void ds_pg_drop(ds_pg_conn *k);

// Send a command as it is, unprepared; its answer comes with the next sync.
enum ds_class ds_pg_send(ds_sql *s, ds_pg_conn *k, const char *sql, ds_err *e) DS_MUST;
// Read every answer there is to come; *ret (may be NULL) the last one's, to be cleared by the caller. The first failure
// is the one that is told.
enum ds_class ds_pg_sync(ds_sql *s, ds_pg_conn *k, struct pg_result **ret, ds_err *e) DS_MUST;

// A server's refusal as ds_err, and what becomes of the transaction. DS_POLICY: a constraint or guard of ours.
enum ds_class ds_pg_fail(ds_sql *s, ds_pg_conn *k, const struct pg_result *r, ds_err *e);
// The connection is no more.
enum ds_class ds_pg_lost(ds_sql *s, ds_pg_conn *k, const char *why, ds_err *e);

// The engine's transactions, for pg_open.c.
enum ds_class ds_pg_begin(ds_sql *s, bool writing, ds_err *e) DS_MUST;
enum ds_class ds_pg_end(ds_sql *s, enum ds_class rc, ds_err *e) DS_MUST;

#endif
