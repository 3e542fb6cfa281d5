// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The mfg firmware of the emulated board. mbedTLS allocates from the pool here and from nowhere else: there is no
// malloc. With the setting "stats" the board tells after each request how much heap and stack were used at most.
#include "agent/port/virt/board.h"
#include "agent/port/virt/virt.h"

#include <mbedtls/memory_buffer_alloc.h>

#include <stdio.h>
#include <stdlib.h>

enum { POLL_MS = 1000, HEAP = 48 * 1024 };

static uint8_t frame[DS_AGENT_FRAME_MAX + 16], scratch[DS_AGENT_FRAME_MAX + 16];
static _Alignas(8) unsigned char heap[HEAP];

// protobuf-c's default allocator names these; the agent gives it another one, so that they are never called.
void *malloc(size_t size)
{
    (void)size;
    return NULL;
}

void free(void *p)
{
    (void)p;
}

void abort(void)
{
    uart_text("virt: abort");
    board_power_off();
}

static void tell_peaks(size_t *told)
{
    size_t bytes, blocks;
    char line[96];
    mbedtls_memory_buffer_alloc_max_get(&bytes, &blocks);
    if (bytes + stack_peak() == *told)
        return;
    *told = bytes + stack_peak();
    snprintf(line, sizeof line, "virt: peak heap %lu bytes in %lu blocks, stack %lu of %lu", (unsigned long)bytes,
             (unsigned long)blocks, (unsigned long)stack_peak(), (unsigned long)stack_size());
    uart_text(line);
}

int main(void)
{
    static ds_port port;
    static ds_agent agent;
    char text[4];
    size_t told = 0;
    mbedtls_memory_buffer_alloc_init(heap, sizeof heap);
    ds_virt_port(&port);
    uart_text("virt: devstamp mfg firmware on QEMU's riscv32 machine: a test platform, nothing here is locked");
    bool stats = settings_text("stats", text, sizeof text);
    ds_agent_init(&agent, &port, DS_AGENT_MFG, frame, scratch);
    while (ds_agent_poll(&agent, POLL_MS))
        if (stats)
            tell_peaks(&told);
    return 0;
}
