// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Verifying an issuance log without being its signer: the file is only read, so that this works while a signer writes.
#ifndef DS_SIGNER_LOG_VERIFY_H
#define DS_SIGNER_LOG_VERIFY_H

#include "src/signer/log_scan.h"

// A head that is known from elsewhere: the log must begin with the tree it is of.
typedef struct ds_log_known {
    const char *from; // where it is known from, for messages
    uint64_t size;
    uint8_t root[32];
} ds_log_known;

typedef struct ds_log_report {
    uint8_t ca[32], root[32];
    uint64_t entries;
    int64_t torn; // bytes behind the last whole entry: a write that was cut off or is under way
} ds_log_report;

typedef struct ds_log_reading {
    const char *path;
    const ds_log_known *known;
    size_t known_count;
    void (*each)(void *arg, const ds_log_record *r); // told of every entry; NULL: nobody
    void *arg;
} ds_log_reading;

// The CA whose log it is, from its header alone.
enum ds_class ds_log_ca_of(const char *path, uint8_t ret[32], ds_err *e) DS_MUST;

// Read all of it. DS_STORE: damage, or not the log of a known head; says which entry, or which head.
enum ds_class ds_log_verify(const ds_log_reading *r, ds_log_report *ret, ds_err *e) DS_MUST;

#endif
