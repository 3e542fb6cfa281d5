// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A piece of NOR flash as the value store sees it: mapped for reading, programmed a 32-bit word at a time (bits go from
// 1 to 0 only), erased a block at a time (to FF). Power may be lost within any of these.
#ifndef DS_PORT_NOR_H
#define DS_PORT_NOR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ds_nor {
    void *ctx;
    const uint8_t *bytes; // block_size * blocks bytes, aligned to 4; always readable outside program and erase
    uint32_t block_size;  // a multiple of 4
    uint32_t blocks;
    // Program the word at offset (a multiple of 4), stored little-endian. False where it failed or would need an erase.
    bool (*program)(void *ctx, uint32_t offset, uint32_t word);
    bool (*erase)(void *ctx, uint32_t block);
} ds_nor;

#endif
