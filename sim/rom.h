// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The mask ROM's serial loader from within: what its source files (sim/rom*.c) share. Commands, frames and error bytes:
// esptool docs/en/advanced-topics/serial-protocol.rst; what ROMs were seen to do beyond it is said where it is done.
// There is no code behind the addresses: a flasher stub can be loaded into RAM, but not run.
#ifndef DS_SIM_ROM_H
#define DS_SIM_ROM_H

#include "sim/chip.h"
#include "src/base/slip.h"

#include <zlib.h>

// Error bytes.
enum {
    DS_SIM_ROM_OK = 0x00,
    DS_SIM_ROM_INVALID = 0x01,
    DS_SIM_ROM_FORMAT = 0x05,
    DS_SIM_ROM_FAILED = 0x06,
    DS_SIM_ROM_CHECKSUM = 0x07,
    DS_SIM_ROM_FLASH_READ = 0x09,
    DS_SIM_ROM_READ_LENGTH = 0x0A,
    DS_SIM_ROM_INFLATE = 0x0B,
    DS_SIM_ROM_ADLER = 0x0C,
    DS_SIM_ROM_DEFLATE = 0x0D,
    DS_SIM_ROM_RAM_ADDRESS = 0x0F,
    DS_SIM_ROM_REFUSED = 0x64,
};

#define DS_SIM_ROM_BLOCK_MAX 0x4000u // data of one packet
#define DS_SIM_ROM_DATA_HEADER 16u   // length, sequence number and two spare words before a packet's data

typedef struct ds_sim_rom_request {
    uint8_t op;
    uint32_t checksum;
    ds_view data;
} ds_sim_rom_request;

typedef struct ds_sim_rom_reply {
    uint8_t data[64];
    size_t len;
} ds_sim_rom_reply;

// What the ROM does once its reply is out.
enum ds_sim_rom_then { DS_SIM_ROM_GO_ON, DS_SIM_ROM_RESET, DS_SIM_ROM_RUN };

// A flash write under way.
typedef struct ds_sim_rom_write {
    bool open, deflate, encrypted;
    uint32_t offset, packets, packet_size;
    uint32_t next_seq; // deflate: packets must come in order
    uint64_t left;     // deflate: bytes that may still come out
    z_stream z;
    bool z_open, z_ended;
    uint8_t out[4096]; // deflate: inflated and not written yet
    uint32_t out_len;
} ds_sim_rom_write;

#define DS_SIM_ROM_SPI_REGS 64u
#define DS_SIM_ROM_REGS 128u

// Registers and memory: what READ_REG, WRITE_REG and MEM_DATA reach.
typedef struct ds_sim_rom_bus {
    uint8_t *ram[6]; // one for each RAM region of the chip
    uint32_t spi[DS_SIM_ROM_SPI_REGS];
    uint8_t flash_status[3];
    bool flash_writable; // write enable latch
    struct {
        uint32_t addr, value;
    } reg[DS_SIM_ROM_REGS]; // registers without effect that were written
    unsigned reg_count;
    bool watchdog; // armed: resets the chip soon
} ds_sim_rom_bus;

typedef struct ds_sim_rom {
    ds_sim_chip *c;
    uint32_t value; // the value word of replies: set by READ_REG and SYNC, else left as it was
    uint32_t baud;  // as the clock divider register tells
    uint32_t new_baud;
    bool attached;
    uint32_t flash_size; // as the host said; the ROM does not look
    ds_sim_rom_write write;
    struct {
        bool open;
        uint32_t addr, size, packet_size;
    } mem;
    bool crashed; // loaded code was started
    uint32_t crashed_at;
    ds_sim_rom_bus bus;
    enum ds_sim_rom_then then;
} ds_sim_rom;

// A command: fills ret (and rom->value, rom->then) and returns an error byte.
typedef uint8_t ds_sim_rom_handler(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret);

// sim/rom_cmds.c
ds_sim_rom_handler ds_sim_rom_sync, ds_sim_rom_read_reg, ds_sim_rom_write_reg, ds_sim_rom_mem_begin,
    ds_sim_rom_mem_data, ds_sim_rom_mem_end, ds_sim_rom_change_baud;

// sim/rom_flash.c, sim/rom_deflate.c
ds_sim_rom_handler ds_sim_rom_spi_attach, ds_sim_rom_spi_params, ds_sim_rom_flash_begin, ds_sim_rom_flash_data,
    ds_sim_rom_flash_end, ds_sim_rom_flash_md5, ds_sim_rom_flash_read, ds_sim_rom_deflate_begin,
    ds_sim_rom_deflate_data, ds_sim_rom_deflate_end;
// Check a begin command's words, erase, and open rom->write.
uint8_t ds_sim_rom_write_begin(ds_sim_rom *rom, const ds_sim_rom_request *q);
// Program at addr, through the flash encryption engine where the write asked for it.
bool ds_sim_rom_write_program(ds_sim_rom *rom, uint32_t addr, const uint8_t *data, uint32_t len);
void ds_sim_rom_write_close(ds_sim_rom_write *w);
// A packet of a _DATA command: its sequence number and data, checksum verified.
uint8_t ds_sim_rom_packet(const ds_sim_rom_request *q, uint32_t *ret_seq, ds_view *ret_data);

// sim/rom_sec.c
ds_sim_rom_handler ds_sim_rom_security_info;
// eFuses as the controller last read them.
void ds_sim_rom_efuses(ds_sim_rom *rom, ds_efuse_words *ret);
bool ds_sim_rom_secure_download(ds_sim_rom *rom);
bool ds_sim_rom_download_disabled(ds_sim_rom *rom);

// sim/rom_bus.c: 32-bit words; addr is a multiple of 4. Where nothing answers, what was written last is read.
void ds_sim_rom_bus_init(ds_sim_rom *rom);
void ds_sim_rom_bus_deinit(ds_sim_rom *rom);
uint32_t ds_sim_rom_bus_read(ds_sim_rom *rom, uint32_t addr);
void ds_sim_rom_bus_write(ds_sim_rom *rom, uint32_t addr, uint32_t value);
// RAM bytes; NULL where [addr, addr+len) is not RAM.
uint8_t *ds_sim_rom_bus_ram(ds_sim_rom *rom, uint32_t addr, uint32_t len);

// sim/rom_spi.c: the SPI controller's registers; off from its base.
uint32_t ds_sim_rom_spi_read(ds_sim_rom *rom, uint32_t off);
void ds_sim_rom_spi_write(ds_sim_rom *rom, uint32_t off, uint32_t value);

#endif
