// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the ROM's loader learns from eFuses: GET_SECURITY_INFO, secure download mode, no download mode. The ROM looks at
// the controller's registers at every command, so a bit burned through them takes effect with the controller's next
// read.
#include "sim/rom.h"

#include <string.h>

#define INFO_BYTES 20u
#define KEY_BLOCKS 6u
#define LAST_PURPOSE 12u // the seventh purpose byte belongs to no key block

void ds_sim_rom_efuses(ds_sim_rom *rom, ds_efuse_words *ret)
{
    const ds_sim_chip *c = rom->c;
    memset(ret, 0, sizeof *ret);
    for (unsigned b = 0; b < ds_efuse_block_count(c->chip); b++) {
        const ds_efuse_block *block = ds_efuse_block_at(c->chip, b);
        for (unsigned i = 0; i < block->words; i++)
            ret->w[b][i] = ds_sim_efuse_reg_read(c->efuse, block->read_off + 4 * i);
    }
}

static ds_efuse_security security(ds_sim_rom *rom)
{
    ds_efuse_words w;
    ds_efuse_security s;
    ds_sim_rom_efuses(rom, &w);
    ds_efuse_security_get(rom->c->chip, &w, &s);
    return s;
}

bool ds_sim_rom_secure_download(ds_sim_rom *rom)
{
    return security(rom).secure_download;
}

bool ds_sim_rom_download_disabled(ds_sim_rom *rom)
{
    return security(rom).download_disabled;
}

static uint32_t flags(const ds_chip *chip, const ds_efuse_words *w)
{
    static const struct {
        const char *field;
        unsigned bit;
    } map[] = {
        {"SECURE_BOOT_EN", 0},
        {"SECURE_BOOT_AGGRESSIVE_REVOKE", 1},
        {"ENABLE_SECURITY_DOWNLOAD", 2},
        {"SECURE_BOOT_KEY_REVOKE0", 3},
        {"SECURE_BOOT_KEY_REVOKE1", 4},
        {"SECURE_BOOT_KEY_REVOKE2", 5},
        {"DIS_PAD_JTAG", 7},
        {"DIS_USB_SERIAL_JTAG", 8},
        {"DIS_DOWNLOAD_ICACHE", 10},
    };
    uint32_t ret = 0;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (ds_efuse_get(chip, w, map[i].field))
            ret |= 1u << map[i].bit;
    // Soft disabling counts bits, as the flash encryption counter does.
    if (__builtin_popcount(ds_efuse_get(chip, w, "SOFT_DIS_JTAG")) & 1)
        ret |= 1u << 6;
    return ret;
}

uint8_t ds_sim_rom_security_info(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    static const char *const purpose[KEY_BLOCKS] = {"KEY_PURPOSE_0", "KEY_PURPOSE_1", "KEY_PURPOSE_2",
                                                    "KEY_PURPOSE_3", "KEY_PURPOSE_4", "KEY_PURPOSE_5"};
    const ds_chip *chip = rom->c->chip;
    ds_efuse_words w;
    if (q->data.len != 0)
        return DS_SIM_ROM_FORMAT;
    ds_sim_rom_efuses(rom, &w);
    ds_put_le32(ret->data, flags(chip, &w));
    ret->data[4] = (uint8_t)ds_efuse_get(chip, &w, "SPI_BOOT_CRYPT_CNT");
    for (unsigned i = 0; i < KEY_BLOCKS; i++)
        ret->data[5 + i] = (uint8_t)ds_efuse_get(chip, &w, purpose[i]);
    ret->data[5 + KEY_BLOCKS] = LAST_PURPOSE;
    ds_put_le32(ret->data + 12, chip->id);
    ds_put_le32(ret->data + 16, ds_efuse_revision(chip, &w) % 100u);
    ret->len = INFO_BYTES;
    return DS_SIM_ROM_OK;
}
