// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Images into the bootloader's place and the update slot: flash is erased ahead a block at a time, every chunk is read
// back and compared, and the whole is digested from flash at the end.
#include "agent/core/internal.h"

#include <mbedtls/md.h>

#include <string.h>

enum {
    CHUNK = 4096,
    ERASE_BLOCK = 65536, // erased at once: a block erase costs about two sector erases
    WRITE_ALIGN = 32,    // an encrypting ESP32 writes rows of 32 bytes
    IMAGE_MAGIC = 0xE9,
    CHIP_ID_AT = 12, // u16 in the ESP image header
    // An app anybody on the console may ask takes so many images between two boots, as flash wears.
    APP_BEGINS_MAX = 4,
};

static enum ds_image_place place_of(const ds_agent *a)
{
    return (enum ds_image_place)a->image_place;
}

// SHA-256 over the first size bytes of the place, read through a->frame.
static ds_status digest_flash(ds_agent *a, mbedtls_md_context_t *md, uint8_t ret[32])
{
    if (mbedtls_md_setup(md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) != 0 || mbedtls_md_starts(md) != 0)
        return DS_STATUS(IMAGE, CRYPTO);
    for (uint32_t at = 0; at < a->image_size; at += CHUNK) {
        uint32_t left = a->image_size - at, len = left < CHUNK ? left : CHUNK;
        ds_status s = a->port->image_read(a->port->ctx, place_of(a), at, a->frame, len);
        if (s != DS_STATUS_OK)
            return s;
        if (mbedtls_md_update(md, a->frame, len) != 0)
            return DS_STATUS(IMAGE, CRYPTO);
        a->port->alive(a->port->ctx);
        if (at % ERASE_BLOCK == 0)
            ds_agent_progress(a);
    }
    return mbedtls_md_finish(md, ret) == 0 ? DS_STATUS_OK : DS_STATUS(IMAGE, CRYPTO);
}

static ds_status flash_matches(ds_agent *a, bool *ret)
{
    uint8_t digest[32];
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    ds_status s = digest_flash(a, &md, digest);
    mbedtls_md_free(&md);
    *ret = s == DS_STATUS_OK && memcmp(digest, a->image_sha256, sizeof digest) == 0;
    return s;
}

static ds_status reply_image(const ds_agent *a, ds_reply *r, bool same)
{
    devstamp__image_reply__init(&r->body.image);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_IMAGE;
    r->response.image = &r->body.image;
    r->body.image.next_offset = a->image_next;
    r->body.image.same = same;
    return DS_STATUS_OK;
}

static ds_status end_of_begins(ds_agent *a)
{
    a->image_begins = APP_BEGINS_MAX;
    a->request_case = 0; // so that the same request again is not taken for one that was let in
    return DS_STATUS(IMAGE, NOT_ALLOWED);
}

ds_status ds_handle_image_begin(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    const Devstamp__ImageBegin *b = q->image_begin;
    bool bootloader = b->target == DEVSTAMP__IMAGE_TARGET__TARGET_BOOTLOADER;
    if (!bootloader && b->target != DEVSTAMP__IMAGE_TARGET__TARGET_UPDATE_SLOT)
        return DS_STATUS(IMAGE, BAD_REQUEST);
    if (bootloader && a->role != DS_AGENT_MFG)
        return DS_STATUS(IMAGE, NOT_ALLOWED);
    if (b->size <= CHIP_ID_AT + 2 || b->sha256.len != sizeof a->image_sha256)
        return DS_STATUS(IMAGE, BAD_REQUEST);
    enum ds_image_place place = bootloader ? DS_PLACE_BOOTLOADER : DS_PLACE_UPDATE_SLOT;
    if (b->size > a->port->image_capacity(a->port->ctx, place))
        return DS_STATUS(IMAGE, NO_SPACE);
    a->image_open = false;
    a->image_place = (uint8_t)place;
    a->image_size = b->size;
    a->image_next = a->image_erased = 0;
    memcpy(a->image_sha256, b->sha256.data, sizeof a->image_sha256);
    bool same = false;
    ds_status s = flash_matches(a, &same);
    if (s != DS_STATUS_OK)
        return s;
    if (same)
        a->image_next = a->image_size;
    else if (a->role == DS_AGENT_APP && !a->repeated && a->image_begins++ >= APP_BEGINS_MAX)
        return end_of_begins(a);
    a->image_open = true;
    return reply_image(a, r, same);
}

static ds_status compare_flash(ds_agent *a, const Devstamp__ImageData *d)
{
    ds_status s = a->port->image_read(a->port->ctx, place_of(a), d->offset, a->frame, d->data.len);
    if (s == DS_STATUS_OK && memcmp(a->frame, d->data.data, d->data.len) != 0)
        s = DS_STATUS(IMAGE, FLASH);
    return s;
}

static ds_status erase_ahead(ds_agent *a)
{
    if (a->image_next < a->image_erased)
        return DS_STATUS_OK;
    uint32_t capacity = a->port->image_capacity(a->port->ctx, place_of(a)) / CHUNK * CHUNK;
    uint32_t end = a->image_next / ERASE_BLOCK * ERASE_BLOCK + ERASE_BLOCK;
    uint32_t whole = (a->image_size + CHUNK - 1) / CHUNK * CHUNK;
    end = end < whole ? end : whole;
    if (end > capacity)
        return DS_STATUS(IMAGE, NO_SPACE);
    ds_status s = a->port->image_erase(a->port->ctx, place_of(a), a->image_next, end - a->image_next);
    if (s == DS_STATUS_OK)
        a->image_erased = end;
    return s;
}

// The first chunk shows what the image is: one for another chip must not replace a bootloader.
static ds_status check_header(ds_agent *a, const Devstamp__ImageData *d)
{
    ds_identity identity = {0};
    a->port->identity(a->port->ctx, &identity);
    const uint8_t *h = d->data.data;
    bool ours = h[0] == IMAGE_MAGIC && (h[CHIP_ID_AT] | h[CHIP_ID_AT + 1] << 8) == identity.chip_id;
    return ours ? DS_STATUS_OK : DS_STATUS(IMAGE, BAD_IMAGE);
}

static ds_status write_chunk(ds_agent *a, const Devstamp__ImageData *d)
{
    ds_status s = d->offset == 0 ? check_header(a, d) : DS_STATUS_OK;
    if (s == DS_STATUS_OK)
        s = erase_ahead(a);
    if (s != DS_STATUS_OK)
        return s;
    size_t padded = (d->data.len + WRITE_ALIGN - 1) / WRITE_ALIGN * WRITE_ALIGN;
    memcpy(a->frame, d->data.data, d->data.len);
    memset(a->frame + d->data.len, 0xFF, padded - d->data.len);
    s = a->port->image_write(a->port->ctx, place_of(a), d->offset, a->frame, padded);
    if (s == DS_STATUS_OK)
        s = compare_flash(a, d);
    if (s != DS_STATUS_OK) {
        a->image_erased = a->image_next; // half written: erase again before the next try
        return s;
    }
    a->image_next += (uint32_t)d->data.len;
    return DS_STATUS_OK;
}

ds_status ds_handle_image_data(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    const Devstamp__ImageData *d = q->image_data;
    if (!a->image_open)
        return DS_STATUS(IMAGE, NOT_ALLOWED);
    if (d->offset % CHUNK != 0 || d->offset >= a->image_size)
        return DS_STATUS(IMAGE, BAD_REQUEST);
    uint32_t left = a->image_size - d->offset;
    if (d->data.len != (left < CHUNK ? left : CHUNK))
        return DS_STATUS(IMAGE, BAD_REQUEST);
    ds_status s;
    if (d->offset == a->image_next)
        s = write_chunk(a, d);
    else if (d->offset + d->data.len == a->image_next)
        s = compare_flash(a, d); // its answer was lost
    else
        s = DS_STATUS(IMAGE, BAD_REQUEST);
    return s == DS_STATUS_OK ? reply_image(a, r, false) : s;
}

ds_status ds_handle_image_end(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)q;
    if (!a->image_open || a->image_next != a->image_size)
        return DS_STATUS(IMAGE, NOT_ALLOWED);
    bool same = false;
    ds_status s = flash_matches(a, &same);
    if (s == DS_STATUS_OK && !same) {
        a->image_open = false;
        s = DS_STATUS(IMAGE, MISMATCH);
    }
    return s == DS_STATUS_OK ? reply_image(a, r, false) : s;
}
