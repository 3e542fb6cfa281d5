// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// PostgreSQL behind sql.h, by libpq: a pool of connections of which each thread holds one while it works. Statements
// are prepared once a connection; in a transaction they are sent together until an answer is needed (pipeline mode), so
// that it costs few round trips. Source: postgresql.org, "libpq - C Library", "Pipeline Mode", "Explicit Locking".
#ifndef DS_LEDGER_SQL_PG_H
#define DS_LEDGER_SQL_PG_H

#include "src/ledger/sql.h"

// What a database of ours holds. Lists end with NULL.
typedef struct ds_pg_schema {
    const char *what;                // "ledger": for messages
    const char *marker;              // the table whose one row holds the version
    int version;                     // the newest, from 1
    const char *const *const *steps; // steps[v]: statements that make version v + 1; each may be run twice
    const char *const *tables;       // whose presence without the marker means that the database is somebody else's
    const char *const *guards;       // for PostgreSQL itself, not for engines that speak its protocol
} ds_pg_schema;

// "postgresql://…", "postgres://…" or what libpq reads as "key=value …".
bool ds_pg_is_place(const char *text);

// Reach the database and bring its schema to the newest version (read_only: nothing is changed). DS_USAGE: the place
// holds a password. DS_STORE: not reached, not such a database, a newer schema, no right to.
enum ds_class ds_pg_open(ds_sql *s, const char *place, const ds_pg_schema *schema, bool read_only, ds_err *e) DS_MUST;

// Take a connection for this thread, waiting for a free one; every use of s by the thread goes to it until it is let
// go.
void ds_pg_hold(ds_sql *s);
void ds_pg_let_go(ds_sql *s);
bool ds_pg_held(ds_sql *s);

// Room for what the owner knows as long as this transaction lasts; zeros when it begins, and again when it is run
// again. NULL outside a writing transaction.
enum { DS_PG_SCRATCH = 64 };
void *ds_pg_scratch(ds_sql *s);

// What to look for should the answer to this transaction's COMMIT be lost.
void ds_pg_mark(ds_sql *s, const uint8_t mark[32]);
bool ds_pg_marked(ds_sql *s, uint8_t ret[32]);

#endif
