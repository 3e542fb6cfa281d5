// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The places images are written to: the bootloader's, and the OTA slot that is not running. Flash encryption is the
// chip's matter: everything here goes through it where it is on.
#include "agent/port/posix/posix.h"
#include "src/esp/image.h"

#define SECTOR 4096u

typedef struct place {
    uint32_t offset, size;
} place;

static uint32_t table_offset(const ds_hal *h)
{
    uint32_t lowest = UINT32_MAX;
    if (h->table_offset)
        return h->table_offset;
    for (unsigned i = 0; i < h->table->count; i++)
        if (h->table->parts[i].offset < lowest)
            lowest = h->table->parts[i].offset;
    return lowest == UINT32_MAX ? 0 : lowest - SECTOR;
}

static const ds_part *update_slot(const ds_hal *h)
{
    unsigned count = ds_ptable_ota_count(h->table);
    for (unsigned i = 0; i < count; i++) {
        const ds_part *part = ds_ptable_find_type(h->table, DS_PART_APP, (uint8_t)(DS_PART_APP_OTA0 + i));
        if (part && part->offset != h->running->offset)
            return part;
    }
    return NULL;
}

static place place_of(const ds_hal *h, enum ds_image_place which)
{
    if (which == DS_PLACE_BOOTLOADER) {
        uint32_t start = h->chip->bootloader_offset, end = table_offset(h);
        return (place){start, end > start ? end - start : 0};
    }
    const ds_part *part = update_slot(h);
    return part ? (place){part->offset, part->size} : (place){0, 0};
}

static bool inside(const place *at, uint32_t offset, size_t len)
{
    return offset <= at->size && len <= at->size - offset;
}

uint32_t ds_posix_image_capacity(void *ctx, enum ds_image_place which)
{
    const ds_posix *p = ctx;
    return place_of(p->hal, which).size;
}

ds_status ds_posix_image_erase(void *ctx, enum ds_image_place which, uint32_t offset, uint32_t len)
{
    ds_posix *p = ctx;
    place at = place_of(p->hal, which);
    if (!inside(&at, offset, len) || offset % SECTOR || len % SECTOR)
        return DS_STATUS(PORT, BAD_REQUEST);
    p->app_version_known = false;
    return p->hal->flash_erase(p->hal->ctx, at.offset + offset, len) ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_posix_image_write(void *ctx, enum ds_image_place which, uint32_t offset, const void *data, size_t len)
{
    ds_posix *p = ctx;
    place at = place_of(p->hal, which);
    uint32_t unit = ds_posix_flash_encrypted(p) ? p->hal->chip->encrypt_align : 4;
    if (!inside(&at, offset, len) || offset % unit || len % unit)
        return DS_STATUS(PORT, BAD_REQUEST);
    p->app_version_known = false;
    bool ok = p->hal->flash_program(p->hal->ctx, at.offset + offset, data, (uint32_t)len, true);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_posix_image_read(void *ctx, enum ds_image_place which, uint32_t offset, void *buf, size_t len)
{
    const ds_posix *p = ctx;
    place at = place_of(p->hal, which);
    if (!inside(&at, offset, len))
        return DS_STATUS(PORT, BAD_REQUEST);
    bool ok = p->hal->flash_read(p->hal->ctx, at.offset + offset, buf, (uint32_t)len, true);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

static bool read_decrypted(void *ctx, uint32_t addr, void *buf, uint32_t len)
{
    const ds_posix *p = ctx;
    return p->hal->flash_read(p->hal->ctx, addr, buf, len, true);
}

enum ds_class ds_posix_image_load(ds_posix *p, uint32_t offset, uint32_t room, ds_buf *ret)
{
    const ds_image_source flash = {read_decrypted, p};
    return ds_image_load(&flash, offset, room, ret, NULL);
}
