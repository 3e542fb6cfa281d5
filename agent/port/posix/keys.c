// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Key blocks for the HMAC and the digital-signature peripheral: docs/decisions/0004-key-protection.md. Sources: ESP-IDF
// efuse.rst, esp_efuse_table.csv, esp_hmac.h, esp_ds.h (v5.4).
//
// They are taken from BLOCK_KEY4 downwards to BLOCK_KEY2: BLOCK_KEY5 is the anchor's, and the bootloader takes its two
// from BLOCK_KEY0 upwards. A key is burned in three: its bits, which are read back; its purpose, which is locked with
// it; and the protections, from which on no software reads it. Between any two of these the power may go.
#include "agent/port/posix/posix.h"
#include "src/base/secret.h"

#include <string.h>

enum { FIRST_KEY = 4, LAST_KEY = 2 };

static uint32_t purpose_of(enum ds_key_use use)
{
    return use == DS_KEY_USE_NVS ? DS_EFUSE_PURPOSE_HMAC_UP : DS_EFUSE_PURPOSE_HMAC_DOWN_DS;
}

static void read_key(const ds_hal *h, unsigned key, ds_efuse_key *ret)
{
    ds_efuse_words words;
    h->efuses(h->ctx, &words);
    ds_efuse_key_get(h->chip, &words, key, ret);
    ds_wipe(&words, sizeof words);
}

// Set these fields of BLOCK0; nothing is burned for nothing.
static bool burn_fields(const ds_hal *h, const ds_efuse_words *bits)
{
    ds_efuse_words now, more = {0};
    uint32_t any = 0;
    h->efuses(h->ctx, &now);
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        any |= more.w[0][i] = bits->w[0][i] & ~now.w[0][i];
    ds_wipe(&now, sizeof now);
    return !any || h->efuse_burn(h->ctx, 0, &more);
}

static bool burn_bits(const ds_hal *h, const ds_efuse_key *k, const uint8_t key[32])
{
    ds_efuse_words bits = {0};
    ds_efuse_set_block(&bits, k->block, key);
    bool ok = h->efuse_burn(h->ctx, k->block, &bits);
    ds_wipe(&bits, sizeof bits);
    return ok;
}

static bool burn_purpose(const ds_hal *h, const ds_efuse_key *k, uint32_t purpose)
{
    ds_efuse_words bits = {0};
    return ds_efuse_set(h->chip, &bits, k->purpose_field, purpose) &&
           ds_efuse_set(h->chip, &bits, "WR_DIS", k->wr_dis_purpose) && burn_fields(h, &bits);
}

static bool hide(const ds_hal *h, const ds_efuse_key *k)
{
    ds_efuse_words bits = {0};
    return ds_efuse_set(h->chip, &bits, "RD_DIS", k->rd_dis) &&
           ds_efuse_set(h->chip, &bits, "WR_DIS", k->wr_dis_block) && burn_fields(h, &bits);
}

static bool is_whole(const ds_efuse_key *k, uint32_t purpose)
{
    return k->purpose == purpose && k->purpose_locked && k->read_protected && k->write_protected;
}

// --- burning

// What a block is to a key that is to be burned.
enum fit { NO_FIT, FREE, SAME, SPOILED };

// SPOILED: some of the key's bits and no others, or all of them for good under another purpose. What else lies there is
// somebody's own.
static enum fit fit_of(const ds_efuse_key *k, uint32_t purpose, const uint8_t key[32])
{
    bool lost = k->purpose_locked && k->purpose != purpose;
    if (k->read_protected)
        return NO_FIT;
    // Ours, in whatever state power left it: completed where it can be, hidden where it cannot.
    if (!memcmp(k->bytes, key, sizeof k->bytes))
        return !lost && (k->purpose & ~purpose) == 0 ? SAME : SPOILED;
    if (k->write_protected || lost)
        return NO_FIT;
    if (k->blank)
        return k->purpose == DS_EFUSE_PURPOSE_USER && !k->purpose_locked ? FREE : NO_FIT;
    for (unsigned i = 0; i < sizeof k->bytes; i++)
        if (k->bytes[i] & ~key[i])
            return NO_FIT;
    return SPOILED;
}

static bool find_fit(const ds_hal *h, uint32_t purpose, const uint8_t key[32], enum fit fit, ds_efuse_key *ret)
{
    for (unsigned i = FIRST_KEY; i >= LAST_KEY; i--) {
        read_key(h, i, ret);
        if (fit_of(ret, purpose, key) == fit)
            return true;
    }
    return false;
}

static ds_status finish(const ds_hal *h, const ds_efuse_key *k, uint32_t purpose)
{
    ds_efuse_key now;
    if (!burn_purpose(h, k, purpose) || !hide(h, k))
        return DS_STATUS(PORT, FLASH);
    read_key(h, k->key, &now);
    bool ok = is_whole(&now, purpose) && now.blank;
    ds_wipe(&now, sizeof now);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

static ds_status burn(const ds_hal *h, uint32_t purpose, const uint8_t key[32], ds_efuse_key *k)
{
    // A burn that went wrong shows most of a secret that is about to be burned elsewhere.
    while (find_fit(h, purpose, key, SPOILED, k))
        if (!hide(h, k))
            return DS_STATUS(PORT, FLASH);
    if (!find_fit(h, purpose, key, SAME, k)) {
        if (!find_fit(h, purpose, key, FREE, k))
            return DS_STATUS(PORT, NO_SPACE);
        if (!burn_bits(h, k, key))
            return DS_STATUS(PORT, FLASH);
        read_key(h, k->key, k);
        if (fit_of(k, purpose, key) != SAME) {
            (void)hide(h, k);
            return DS_STATUS(PORT, FLASH);
        }
    }
    return finish(h, k, purpose);
}

ds_status ds_posix_key_burn(void *ctx, enum ds_key_use use, const uint8_t key[32])
{
    const ds_hal *h = ((const ds_posix *)ctx)->hal;
    ds_efuse_words words;
    ds_efuse_key k;
    h->efuses(h->ctx, &words);
    const ds_efuse_field *rd_dis = ds_efuse_field_find(h->chip, "RD_DIS");
    bool locked = ds_efuse_get(h->chip, &words, "WR_DIS") >> rd_dis->wr_dis_bit & 1;
    ds_wipe(&words, sizeof words);
    if (locked)
        return DS_STATUS(PORT, NOT_ALLOWED);
    ds_status s = burn(h, purpose_of(use), key, &k);
    ds_wipe(&k, sizeof k);
    return s;
}

// --- using

// The last one burned is the lowest.
ds_status ds_posix_hmac(void *ctx, const void *message, size_t len, uint8_t ret[32])
{
    const ds_hal *h = ((const ds_posix *)ctx)->hal;
    for (unsigned i = LAST_KEY; i <= FIRST_KEY; i++) {
        ds_efuse_key k;
        read_key(h, i, &k);
        if (is_whole(&k, DS_EFUSE_PURPOSE_HMAC_UP))
            return h->hmac(h->ctx, k.block, message, len, ret) ? DS_STATUS_OK : DS_STATUS(PORT, CRYPTO);
    }
    return DS_STATUS(PORT, NOT_FOUND);
}

ds_status ds_posix_dsig(void *ctx, const uint8_t *data, size_t data_len, const uint8_t *in, uint8_t *ret, size_t len)
{
    const ds_hal *h = ((const ds_posix *)ctx)->hal;
    for (unsigned i = LAST_KEY; i <= FIRST_KEY; i++) {
        ds_efuse_key k;
        read_key(h, i, &k);
        if (is_whole(&k, DS_EFUSE_PURPOSE_HMAC_DOWN_DS) &&
            h->dsig(h->ctx, k.block, (ds_view){data, data_len}, in, ret, len))
            return DS_STATUS_OK;
    }
    return DS_STATUS(PORT, NOT_FOUND);
}
