// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Flash through the chip's encryption engine: the cache that decrypts what the CPU reads, and encrypted programming.
// The engine takes its key from the eFuses as the hardware sees them; whether reads are decrypted is told by the crypt
// count, while the engine itself works before that too: in-place encryption on first boot needs it.
#include "sim/chip.h"

#include "src/base/secret.h"
#include "src/esp/flashenc.h"

#include <string.h>

#define CHUNK 4096u
#define AES_BLOCK 16u

typedef struct {
    uint8_t key[32]; // as in a key file
    uint8_t config;  // ESP32's FLASH_CRYPT_CONFIG
    bool on, has_key;
} engine;

static void engine_load(const ds_sim_chip *c, engine *ret)
{
    ds_efuse_words words;
    ds_efuse_security security;
    uint8_t block[32] = {0};
    ds_sim_efuse_read_hw(c->efuse, &words);
    ds_efuse_security_get(c->chip, &words, &security);
    ret->on = security.flash_encryption;
    ret->has_key = security.flash_key_block >= 0;
    ret->config = (uint8_t)ds_efuse_get(c->chip, &words, "FLASH_CRYPT_CONFIG");
    if (ret->has_key)
        ds_efuse_get_block(&words, (unsigned)security.flash_key_block, block);
    for (unsigned i = 0; i < sizeof block; i++)
        ret->key[i] = block[sizeof block - 1 - i];
    ds_wipe(block, sizeof block);
    ds_wipe(&words, sizeof words);
}

static bool read_decrypted(ds_sim_chip *c, const engine *en, uint32_t addr, uint8_t *out, uint32_t len)
{
    uint8_t chunk[CHUNK];
    while (len) {
        uint32_t skip = addr % AES_BLOCK, start = addr - skip;
        uint32_t part = len < CHUNK - skip ? len : CHUNK - skip;
        uint32_t whole = (skip + part + AES_BLOCK - 1) / AES_BLOCK * AES_BLOCK;
        if (!ds_sim_flash_read(c->flash, start, chunk, whole) ||
            ds_flashenc_decrypt(c->chip->cipher, (ds_view){en->key, sizeof en->key}, en->config, start, chunk, chunk,
                                whole, NULL))
            return false;
        memcpy(out, chunk + skip, part);
        addr += part;
        out += part;
        len -= part;
    }
    return true;
}

bool ds_sim_cache_read(ds_sim_chip *c, uint32_t addr, void *buf, uint32_t len)
{
    uint32_t size = ds_sim_flash_size(c->flash);
    if (addr > size || len > size - addr)
        return false;
    engine en;
    engine_load(c, &en);
    bool ok = en.on ? read_decrypted(c, &en, addr, buf, len) : ds_sim_flash_read(c->flash, addr, buf, len);
    ds_wipe(&en, sizeof en);
    return ok;
}

static bool program_encrypted(ds_sim_chip *c, const engine *en, uint32_t addr, const uint8_t *data, uint32_t len)
{
    uint8_t chunk[CHUNK];
    for (uint32_t done = 0; done < len;) {
        uint32_t part = len - done < CHUNK ? len - done : CHUNK;
        if (ds_flashenc_encrypt(c->chip->cipher, (ds_view){en->key, sizeof en->key}, en->config, addr + done,
                                data + done, chunk, part, NULL) ||
            !ds_sim_flash_program(c->flash, addr + done, chunk, part))
            return false;
        done += part;
    }
    return true;
}

bool ds_sim_crypt_program(ds_sim_chip *c, uint32_t addr, const void *data, uint32_t len)
{
    uint32_t size = ds_sim_flash_size(c->flash);
    if (addr > size || len > size - addr || addr % c->chip->encrypt_align || len % c->chip->encrypt_align)
        return false;
    engine en;
    engine_load(c, &en);
    bool ok = en.has_key && program_encrypted(c, &en, addr, data, len);
    ds_wipe(&en, sizeof en);
    return ok;
}

bool ds_sim_flash_encryption_on(const ds_sim_chip *c)
{
    engine en;
    engine_load(c, &en);
    bool on = en.on;
    ds_wipe(&en, sizeof en);
    return on;
}
