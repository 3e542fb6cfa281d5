// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// protobuf-c's allocator over a buffer of the caller: allocation moves a mark, freeing does nothing, a message that
// asks for more is refused by protobuf-c. What was decoded lives as long as the buffer.
#ifndef DS_AGENT_ARENA_H
#define DS_AGENT_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include <stddef.h>
#include <stdint.h>

typedef struct ds_arena {
    ProtobufCAllocator base; // what unpack functions are given
    uint8_t *at, *end;
} ds_arena;

void ds_arena_init(ds_arena *m, uint8_t *buf, size_t len);

#endif
