// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Tables that lists and batches bring to a ledger: what was exported, serial numbers that were made elsewhere, and what
// was pushed and pulled. In a file they are made when they are first written to. Words that SQLite and PostgreSQL both
// know; hashes are texts of hex digits for that reason.
#ifndef DS_LEDGER_LISTS_H
#define DS_LEDGER_LISTS_H

#include "src/ledger/ledger.h"

// What makes them.
#define DS_LEDGER_LIST_TABLES                                                                                \
    ("CREATE TABLE IF NOT EXISTS manifest_export(name TEXT NOT NULL, fingerprint TEXT NOT NULL, root "       \
     "TEXT NOT NULL, PRIMARY KEY(name, fingerprint))"),                                                      \
        ("CREATE TABLE IF NOT EXISTS serial_list(product TEXT NOT NULL, position BIGINT NOT NULL, serial "   \
         "TEXT NOT NULL UNIQUE, root TEXT NOT NULL, PRIMARY KEY(product, position))"),                       \
        ("CREATE TABLE IF NOT EXISTS serial_next(product TEXT NOT NULL PRIMARY KEY, last BIGINT NOT NULL)"), \
        ("CREATE TABLE IF NOT EXISTS batch_push(station TEXT NOT NULL PRIMARY KEY, events BIGINT NOT "       \
         "NULL, head TEXT NOT NULL)"),                                                                       \
        ("CREATE TABLE IF NOT EXISTS batch_event(station TEXT NOT NULL, position BIGINT NOT NULL, at "       \
         "BIGINT NOT NULL, device BIGINT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, hash TEXT NOT "   \
         "NULL, PRIMARY KEY(station, position))")

// Make the tables in a file where they are not there; inside a transaction. A database has them from its schema.
enum ds_class ds_ledger_lists_ready(ds_ledger *l, ds_err *e) DS_MUST;
// Is that table of them there? Where it is not, nothing was written to it yet. The caller holds the ledger.
enum ds_class ds_ledger_lists_have(ds_ledger *l, const char *table, bool *ret, ds_err *e) DS_MUST;

// Serial numbers that were made before their devices, for a product, each to be claimed once (the format "{list}" of
// ds_ledger_device_serial). root names the list. All or nothing; the same list again changes nothing. next gives the
// serial numbers one after the other, an empty text at the end. DS_POLICY: one is in another list already, or is
// another's.
typedef enum ds_class (*ds_ledger_serial_fn)(void *arg, char ret[64], ds_err *e);
typedef struct ds_ledger_serials {
    const char *product;
    const uint8_t *root; // 32
    ds_ledger_serial_fn next;
    void *arg;
} ds_ledger_serials;
enum ds_class ds_ledger_serials_add(ds_ledger *l, const ds_ledger_serials *s, uint64_t *ret_added, ds_err *e) DS_MUST;
// How many were imported for a product, and how many of them are claimed or passed over.
enum ds_class ds_ledger_serials_count(ds_ledger *l, const char *product, uint64_t *ret_all, uint64_t *ret_used,
                                      ds_err *e) DS_MUST;

// Inside ds_ledger_device_serial's transaction: the next one of the product's. DS_POLICY: used up, or none there.
enum ds_class ds_ledger_serial_claim(ds_ledger *l, const char *product, char ret[64], ds_err *e) DS_MUST;

#endif
