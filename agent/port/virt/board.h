// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The emulated board: QEMU's riscv32 machine "virt", bare metal in machine mode on one hart. It is a test platform: it
// has no lock, its flash is a file of the host, and its random numbers come from the host. Addresses and devices: QEMU
// docs/system/riscv/virt.rst and hw/riscv/virt.c (7.2).
#ifndef DS_PORT_VIRT_BOARD_H
#define DS_PORT_VIRT_BOARD_H

#include "agent/port/nor/nor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOARD_UART 0x10000000u     // ns16550
#define BOARD_VIRTIO 0x10001000u   // eight slots of 4 KiB
#define BOARD_SETTINGS 0x80300000u // of this one board; see settings.c
#define BOARD_TEST 0x00100000u     // power off, reset
#define BOARD_MTIMECMP 0x02004000u // CLINT
#define BOARD_MTIME 0x0200BFF8u    // 10 MHz
#define BOARD_PLIC 0x0C000000u
#define BOARD_FLASH 0x22000000u // second bank of parallel NOR (pflash unit 1), two 16-bit chips side by side

enum { BOARD_SETTINGS_SIZE = 4096, BOARD_UART_IRQ = 10, BOARD_TICKS_PER_MS = 10000 };

static inline void board_write32(uintptr_t at, uint32_t v)
{
    *(volatile uint32_t *)at = v;
}

static inline uint32_t board_read32(uintptr_t at)
{
    return *(volatile const uint32_t *)at;
}

// --- board.c
void board_init(void);
uint64_t board_ticks(void); // since power came
// Wait for a byte from the wire until then, asleep.
void board_sleep_until(uint64_t ticks);
void board_power_off(void) __attribute__((noreturn));
void board_reset(void) __attribute__((noreturn));

// --- uart.c
bool uart_get(uint8_t *ret);
void uart_put(const uint8_t *data, size_t len);
void uart_text(const char *line); // and CR LF

// --- settings.c: the value of a setting. False where it is not given or does not fit.
bool settings_text(const char *name, char *ret, size_t cap);

// --- rng.c: the host's random numbers through virtio-rng. False where the device is missing or silent.
bool rng_init(void);
bool rng_read(uint8_t *ret, size_t len);

// --- flash.c: two blocks for the store
bool flash_present(void); // does it answer as CFI flash of two 16-bit chips?
void flash_nor(ds_nor *ret);
// Power fails after so many more programmed words; 0 never. This is how tests cut power within a write.
void flash_cut_after(uint32_t words);

// --- stack.c: stack use since power came
uint32_t stack_peak(void);
uint32_t stack_size(void);

#endif
