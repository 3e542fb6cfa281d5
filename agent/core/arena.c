// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Memory for decoded messages; see arena.h.
#include "agent/core/arena.h"

static void *arena_alloc(void *data, size_t size)
{
    ds_arena *m = data;
    uint8_t *at = m->at + (sizeof(uint64_t) - (uintptr_t)m->at % sizeof(uint64_t)) % sizeof(uint64_t);
    if (at > m->end || size > (size_t)(m->end - at))
        return NULL;
    m->at = at + size;
    return at;
}

static void arena_free(void *data, void *pointer)
{
    (void)data, (void)pointer;
}

void ds_arena_init(ds_arena *m, uint8_t *buf, size_t len)
{
    m->at = buf;
    m->end = buf + len;
    m->base = (ProtobufCAllocator){.alloc = arena_alloc, .free = arena_free, .allocator_data = m};
}
