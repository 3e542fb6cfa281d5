// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The chips of the family, as a table: ids, addresses, schemes. Source: esptool targets/*.py, ESP-IDF soc headers.
#ifndef DS_ESP_CHIP_H
#define DS_ESP_CHIP_H

#include <stdbool.h>
#include <stdint.h>

enum ds_chip_id { DS_CHIP_ESP32 = 0, DS_CHIP_ESP32C3 = 5, DS_CHIP_GENERIC = 0xFFFF };

enum ds_flash_cipher { DS_FLASH_CIPHER_ESP32, DS_FLASH_CIPHER_XTS128 };

typedef struct ds_chip {
    const char *name;           // "esp32c3", as recipes and esptool write it
    const char *title;          // "ESP32-C3"
    uint16_t id;                // image header and GET_SECURITY_INFO
    uint32_t magic[4];          // words seen at 0x40001000; zero-terminated
    uint32_t bootloader_offset; // in flash
    uint32_t efuse_base;        // register window
    uint32_t efuse_window;      // its length in bytes
    uint32_t spi_base;
    bool has_security_info;
    bool has_secure_download; // ENABLE_SECURITY_DOWNLOAD exists
    uint8_t digests;          // secure boot key digests it can hold
    enum ds_flash_cipher cipher;
    uint32_t encrypt_align; // unit of in-place encryption writes
    bool has_hmac;          // HMAC peripheral keyed by eFuses
    uint16_t dsig_bits;     // longest RSA key of the digital-signature peripheral; 0 = it has none
} ds_chip;

// NULL where unknown.
const ds_chip *ds_chip_by_name(const char *name);
const ds_chip *ds_chip_by_id(uint16_t id);
const ds_chip *ds_chip_by_magic(uint32_t magic);
// All of them: index 0.. until NULL.
const ds_chip *ds_chip_at(unsigned index);

// As ds_chip_by_name and ds_chip_by_id, and the platform "generic" too: hardware of one's own with a port of the agent
// (docs/porting.md), of which nothing is known here. It has no ROM, no eFuses and no lock; only name, title and id
// count.
const ds_chip *ds_platform_by_name(const char *name);
const ds_chip *ds_platform_by_id(uint16_t id);
// Can it lock itself (secure boot, flash encryption) in a way that is known here?
bool ds_chip_can_lock(const ds_chip *chip);

#endif
