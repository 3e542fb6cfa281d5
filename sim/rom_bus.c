// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The address space that READ_REG, WRITE_REG and MEM_DATA reach: RAM, eFuse controller, SPI controller, the few
// registers that hosts read to tell chip, revision and clock, and the watchdog that hosts reset the chip with.
// Addresses: technical reference manuals of ESP32 and ESP32-C3; esptool targets/esp32.py, esp32c3.py.
#include "sim/rom.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC_REG 0x40001000u
#define CRYSTAL_HZ 40000000u
#define ESP32_REVISION_BIT 31u

#define ESP32_UART_CLKDIV 0x3FF40014u
#define ESP32_APB_CTL_DATE 0x3FF6607Cu
#define ESP32_RTC_CALIBRATION 0x3FF5F06Cu
#define C3_UART_CLKDIV 0x60000014u
#define C3_WDT_CONFIG0 0x60008090u
#define C3_WDT_PROTECT 0x600080A8u
#define C3_WDT_KEY 0x50D83AA1u

// RC oscillator cycles the ROM counted against the crystal: with CLK8M_FREQ 64 exactly 40 MHz.
#define ESP32_CALIBRATION_CYCLES 1600u

static const struct region {
    uint32_t start, size;
} esp32_ram[] = {{0x3FF80000, 0x2000}, {0x3FFAE000, 0x52000}, {0x40070000, 0x50000},
                 {0x400C0000, 0x2000}, {0x50000000, 0x2000},  {0, 0}},
  c3_ram[] = {{0x3FC80000, 0x60000}, {0x4037C000, 0x64000}, {0x50000000, 0x2000}, {0, 0}};

static const struct region *regions(const ds_sim_rom *rom)
{
    return rom->c->chip->id == DS_CHIP_ESP32 ? esp32_ram : c3_ram;
}

void ds_sim_rom_bus_init(ds_sim_rom *rom)
{
    const struct region *r = regions(rom);
    for (unsigned i = 0; r[i].size; i++)
        rom->bus.ram[i] = ds_alloc(r[i].size);
}

void ds_sim_rom_bus_deinit(ds_sim_rom *rom)
{
    for (unsigned i = 0; i < sizeof rom->bus.ram / sizeof *rom->bus.ram; i++)
        free(rom->bus.ram[i]);
}

uint8_t *ds_sim_rom_bus_ram(ds_sim_rom *rom, uint32_t addr, uint32_t len)
{
    const struct region *r = regions(rom);
    for (unsigned i = 0; r[i].size; i++)
        if (addr >= r[i].start && addr - r[i].start <= r[i].size && len <= r[i].size - (addr - r[i].start))
            return rom->bus.ram[i] + (addr - r[i].start);
    return NULL;
}

// Which of the chip's known words a revision shows: the ROM's first words changed with it.
static uint32_t magic(ds_sim_rom *rom)
{
    ds_efuse_words w;
    ds_sim_efuse_read(rom->c->efuse, &w);
    uint16_t revision = ds_efuse_revision(rom->c->chip, &w);
    if (rom->c->chip->id == DS_CHIP_ESP32)
        return rom->c->chip->magic[0];
    return rom->c->chip->magic[revision >= 101 ? 3 : revision >= 100 ? 2 : revision >= 3 ? 1 : 0];
}

// The third bit of an ESP32's major revision (1, 3, 7 stand for 1, 2, 3) is no eFuse.
static uint32_t apb_ctl_date(ds_sim_rom *rom)
{
    ds_efuse_words w;
    ds_sim_efuse_read(rom->c->efuse, &w);
    return ds_efuse_revision(rom->c->chip, &w) >= 300 ? 1u << ESP32_REVISION_BIT : 0;
}

static bool known_read(ds_sim_rom *rom, uint32_t addr, uint32_t *ret)
{
    bool esp32 = rom->c->chip->id == DS_CHIP_ESP32;
    if (addr == MAGIC_REG)
        *ret = magic(rom);
    else if (addr == (esp32 ? ESP32_UART_CLKDIV : C3_UART_CLKDIV))
        *ret = CRYSTAL_HZ / rom->baud;
    else if (esp32 && addr == ESP32_APB_CTL_DATE)
        *ret = apb_ctl_date(rom);
    else if (esp32 && addr == ESP32_RTC_CALIBRATION)
        *ret = ESP32_CALIBRATION_CYCLES << 7;
    else
        return false;
    return true;
}

static uint32_t plain_read(const ds_sim_rom *rom, uint32_t addr)
{
    for (unsigned i = 0; i < rom->bus.reg_count; i++)
        if (rom->bus.reg[i].addr == addr)
            return rom->bus.reg[i].value;
    return 0;
}

// Remembered as far as there is room: nothing depends on it.
static void plain_write(ds_sim_rom *rom, uint32_t addr, uint32_t value)
{
    unsigned i = 0;
    while (i < rom->bus.reg_count && rom->bus.reg[i].addr != addr)
        i++;
    if (i == DS_SIM_ROM_REGS)
        return;
    rom->bus.reg[i].addr = addr;
    rom->bus.reg[i].value = value;
    if (i == rom->bus.reg_count)
        rom->bus.reg_count++;
}

static bool in_window(uint32_t addr, uint32_t base, uint32_t len)
{
    return addr >= base && addr - base < len;
}

uint32_t ds_sim_rom_bus_read(ds_sim_rom *rom, uint32_t addr)
{
    const ds_chip *chip = rom->c->chip;
    uint32_t value;
    if (known_read(rom, addr, &value))
        return value;
    if (in_window(addr, chip->efuse_base, chip->efuse_window))
        return ds_sim_efuse_reg_read(rom->c->efuse, addr - chip->efuse_base);
    if (in_window(addr, chip->spi_base, DS_SIM_ROM_SPI_REGS * 4))
        return ds_sim_rom_spi_read(rom, addr - chip->spi_base);
    const uint8_t *ram = ds_sim_rom_bus_ram(rom, addr, 4);
    return ram ? ds_le32(ram) : plain_read(rom, addr);
}

// The C3's RTC watchdog, unlocked and switched on with a stage that acts, resets the chip.
static void watchdog_write(ds_sim_rom *rom, uint32_t value)
{
    if (plain_read(rom, C3_WDT_PROTECT) == C3_WDT_KEY)
        rom->bus.watchdog = value >> 31 && (value >> 28 & 7) >= 3;
}

void ds_sim_rom_bus_write(ds_sim_rom *rom, uint32_t addr, uint32_t value)
{
    const ds_chip *chip = rom->c->chip;
    uint8_t *ram = ds_sim_rom_bus_ram(rom, addr, 4);
    if (in_window(addr, chip->efuse_base, chip->efuse_window))
        ds_sim_efuse_reg_write(rom->c->efuse, addr - chip->efuse_base, value);
    else if (in_window(addr, chip->spi_base, DS_SIM_ROM_SPI_REGS * 4))
        ds_sim_rom_spi_write(rom, addr - chip->spi_base, value);
    else if (ram)
        ds_put_le32(ram, value);
    else if (chip->id != DS_CHIP_ESP32 && addr == C3_WDT_CONFIG0)
        watchdog_write(rom, value);
    else
        plain_write(rom, addr, value);
}
