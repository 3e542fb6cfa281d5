// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The anchor on chips with key blocks: docs/decisions/0003-stamp-anchor.md. A key block of purpose USER, counted from
// the last one downwards, holds all 32 bytes. It counts once it is write-protected: a block that is burned and not
// protected was cut off, or is somebody else's. Not by esp_efuse_write_key(), which protects in the same batch: a block
// that took its bits badly would then be this device's anchor for good.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_efuse.h"
#include "esp_efuse_table.h"

#include <string.h>

// A key block as software sees it.
typedef struct slot {
    esp_efuse_block_t block;
    bool user, blank, protected, readable, purpose_protected;
    uint8_t bytes[32];
} slot;

static slot slot_of(esp_efuse_block_t block)
{
    static const uint8_t blank[32];
    slot s = {
        .block = block,
        .user = esp_efuse_get_key_purpose(block) == ESP_EFUSE_KEY_PURPOSE_USER,
        .protected = esp_efuse_get_key_dis_write(block),
        .readable = !esp_efuse_get_key_dis_read(block),
        .purpose_protected = esp_efuse_get_keypurpose_dis_write(block),
    };
    if (esp_efuse_read_block(block, s.bytes, 0, 256) != ESP_OK)
        s.readable = false;
    s.blank = memcmp(s.bytes, blank, sizeof blank) == 0;
    return s;
}

static bool is_anchor(const slot *s)
{
    return s->user && s->readable && s->protected && !s->blank;
}

// The slot that is_anchor, else (digest given) the one it is to be burned to: with exactly it already, where a burn was
// cut off before its protection, or else a blank one.
static bool find_slot(const uint8_t *digest, slot *ret)
{
    for (int b = EFUSE_BLK_KEY_MAX - 1; b >= (int)EFUSE_BLK_KEY0; b--) {
        *ret = slot_of((esp_efuse_block_t)b);
        if (is_anchor(ret))
            return true;
    }
    for (int b = EFUSE_BLK_KEY_MAX - 1; digest != NULL && b >= (int)EFUSE_BLK_KEY0; b--) {
        *ret = slot_of((esp_efuse_block_t)b);
        bool fits = ret->blank || memcmp(ret->bytes, digest, sizeof ret->bytes) == 0;
        if (ret->user && ret->readable && !ret->protected && fits)
            return true;
    }
    return false;
}

static bool protect(const slot *s)
{
    esp_err_t e = esp_efuse_batch_write_begin();
    if (e == ESP_OK && !s->protected)
        e = esp_efuse_set_key_dis_write(s->block);
    if (e == ESP_OK && !s->purpose_protected)
        e = esp_efuse_set_keypurpose_dis_write(s->block);
    if (e == ESP_OK)
        return esp_efuse_batch_write_commit() == ESP_OK;
    esp_efuse_batch_write_cancel();
    return false;
}

ds_status ds_esp_anchor_set(void *ctx, const uint8_t digest[32])
{
    (void)ctx;
    slot s;
    if (!find_slot(digest, &s))
        return DS_STATUS(PORT, NO_SPACE);
    if (is_anchor(&s) && memcmp(s.bytes, digest, sizeof s.bytes) != 0)
        return DS_STATUS(PORT, MISMATCH);
    if (s.blank && esp_efuse_write_block(s.block, digest, 0, 256) != ESP_OK)
        return DS_STATUS(PORT, FLASH);
    // Only what reads back right is protected: a block that took the bits badly is left behind for the next one.
    s = slot_of(s.block);
    if (memcmp(s.bytes, digest, sizeof s.bytes) != 0)
        return DS_STATUS(PORT, FLASH);
    if ((!s.protected || !s.purpose_protected) && !protect(&s))
        return DS_STATUS(PORT, FLASH);
    s = slot_of(s.block);
    return is_anchor(&s) && s.purpose_protected ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_esp_anchor_get(void *ctx, uint8_t ret[32], size_t *ret_len)
{
    (void)ctx;
    slot s;
    *ret_len = 0;
    if (find_slot(NULL, &s)) {
        memcpy(ret, s.bytes, sizeof s.bytes);
        *ret_len = sizeof s.bytes;
    }
    return DS_STATUS_OK;
}
