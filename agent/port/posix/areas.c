// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The two areas values live in: the NVS partition "stamp", plain, and the NVS partition "nvs", encrypted with keys that
// the HMAC peripheral makes, where a key block was burned for that; else they are made here at first use and kept in
// the nvs_keys partition behind flash encryption. Source: ESP-IDF nvs_encryption.rst, nvs_api.cpp, nvs_sec_provider.c
// (v5.4).
#include "agent/port/posix/posix.h"
#include "src/base/secret.h"

#include <string.h>

#define PLAIN_LABEL "stamp"
#define ENCRYPTED_LABEL "nvs"
#define SECTOR 4096u
#define KEYS_STORED 96u // keys and checksum, padded to the larger unit of encrypted writes

// The area's partition, NULL where the table has none.
static const ds_part *area_part(const ds_posix *p, enum ds_area area)
{
    const ds_part *part = ds_ptable_find(p->hal->table, area == DS_AREA_PLAIN ? PLAIN_LABEL : ENCRYPTED_LABEL);
    return part && part->type == DS_PART_DATA && part->subtype == DS_PART_DATA_NVS ? part : NULL;
}

bool ds_posix_flash_encrypted(const ds_posix *p)
{
    ds_efuse_words words;
    ds_efuse_security security;
    p->hal->efuses(p->hal->ctx, &words);
    ds_efuse_security_get(p->hal->chip, &words, &security);
    return security.flash_encryption;
}

static bool is_erased(const ds_posix *p, const ds_part *part)
{
    uint8_t sector[SECTOR];
    for (uint32_t off = 0, len; off < part->size; off += len) {
        len = part->size - off < sizeof sector ? part->size - off : (uint32_t)sizeof sector;
        if (!p->hal->flash_read(p->hal->ctx, part->offset + off, sector, len, false))
            return false;
        for (uint32_t i = 0; i < len; i++)
            if (sector[i] != 0xFF)
                return false;
    }
    return true;
}

static bool window_read(void *ctx, uint32_t off, void *buf, uint32_t len)
{
    const ds_posix_window *w = ctx;
    return w->hal->flash_read(w->hal->ctx, w->offset + off, buf, len, false);
}

static bool window_program(void *ctx, uint32_t off, const void *data, uint32_t len)
{
    const ds_posix_window *w = ctx;
    return w->hal->flash_program(w->hal->ctx, w->offset + off, data, len, false);
}

static bool window_erase(void *ctx, uint32_t off, uint32_t len)
{
    const ds_posix_window *w = ctx;
    return w->hal->flash_erase(w->hal->ctx, w->offset + off, len);
}

static ds_status make_keys(ds_posix *p, const ds_part *part, ds_nvs_keys *ret)
{
    const ds_hal *h = p->hal;
    uint8_t sector[SECTOR], back[KEYS_STORED];
    if (!ds_posix_flash_encrypted(p))
        return DS_STATUS(PORT, NOT_ALLOWED); // they would lie readable
    if (ds_posix_random(p, ret->bytes, sizeof ret->bytes))
        return DS_STATUS(PORT, RANDOM);
    ds_nvs_keys_write(ret, sector);
    bool ok = h->flash_erase(h->ctx, part->offset, SECTOR) &&
              h->flash_program(h->ctx, part->offset, sector, KEYS_STORED, true) &&
              h->flash_read(h->ctx, part->offset, back, sizeof back, true) && !memcmp(back, sector, sizeof back);
    ds_wipe(sector, sizeof sector);
    ds_wipe(back, sizeof back);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

// Not made yet: erased flash, or what in-place encryption made of it. Keys cut off while they were written are made
// again as long as nothing was encrypted with them.
static ds_status load_keys(ds_posix *p, bool may_make, bool area_erased, ds_nvs_keys *ret)
{
    const ds_hal *h = p->hal;
    const ds_part *part = ds_ptable_find_type(h->table, DS_PART_DATA, DS_PART_DATA_NVS_KEYS);
    uint8_t raw[SECTOR], clear[SECTOR];
    bool present = false, present_raw = false;
    if (!part || part->size < SECTOR)
        return DS_STATUS(PORT, UNSUPPORTED);
    if (!h->flash_read(h->ctx, part->offset, raw, SECTOR, false) ||
        !h->flash_read(h->ctx, part->offset, clear, SECTOR, true))
        return DS_STATUS(PORT, FLASH);
    enum ds_class c = ds_nvs_keys_read(clear, &present, ret, NULL);
    bool written = ds_nvs_keys_read(raw, &present_raw, &(ds_nvs_keys){{0}}, NULL) != DS_OK || present_raw;
    ds_wipe(clear, sizeof clear);
    if (!c && present)
        return DS_STATUS_OK;
    if (c && written && !area_erased)
        return DS_STATUS(PORT, FLASH);
    return may_make ? make_keys(p, part, ret) : DS_STATUS(PORT, NOT_FOUND);
}

// NOT_FOUND where no key block makes them. What they would encrypt must not come before flash encryption either: its
// values would be shown to whoever runs other firmware on the chip.
static ds_status keys_by_hmac(ds_posix *p, bool may_make, ds_nvs_keys *ret)
{
    ds_status s = p->port.hmac ? DS_STATUS_OK : DS_STATUS(PORT, NOT_FOUND);
    for (int half = 0; s == DS_STATUS_OK && half < 2; half++) {
        uint8_t seed[32];
        ds_nvs_hmac_seed(half == 1, seed);
        s = p->port.hmac(p, seed, sizeof seed, ret->bytes + 32 * half);
    }
    return s == DS_STATUS_OK && may_make && !ds_posix_flash_encrypted(p) ? DS_STATUS(PORT, NOT_ALLOWED) : s;
}

static ds_status encrypted_keys(ds_posix *p, bool may_make, bool area_erased, ds_nvs_keys *ret)
{
    ds_status s = keys_by_hmac(p, may_make, ret);
    return DS_POSIX_STATUS_IS(s, NOT_FOUND) ? load_keys(p, may_make, area_erased, ret) : s;
}

static ds_status mount(ds_posix *p, enum ds_area area, const ds_part *part, const ds_nvs_keys *keys)
{
    ds_posix_window *w = &p->window[area];
    *w = (ds_posix_window){p->hal, part->offset};
    ds_nvs_flash_ops ops = {w, window_read, window_program, window_erase};
    enum ds_class c = ds_nvs_flash_open(&ops, part->size, keys, &p->area[area], NULL);
    return c ? DS_STATUS(PORT, FLASH) : DS_STATUS_OK;
}

ds_status ds_posix_area_open(ds_posix *p, enum ds_area area, bool may_make_keys, ds_nvs_flash **ret)
{
    ds_nvs_keys keys;
    const ds_part *part = area_part(p, area);
    if (!part)
        return DS_STATUS(PORT, UNSUPPORTED);
    if (!p->area[area]) {
        bool encrypted = area == DS_AREA_ENCRYPTED;
        ds_status s = encrypted ? encrypted_keys(p, may_make_keys, is_erased(p, part), &keys) : DS_STATUS_OK;
        if (s == DS_STATUS_OK)
            s = mount(p, area, part, encrypted ? &keys : NULL);
        ds_wipe(&keys, sizeof keys);
        if (s != DS_STATUS_OK)
            return s;
    }
    *ret = p->area[area];
    return DS_STATUS_OK;
}

void ds_posix_area_close(ds_posix *p, enum ds_area area)
{
    ds_nvs_flash_close(p->area[area]);
    p->area[area] = NULL;
}

ds_status ds_posix_area_erase(void *ctx, enum ds_area area)
{
    ds_posix *p = ctx;
    const ds_part *part = area_part(p, area);
    if (!part)
        return DS_STATUS(PORT, UNSUPPORTED);
    ds_posix_area_close(p, area);
    return p->hal->flash_erase(p->hal->ctx, part->offset, part->size) ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

bool ds_posix_area_is_blank(void *ctx, enum ds_area area)
{
    const ds_posix *p = ctx;
    const ds_part *part = area_part(p, area);
    return part && is_erased(p, part);
}

uint32_t ds_posix_area_free(void *ctx, enum ds_area area)
{
    ds_posix *p = ctx;
    ds_nvs_flash *n;
    const ds_part *part = area_part(p, area);
    ds_status s = ds_posix_area_open(p, area, false, &n);
    if (s == DS_STATUS_OK)
        return ds_nvs_flash_free_bytes(n);
    if (!part || !DS_POSIX_STATUS_IS(s, NOT_FOUND))
        return 0;
    return (part->size / DS_NVS_PAGE - 1) * DS_NVS_ENTRIES * DS_NVS_ENTRY; // nothing in it yet
}
