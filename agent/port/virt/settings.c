// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What makes this board different from the next one: lines "NAME VALUE" in a page of RAM that QEMU's loader device
// fills at each reset. It stands for what a chip has in its fuses, above all its address. Names: mac
// (aa:bb:cc:dd:ee:ff), cut (power fails with that word of flash, counted from reset), stats (1: tell the peaks of heap
// and stack).
#include "agent/port/virt/board.h"

#include <string.h>

bool settings_text(const char *name, char *ret, size_t cap)
{
    const char *page = (const char *)BOARD_SETTINGS, *end = page + BOARD_SETTINGS_SIZE;
    size_t name_len = strlen(name);
    for (const char *line = page, *next; line < end && *line != 0; line = next) {
        size_t left = (size_t)(end - line), len = 0;
        while (len < left && line[len] != '\n' && line[len] != 0)
            len++;
        next = line + len + 1;
        if (len <= name_len || memcmp(line, name, name_len) != 0 || line[name_len] != ' ')
            continue;
        len -= name_len + 1;
        if (len >= cap)
            return false;
        memcpy(ret, line + name_len + 1, len);
        ret[len] = 0;
        return true;
    }
    return false;
}
