// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The console: an ns16550, polled. QEMU holds the sender back while its 16-byte FIFO is full, so nothing is lost while
// the agent works; on a real UART an interrupt would have to fill a buffer of the size of a frame.
#include "agent/port/virt/board.h"

#include <string.h>

enum { DATA = 0, INTERRUPTS = 1, FIFO = 2, LINE_STATUS = 5 };
enum { RECEIVED = 1, ROOM = 0x20 };

static volatile uint8_t *reg(unsigned n)
{
    return (volatile uint8_t *)(uintptr_t)(BOARD_UART + n); // NOLINT(performance-no-int-to-ptr): a device
}

bool uart_get(uint8_t *ret)
{
    *reg(INTERRUPTS) = RECEIVED; // received bytes end a sleep
    if ((*reg(LINE_STATUS) & RECEIVED) == 0)
        return false;
    *ret = *reg(DATA);
    return true;
}

void uart_put(const uint8_t *data, size_t len)
{
    *reg(FIFO) = 1;
    for (size_t i = 0; i < len; i++) {
        while ((*reg(LINE_STATUS) & ROOM) == 0) {
        }
        *reg(DATA) = data[i];
    }
}

void uart_text(const char *line)
{
    uart_put((const uint8_t *)line, strlen(line));
    uart_put((const uint8_t *)"\r\n", 2);
}
