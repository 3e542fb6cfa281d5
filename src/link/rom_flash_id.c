// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The flash chip's size without a stub: the SPI controller is driven by register writes to send the JEDEC command 9F.
#include "src/link/rom_wire.h"

enum {
    USR_COMMAND = 1u << 31,
    USR_MISO = 1u << 28,
    CMD_USR = 1u << 18,
    RDID = 0x9F,
    RDID_BITS = 24,
    ADESTO = 0x1F,
};

typedef struct spi_regs {
    uint32_t usr, usr2, miso_dlen, w0; // offsets from the controller's base; the command register is at 0
} spi_regs;

static const spi_regs *regs_of(const ds_chip *chip)
{
    static const spi_regs esp32 = {.usr = 0x1C, .usr2 = 0x24, .miso_dlen = 0x2C, .w0 = 0x80};
    static const spi_regs later = {.usr = 0x18, .usr2 = 0x20, .miso_dlen = 0x28, .w0 = 0x58};
    return chip->id == DS_CHIP_ESP32 ? &esp32 : &later;
}

static uint32_t size_of_code(uint8_t code)
{
    if (code >= 0x12 && code <= 0x1C) // 256 KiB .. 256 MiB
        return 1u << code;
    if (code >= 0x20 && code <= 0x22) // 64 MiB .. 256 MiB
        return 1u << (code - 0x20 + 26);
    if (code >= 0x32 && code <= 0x3A) // 256 KiB .. 64 MiB
        return 1u << (code - 0x20);
    return 0;
}

static uint32_t size_of_id(uint32_t id)
{
    uint8_t maker = (uint8_t)id, type = (uint8_t)(id >> 8), code = (uint8_t)(id >> 16);
    if (maker == ADESTO) {
        uint8_t low = type & 0x1F;
        return low >= 0x04 && low <= 0x09 ? 1u << (low + 15) : 0;
    }
    return size_of_code(code);
}

static enum ds_class wait_done(ds_rom *r, uint32_t base, ds_err *e)
{
    for (int i = 0; i < 10; i++) {
        uint32_t cmd;
        enum ds_class cls = ds_rom_read_reg(r, base, &cmd, e);
        if (cls)
            return cls;
        if (!(cmd & CMD_USR))
            return DS_OK;
    }
    return ds_fail(e, DS_DEVICE, "the SPI controller does not finish");
}

static enum ds_class read_id(ds_rom *r, uint32_t *ret, ds_err *e)
{
    uint32_t base = r->info.chip->spi_base, old_usr = 0, old_usr2 = 0;
    const spi_regs *o = regs_of(r->info.chip);
    enum ds_class cls = ds_rom_read_reg(r, base + o->usr, &old_usr, e);
    if (!cls)
        cls = ds_rom_read_reg(r, base + o->usr2, &old_usr2, e);
    const uint32_t writes[][2] = {
        {o->miso_dlen, RDID_BITS - 1},
        {o->usr, (uint32_t)USR_COMMAND | USR_MISO},
        {o->usr2, 7u << 28 | RDID},
        {o->w0, 0},
        {0, CMD_USR},
    };
    for (size_t i = 0; i < sizeof writes / sizeof *writes && !cls; i++)
        cls = ds_rom_write_reg(r, base + writes[i][0], writes[i][1], e);
    if (!cls)
        cls = wait_done(r, base, e);
    if (!cls)
        cls = ds_rom_read_reg(r, base + o->w0, ret, e);
    if (!cls)
        cls = ds_rom_write_reg(r, base + o->usr, old_usr, e);
    if (!cls)
        cls = ds_rom_write_reg(r, base + o->usr2, old_usr2, e);
    return cls;
}

enum ds_class ds_rom_flash_detect(ds_rom *r, uint32_t *ret_size, ds_err *e)
{
    uint32_t id;
    enum ds_class cls = read_id(r, &id, e);
    if (cls)
        return ds_wrap(e, "ask the flash chip who it is");
    id &= 0xFFFFFF;
    if (id == 0 || id == 0xFFFFFF) {
        ds_fail(e, DS_DEVICE, "no flash chip answers (id %06x)", id);
        return ds_hint(e, "check the flash chip, its supply and the pins it hangs on");
    }
    *ret_size = size_of_id(id);
    if (*ret_size)
        return DS_OK;
    ds_fail(e, DS_DEVICE, "the flash chip's id %06x tells no size known here", id);
    return ds_hint(e, "name the flash size in the recipe");
}
