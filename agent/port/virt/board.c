// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Time, sleep and power. Interrupts stay off: what is enabled below only ends a sleep (wfi), the code then looks for
// itself.
#include "agent/port/virt/board.h"

#include <stdio.h>

enum { PLIC_ENABLE = 0x2000, PLIC_THRESHOLD = 0x200000, PLIC_CLAIM = 0x200004 }; // of hart 0, machine mode
enum { TEST_OFF = 0x5555, TEST_RESET = 0x7777, TEST_FAIL = 0x3333 };
enum { MIE_TIMER = 1 << 7, MIE_EXTERNAL = 1 << 11 };

void board_wake_on(uint32_t mask); // start.S: which interrupts end a sleep

uint64_t board_ticks(void)
{
    uint32_t high, low;
    do {
        high = board_read32(BOARD_MTIME + 4);
        low = board_read32(BOARD_MTIME);
    } while (high != board_read32(BOARD_MTIME + 4));
    return (uint64_t)high << 32 | low;
}

void board_init(void)
{
    board_write32(BOARD_PLIC + 4 * BOARD_UART_IRQ, 1); // its priority
    board_write32(BOARD_PLIC + PLIC_ENABLE, 1u << BOARD_UART_IRQ);
    board_write32(BOARD_PLIC + PLIC_THRESHOLD, 0);
    board_wake_on(MIE_TIMER | MIE_EXTERNAL);
}

void board_sleep_until(uint64_t ticks)
{
    board_write32(BOARD_MTIMECMP + 4, UINT32_MAX); // never early while the two halves differ
    board_write32(BOARD_MTIMECMP, (uint32_t)ticks);
    board_write32(BOARD_MTIMECMP + 4, (uint32_t)(ticks >> 32));
    __asm__ volatile("wfi" : : : "memory");
    uint32_t irq = board_read32(BOARD_PLIC + PLIC_CLAIM);
    if (irq != 0)
        board_write32(BOARD_PLIC + PLIC_CLAIM, irq);
}

static void __attribute__((noreturn)) finish(uint32_t how)
{
    board_write32(BOARD_TEST, how);
    for (;;)
        __asm__ volatile("wfi");
}

void board_power_off(void)
{
    finish(TEST_OFF);
}

void board_reset(void)
{
    finish(TEST_RESET);
}

void board_trapped(uint32_t cause, uint32_t at); // called by start.S

void board_trapped(uint32_t cause, uint32_t at)
{
    char line[64];
    snprintf(line, sizeof line, "virt: trap %lx at %lx", (unsigned long)cause, (unsigned long)at);
    uart_text(line);
    finish(1u << 16 | TEST_FAIL);
}
