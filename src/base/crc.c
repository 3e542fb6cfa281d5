// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Checksums; see crc.h.
#include "src/base/crc.h"

#include <zlib.h>

uint32_t ds_crc32(const void *data, size_t len)
{
    return (uint32_t)crc32_z(0, data, len);
}

uint32_t ds_crc32_esp(uint32_t seed, const void *data, size_t len)
{
    return (uint32_t)crc32_z(seed, data, len);
}

uint8_t ds_xor8(uint8_t seed, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        seed ^= p[i];
    return seed;
}

uint8_t ds_crc8_mac(const uint8_t mac[6])
{
    uint8_t crc = 0;
    for (size_t i = 0; i < 6; i++) {
        crc ^= mac[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (uint8_t)(crc & 1 ? (crc >> 1) ^ 0x8C : crc >> 1);
    }
    return crc;
}
