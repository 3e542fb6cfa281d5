// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ledger's certificates in an order that is the same in every ledger, and what was exported of them.
#ifndef DS_LEDGER_WALK_H
#define DS_LEDGER_WALK_H

#include "src/ledger/ledger.h"

// A certificate that was signed, with its device.
typedef struct ds_ledger_entry {
    uint8_t fingerprint[32]; // SHA-256 of the DER
    char serial[64], product[64];
    enum ds_ledger_state state;
    int64_t signed_utc, revoked_utc; // revoked: 0 where it is not
    ds_view certificate;             // DER; borrowed during the call
} ds_ledger_entry;

typedef enum ds_class (*ds_ledger_entry_fn)(void *arg, const ds_ledger_entry *x, ds_err *e);
// Each of them, in order of fingerprints, those between the two, which are not told themselves (NULL: no bound). Memory
// for some hundred of them. fn may use the ledger; what it fails with ends the walk.
enum ds_class ds_ledger_walk(ds_ledger *l, const uint8_t *after, const uint8_t *before, ds_ledger_entry_fn fn,
                             void *arg, ds_err *e) DS_MUST;

// Exports have names ("aws"), so that each consumer is told each device once. Write down that these certificates were
// in the export with that root; those that were in one of that name before keep what is written. Idempotent.
enum ds_class ds_ledger_export_add(ds_ledger *l, const char *name, const uint8_t root[32], const uint8_t (*list)[32],
                                   size_t count, ds_err *e) DS_MUST;
// Was this certificate in an export of that name; in which? False too where the ledger never recorded one.
enum ds_class ds_ledger_exported(ds_ledger *l, const char *name, const uint8_t fingerprint[32], bool *ret,
                                 uint8_t ret_root[32], ds_err *e) DS_MUST;

#endif
