// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ROM commands on flash. The ROM believes the size it was told (2 MiB until then), too large a one as well: esptool
// says 16 MB wherever it cannot ask. What lies beyond the flash fails here. It erases before the first packet. What it
// reads is what the flash holds: ciphertext where flash encryption is on.
#include "sim/rom.h"

#include <openssl/evp.h>
#include <string.h>

#define SECTOR 0x1000u
#define READ_MAX 64u

static uint32_t word(const ds_sim_rom_request *q, unsigned i)
{
    return ds_le32(q->data.ptr + 4 * i);
}

static bool reachable(const ds_sim_rom *rom, uint32_t addr, uint32_t len)
{
    uint32_t there = ds_sim_flash_size(rom->c->flash);
    uint32_t size = rom->flash_size < there ? rom->flash_size : there;
    return rom->attached && addr <= size && len <= size - addr;
}

uint8_t ds_sim_rom_spi_attach(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 8)
        return DS_SIM_ROM_FORMAT;
    rom->attached = true;
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_spi_params(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 24)
        return DS_SIM_ROM_FORMAT;
    rom->flash_size = word(q, 1);
    return DS_SIM_ROM_OK;
}

void ds_sim_rom_write_close(ds_sim_rom_write *w)
{
    if (w->z_open)
        inflateEnd(&w->z);
    memset(w, 0, sizeof *w);
}

static bool may_encrypt(ds_sim_rom *rom)
{
    ds_efuse_words w;
    ds_sim_rom_efuses(rom, &w);
    return !ds_efuse_get(rom->c->chip, &w, "DIS_DOWNLOAD_MANUAL_ENCRYPT");
}

static bool erase(ds_sim_rom *rom, uint32_t offset, uint32_t size)
{
    uint32_t start = offset / SECTOR * SECTOR;
    uint64_t end = ((uint64_t)offset + size + SECTOR - 1) / SECTOR * SECTOR;
    return size == 0 || (reachable(rom, offset, size) && end <= ds_sim_flash_size(rom->c->flash) &&
                         ds_sim_flash_erase(rom->c->flash, start, (uint32_t)(end - start)));
}

uint8_t ds_sim_rom_write_begin(ds_sim_rom *rom, const ds_sim_rom_request *q)
{
    // The fifth word, "encrypted", is not known to the ESP32.
    bool five = q->data.len == 20 && rom->c->chip->has_security_info;
    ds_sim_rom_write_close(&rom->write);
    if (q->data.len != 16 && !five)
        return DS_SIM_ROM_FORMAT;
    bool encrypted = five && word(q, 4);
    if (word(q, 2) > DS_SIM_ROM_BLOCK_MAX || (word(q, 1) && !word(q, 2)))
        return DS_SIM_ROM_INVALID;
    if (encrypted && (!may_encrypt(rom) || word(q, 3) % rom->c->chip->encrypt_align))
        return DS_SIM_ROM_REFUSED;
    if (!erase(rom, word(q, 3), word(q, 0)))
        return DS_SIM_ROM_FAILED;
    rom->write.open = true;
    rom->write.encrypted = encrypted;
    rom->write.packets = word(q, 1);
    rom->write.packet_size = word(q, 2);
    rom->write.offset = word(q, 3);
    return DS_SIM_ROM_OK;
}

bool ds_sim_rom_write_program(ds_sim_rom *rom, uint32_t addr, const uint8_t *data, uint32_t len)
{
    if (!reachable(rom, addr, len))
        return false;
    if (!rom->write.encrypted)
        return ds_sim_flash_program(rom->c->flash, addr, data, len);
    return len % rom->c->chip->encrypt_align == 0 && ds_sim_crypt_program(rom->c, addr, data, len);
}

uint8_t ds_sim_rom_flash_begin(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    return ds_sim_rom_write_begin(rom, q);
}

// A packet's place follows from its number, so that one sent again (its reply was lost) does no harm.
uint8_t ds_sim_rom_flash_data(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    ds_sim_rom_write *w = &rom->write;
    uint32_t seq;
    ds_view data;
    (void)ret;
    if (!w->open || w->deflate)
        return DS_SIM_ROM_INVALID;
    uint8_t error = ds_sim_rom_packet(q, &seq, &data);
    if (error)
        return error;
    uint64_t addr = w->offset + (uint64_t)seq * w->packet_size;
    if (seq >= w->packets || data.len > w->packet_size || addr > UINT32_MAX)
        return DS_SIM_ROM_INVALID;
    return ds_sim_rom_write_program(rom, (uint32_t)addr, data.ptr, (uint32_t)data.len) ? DS_SIM_ROM_OK
                                                                                       : DS_SIM_ROM_FAILED;
}

uint8_t ds_sim_rom_flash_end(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 4)
        return DS_SIM_ROM_FORMAT;
    if (!rom->write.open)
        return DS_SIM_ROM_INVALID;
    ds_sim_rom_write_close(&rom->write);
    rom->then = word(q, 0) == 0 ? DS_SIM_ROM_RESET : DS_SIM_ROM_RUN;
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_flash_read(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    if (q->data.len != 8)
        return DS_SIM_ROM_FORMAT;
    if (word(q, 1) > READ_MAX)
        return DS_SIM_ROM_READ_LENGTH;
    memset(ret->data, 0xFF, READ_MAX);
    if (!reachable(rom, word(q, 0), word(q, 1)) || !ds_sim_flash_read(rom->c->flash, word(q, 0), ret->data, word(q, 1)))
        return DS_SIM_ROM_FLASH_READ;
    ret->len = READ_MAX;
    return DS_SIM_ROM_OK;
}

static bool md5(ds_sim_flash *flash, uint32_t addr, uint32_t size, uint8_t ret[16])
{
    uint8_t chunk[SECTOR];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1;
    while (ok && size > 0) {
        uint32_t n = size < sizeof chunk ? size : (uint32_t)sizeof chunk;
        ok = ds_sim_flash_read(flash, addr, chunk, n) && EVP_DigestUpdate(ctx, chunk, n) == 1;
        addr += n;
        size -= n;
    }
    ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

uint8_t ds_sim_rom_flash_md5(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    uint8_t digest[16];
    char hex[33];
    if (q->data.len != 16)
        return DS_SIM_ROM_FORMAT;
    if (!reachable(rom, word(q, 0), word(q, 1)))
        return DS_SIM_ROM_FLASH_READ;
    if (!md5(rom->c->flash, word(q, 0), word(q, 1), digest))
        return DS_SIM_ROM_FAILED;
    ds_hex(digest, sizeof digest, hex);
    memcpy(ret->data, hex, 32);
    ret->len = 32;
    return DS_SIM_ROM_OK;
}
