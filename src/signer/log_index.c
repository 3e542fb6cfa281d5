// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The log's index; see log_index.h. Linear probing; entries leave in the reverse order of their coming only, so that no
// chain of slots is ever broken.
#include "src/signer/log_index.h"

#include "src/base/secret.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 256 };
_Static_assert(crypto_shorthash_KEYBYTES == sizeof((ds_log_index *)0)->secret, "the key's size");

static size_t hash(const ds_log_index *x, const uint8_t *what, size_t len)
{
    uint8_t out[crypto_shorthash_BYTES];
    (void)crypto_shorthash(out, what, len, x->secret);
    size_t v = 0;
    memcpy(&v, out, sizeof v < sizeof out ? sizeof v : sizeof out);
    return v & (x->slots - 1);
}

// The slot that holds what is looked for, or the free one where it would go.
static size_t slot_of_key(const ds_log_index *x, const uint8_t digest[32])
{
    size_t i = hash(x, digest, 32);
    while (x->by_key[i] && memcmp(x->entries[x->by_key[i] - 1].public_key_digest, digest, 32) != 0)
        i = (i + 1) & (x->slots - 1);
    return i;
}

static size_t slot_of_serial(const ds_log_index *x, const uint8_t serial[16])
{
    size_t i = hash(x, serial, 16);
    while (x->by_serial[i] && memcmp(x->entries[x->by_serial[i] - 1].serial, serial, 16) != 0)
        i = (i + 1) & (x->slots - 1);
    return i;
}

static void place(ds_log_index *x, const ds_log_entry *entry)
{
    x->by_key[slot_of_key(x, entry->public_key_digest)] = entry->number;
    x->by_serial[slot_of_serial(x, entry->serial)] = entry->number;
}

static void grow(ds_log_index *x)
{
    if (!x->cap)
        ds_random(x->secret, sizeof x->secret);
    x->cap = x->cap ? 2 * x->cap : FIRST_CAP;
    ds_log_entry *entries = realloc(x->entries, x->cap * sizeof *entries);
    if (!entries)
        abort(); // out of memory, as everywhere
    x->entries = entries;
    free(x->by_key);
    free(x->by_serial);
    x->slots = 2 * x->cap;
    x->by_key = ds_alloc(x->slots * sizeof *x->by_key);
    x->by_serial = ds_alloc(x->slots * sizeof *x->by_serial);
    for (size_t i = 0; i < x->count; i++)
        place(x, &x->entries[i]);
}

const ds_log_entry *ds_log_index_key(const ds_log_index *x, const uint8_t digest[32])
{
    uint32_t n = x->count ? x->by_key[slot_of_key(x, digest)] : 0;
    return n ? &x->entries[n - 1] : NULL;
}

const ds_log_entry *ds_log_index_serial(const ds_log_index *x, const uint8_t serial[16])
{
    uint32_t n = x->count ? x->by_serial[slot_of_serial(x, serial)] : 0;
    return n ? &x->entries[n - 1] : NULL;
}

bool ds_log_index_add(ds_log_index *x, const ds_log_entry *entry)
{
    if (x->count == UINT32_MAX)
        return false;
    if (x->count == x->cap)
        grow(x);
    size_t key = slot_of_key(x, entry->public_key_digest), serial = slot_of_serial(x, entry->serial);
    if (x->by_key[key] || x->by_serial[serial])
        return false;
    ds_log_entry *copy = &x->entries[x->count++];
    *copy = *entry;
    copy->number = (uint32_t)x->count;
    x->by_key[key] = copy->number;
    x->by_serial[serial] = copy->number;
    return true;
}

void ds_log_index_drop(ds_log_index *x)
{
    const ds_log_entry *last = &x->entries[x->count - 1];
    x->by_key[slot_of_key(x, last->public_key_digest)] = 0;
    x->by_serial[slot_of_serial(x, last->serial)] = 0;
    x->count--;
}

void ds_log_index_free(ds_log_index *x)
{
    free(x->entries);
    free(x->by_key);
    free(x->by_serial);
    *x = (ds_log_index){0};
}
