// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading no more of an image than there is of it; see image.h. What the headers say is hostile: every step stays
// within the room.
#include "src/esp/image.h"

#include "src/esp/sbv2.h"

#define MAGIC 0xE9
#define HEADER 24u
#define SEGMENT_HEADER 8u
#define HASH 32u

static enum ds_class unreadable(uint32_t addr, ds_err *e)
{
    return ds_fail(e, DS_DEVICE, "image at 0x%x cannot be read", addr);
}

// How long the image at addr says it is, through its digest.
static enum ds_class extent(const ds_image_source *from, uint32_t addr, uint32_t room, uint32_t *ret, ds_err *e)
{
    uint8_t h[HEADER];
    if (room < HEADER || !from->read(from->ctx, addr, h, sizeof h))
        return unreadable(addr, e);
    if (h[0] != MAGIC)
        return ds_fail(e, DS_INPUT, "image at 0x%x has invalid magic byte (nothing flashed here?)", addr);
    uint64_t at = HEADER;
    for (unsigned i = 0; i < h[1]; i++) {
        uint8_t s[SEGMENT_HEADER];
        if (at + sizeof s > room)
            return ds_fail(e, DS_INPUT, "image at 0x%x: segment %u lies outside its room", addr, i);
        if (!from->read(from->ctx, addr + (uint32_t)at, s, sizeof s))
            return unreadable(addr, e);
        at += sizeof s + ds_le32(s + 4);
    }
    at = at / 16 * 16 + 16 + (h[23] == 1 ? HASH : 0);
    if (at > room)
        return ds_fail(e, DS_INPUT, "image at 0x%x: length 0x%llx does not fit in 0x%x", addr, (unsigned long long)at,
                       room);
    *ret = (uint32_t)at;
    return DS_OK;
}

enum ds_class ds_image_load(const ds_image_source *from, uint32_t addr, uint32_t room, ds_buf *ret, ds_err *e)
{
    uint32_t len = 0;
    enum ds_class rc = extent(from, addr, room, &len, e);
    if (rc)
        return rc;
    size_t want = ds_sbv2_content_len(len) + DS_SBV2_SECTOR;
    ds_buf_resize(ret, want < room ? want : room, 0xFF);
    return from->read(from->ctx, addr, ret->ptr, (uint32_t)ret->len) ? DS_OK : unreadable(addr, e);
}
