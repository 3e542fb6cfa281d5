// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual chip: what one CPU run (power-up or reset until the next reset) works on. Each run is a process of its
// own (sim/cpu.h), so that a reset or a power cut may end it at any instruction without a trace but in flash and
// eFuses.
#ifndef DS_SIM_CHIP_H
#define DS_SIM_CHIP_H

#include "sim/efuse.h"
#include "sim/fault.h"
#include "sim/flash.h"
#include "sim/timing.h"
#include "src/esp/chip.h"

enum ds_sim_reset { DS_SIM_RESET_POWERON, DS_SIM_RESET_SW };

// How a CPU run ended; exit codes of its process.
enum ds_sim_exit {
    DS_SIM_EXIT_OFF = 0,        // console gone: the simulator stops
    DS_SIM_EXIT_RESET = 40,     // software reset or watchdog: start again at once
    DS_SIM_EXIT_POWER_CUT = 41, // the fault plan cut the power
};

// The console's bytes, already through the wire's faults and timing. Used inside a CPU run only.
typedef struct ds_sim_wire {
    void *ctx;
    // Wait at most timeout_ms (-1: for ever); count, 0 on timeout, negative when the other side is gone.
    int (*read)(void *ctx, uint8_t *buf, size_t cap, int timeout_ms);
    void (*write)(void *ctx, const uint8_t *buf, size_t len);
    void (*set_baud)(void *ctx, uint32_t baud); // the chip's UART rate from now on
} ds_sim_wire;

typedef struct ds_sim_chip {
    const ds_chip *chip;
    ds_sim_flash *flash;
    ds_sim_efuse *efuse;
    ds_sim_wire *wire;
    ds_sim_fault *fault;   // never NULL; an empty plan does nothing
    ds_sim_timing *timing; // never NULL; all zero = off
    enum ds_sim_reset reset;
    bool strap_download; // boot strap sampled low at reset
} ds_sim_chip;

// printf on the chip's console; "\n" is sent as "\r\n".
void ds_sim_print(ds_sim_chip *c, const char *fmt, ...) DS_PRINTF(2, 3);

// End this CPU run.
_Noreturn void ds_sim_reset_now(ds_sim_chip *c);

// The ROM's serial download mode: serves until the chip is reset or told to run. sim/rom.c
void ds_sim_rom_download(ds_sim_chip *c);

// The boot chain from the ROM's normal boot on: bootloader, app selection, verification, and the secure bootloader's
// first boot; then runs the firmware. Ends by ds_sim_reset_now() or, where nothing boots, repeats "invalid header" as
// the ROM does (about once a second) until reset. sim/boot.c
void ds_sim_boot(ds_sim_chip *c);

// Flash as the CPU's cache sees it: decrypts where flash encryption is on (crypt count odd), else as it is. sim/cache.c
bool ds_sim_cache_read(ds_sim_chip *c, uint32_t addr, void *buf, uint32_t len);
// Encrypted write by the chip's own engine with the eFuse key (used by bootloader and firmware). sim/cache.c
bool ds_sim_crypt_program(ds_sim_chip *c, uint32_t addr, const void *data, uint32_t len);
bool ds_sim_flash_encryption_on(const ds_sim_chip *c);

#endif
