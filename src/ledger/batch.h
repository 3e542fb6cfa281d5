// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Batches: what happened in one ledger, carried into another, as rolls (roll.h) whose entries are devices,
// certificates, proofs and the events of the evidence chain. docs/ledger-batches.md fixes them. Proofs of possession
// and certificate requests stay where they are.
#ifndef DS_LEDGER_BATCH_H
#define DS_LEDGER_BATCH_H

#include "src/ledger/ledger.h"
#include "src/ledger/roll.h"

// Events from + 1 to to of a ledger's evidence chain.
typedef struct ds_batch_range {
    uint64_t from, to;
    uint8_t from_hash[32], to_hash[32]; // of the event with that number; zeros for 0
} ds_batch_range;

// How many events were pushed; 0: none.
enum ds_class ds_ledger_push_known(ds_ledger *l, uint64_t *ret, ds_err *e) DS_MUST;
// Collect the events behind number from, and all that they concern, as it is now. Nothing is collected where there are
// none (to = from). about: for the roll's head. DS_INPUT: from is beyond the end.
enum ds_class ds_ledger_push(ds_ledger *l, uint64_t from, ds_roll_spool *ret, char about[DS_ROLL_ABOUT_MAX],
                             ds_batch_range *ret_range, ds_err *e) DS_MUST;
// Record that it was written.
enum ds_class ds_ledger_pushed(ds_ledger *l, const ds_batch_range *range, ds_err *e) DS_MUST;

typedef struct ds_ledger_pulled {
    ds_batch_range range;
    uint64_t events, devices, certificates; // that are new here
    uint64_t advanced;                      // certificates whose state went forward, or that were revoked
} ds_ledger_pulled;
// Take a batch over, whose files were surveyed and are whole: in one transaction, all of it or nothing. Its signer is
// the station. The same again changes nothing; batches of one station may come in any order. Nothing goes back: a
// certificate's state, a revocation, a lock stay. DS_POLICY: it contradicts this ledger (a serial number or public key
// is another device's, a device has another live certificate, the station's chain is another than it was), says
// which device. DS_INPUT: no batch.
enum ds_class ds_ledger_pull(ds_ledger *l, ds_roll_files *f, ds_ledger_pulled *ret, ds_err *e) DS_MUST;

// The chain of a station whose batches were pulled, as far as it is here.
typedef struct ds_ledger_station {
    char key[65];          // SHA-256 of its public key, hex
    uint64_t events, last; // how many are here, and the number of the last: gaps where they differ
    uint8_t head[32];      // hash of the last
    uint64_t broken;       // first event that does not follow from the one before it; 0: none
} ds_ledger_station;
typedef void (*ds_ledger_station_fn)(void *arg, const ds_ledger_station *s);
// Verify and tell each. fn may not use the ledger.
enum ds_class ds_ledger_each_station(ds_ledger *l, ds_ledger_station_fn fn, void *arg, ds_err *e) DS_MUST;

#endif
