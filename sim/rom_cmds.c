// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ROM commands that do not touch flash: SYNC, registers, RAM, baud rate.
#include "sim/rom.h"

#include "src/base/crc.h"

#include <string.h>

#define DELAY_MAX_US 1000000u
#define BAUD_MIN 300u
#define BAUD_MAX 5000000u

static uint32_t word(const ds_sim_rom_request *q, unsigned i)
{
    return ds_le32(q->data.ptr + 4 * i);
}

uint8_t ds_sim_rom_sync(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    static const uint8_t head[4] = {0x07, 0x07, 0x12, 0x20};
    (void)ret;
    if (q->data.len != 36 || memcmp(q->data.ptr, head, sizeof head) != 0)
        return DS_SIM_ROM_FORMAT;
    for (size_t i = sizeof head; i < q->data.len; i++)
        if (q->data.ptr[i] != 0x55)
            return DS_SIM_ROM_FORMAT;
    rom->value = ds_le32(head);
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_read_reg(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 4)
        return DS_SIM_ROM_FORMAT;
    if (word(q, 0) % 4)
        return DS_SIM_ROM_INVALID;
    rom->value = ds_sim_rom_bus_read(rom, word(q, 0));
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_write_reg(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len == 0 || q->data.len % 16)
        return DS_SIM_ROM_FORMAT;
    for (unsigned i = 0; i < q->data.len / 4; i += 4) {
        uint32_t addr = word(q, i), value = word(q, i + 1), mask = word(q, i + 2), delay = word(q, i + 3);
        if (addr % 4)
            return DS_SIM_ROM_INVALID;
        if (mask != UINT32_MAX && mask != 0)
            value = (value & mask) | (ds_sim_rom_bus_read(rom, addr) & ~mask);
        if (mask != 0)
            ds_sim_rom_bus_write(rom, addr, value);
        ds_sim_timing_spend_us(rom->c->timing, delay < DELAY_MAX_US ? delay : DELAY_MAX_US);
    }
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_packet(const ds_sim_rom_request *q, uint32_t *ret_seq, ds_view *ret_data)
{
    ds_view data;
    if (q->data.len < DS_SIM_ROM_DATA_HEADER || word(q, 0) != q->data.len - DS_SIM_ROM_DATA_HEADER ||
        !ds_view_slice(q->data, DS_SIM_ROM_DATA_HEADER, word(q, 0), &data))
        return DS_SIM_ROM_FORMAT;
    if (ds_xor8(DS_XOR8_SEED, data.ptr, data.len) != q->checksum)
        return DS_SIM_ROM_CHECKSUM;
    *ret_seq = word(q, 1);
    *ret_data = data;
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_mem_begin(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 16)
        return DS_SIM_ROM_FORMAT;
    rom->mem.open = false;
    rom->mem.size = word(q, 0);
    rom->mem.packet_size = word(q, 2);
    rom->mem.addr = word(q, 3);
    if (!ds_sim_rom_bus_ram(rom, rom->mem.addr, rom->mem.size))
        return DS_SIM_ROM_RAM_ADDRESS;
    rom->mem.open = true;
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_mem_data(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    uint32_t seq;
    ds_view data;
    (void)ret;
    if (!rom->mem.open)
        return DS_SIM_ROM_INVALID;
    uint8_t error = ds_sim_rom_packet(q, &seq, &data);
    if (error)
        return error;
    uint64_t at = (uint64_t)seq * rom->mem.packet_size;
    if (at + data.len > rom->mem.size)
        return DS_SIM_ROM_RAM_ADDRESS;
    memcpy(ds_sim_rom_bus_ram(rom, rom->mem.addr + (uint32_t)at, (uint32_t)data.len), data.ptr, data.len);
    return DS_SIM_ROM_OK;
}

// There is no processor to run what was loaded: it "crashes" at once, with an error status and the ROM's panic text, so
// that a host that waits for its flasher stub does not wait for ever. The loader lives on.
uint8_t ds_sim_rom_mem_end(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 8)
        return DS_SIM_ROM_FORMAT;
    rom->mem.open = false;
    rom->crashed_at = word(q, 1);
    rom->crashed = word(q, 0) != 1;
    return rom->crashed ? DS_SIM_ROM_FAILED : DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_change_baud(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    (void)ret;
    if (q->data.len != 8)
        return DS_SIM_ROM_FORMAT;
    if (word(q, 0) < BAUD_MIN || word(q, 0) > BAUD_MAX)
        return DS_SIM_ROM_INVALID;
    rom->new_baud = word(q, 0);
    return DS_SIM_ROM_OK;
}
