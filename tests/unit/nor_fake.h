// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NOR flash in memory that keeps the rules (bits go to 0 only, a word at a time; blocks are erased to FF) and loses
// power at the Nth operation, leaving of that one a random part of its bits. For tests, included by one file each.
#ifndef DS_TEST_NOR_FAKE_H
#define DS_TEST_NOR_FAKE_H

#include "agent/port/nor/nor.h"

#include <stdlib.h>
#include <string.h>

typedef struct nor_fake {
    ds_nor nor;
    uint8_t *bytes;
    unsigned operations; // since power came
    unsigned cut_at;     // power is lost within this one; 0 never
    bool dead;
    bool rule_broken; // a bit was to go from 0 to 1
    uint64_t seed;
    unsigned erases, stuck_erases; // the latter: so many erases fail
} nor_fake;

static inline uint32_t nor_fake_random(nor_fake *f)
{
    f->seed = f->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(f->seed >> 32);
}

// Does the operation happen at all? *ret_whole: wholly.
static inline bool nor_fake_begin(nor_fake *f, bool *ret_whole)
{
    if (f->dead)
        return false;
    *ret_whole = ++f->operations != f->cut_at;
    f->dead = !*ret_whole;
    return true;
}

static inline bool nor_fake_program(void *ctx, uint32_t offset, uint32_t word)
{
    nor_fake *f = ctx;
    bool whole;
    uint32_t old;
    if (!nor_fake_begin(f, &whole))
        return false;
    memcpy(&old, f->bytes + offset, sizeof old); // little-endian hosts
    if ((old & word) != word)
        f->rule_broken = true;
    uint32_t now = old & (whole ? word : word | nor_fake_random(f));
    memcpy(f->bytes + offset, &now, sizeof now);
    return whole;
}

static inline bool nor_fake_erase(void *ctx, uint32_t block)
{
    nor_fake *f = ctx;
    bool whole;
    uint8_t *p = f->bytes + block * f->nor.block_size;
    if (!nor_fake_begin(f, &whole))
        return false;
    f->erases++;
    if (f->stuck_erases > 0) {
        f->stuck_erases--;
        return false;
    }
    for (uint32_t i = 0; i < f->nor.block_size; i++)
        p[i] = whole ? 0xFF : (uint8_t)(p[i] | nor_fake_random(f));
    return whole;
}

static inline void nor_fake_init(nor_fake *f, uint32_t block_size, uint32_t blocks, uint64_t seed)
{
    *f = (nor_fake){.seed = seed * 2654435761u + 1};
    f->bytes = malloc(block_size * blocks);
    memset(f->bytes, 0xFF, block_size * blocks);
    f->nor = (ds_nor){f, f->bytes, block_size, blocks, nor_fake_program, nor_fake_erase};
}

static inline void nor_fake_power_on(nor_fake *f, unsigned cut_at)
{
    f->dead = false;
    f->operations = 0;
    f->cut_at = cut_at;
}

#endif
