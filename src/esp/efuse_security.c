// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a chip's eFuses say of its security, in words that do not differ by chip. "Release" is meant as ESP-IDF's
// esp_get_flash_encryption_mode() means it (components/bootloader_support/src/flash_encrypt.c, v5.4).
#include "src/esp/efuse.h"

#include <string.h>

#define ESP32_FLASH_KEY_BLOCK 1
#define ESP32_DIGEST_BLOCK 2
#define KEY0_BLOCK 4
#define KEY_BLOCKS 6

static unsigned popcount(uint32_t v)
{
    return (unsigned)__builtin_popcount(v);
}

// Odd now and never even again: its write protection is burned, or every bit is.
static bool count_final(const ds_chip *chip, const ds_efuse_words *e, const char *field)
{
    const ds_efuse_field *f = ds_efuse_field_find(chip, field);
    uint32_t count = ds_efuse_get(chip, e, field);
    bool full = count == (1u << f->bits) - 1;
    bool locked = ds_efuse_get(chip, e, "WR_DIS") >> f->wr_dis_bit & 1;
    return popcount(count) % 2 && (full || locked);
}

static bool block_protected(const ds_chip *chip, const ds_efuse_words *e, int block)
{
    const ds_efuse_block *b = ds_efuse_block_at(chip, (unsigned)block);
    return ds_efuse_get(chip, e, "WR_DIS") >> b->wr_dis_bit & 1 && ds_efuse_get(chip, e, "RD_DIS") >> b->rd_dis_bit & 1;
}

static bool block_blank(const ds_efuse_words *e, unsigned block)
{
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        if (e->w[block][i])
            return false;
    return true;
}

static void get_esp32(const ds_chip *chip, const ds_efuse_words *e, ds_efuse_security *ret)
{
    ret->secure_boot = ds_efuse_get(chip, e, "ABS_DONE_1");
    ret->flash_encryption = popcount(ds_efuse_get(chip, e, "FLASH_CRYPT_CNT")) % 2;
    ret->release = count_final(chip, e, "FLASH_CRYPT_CNT") && ds_efuse_get(chip, e, "DISABLE_DL_ENCRYPT") &&
                   ds_efuse_get(chip, e, "DISABLE_DL_DECRYPT") && ds_efuse_get(chip, e, "DISABLE_DL_CACHE");
    ret->download_disabled = ds_efuse_get(chip, e, "UART_DOWNLOAD_DIS");
    ret->jtag_disabled = ds_efuse_get(chip, e, "JTAG_DISABLE");
    if (!block_blank(e, ESP32_DIGEST_BLOCK))
        ds_efuse_get_block(e, ESP32_DIGEST_BLOCK, ret->digests[ret->digest_count++]);
    bool read_protected = ds_efuse_get(chip, e, "RD_DIS") & 1;
    ret->flash_key_block = read_protected || !block_blank(e, ESP32_FLASH_KEY_BLOCK) ? ESP32_FLASH_KEY_BLOCK : -1;
}

// First key block with a purpose, -1 none.
static int find_purpose(const ds_chip *chip, const ds_efuse_words *e, uint32_t purpose)
{
    static const char *const fields[KEY_BLOCKS] = {"KEY_PURPOSE_0", "KEY_PURPOSE_1", "KEY_PURPOSE_2",
                                                   "KEY_PURPOSE_3", "KEY_PURPOSE_4", "KEY_PURPOSE_5"};
    for (int i = 0; i < KEY_BLOCKS; i++)
        if (ds_efuse_get(chip, e, fields[i]) == purpose)
            return KEY0_BLOCK + i;
    return -1;
}

static void get_key_purposes(const ds_chip *chip, const ds_efuse_words *e, ds_efuse_security *ret)
{
    static const char *const revoked[3] = {"SECURE_BOOT_KEY_REVOKE0", "SECURE_BOOT_KEY_REVOKE1",
                                           "SECURE_BOOT_KEY_REVOKE2"};
    ret->secure_boot = ds_efuse_get(chip, e, "SECURE_BOOT_EN");
    ret->flash_encryption = popcount(ds_efuse_get(chip, e, "SPI_BOOT_CRYPT_CNT")) % 2;
    ret->release = count_final(chip, e, "SPI_BOOT_CRYPT_CNT") && ds_efuse_get(chip, e, "DIS_DOWNLOAD_MANUAL_ENCRYPT") &&
                   ds_efuse_get(chip, e, "DIS_DOWNLOAD_ICACHE");
    ret->download_disabled = ds_efuse_get(chip, e, "DIS_DOWNLOAD_MODE");
    ret->secure_download = ds_efuse_get(chip, e, "ENABLE_SECURITY_DOWNLOAD");
    ret->jtag_disabled = ds_efuse_get(chip, e, "DIS_PAD_JTAG") && ds_efuse_get(chip, e, "DIS_USB_JTAG");
    for (unsigned i = 0; i < 3; i++) {
        int block = find_purpose(chip, e, DS_EFUSE_PURPOSE_SB_DIGEST0 + i);
        if (block >= 0 && !ds_efuse_get(chip, e, revoked[i]))
            ds_efuse_get_block(e, (unsigned)block, ret->digests[ret->digest_count++]);
    }
    ret->flash_key_block = find_purpose(chip, e, DS_EFUSE_PURPOSE_XTS_AES_128);
}

void ds_efuse_security_get(const ds_chip *chip, const ds_efuse_words *e, ds_efuse_security *ret)
{
    memset(ret, 0, sizeof *ret);
    if (chip->id == DS_CHIP_ESP32)
        get_esp32(chip, e, ret);
    else
        get_key_purposes(chip, e, ret);
    ret->flash_key_protected = ret->flash_key_block >= 0 && block_protected(chip, e, ret->flash_key_block);
    ret->secure_version = popcount(ds_efuse_get(chip, e, "SECURE_VERSION"));
}
