// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log's index in memory: entries by public key and by serial number, in two balanced trees.
#ifndef DS_SIGNER_LOG_INDEX_H
#define DS_SIGNER_LOG_INDEX_H

#include "src/signer/log.h"

typedef struct ds_log_index {
    void *by_key, *by_serial;
} ds_log_index;

// Copy the entry in; false where its key or serial is there already.
bool ds_log_index_add(ds_log_index *x, const ds_log_entry *entry);
const ds_log_entry *ds_log_index_key(const ds_log_index *x, const uint8_t digest[32]);
const ds_log_entry *ds_log_index_serial(const ds_log_index *x, const uint8_t serial[16]);
void ds_log_index_free(ds_log_index *x);

#endif
