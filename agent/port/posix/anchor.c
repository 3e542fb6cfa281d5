// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The anchor in eFuses: docs/decisions/0003-stamp-anchor.md. Sources: ESP-IDF efuse.rst and esp_efuse_table.csv (v5.4);
// the chips' technical reference manuals, chapter eFuse controller.
//
// ESP32-C3: a key block of purpose USER, counted from the last one downwards, holds all 32 bytes. It counts once it is
// write-protected: a block that is burned and not protected was cut off, or is somebody else's.
//
// ESP32: it has no block to spare, so words 6 and 7 of BLOCK3, which nothing else uses, hold 7 bytes and their number
// of zeros (J. M. Berger, A note on error detection codes for asymmetric channels, 1961). The block cannot be
// protected, as SECURE_VERSION in it must grow; but bits only ever go from 0 to 1, which takes zeros from the bytes and
// can only add to the number, so what is burned cannot be made another anchor.
#include "agent/port/posix/posix.h"

#include <stdio.h>
#include <string.h>

enum {
    KEY0_BLOCK = 4,
    KEY_BLOCKS = 6,
    ESP32_BLOCK = 3,
    ESP32_WORD = 6,
    ESP32_BYTES = 7,
};

static const uint8_t blank[32];

static void read_efuses(const ds_hal *h, ds_efuse_words *ret)
{
    h->efuses(h->ctx, ret);
}

static bool dis_bit(const ds_hal *h, const ds_efuse_words *e, const char *field, int bit)
{
    return bit >= 0 && ds_efuse_get(h->chip, e, field) >> bit & 1;
}

// ---- ESP32

static uint8_t zeros(const uint8_t *bytes, size_t len)
{
    unsigned n = 0;
    for (size_t i = 0; i < len * 8; i++)
        n += !(bytes[i / 8] >> i % 8 & 1);
    return (uint8_t)n;
}

static void esp32_read(const ds_hal *h, uint8_t ret[ESP32_BYTES + 1])
{
    ds_efuse_words e;
    uint8_t block[32];
    read_efuses(h, &e);
    ds_efuse_get_block(&e, ESP32_BLOCK, block);
    memcpy(ret, block + 4 * ESP32_WORD, ESP32_BYTES + 1);
}

static ds_status esp32_get(const ds_hal *h, uint8_t ret[32], size_t *ret_len)
{
    uint8_t now[ESP32_BYTES + 1];
    esp32_read(h, now);
    *ret_len = 0;
    if (!memcmp(now, blank, sizeof now))
        return DS_STATUS_OK;
    if (now[ESP32_BYTES] != zeros(now, ESP32_BYTES))
        return DS_STATUS(PORT, MISMATCH);
    memcpy(ret, now, ESP32_BYTES);
    *ret_len = ESP32_BYTES;
    return DS_STATUS_OK;
}

// With another coding scheme than NONE the block ends before these words.
static bool esp32_writable(const ds_hal *h)
{
    ds_efuse_words e;
    const ds_efuse_block *def = ds_efuse_block_at(h->chip, ESP32_BLOCK);
    read_efuses(h, &e);
    return !ds_efuse_get(h->chip, &e, "CODING_SCHEME") && !dis_bit(h, &e, "WR_DIS", def->wr_dis_bit) &&
           !dis_bit(h, &e, "RD_DIS", def->rd_dis_bit);
}

static ds_status esp32_set(const ds_hal *h, const uint8_t digest[32])
{
    uint8_t want[ESP32_BYTES + 1], now[ESP32_BYTES + 1], block[32] = {0};
    memcpy(want, digest, ESP32_BYTES);
    want[ESP32_BYTES] = zeros(digest, ESP32_BYTES);
    esp32_read(h, now);
    if (!memcmp(now, want, sizeof now))
        return DS_STATUS_OK;
    for (size_t i = 0; i < sizeof now; i++)
        if (now[i] & ~want[i])
            return DS_STATUS(PORT, MISMATCH);
    if (!esp32_writable(h))
        return DS_STATUS(PORT, UNSUPPORTED);
    ds_efuse_words bits = {0};
    memcpy(block + 4 * ESP32_WORD, want, sizeof want);
    ds_efuse_set_block(&bits, ESP32_BLOCK, block);
    if (!h->efuse_burn(h->ctx, ESP32_BLOCK, &bits))
        return DS_STATUS(PORT, FLASH);
    esp32_read(h, now);
    return memcmp(now, want, sizeof now) ? DS_STATUS(PORT, FLASH) : DS_STATUS_OK;
}

// ---- ESP32-C3 and those like it

// A key block as software sees it.
typedef struct slot {
    unsigned block;
    const ds_efuse_block *def;
    const ds_efuse_field *purpose;
    bool user, blank, protected, purpose_protected, readable;
    uint8_t bytes[32];
} slot;

static slot slot_of(const ds_hal *h, const ds_efuse_words *e, unsigned key)
{
    char name[16];
    snprintf(name, sizeof name, "KEY_PURPOSE_%u", key);
    slot s = {.block = KEY0_BLOCK + key,
              .def = ds_efuse_block_at(h->chip, KEY0_BLOCK + key),
              .purpose = ds_efuse_field_find(h->chip, name)};
    ds_efuse_get_block(e, s.block, s.bytes);
    s.user = ds_efuse_get(h->chip, e, name) == DS_EFUSE_PURPOSE_USER;
    s.blank = !memcmp(s.bytes, blank, sizeof blank);
    s.protected = dis_bit(h, e, "WR_DIS", s.def->wr_dis_bit);
    s.purpose_protected = dis_bit(h, e, "WR_DIS", s.purpose->wr_dis_bit);
    s.readable = !dis_bit(h, e, "RD_DIS", s.def->rd_dis_bit);
    return s;
}

static bool is_anchor(const slot *s)
{
    return s->user && s->readable && s->protected && !s->blank;
}

// The slot that is_anchor, else (digest given) the one it is to be burned to: with exactly it already, where a burn was
// cut off before its protection, or else a blank one.
static bool find_slot(const ds_hal *h, const uint8_t *digest, slot *ret)
{
    ds_efuse_words e;
    read_efuses(h, &e);
    for (unsigned key = KEY_BLOCKS; key-- > 0;) {
        *ret = slot_of(h, &e, key);
        if (is_anchor(ret))
            return true;
    }
    for (unsigned key = KEY_BLOCKS; digest && key-- > 0;) {
        *ret = slot_of(h, &e, key);
        bool fits = ret->blank || !memcmp(ret->bytes, digest, sizeof ret->bytes);
        if (ret->user && ret->readable && !ret->protected && fits)
            return true;
    }
    return false;
}

static bool burn_block(const ds_hal *h, const slot *s, const uint8_t digest[32])
{
    ds_efuse_words bits = {0};
    if (!s->blank)
        return true;
    ds_efuse_set_block(&bits, s->block, digest);
    return h->efuse_burn(h->ctx, s->block, &bits);
}

static bool protect(const ds_hal *h, const slot *s)
{
    ds_efuse_words bits = {0};
    uint32_t wr_dis =
        (s->protected ? 0 : 1u << s->def->wr_dis_bit) | (s->purpose_protected ? 0 : 1u << s->purpose->wr_dis_bit);
    return !wr_dis || (ds_efuse_set(h->chip, &bits, "WR_DIS", wr_dis) && h->efuse_burn(h->ctx, 0, &bits));
}

static ds_status key_block_set(const ds_hal *h, const uint8_t digest[32])
{
    slot s;
    if (!find_slot(h, digest, &s))
        return DS_STATUS(PORT, NO_SPACE);
    if (is_anchor(&s) && memcmp(s.bytes, digest, sizeof s.bytes) != 0)
        return DS_STATUS(PORT, MISMATCH);
    if (!burn_block(h, &s, digest))
        return DS_STATUS(PORT, FLASH);
    // Only what reads back right is protected: a block that took the bits badly is left behind for the next one.
    ds_efuse_words e;
    read_efuses(h, &e);
    s = slot_of(h, &e, s.block - KEY0_BLOCK);
    if (memcmp(s.bytes, digest, sizeof s.bytes) != 0 || !protect(h, &s))
        return DS_STATUS(PORT, FLASH);
    read_efuses(h, &e);
    s = slot_of(h, &e, s.block - KEY0_BLOCK);
    return is_anchor(&s) && s.purpose_protected ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_posix_anchor_get(void *ctx, uint8_t ret[32], size_t *ret_len)
{
    const ds_posix *p = ctx;
    slot s;
    if (p->hal->chip->id == DS_CHIP_ESP32)
        return esp32_get(p->hal, ret, ret_len);
    *ret_len = 0;
    if (find_slot(p->hal, NULL, &s)) {
        memcpy(ret, s.bytes, sizeof s.bytes);
        *ret_len = sizeof s.bytes;
    }
    return DS_STATUS_OK;
}

ds_status ds_posix_anchor_set(void *ctx, const uint8_t digest[32])
{
    const ds_posix *p = ctx;
    return p->hal->chip->id == DS_CHIP_ESP32 ? esp32_set(p->hal, digest) : key_block_set(p->hal, digest);
}
