// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The SPI flash controller in its "user command" way, as hosts without a stub drive it: an opcode, maybe an address,
// data out, data in. Registers: technical reference manuals (SPI1); opcodes: W25Q datasheet. Unknown opcodes read FF,
// as a flash that does not drive its line.
#include "sim/rom.h"

#include <string.h>

#define CMD 0x00u
#define ADDR 0x04u
#define CMD_USR (1u << 18)
#define USR_COMMAND (1u << 31)
#define USR_ADDR (1u << 30)
#define USR_MISO (1u << 28)
#define USR_MOSI (1u << 27)
#define DATA_BYTES 64u

enum {
    OP_WRSR1 = 0x01,
    OP_PROGRAM = 0x02,
    OP_READ = 0x03,
    OP_WRDI = 0x04,
    OP_RDSR1 = 0x05,
    OP_WREN = 0x06,
    OP_WRSR3 = 0x11,
    OP_RDSR3 = 0x15,
    OP_SECTOR_ERASE = 0x20,
    OP_WRSR2 = 0x31,
    OP_RDSR2 = 0x35,
    OP_VOLATILE_WREN = 0x50,
    OP_CHIP_ERASE = 0x60,
    OP_RDID = 0x9F,
    OP_CHIP_ERASE_2 = 0xC7,
    OP_BLOCK_ERASE = 0xD8,
};

#define STATUS_WEL 0x02u

typedef struct layout {
    uint32_t usr, usr2, mosi_dlen, miso_dlen, w0;
    bool addr_msb; // the 24-bit address stands in the register's upper bits
} layout;

static const layout *layout_of(const ds_sim_rom *rom)
{
    static const layout esp32 = {0x1C, 0x24, 0x28, 0x2C, 0x80, true};
    static const layout esp32c3 = {0x18, 0x20, 0x24, 0x28, 0x58, false};
    return rom->c->chip->id == DS_CHIP_ESP32 ? &esp32 : &esp32c3;
}

static uint32_t reg(const ds_sim_rom *rom, uint32_t off)
{
    return rom->bus.spi[off / 4];
}

static uint32_t bytes_of(uint32_t dlen)
{
    uint32_t n = ((dlen & 0x3FF) + 8) / 8;
    return n < DATA_BYTES ? n : DATA_BYTES;
}

static void status_write(ds_sim_rom *rom, unsigned first, const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < len && first + i < sizeof rom->bus.flash_status; i++)
        rom->bus.flash_status[first + i] = data[i];
}

// Commands that need the write enable latch, and clear it.
static void modify(ds_sim_rom *rom, uint8_t op, uint32_t addr, const uint8_t *data, uint32_t len)
{
    ds_sim_flash *flash = rom->c->flash;
    uint32_t size = ds_sim_flash_size(flash);
    if (!rom->bus.flash_writable)
        return;
    rom->bus.flash_writable = false;
    addr &= size - 1;
    switch (op) {
    case OP_WRSR1:
        status_write(rom, 0, data, len);
        break;
    case OP_WRSR2:
        status_write(rom, 1, data, len ? 1 : 0);
        break;
    case OP_WRSR3:
        status_write(rom, 2, data, len ? 1 : 0);
        break;
    case OP_PROGRAM:
        (void)ds_sim_flash_program(flash, addr, data, len < size - addr ? len : size - addr);
        break;
    case OP_SECTOR_ERASE:
        (void)ds_sim_flash_erase(flash, addr & ~0xFFFu, 0x1000);
        break;
    case OP_BLOCK_ERASE:
        (void)ds_sim_flash_erase(flash, addr & ~0xFFFFu, 0x10000);
        break;
    default:
        (void)ds_sim_flash_erase(flash, 0, size);
        break;
    }
}

static void query(ds_sim_rom *rom, uint8_t op, uint32_t addr, uint8_t *ret, uint32_t len)
{
    uint8_t wel = rom->bus.flash_writable ? STATUS_WEL : 0;
    uint32_t size = ds_sim_flash_size(rom->c->flash);
    uint8_t id[4];
    memset(ret, 0xFF, len);
    switch (op) {
    case OP_RDID:
        ds_put_le32(id, ds_sim_flash_jedec_id(rom->c->flash));
        memcpy(ret, id, len < 3 ? len : 3);
        break;
    case OP_RDSR1:
        memset(ret, (rom->bus.flash_status[0] & ~3) | wel, len);
        break;
    case OP_RDSR2:
        memset(ret, rom->bus.flash_status[1], len);
        break;
    case OP_RDSR3:
        memset(ret, rom->bus.flash_status[2], len);
        break;
    case OP_READ:
        addr &= size - 1;
        (void)ds_sim_flash_read(rom->c->flash, addr, ret, len < size - addr ? len : size - addr);
        break;
    default:
        break;
    }
}

static void transact(ds_sim_rom *rom, uint8_t op, uint32_t addr, uint8_t data[DATA_BYTES], uint32_t out, uint32_t in)
{
    switch (op) {
    case OP_WREN:
    case OP_VOLATILE_WREN:
        rom->bus.flash_writable = true;
        break;
    case OP_WRDI:
        rom->bus.flash_writable = false;
        break;
    case OP_WRSR1:
    case OP_WRSR2:
    case OP_WRSR3:
    case OP_PROGRAM:
    case OP_SECTOR_ERASE:
    case OP_BLOCK_ERASE:
    case OP_CHIP_ERASE:
    case OP_CHIP_ERASE_2:
        modify(rom, op, addr, data, out);
        break;
    default:
        query(rom, op, addr, data, in);
        break;
    }
}

static void run(ds_sim_rom *rom)
{
    const layout *l = layout_of(rom);
    uint32_t usr = reg(rom, l->usr), addr = 0;
    uint8_t data[DATA_BYTES];
    if (!(usr & USR_COMMAND))
        return;
    if (usr & USR_ADDR)
        addr = l->addr_msb ? reg(rom, ADDR) >> 8 : reg(rom, ADDR) & 0xFFFFFF;
    for (unsigned i = 0; i < DATA_BYTES / 4; i++)
        ds_put_le32(data + 4 * i, reg(rom, l->w0 + 4 * i));
    transact(rom, (uint8_t)reg(rom, l->usr2), addr, data, usr & USR_MOSI ? bytes_of(reg(rom, l->mosi_dlen)) : 0,
             usr & USR_MISO ? bytes_of(reg(rom, l->miso_dlen)) : 0);
    for (unsigned i = 0; i < DATA_BYTES / 4; i++)
        rom->bus.spi[l->w0 / 4 + i] = ds_le32(data + 4 * i);
}

uint32_t ds_sim_rom_spi_read(ds_sim_rom *rom, uint32_t off)
{
    return reg(rom, off);
}

void ds_sim_rom_spi_write(ds_sim_rom *rom, uint32_t off, uint32_t value)
{
    if (off != CMD)
        rom->bus.spi[off / 4] = value;
    else if (value & CMD_USR)
        run(rom); // done at once: the bit reads 0
}
