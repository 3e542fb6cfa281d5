// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// eFuses on paper: blocks, fields, coding, of ESP32 and ESP32-C3. Source: ESP-IDF esp_efuse_table.csv; esptool
// espefuse/efuse_defs/*.yaml, mem_definition.py (v5.2).
//
// An image of all eFuses is ds_efuse_words: for each block its words as read (BLOCK0 first).
#ifndef DS_ESP_EFUSE_H
#define DS_ESP_EFUSE_H

#include "src/base/buf.h"
#include "src/esp/chip.h"

#define DS_EFUSE_BLOCKS 11
#define DS_EFUSE_WORDS 8

typedef struct ds_efuse_block {
    const char *name;   // "BLOCK_KEY0"
    uint8_t words;      // length
    uint16_t read_off;  // from the chip's eFuse base
    uint16_t write_off; // ESP32: own registers; others: 0 = PGM_DATA0
    int8_t wr_dis_bit;  // bit of WR_DIS that protects it; -1 none
    int8_t rd_dis_bit;  // bit of RD_DIS; -1 none
    bool rs_coded;      // RS(44,32): written once, whole
} ds_efuse_block;

typedef struct ds_efuse_field {
    const char *name; // espefuse's name
    uint8_t block;
    uint16_t first_bit; // counted from bit 0 of word 0 of the block
    uint16_t bits;
    int8_t wr_dis_bit, rd_dis_bit; // -1 none
} ds_efuse_field;

typedef struct ds_efuse_words {
    uint32_t w[DS_EFUSE_BLOCKS][DS_EFUSE_WORDS];
} ds_efuse_words;

// Key purposes (C3).
enum {
    DS_EFUSE_PURPOSE_USER = 0,
    DS_EFUSE_PURPOSE_XTS_AES_128 = 4,
    DS_EFUSE_PURPOSE_HMAC_DOWN_ALL = 5,
    DS_EFUSE_PURPOSE_HMAC_DOWN_DS = 7, // feeds the digital-signature peripheral
    DS_EFUSE_PURPOSE_HMAC_UP = 8,      // its HMACs are given to software
    DS_EFUSE_PURPOSE_SB_DIGEST0 = 9,
};

unsigned ds_efuse_block_count(const ds_chip *chip);
const ds_efuse_block *ds_efuse_block_at(const ds_chip *chip, unsigned index);
// NULL where the chip has no such field.
const ds_efuse_field *ds_efuse_field_find(const ds_chip *chip, const char *name);
const ds_efuse_field *ds_efuse_field_at(const ds_chip *chip, unsigned index); // NULL after the last

// Fields of at most 32 bits. Unknown names read 0.
uint32_t ds_efuse_get(const ds_chip *chip, const ds_efuse_words *e, const char *field);
// Set bits for a field in a burn image (OR). False where the chip has no such field.
bool ds_efuse_set(const ds_chip *chip, ds_efuse_words *e, const char *field, uint32_t value);
// A key block's 32 bytes, in eFuse (register) order.
void ds_efuse_get_block(const ds_efuse_words *e, unsigned block, uint8_t ret[32]);
void ds_efuse_set_block(ds_efuse_words *e, unsigned block, const uint8_t data[32]);

void ds_efuse_get_mac(const ds_chip *chip, const ds_efuse_words *e, uint8_t ret[6]);
void ds_efuse_set_mac(const ds_chip *chip, ds_efuse_words *e, const uint8_t mac[6]); // with ESP32's CRC
uint16_t ds_efuse_revision(const ds_chip *chip, const ds_efuse_words *e);            // major * 100 + minor
void ds_efuse_set_revision(const ds_chip *chip, ds_efuse_words *e, uint16_t revision);

// Names of the fields that differ by chip, so that others need not ask which chip it is.
typedef struct ds_efuse_security {
    bool secure_boot;       // V2 enabled
    bool flash_encryption;  // crypt count odd
    bool release;           // count can never become even, and download mode cannot encrypt
    bool download_disabled; // no download mode at all
    bool secure_download;   // restricted download mode
    bool jtag_disabled;
    unsigned digest_count; // trusted, unrevoked digests
    uint8_t digests[3][32];
    int flash_key_block;      // block that holds the flash key, -1 none
    bool flash_key_protected; // read- and write-protected
    unsigned secure_version;
} ds_efuse_security;
void ds_efuse_security_get(const ds_chip *chip, const ds_efuse_words *e, ds_efuse_security *ret);

// The key blocks whose content no software may see: flash keys and those of the HMAC peripheral.
typedef struct ds_efuse_secrets {
    unsigned count;   // how many there are, by purpose
    unsigned exposed; // of these: not read-protected, or not all zeros as read
} ds_efuse_secrets;
void ds_efuse_secrets_get(const ds_chip *chip, const ds_efuse_words *e, ds_efuse_secrets *ret);

// A key block of the chips that give each a purpose, as software sees it.
#define DS_EFUSE_KEYS 6
typedef struct ds_efuse_key {
    unsigned key, block;                           // 0 to 5; the number of its block
    uint32_t purpose;                              // DS_EFUSE_PURPOSE_...
    bool blank;                                    // all zeros, as read
    bool read_protected;                           // reads as zeros for good
    bool write_protected;                          // the block
    bool purpose_locked;                           // its purpose cannot change any more
    uint32_t wr_dis_block, wr_dis_purpose, rd_dis; // bits of WR_DIS and RD_DIS that make it so
    char purpose_field[16];                        // "KEY_PURPOSE_4"
    uint8_t bytes[32];                             // in eFuse order
} ds_efuse_key;
// key: 0 to 5. Only for chips with key purposes.
void ds_efuse_key_get(const ds_chip *chip, const ds_efuse_words *e, unsigned key, ds_efuse_key *ret);

// The 12 Reed-Solomon check bytes of 32 data bytes: GF(256), polynomial 0x11D, first root alpha^0, 12 roots.
void ds_efuse_rs_encode(const uint8_t data[32], uint8_t ret_check[12]);

#endif
