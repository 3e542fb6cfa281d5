// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The log's index in memory: entries in their order, found by public key and by serial number through two open hash
// tables (keyed SipHash, so that nobody can choose serial numbers that meet). About 80 bytes an entry.
#ifndef DS_SIGNER_LOG_INDEX_H
#define DS_SIGNER_LOG_INDEX_H

#include "src/base/buf.h"

// What the log knows of one certificate.
typedef struct ds_log_entry {
    uint8_t serial[16];
    uint8_t public_key_digest[32];
    int64_t offset;  // of the record in the file
    uint32_t len;    // of the certificate
    uint32_t number; // from 1
    uint32_t recipe; // the log's own number of its recipe
} ds_log_entry;

typedef struct ds_log_index {
    ds_log_entry *entries;
    uint32_t *by_key, *by_serial; // slots: number of an entry, or 0
    size_t count, cap, slots;     // slots: a power of two, more than twice count
    uint8_t secret[16];
} ds_log_index;

// Copy the entry in and number it; false where its key or serial is there already, or 2^32 - 1 entries are.
bool ds_log_index_add(ds_log_index *x, const ds_log_entry *entry);
// Take the last one out again.
void ds_log_index_drop(ds_log_index *x);
// NULL where there is none. Borrowed until the next add.
const ds_log_entry *ds_log_index_key(const ds_log_index *x, const uint8_t digest[32]);
const ds_log_entry *ds_log_index_serial(const ds_log_index *x, const uint8_t serial[16]);
void ds_log_index_free(ds_log_index *x);

#endif
