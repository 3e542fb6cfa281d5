// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How much of the stack was used since power came: start.S painted it.
#include "agent/port/virt/board.h"

#define PAINT 0xA5A5A5A5u

extern const uint32_t stack_bottom[], stack_top[]; // virt.ld

uint32_t stack_size(void)
{
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)stack_bottom);
}

uint32_t stack_peak(void)
{
    uint32_t untouched = 0;
    while (untouched < stack_size() && stack_bottom[untouched / 4] == PAINT)
        untouched += 4;
    return stack_size() - untouched;
}
