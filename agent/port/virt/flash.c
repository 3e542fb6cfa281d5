// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Parallel NOR flash with the Intel command set (CFI, JEDEC JESD68.01 and JESD68-2; command set 0001): two 16-bit chips
// side by side, so that a command goes to both halves of a word. Program a word, erase a block of 256 KiB. QEMU lets a
// program set bits that real flash cannot; here that is refused.
#include "agent/port/virt/board.h"

enum { BLOCK = 256 * 1024, BLOCKS = 2, POLLS = 10000000 };
enum {
    C_PROGRAM = 0x40,
    C_ERASE = 0x20,
    C_CONFIRM = 0xD0,
    C_CLEAR = 0x50,
    C_QUERY = 0x98,
    C_READ = 0xFF,
};
#define BOTH(byte) ((uint32_t)(byte) << 16 | (uint32_t)(byte))
#define READY BOTH(0x80)
#define FAULTS BOTH(0x3A) // erase, program, voltage, locked block

static uint32_t words_left; // before power fails; 0 never

void flash_cut_after(uint32_t words)
{
    words_left = words;
}

static bool finish(uintptr_t at)
{
    uint32_t status = 0;
    for (uint32_t polls = 0; polls < POLLS && (status & READY) != READY; polls++)
        status = board_read32(at);
    board_write32(at, BOTH(C_CLEAR));
    board_write32(at, BOTH(C_READ));
    return (status & READY) == READY && (status & FAULTS) == 0;
}

static bool program(void *ctx, uint32_t offset, uint32_t word)
{
    uintptr_t at = BOARD_FLASH + offset;
    (void)ctx;
    if ((board_read32(at) & word) != word)
        return false;
    board_write32(at, BOTH(C_PROGRAM));
    board_write32(at, word);
    bool ok = finish(at);
    if (words_left > 0 && --words_left == 0)
        board_power_off();
    return ok;
}

static bool erase(void *ctx, uint32_t block)
{
    uintptr_t at = BOARD_FLASH + block * BLOCK;
    (void)ctx;
    board_write32(at, BOTH(C_ERASE));
    board_write32(at, BOTH(C_CONFIRM));
    return finish(at);
}

bool flash_present(void)
{
    board_write32(BOARD_FLASH + 4 * 0x55, BOTH(C_QUERY));
    bool ok = board_read32(BOARD_FLASH + 4 * 0x10) == BOTH('Q') && board_read32(BOARD_FLASH + 4 * 0x11) == BOTH('R') &&
              board_read32(BOARD_FLASH + 4 * 0x12) == BOTH('Y');
    board_write32(BOARD_FLASH, BOTH(C_READ));
    return ok;
}

void flash_nor(ds_nor *ret)
{
    *ret = (ds_nor){
        .bytes = (const uint8_t *)BOARD_FLASH,
        .block_size = BLOCK,
        .blocks = BLOCKS,
        .program = program,
        .erase = erase,
    };
}
