// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside of the boot chain: what the ROM hands to the second-stage bootloader, and the bootloader's parts to each
// other.
#ifndef DS_SIM_BOOT_H
#define DS_SIM_BOOT_H

#include "sim/chip.h"
#include "sim/image.h"
#include "src/esp/ptable.h"
#include "src/esp/sbv2.h"

typedef struct ds_sim_stage {
    ds_sim_chip *c;
    int64_t started_ms;
    ds_efuse_words efuses;      // as software reads them; ds_sim_boot_refresh() after burning
    ds_efuse_security security; // what they mean
    ds_sim_boot_kind kind;      // of the bootloader that runs
    ds_ptable table;
} ds_sim_stage;

// An image in memory, as the CPU reads it.
typedef struct ds_sim_loaded {
    uint32_t addr;
    ds_buf bytes;       // the image, and the sector behind it where one fits
    ds_image_info info; // points into bytes
    size_t content_len; // where a signature sector would start
} ds_sim_loaded;

// Trusted key digests.
typedef struct ds_sim_digests {
    unsigned count;
    uint8_t digest[DS_SBV2_MAX_BLOCKS][32];
} ds_sim_digests;

// A line of the bootloader's log: "I (24) boot: ...".
void ds_sim_boot_log(ds_sim_stage *b, char level, const char *tag, const char *fmt, ...) DS_PRINTF(4, 5);

void ds_sim_boot_refresh(ds_sim_stage *b);

// Read and parse the image at addr, which may use at most room bytes; says in e why not.
enum ds_class ds_sim_boot_load(ds_sim_stage *b, uint32_t addr, uint32_t room, ds_sim_loaded *ret, ds_err *e) DS_MUST;
void ds_sim_loaded_free(ds_sim_loaded *l);

// Verify a loaded image's signature as this chip does; no trusted digests: the key it carries is trusted. ret_keys (may
// be NULL) takes the digests of all keys whose signatures hold.
enum ds_sbv2_verdict ds_sim_boot_verify(const ds_sim_stage *b, const ds_sim_loaded *l, const ds_sim_digests *trusted,
                                        ds_sim_digests *ret_keys);

// The digests in eFuse.
void ds_sim_boot_trusted(const ds_sim_stage *b, ds_sim_digests *ret);

// The ROM: log, load and check the bootloader. False where it refuses.
bool ds_sim_boot_rom(ds_sim_stage *b, bool watchdog);

// The second stage: choose an app and run it. Returns when the console is gone or nothing boots (false).
bool ds_sim_boot_app(ds_sim_stage *b);

// Load and verify an app partition as the bootloader does before it runs or encrypts it. False, and logged, where it is
// bad.
bool ds_sim_boot_check_app(ds_sim_stage *b, const ds_part *part, ds_sim_loaded *ret);

// What a secure bootloader does between choosing and running app: on first boot it burns and encrypts, and resets. True
// where everything is done already; false, and logged, where this cannot be done (nothing was burned).
bool ds_sim_boot_secure(ds_sim_stage *b, const ds_sim_loaded *app);

// Encrypt in place all that ESP-IDF encrypts. sim/boot_encrypt.c
bool ds_sim_boot_encrypt(ds_sim_stage *b);

#endif
