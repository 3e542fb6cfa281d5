// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The anchor on an ESP32: docs/decisions/0003-stamp-anchor.md. Words 6 and 7 of BLOCK3 hold 7 bytes of the digest and
// their number of zeros (J. M. Berger, A note on error detection codes for asymmetric channels, 1961): the block cannot
// be protected, as SECURE_VERSION in it must grow, but burning takes zeros away and can only add to the number.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_efuse.h"
#include "esp_efuse_table.h"

#include <string.h>

enum { BIT = 6 * 32, BITS = 64, BYTES = 7, SIZE = BYTES + 1 };

static uint8_t zeros(const uint8_t bytes[BYTES])
{
    unsigned n = 0;
    for (size_t i = 0; i < (size_t)BYTES * 8; i++)
        n += (bytes[i / 8] >> i % 8 & 1) == 0;
    return (uint8_t)n;
}

static bool read_now(uint8_t ret[SIZE])
{
    return esp_efuse_read_block(EFUSE_BLK3, ret, BIT, BITS) == ESP_OK;
}

ds_status ds_esp_anchor_get(void *ctx, uint8_t ret[32], size_t *ret_len)
{
    (void)ctx;
    static const uint8_t blank[SIZE];
    uint8_t now[SIZE];
    *ret_len = 0;
    if (!read_now(now))
        return DS_STATUS(PORT, FLASH);
    if (memcmp(now, blank, sizeof now) == 0)
        return DS_STATUS_OK;
    if (now[BYTES] != zeros(now))
        return DS_STATUS(PORT, MISMATCH);
    memcpy(ret, now, BYTES);
    *ret_len = BYTES;
    return DS_STATUS_OK;
}

// With another coding scheme than NONE the block ends before these words.
static bool writable(void)
{
    return esp_efuse_get_coding_scheme(EFUSE_BLK3) == EFUSE_CODING_SCHEME_NONE &&
           !esp_efuse_read_field_bit(ESP_EFUSE_WR_DIS_BLK3) && !esp_efuse_read_field_bit(ESP_EFUSE_RD_DIS_BLK3);
}

ds_status ds_esp_anchor_set(void *ctx, const uint8_t digest[32])
{
    (void)ctx;
    uint8_t want[SIZE], now[SIZE], missing[SIZE];
    memcpy(want, digest, BYTES);
    want[BYTES] = zeros(digest);
    if (!read_now(now))
        return DS_STATUS(PORT, FLASH);
    if (memcmp(now, want, sizeof now) == 0)
        return DS_STATUS_OK;
    for (size_t i = 0; i < sizeof now; i++) {
        if ((now[i] & ~want[i]) != 0)
            return DS_STATUS(PORT, MISMATCH);
        missing[i] = (uint8_t)(want[i] & ~now[i]); // ESP-IDF refuses to burn a bit twice
    }
    if (!writable())
        return DS_STATUS(PORT, UNSUPPORTED);
    if (esp_efuse_write_block(EFUSE_BLK3, missing, BIT, BITS) != ESP_OK || !read_now(now))
        return DS_STATUS(PORT, FLASH);
    return memcmp(now, want, sizeof now) == 0 ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}
