// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Key blocks and their purposes. Source: ESP-IDF esp_efuse_table.csv, efuse.rst (v5.4); esptool espefuse/efuse_defs.
#include "src/esp/efuse.h"

#include <stdio.h>
#include <string.h>

#define KEY0_BLOCK 4u
#define ESP32_FLASH_KEY_BLOCK 1u

static const uint8_t zeros[32];

void ds_efuse_key_get(const ds_chip *chip, const ds_efuse_words *e, unsigned key, ds_efuse_key *ret)
{
    *ret = (ds_efuse_key){.key = key, .block = KEY0_BLOCK + key};
    snprintf(ret->purpose_field, sizeof ret->purpose_field, "KEY_PURPOSE_%u", key);
    const ds_efuse_block *block = ds_efuse_block_at(chip, ret->block);
    const ds_efuse_field *field = ds_efuse_field_find(chip, ret->purpose_field);
    uint32_t wr_dis = ds_efuse_get(chip, e, "WR_DIS"), rd_dis = ds_efuse_get(chip, e, "RD_DIS");
    ret->wr_dis_block = 1u << block->wr_dis_bit;
    ret->wr_dis_purpose = 1u << field->wr_dis_bit;
    ret->rd_dis = 1u << block->rd_dis_bit;
    ret->purpose = ds_efuse_get(chip, e, ret->purpose_field);
    ret->read_protected = rd_dis & ret->rd_dis;
    ret->write_protected = wr_dis & ret->wr_dis_block;
    ret->purpose_locked = wr_dis & ret->wr_dis_purpose;
    ds_efuse_get_block(e, ret->block, ret->bytes);
    ret->blank = !memcmp(ret->bytes, zeros, sizeof zeros);
}

static bool is_secret(uint32_t purpose)
{
    return purpose >= DS_EFUSE_PURPOSE_XTS_AES_128 && purpose <= DS_EFUSE_PURPOSE_HMAC_UP;
}

static void count(ds_efuse_secrets *s, bool hidden)
{
    s->count++;
    s->exposed += !hidden;
}

void ds_efuse_secrets_get(const ds_chip *chip, const ds_efuse_words *e, ds_efuse_secrets *ret)
{
    *ret = (ds_efuse_secrets){0};
    if (chip->id == DS_CHIP_ESP32) {
        uint8_t key[32];
        bool hidden = ds_efuse_get(chip, e, "RD_DIS") & 1;
        ds_efuse_get_block(e, ESP32_FLASH_KEY_BLOCK, key);
        bool blank = !memcmp(key, zeros, sizeof zeros);
        if (hidden || !blank)
            count(ret, hidden && blank);
        return;
    }
    for (unsigned i = 0; i < DS_EFUSE_KEYS; i++) {
        ds_efuse_key key;
        ds_efuse_key_get(chip, e, i, &key);
        if (is_secret(key.purpose))
            count(ret, key.read_protected && key.blank);
    }
}
