// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The store over its two banks; see store.h.
#include "agent/port/nor/store.h"

#include "agent/port/nor/bank.h"

#include <string.h>

static uint32_t other_bank(const ds_nor_store *s)
{
    return s->bank == 0 ? s->bank_size : 0;
}

// The record at position at of the log, all of which was whole when it was mounted. False at its end.
static bool record_at(const ds_nor_store *s, uint32_t at, ds_nor_record *ret)
{
    return at < s->end && ds_nor_record_frame(s->nor, s->bank + at, s->end - at, ret);
}

// Bits that were lost since are not handed out.
static bool still_whole(const ds_nor_store *s, uint32_t at, const ds_nor_record *r)
{
    return ds_nor_record_whole(s->nor, s->bank + at, r);
}

// Finds the end of the log, and whether what is behind it is the work of a power loss.
static void read_log(ds_nor_store *s)
{
    ds_nor_record r;
    s->end = DS_NOR_HEADER;
    while (ds_nor_record_frame(s->nor, s->bank + s->end, s->bank_size - s->end, &r) &&
           ds_nor_record_whole(s->nor, s->bank + s->end, &r))
        s->end += r.size;
    uint32_t left = s->bank_size - s->end;
    s->torn = !ds_nor_blank(s->nor, s->bank + s->end, left);
    if (s->torn && !ds_nor_record_torn(s->nor, s->bank + s->end, left))
        s->state = DS_NOR_DAMAGED;
}

void ds_nor_store_mount(ds_nor_store *s, const ds_nor *nor)
{
    *s = (ds_nor_store){.nor = nor, .bank_size = nor->blocks / 2 * nor->block_size, .end = DS_NOR_HEADER};
    if (s->bank_size < DS_NOR_HEADER + DS_NOR_RECORD) {
        s->state = DS_NOR_DAMAGED;
        return;
    }
    enum ds_nor_bank states[2];
    uint32_t sequences[2] = {0, 0};
    for (uint32_t i = 0; i < 2; i++)
        states[i] = ds_nor_bank_state(nor, i * s->bank_size, s->bank_size, &sequences[i]);
    bool first = states[0] == DS_NOR_BANK_VALID, second = states[1] == DS_NOR_BANK_VALID;
    if (!first && !second) {
        bool parts = states[0] == DS_NOR_BANK_PARTS || states[1] == DS_NOR_BANK_PARTS;
        s->state = parts ? DS_NOR_DAMAGED : DS_NOR_EMPTY;
        s->bank = states[0] == DS_NOR_BANK_BLANK || states[1] != DS_NOR_BANK_BLANK ? 0 : s->bank_size;
        return;
    }
    uint32_t index = !first || (second && (int32_t)(sequences[1] - sequences[0]) > 0) ? 1 : 0;
    s->state = DS_NOR_LIVE;
    s->bank = index * s->bank_size;
    s->sequence = sequences[index];
    s->leftover = states[1 - index] != DS_NOR_BANK_BLANK;
    read_log(s);
}

// Position of the record that counts; 0 where there is none.
static uint32_t find(const ds_nor_store *s, const char *name_space, const char *key, ds_nor_record *ret)
{
    uint32_t found = 0;
    ds_nor_record r;
    for (uint32_t at = DS_NOR_HEADER; record_at(s, at, &r); at += r.size) {
        if (!ds_nor_record_named(&r, name_space, key))
            continue;
        *ret = r;
        found = at;
    }
    return found;
}

// Is the record at that position the last one of its name?
static bool counts(const ds_nor_store *s, uint32_t at, const ds_nor_record *r)
{
    ds_nor_record later;
    for (at += r->size; record_at(s, at, &later); at += later.size)
        if (later.name_space_len == r->name_space_len && later.key_len == r->key_len &&
            memcmp(later.name_space, r->name_space, r->name_space_len + r->key_len) == 0)
            return false;
    return true;
}

static bool same_name(const ds_nor_record *a, const ds_nor_record *b)
{
    return a->name_space_len == b->name_space_len && a->key_len == b->key_len &&
           memcmp(a->name_space, b->name_space, a->name_space_len) == 0 && memcmp(a->key, b->key, a->key_len) == 0;
}

ds_status ds_nor_store_get(const ds_nor_store *s, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len)
{
    ds_nor_record r;
    if (s->state == DS_NOR_DAMAGED)
        return DS_STATUS(PORT, FLASH);
    uint32_t at = find(s, name_space, key, &r);
    if (at == 0)
        return DS_STATUS(PORT, NOT_FOUND);
    if (!still_whole(s, at, &r))
        return DS_STATUS(PORT, FLASH);
    *ret_len = r.len;
    if (r.len > cap)
        return DS_STATUS(PORT, NO_SPACE);
    if (r.len > 0)
        memcpy(buf, r.data, r.len);
    return DS_STATUS_OK;
}

ds_status ds_nor_store_each(const ds_nor_store *s, ds_value_fn fn, void *arg)
{
    if (s->state == DS_NOR_DAMAGED)
        return DS_STATUS(PORT, FLASH);
    ds_nor_record r;
    for (uint32_t at = DS_NOR_HEADER; record_at(s, at, &r); at += r.size) {
        char name_space[DS_NOR_NAME_MAX + 1] = "", key[DS_NOR_NAME_MAX + 1] = "";
        if (!counts(s, at, &r))
            continue;
        if (!still_whole(s, at, &r))
            return DS_STATUS(PORT, FLASH);
        memcpy(name_space, r.name_space, r.name_space_len);
        memcpy(key, r.key, r.key_len);
        ds_status status = fn(arg, name_space, key, r.type, r.data, r.len);
        if (status != DS_STATUS_OK)
            return status;
    }
    return DS_STATUS_OK;
}

// Bytes of the records that count, but for the one of that name (NULL: all).
static uint32_t live_size(const ds_nor_store *s, const ds_nor_record *without)
{
    uint32_t size = 0;
    ds_nor_record r;
    for (uint32_t at = DS_NOR_HEADER; record_at(s, at, &r); at += r.size)
        if (counts(s, at, &r) && (without == NULL || !same_name(&r, without)))
            size += r.size;
    return size;
}

static bool copy_live(const ds_nor_store *s, uint32_t bank, const ds_nor_record *without, uint32_t *ret_end)
{
    uint32_t end = DS_NOR_HEADER;
    ds_nor_record r;
    for (uint32_t at = DS_NOR_HEADER; record_at(s, at, &r); at += r.size) {
        if (!counts(s, at, &r) || same_name(&r, without))
            continue;
        if (!still_whole(s, at, &r) || !ds_nor_record_write(s->nor, bank + end, &r))
            return false;
        end += r.size;
    }
    *ret_end = end;
    return true;
}

// All that counts and the new record go to the other bank, which counts once its header is there.
static ds_status move(ds_nor_store *s, const ds_nor_record *r)
{
    if (live_size(s, r) + r->size > s->bank_size - DS_NOR_HEADER)
        return DS_STATUS(PORT, NO_SPACE);
    uint32_t from = s->bank, to = other_bank(s), end = 0;
    // Erased even where it reads blank: an erase that was cut off may leave bits that do not hold.
    if (!ds_nor_bank_drop(s->nor, to, s->bank_size) || !copy_live(s, to, r, &end) ||
        !ds_nor_record_write(s->nor, to + end, r) || !ds_nor_bank_commit(s->nor, to, s->sequence + 1)) {
        s->leftover = true;
        return DS_STATUS(PORT, FLASH);
    }
    s->bank = to;
    s->sequence++;
    s->end = end + r->size;
    s->torn = false;
    // Old values, a replaced key among them, do not stay behind. Where that fails the new bank counts all the same.
    s->leftover = !ds_nor_bank_drop(s->nor, from, s->bank_size);
    return DS_STATUS_OK;
}

static ds_status append(ds_nor_store *s, const ds_nor_record *r)
{
    if (!ds_nor_record_write(s->nor, s->bank + s->end, r)) {
        s->torn = true;
        return DS_STATUS(PORT, FLASH);
    }
    s->end += r->size;
    return DS_STATUS_OK;
}

static ds_status format(ds_nor_store *s)
{
    if (!ds_nor_blank(s->nor, s->bank, s->bank_size) && !ds_nor_bank_drop(s->nor, s->bank, s->bank_size))
        return DS_STATUS(PORT, FLASH);
    if (!ds_nor_bank_commit(s->nor, s->bank, 1))
        return DS_STATUS(PORT, FLASH);
    s->state = DS_NOR_LIVE;
    s->sequence = 1;
    s->end = DS_NOR_HEADER;
    s->torn = false;
    s->leftover = !ds_nor_blank(s->nor, other_bank(s), s->bank_size);
    return DS_STATUS_OK;
}

static ds_status make_ready(ds_nor_store *s)
{
    if (s->state == DS_NOR_EMPTY) {
        ds_status status = format(s);
        if (status != DS_STATUS_OK)
            return status;
    }
    // What a power loss kept from being erased.
    if (s->leftover)
        s->leftover = !ds_nor_bank_drop(s->nor, other_bank(s), s->bank_size);
    return DS_STATUS_OK;
}

ds_status ds_nor_store_set(ds_nor_store *s, const char *name_space, const char *key, enum ds_value_type type,
                           const void *data, size_t len)
{
    size_t name_space_len = strlen(name_space), key_len = strlen(key);
    if (name_space_len < 1 || name_space_len > DS_NOR_NAME_MAX || key_len < 1 || key_len > DS_NOR_NAME_MAX ||
        (unsigned)type > DS_VALUE_U64)
        return DS_STATUS(PORT, BAD_REQUEST);
    if (s->state == DS_NOR_DAMAGED)
        return DS_STATUS(PORT, FLASH);
    if (len > s->bank_size)
        return DS_STATUS(PORT, NO_SPACE);
    const ds_nor_record r = {type,    name_space, key, name_space_len,
                             key_len, data,       len, ds_nor_record_size(name_space_len, key_len, len)};
    ds_nor_record old;
    ds_status status = make_ready(s);
    if (status != DS_STATUS_OK)
        return status;
    if (find(s, name_space, key, &old) != 0 && old.type == type && old.len == len &&
        (len == 0 || memcmp(old.data, data, len) == 0))
        return DS_STATUS_OK;
    if (!s->torn && r.size <= s->bank_size - s->end)
        return append(s, &r);
    return move(s, &r);
}

ds_status ds_nor_store_erase(ds_nor_store *s)
{
    if (s->bank_size < DS_NOR_HEADER + DS_NOR_RECORD)
        return DS_STATUS(PORT, FLASH);
    // The other one first: what it may hold of old values must not count again.
    bool ok = ds_nor_bank_drop(s->nor, other_bank(s), s->bank_size);
    ok = ds_nor_bank_drop(s->nor, s->bank, s->bank_size) && ok;
    ds_nor_store_mount(s, s->nor);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

bool ds_nor_store_is_blank(const ds_nor_store *s)
{
    return s->bank_size > 0 && ds_nor_blank(s->nor, 0, 2 * s->bank_size);
}

uint32_t ds_nor_store_free(const ds_nor_store *s)
{
    uint32_t used = DS_NOR_HEADER + live_size(s, NULL);
    return s->state == DS_NOR_DAMAGED || used >= s->bank_size ? 0 : s->bank_size - used;
}
