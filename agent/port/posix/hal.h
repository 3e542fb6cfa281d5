// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the posix port needs of the (virtual) chip below: flash as the running firmware sees it, eFuses, console,
// restart. The virtual device provides one; see sim/firmware.h.
#ifndef DS_AGENT_POSIX_HAL_H
#define DS_AGENT_POSIX_HAL_H

#include "agent/core/agent.h"
#include "src/esp/chip.h"
#include "src/esp/efuse.h"
#include "src/esp/ptable.h"

typedef struct ds_hal {
    void *ctx;
    const ds_chip *chip;
    const ds_ptable *table; // as the bootloader read it
    const ds_part *running; // partition of the running app
    uint32_t flash_size;
    uint32_t table_offset;         // of the partition table in flash; 0 = unknown: then taken from the lowest partition
    char project[33], version[33]; // of the running image
    uint32_t secure_version;       // likewise

    // Flash by absolute address; false on a bad range or hardware failure. crypt: through flash encryption where that
    // is on (else as raw). program only clears bits; len and addr multiples of 4 (of 16, or 32 on ESP32, where
    // encrypted).
    bool (*flash_read)(void *ctx, uint32_t addr, void *buf, uint32_t len, bool crypt);
    bool (*flash_program)(void *ctx, uint32_t addr, const void *data, uint32_t len, bool crypt);
    bool (*flash_erase)(void *ctx, uint32_t addr, uint32_t len); // multiples of 4096

    void (*efuses)(void *ctx, ds_efuse_words *ret);                            // as software may read them
    bool (*efuse_burn)(void *ctx, unsigned block, const ds_efuse_words *bits); // OR these bits of one block

    // The peripherals that are keyed by a key block, read-protected or not, as the hardware sees it; NULL where the
    // chip has none. hmac: HMAC-SHA256; false where the block's purpose is not HMAC_UP. dsig: the digital-signature
    // peripheral, data as in src/esp/dsig.h, in and ret big-endian and as long as the modulus; false where the block's
    // purpose does not feed it, or it refuses the data.
    bool (*hmac)(void *ctx, unsigned block, const void *message, size_t len, uint8_t ret[32]);
    bool (*dsig)(void *ctx, unsigned block, ds_view data, const uint8_t *in, uint8_t *ret, size_t len);

    int (*console_read)(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms); // as ds_port
    void (*console_write)(void *ctx, const uint8_t *buf, size_t len);
    void (*key_delay)(void *ctx, int key_type);
    void (*restart)(void *ctx); // does not return
} ds_hal;

// Run the native code of a firmware on a chip; returns only when the console is gone.
void ds_posix_mfg_main(const ds_hal *hal);
void ds_posix_app_main(const ds_hal *hal);

#endif
