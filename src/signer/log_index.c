// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The log's index; see log_index.h. POSIX's tsearch keeps the trees.
#include "src/signer/log_index.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int compare_key(const void *a, const void *b)
{
    return memcmp(((const ds_log_entry *)a)->public_key_digest, ((const ds_log_entry *)b)->public_key_digest, 32);
}

static int compare_serial(const void *a, const void *b)
{
    return memcmp(((const ds_log_entry *)a)->serial, ((const ds_log_entry *)b)->serial, 16);
}

static const ds_log_entry *find(void *const *tree, const ds_log_entry *what, int (*compare)(const void *, const void *))
{
    void *const *node = tfind(what, tree, compare);
    return node ? *(const ds_log_entry *const *)node : NULL;
}

const ds_log_entry *ds_log_index_key(const ds_log_index *x, const uint8_t digest[32])
{
    ds_log_entry what = {0};
    memcpy(what.public_key_digest, digest, 32);
    return find(&x->by_key, &what, compare_key);
}

const ds_log_entry *ds_log_index_serial(const ds_log_index *x, const uint8_t serial[16])
{
    ds_log_entry what = {0};
    memcpy(what.serial, serial, 16);
    return find(&x->by_serial, &what, compare_serial);
}

bool ds_log_index_add(ds_log_index *x, const ds_log_entry *entry)
{
    if (ds_log_index_key(x, entry->public_key_digest) || ds_log_index_serial(x, entry->serial))
        return false;
    ds_log_entry *copy = ds_alloc(sizeof *copy);
    *copy = *entry;
    if (!tsearch(copy, &x->by_key, compare_key) || !tsearch(copy, &x->by_serial, compare_serial))
        abort(); // out of memory, as everywhere
    return true;
}

void ds_log_index_free(ds_log_index *x)
{
    while (x->by_serial)
        (void)tdelete(*(ds_log_entry **)x->by_serial, &x->by_serial, compare_serial);
    while (x->by_key) {
        ds_log_entry *entry = *(ds_log_entry **)x->by_key;
        (void)tdelete(entry, &x->by_key, compare_key);
        free(entry);
    }
}
