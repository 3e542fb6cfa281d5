// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The entries of a batch, and how they are written and read; shared by push and pull.
#ifndef DS_LEDGER_BATCH_INT_H
#define DS_LEDGER_BATCH_INT_H

#include "src/ledger/batch.h"
#include "src/ledger/internal.h"

typedef struct ds_batch_cert {
    int64_t device; // its number where it comes from
    uint8_t serial[16], key[32];
    char subject[256], reason[256];                                                       // reason: of the revocation
    int64_t state, not_before, not_after, reserved, made, installed, registered, revoked; // 0: not (yet)
    ds_buf der;                                                                           // owned
} ds_batch_cert;

typedef struct ds_batch_proof {
    int64_t device, at;
    bool whole;
    char *json; // owned
} ds_batch_proof;

typedef struct ds_batch_event {
    int64_t number, at, device;
    char *kind, *text; // owned
    uint8_t hash[32];
} ds_batch_event;

enum ds_batch_kind { DS_BATCH_DEVICE, DS_BATCH_CERT, DS_BATCH_PROOF, DS_BATCH_EVENT };
typedef struct ds_batch_entry {
    enum ds_batch_kind kind;
    ds_ledger_device device; // id: its number where it comes from; without pop
    ds_batch_cert cert;
    ds_batch_proof proof;
    ds_batch_event event;
} ds_batch_entry;
void ds_batch_entry_free(ds_batch_entry *x);

enum ds_class ds_batch_write(const ds_batch_entry *x, ds_buf *ret, ds_err *e) DS_MUST;
// DS_INPUT: none of them, or not in its one spelling.
enum ds_class ds_batch_parse(ds_view entry, ds_batch_entry *ret, ds_err *e) DS_MUST;

enum ds_class ds_batch_about(const ds_batch_range *r, char ret[DS_ROLL_ABOUT_MAX], ds_err *e) DS_MUST;
enum ds_class ds_batch_about_parse(const char *about, ds_batch_range *ret, ds_err *e) DS_MUST;

// Rows that a batch brings; inside the caller's transaction. *ret_id is the device's here.
enum ds_class ds_batch_put_device(ds_ledger *l, const ds_ledger_device *d, int64_t *ret_id, bool *ret_fresh,
                                  ds_err *e) DS_MUST;
enum ds_class ds_batch_put_cert(ds_ledger *l, int64_t device, const ds_batch_cert *c, bool *ret_fresh,
                                bool *ret_advanced, ds_err *e) DS_MUST;
enum ds_class ds_batch_put_proof(ds_ledger *l, int64_t device, const ds_batch_proof *p, ds_err *e) DS_MUST;

#endif
