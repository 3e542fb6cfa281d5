// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Batches of eFuse burns; see boot_burn.h. ESP-IDF docs/en/api-reference/system/efuse.rst, "Batch writing".
#include "sim/boot_burn.h"

#include "src/base/secret.h"

#include <stdio.h>
#include <string.h>

#define ESP32_FLASH_KEY_BLOCK 1
#define ESP32_DIGEST_BLOCK 2
#define KEY0_BLOCK 4
#define KEY_BLOCKS 6
#define KEY5 5

void ds_sim_burn_set(const ds_sim_stage *b, ds_sim_burn *burn, const char *field, uint32_t value)
{
    (void)ds_efuse_set(b->c->chip, &burn->bits, field, value);
}

void ds_sim_burn_lock(const ds_sim_stage *b, ds_sim_burn *burn, const char *field)
{
    const ds_efuse_field *f = ds_efuse_field_find(b->c->chip, field);
    if (f && f->wr_dis_bit >= 0)
        ds_sim_burn_set(b, burn, "WR_DIS", 1u << f->wr_dis_bit);
}

static bool protected_by(const ds_sim_stage *b, const char *field, int bit)
{
    return bit >= 0 && ds_efuse_get(b->c->chip, &b->efuses, field) >> bit & 1;
}

// Free: blank or, after a burn that was cut off before BLOCK0, already holding this very key.
static bool block_free(const ds_sim_stage *b, const ds_sim_burn *burn, unsigned block, const uint8_t key[32])
{
    static const uint8_t blank[32];
    uint8_t now[32];
    const ds_efuse_block *def = ds_efuse_block_at(b->c->chip, block);
    ds_efuse_get_block(&b->efuses, block, now);
    return !burn->block[block] && !protected_by(b, "WR_DIS", def->wr_dis_bit) &&
           !protected_by(b, "RD_DIS", def->rd_dis_bit) && (!memcmp(now, blank, 32) || !memcmp(now, key, 32));
}

static void put_key(const ds_sim_stage *b, ds_sim_burn *burn, unsigned block, const uint8_t key[32], bool secret)
{
    const ds_efuse_block *def = ds_efuse_block_at(b->c->chip, block);
    burn->block[block] = true;
    ds_efuse_set_block(&burn->bits, block, key);
    ds_sim_burn_set(b, burn, "WR_DIS", 1u << def->wr_dis_bit);
    if (secret)
        ds_sim_burn_set(b, burn, "RD_DIS", 1u << def->rd_dis_bit);
}

static bool put_esp32_key(const ds_sim_stage *b, ds_sim_burn *burn, const uint8_t key[32], uint32_t purpose,
                          bool secret)
{
    unsigned block = purpose == DS_EFUSE_PURPOSE_XTS_AES_128 ? ESP32_FLASH_KEY_BLOCK : ESP32_DIGEST_BLOCK;
    if (!block_free(b, burn, block, key))
        return false;
    put_key(b, burn, block, key, secret);
    return true;
}

bool ds_sim_burn_key(const ds_sim_stage *b, ds_sim_burn *burn, const uint8_t key[32], uint32_t purpose, bool secret)
{
    if (b->c->chip->id == DS_CHIP_ESP32)
        return put_esp32_key(b, burn, key, purpose, secret);
    for (unsigned i = 0; i < KEY_BLOCKS; i++) {
        char field[16];
        snprintf(field, sizeof field, "KEY_PURPOSE_%u", i);
        const ds_efuse_field *f = ds_efuse_field_find(b->c->chip, field);
        if (purpose == DS_EFUSE_PURPOSE_XTS_AES_128 && i == KEY5)
            continue; // that block cannot feed the flash encryption engine
        if (ds_efuse_get(b->c->chip, &b->efuses, field) != DS_EFUSE_PURPOSE_USER ||
            protected_by(b, "WR_DIS", f->wr_dis_bit) || !block_free(b, burn, KEY0_BLOCK + i, key))
            continue;
        put_key(b, burn, KEY0_BLOCK + i, key, secret);
        ds_sim_burn_set(b, burn, field, purpose);
        ds_sim_burn_lock(b, burn, field);
        return true;
    }
    return false;
}

bool ds_sim_burn_commit(ds_sim_stage *b, ds_sim_burn *burn)
{
    bool ok = true, any = false;
    for (unsigned i = ds_efuse_block_count(b->c->chip) - 1; i > 0 && ok; i--)
        if (burn->block[i])
            ok = ds_sim_efuse_burn(b->c->efuse, i, &burn->bits);
    // Bits that are set already may be write-protected by now.
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++) {
        burn->bits.w[0][i] &= ~b->efuses.w[0][i];
        any |= burn->bits.w[0][i] != 0;
    }
    ok = ok && (!any || ds_sim_efuse_burn(b->c->efuse, 0, &burn->bits));
    ds_wipe(burn, sizeof *burn);
    ds_sim_boot_refresh(b);
    return ok;
}
