// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Commands and replies of the ROM loader, and what a connection to it holds. Source: esptool serial-protocol.rst.
#ifndef DS_LINK_ROM_WIRE_H
#define DS_LINK_ROM_WIRE_H

#include "src/base/slip.h"
#include "src/link/rom.h"

enum ds_rom_op {
    DS_ROM_FLASH_BEGIN = 0x02,
    DS_ROM_FLASH_DATA = 0x03,
    DS_ROM_SYNC = 0x08,
    DS_ROM_WRITE_REG = 0x09,
    DS_ROM_READ_REG = 0x0A,
    DS_ROM_SPI_SET_PARAMS = 0x0B,
    DS_ROM_SPI_ATTACH = 0x0D,
    DS_ROM_READ_FLASH_SLOW = 0x0E,
    DS_ROM_CHANGE_BAUDRATE = 0x0F,
    DS_ROM_FLASH_DEFL_BEGIN = 0x10,
    DS_ROM_FLASH_DEFL_DATA = 0x11,
    DS_ROM_SPI_FLASH_MD5 = 0x13,
    DS_ROM_GET_SECURITY_INFO = 0x14,
};

#define DS_ROM_PACKET 0x400u
#define DS_ROM_SECTOR 0x1000u
#define DS_ROM_TIMEOUT_MS 3000
#define DS_ROM_TRIES 3
#define DS_ROM_CAREFUL_MS 10
// Longest payload of a reply that a ROM sends, with room; longer frames are dropped as damaged.
#define DS_ROM_REPLY_MAX 256

// e->code of an answered failure is this | the loader's error byte.
#define DS_ROM_STATUS 0x0100u
#define DS_ROM_UNSUPPORTED (DS_ROM_STATUS | 0x05u)

// What was seen on the wire while nothing useful came: decides the hint.
typedef struct ds_rom_seen {
    uint64_t bytes, printable;
    unsigned damaged; // frames that were malformed, or claim another length than they have
    bool echo;        // our own request came back
    char tail[160];   // the last printable bytes
    size_t tail_len;
} ds_rom_seen;

struct ds_rom {
    ds_transport *t;
    ds_slip slip;
    uint8_t rx[4096];
    size_t rx_len, rx_pos;
    ds_buf request, frame;
    ds_rom_seen seen;
    int careful_ms;           // silence to wait for before something is read; see rom.c
    int64_t open_deadline_ms; // bounds every wait while opening; 0 = open
    ds_rom_info info;
};

typedef struct ds_rom_command {
    enum ds_rom_op op;
    const char *what; // "read a register": for the error text
    ds_view head;     // the request's data
    ds_view payload;  // follows it in the data commands
    uint32_t checksum;
    int timeout_ms;     // 0: DS_ROM_TIMEOUT_MS
    bool no_resend;     // not when no answer comes: without one nobody knows whether it was taken
    size_t reply_len;   // bytes in front of the status
    size_t reply_short; // another length that is allowed; 0 = none
} ds_rom_command;

typedef struct ds_rom_reply {
    uint32_t value;
    size_t len; // without status
    uint8_t data[DS_ROM_REPLY_MAX];
} ds_rom_reply;

// Send a command and wait for its reply, again when none comes or the loader says that it did not take it (what is sent
// through here may be repeated). ret may be NULL.
enum ds_class ds_rom_run(ds_rom *r, const ds_rom_command *c, ds_rom_reply *ret, ds_err *e) DS_MUST;

// Does e->code mean that the loader received something damaged, or does not know the command?
bool ds_rom_not_taken(uint32_t code);

// One SYNC, waiting at most timeout_ms; *ret_in_sync tells.
enum ds_class ds_rom_sync_once(ds_rom *r, int timeout_ms, bool *ret_in_sync, ds_err *e) DS_MUST;
// SYNC until the loader is in step again, within 3 s.
enum ds_class ds_rom_resync(ds_rom *r, ds_err *e) DS_MUST;

// "no answer" with the hint that what was seen suggests.
enum ds_class ds_rom_no_answer(const ds_rom_seen *seen, const char *what, int waited_ms, ds_err *e);

// DS_POLICY: secure download mode does not do what.
enum ds_class ds_rom_refuse_restricted(const char *what, ds_err *e);

// The words of a loader's error byte.
const char *ds_rom_error_text(uint8_t code);

// The size of the flash chip by its JEDEC id, read through the SPI controller's registers.
enum ds_class ds_rom_flash_detect(ds_rom *r, uint32_t *ret_size, ds_err *e) DS_MUST;

#endif
