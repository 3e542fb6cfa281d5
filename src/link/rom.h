// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ROM's serial loader, from the station's side, without a stub. Source: esptool serial-protocol.rst.
#ifndef DS_LINK_ROM_H
#define DS_LINK_ROM_H

#include "src/base/buf.h"
#include "src/esp/chip.h"
#include "src/esp/efuse.h"
#include "src/link/transport.h"

typedef struct ds_rom ds_rom;

typedef struct ds_rom_info {
    const ds_chip *chip;
    bool secure_download; // restricted: no reads, no registers, no MD5
    bool has_mac;         // not in secure download mode
    uint8_t mac[6];
    bool has_efuses;       // not in secure download mode
    ds_efuse_words efuses; // as software may read them
    bool has_security;     // GET_SECURITY_INFO answered, or eFuses were read
    bool secure_boot, flash_encryption;
    uint32_t flags; // GET_SECURITY_INFO flags where the chip has the command
    uint8_t flash_crypt_cnt;
    uint8_t key_purposes[7];
    uint16_t revision;   // major * 100 + minor; valid where has_efuses
    uint32_t flash_size; // bytes; 0 = unknown (secure download mode and none given)
} ds_rom_info;

// Sync with a device that is in download mode (several tries within deadline_ms of ds_now_ms()), find the chip, attach
// flash of flash_size bytes (0: ask the flash chip; in secure download mode it must be given, or every write is
// refused). reset may be NULL: the device is there already; otherwise it is reset into download mode, again at each
// try. Caller frees with ds_rom_close (which leaves t open).
enum ds_class ds_rom_open(ds_transport *t, const ds_reset *reset, uint32_t flash_size, int64_t deadline_ms,
                          ds_rom **ret, ds_err *e) DS_MUST;
void ds_rom_close(ds_rom *r);
const ds_rom_info *ds_rom_get_info(const ds_rom *r);

// Name the flash's size in bytes once it is known, as it is when the chip has told which product it is.
enum ds_class ds_rom_set_flash_size(ds_rom *r, uint32_t flash_size, ds_err *e) DS_MUST;

// Failures of a command: e->code is 0x0100 | the loader's error byte where it answered one, ETIMEDOUT where it did not
// answer; what the loader does not do in secure download mode is DS_POLICY and never sent.
enum ds_class ds_rom_set_baud(ds_rom *r, uint32_t baud, ds_err *e) DS_MUST;
enum ds_class ds_rom_read_reg(ds_rom *r, uint32_t addr, uint32_t *ret, ds_err *e) DS_MUST;
enum ds_class ds_rom_write_reg(ds_rom *r, uint32_t addr, uint32_t value, ds_err *e) DS_MUST;
// MD5 of flash by the device.
enum ds_class ds_rom_md5(ds_rom *r, uint32_t addr, uint32_t len, uint8_t ret[16], ds_err *e) DS_MUST;
// Erases and writes; addr a multiple of 4096; compressed where the loader allows and it is smaller. Each block is
// retried up to 3 times. progress may be NULL.
enum ds_class ds_rom_write(ds_rom *r, uint32_t addr, ds_view data,
                           void (*progress)(void *arg, size_t done, size_t total), void *arg, ds_err *e) DS_MUST;
// Erase by FLASH_BEGIN alone (works in secure download mode).
enum ds_class ds_rom_erase(ds_rom *r, uint32_t addr, uint32_t len, ds_err *e) DS_MUST;
// Slow read (64 bytes a command), checked against the device's own MD5 of the place. Appends to ret.
enum ds_class ds_rom_read(ds_rom *r, uint32_t addr, uint32_t len, ds_buf *ret, ds_err *e) DS_MUST;

#endif
