// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Choosing what boots: the image is verified as the bootloader will verify it, then otadata names its slot. Source:
// ESP-IDF esp_ota_ops.c, bootloader_utility.c, secure-boot-v2.rst (v5.4).
#include "agent/port/posix/posix.h"
#include "src/esp/image.h"
#include "src/esp/sbv2.h"

#include <stdlib.h>
#include <string.h>

// The signing keys an app must have one of.
typedef struct trust {
    bool required;
    unsigned count;
    uint8_t digests[3][32];
} trust;

static uint8_t *read_flash(const ds_hal *h, uint32_t offset, uint32_t size)
{
    uint8_t *bytes = ds_alloc(size);
    if (h->flash_read(h->ctx, offset, bytes, size, true))
        return bytes;
    free(bytes);
    return NULL;
}

// An image, parsed; info points into ret.
static ds_status load_image(ds_posix *p, uint32_t offset, uint32_t size, ds_buf *ret, ds_image_info *ret_info)
{
    enum ds_class c = ds_posix_image_load(p, offset, size, ret);
    if (c == DS_DEVICE)
        return DS_STATUS(PORT, FLASH);
    return c || ds_image_parse(ds_buf_view(ret), ret_info, NULL) ? DS_STATUS(IMAGE, BAD_IMAGE) : DS_STATUS_OK;
}

// Before secure boot is on, a signed bootloader in place says that it will be: it burns its own key's digest, and then
// the app must be signed with that key.
static ds_status trust_of_bootloader(ds_posix *p, trust *ret)
{
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_image_info info;
    ds_status s =
        load_image(p, p->hal->chip->bootloader_offset, ds_posix_image_capacity(p, DS_PLACE_BOOTLOADER), &image, &info);
    if (s != DS_STATUS_OK)
        return s;
    enum ds_sbv2_verdict v =
        ds_sbv2_verify(ds_buf_view(&image), ds_sbv2_content_len(info.len), NULL, 0, ret->digests[0]);
    if (v != DS_SBV2_OK && v != DS_SBV2_UNSIGNED)
        return DS_STATUS(IMAGE, BAD_SIGNATURE);
    ret->required = v == DS_SBV2_OK;
    ret->count = ret->required;
    return DS_STATUS_OK;
}

static ds_status find_trust(ds_posix *p, const ds_efuse_security *security, trust *ret)
{
    *ret = (trust){0};
    if (!security->secure_boot)
        return trust_of_bootloader(p, ret);
    ret->required = true;
    ret->count = security->digest_count < 3 ? security->digest_count : 3;
    memcpy(ret->digests, security->digests, sizeof ret->digests);
    return ret->count ? DS_STATUS_OK : DS_STATUS(IMAGE, BAD_SIGNATURE);
}

static bool fits_chip(const ds_hal *h, const ds_efuse_words *words, const ds_image_info *info)
{
    uint16_t revision = ds_efuse_revision(h->chip, words);
    if (info->chip_id != h->chip->id)
        return false;
    return !info->max_rev_full || (info->min_rev_full <= revision && revision <= info->max_rev_full);
}

// Versions are judged only of what is signed where it must be: a wrongly signed image is refused for that.
static bool too_old(const ds_posix *p, const ds_image_info *info, const ds_efuse_security *security)
{
    if (p->is_app && (!info->has_app_desc || ds_version_compare(info->app.version, p->hal->version) < 0))
        return true;
    return info->has_app_desc && info->app.secure_version < security->secure_version;
}

static ds_status verify_image(ds_posix *p, const ds_part *part)
{
    const ds_hal *h = p->hal;
    ds_efuse_words words;
    ds_efuse_security security;
    trust keys;
    ds_image_info info;
    h->efuses(h->ctx, &words);
    ds_efuse_security_get(h->chip, &words, &security);
    ds_status s = find_trust(p, &security, &keys);
    if (s != DS_STATUS_OK)
        return s;
    DS_CLEANUP_BUF ds_buf image = {0};
    s = load_image(p, part->offset, part->size, &image, &info);
    if (s != DS_STATUS_OK)
        return s;
    if (!fits_chip(h, &words, &info))
        return DS_STATUS(IMAGE, BAD_IMAGE);
    if (keys.required && ds_sbv2_verify(ds_buf_view(&image), ds_sbv2_content_len(info.len),
                                        (const uint8_t(*)[32])keys.digests, keys.count, NULL) != DS_SBV2_OK)
        return DS_STATUS(IMAGE, BAD_SIGNATURE);
    return too_old(p, &info, &security) ? DS_STATUS(IMAGE, BAD_IMAGE) : DS_STATUS_OK;
}

ds_status ds_posix_otadata(const ds_posix *p, const ds_part **ret_part, ds_otadata *ret)
{
    const ds_hal *h = p->hal;
    const ds_part *part = ds_ptable_find_type(h->table, DS_PART_DATA, DS_PART_DATA_OTA);
    if (!part || part->size < DS_OTADATA_SIZE)
        return DS_STATUS(PORT, UNSUPPORTED);
    uint8_t *bytes = read_flash(h, part->offset, DS_OTADATA_SIZE);
    if (!bytes)
        return DS_STATUS(PORT, FLASH);
    ds_otadata_parse(bytes, ret);
    free(bytes);
    *ret_part = part;
    return DS_STATUS_OK;
}

static ds_status select_slot(ds_posix *p, unsigned slot, unsigned slots)
{
    const ds_hal *h = p->hal;
    const ds_part *part;
    ds_otadata now;
    uint8_t entry[DS_OTADATA_ENTRY];
    unsigned sector;
    ds_status s = ds_posix_otadata(p, &part, &now);
    if (s != DS_STATUS_OK || ds_otadata_slot(&now, slots) == (int)slot)
        return s;
    ds_otadata_select(&now, slot, slots, entry, &sector);
    if (p->is_app)
        ds_put_le32(entry + DS_OTADATA_STATE, DS_OTA_NEW); // an update is on trial; what the factory selects is not
    uint32_t at = part->offset + sector * DS_OTADATA_SECTOR;
    if (!h->flash_erase(h->ctx, at, DS_OTADATA_SECTOR) || !h->flash_program(h->ctx, at, entry, sizeof entry, true))
        return DS_STATUS(PORT, FLASH);
    s = ds_posix_otadata(p, &part, &now);
    if (s == DS_STATUS_OK && ds_otadata_slot(&now, slots) != (int)slot)
        s = DS_STATUS(PORT, FLASH);
    return s;
}

// Blank otadata boots the factory app.
static ds_status select_factory(ds_posix *p)
{
    const ds_hal *h = p->hal;
    const ds_part *part;
    ds_otadata now;
    ds_status s = ds_posix_otadata(p, &part, &now);
    if (s != DS_STATUS_OK || now.active < 0)
        return s;
    return h->flash_erase(h->ctx, part->offset, DS_OTADATA_SIZE) ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_posix_boot_select(void *ctx, const char *label)
{
    ds_posix *p = ctx;
    const ds_part *part = ds_ptable_find(p->hal->table, label);
    if (!part || part->type != DS_PART_APP)
        return DS_STATUS(IMAGE, NOT_FOUND);
    unsigned slots = ds_ptable_ota_count(p->hal->table), slot = part->subtype - (unsigned)DS_PART_APP_OTA0;
    bool factory = part->subtype == DS_PART_APP_FACTORY;
    if (!factory && slot >= slots)
        return DS_STATUS(IMAGE, UNSUPPORTED);
    ds_status s = verify_image(p, part);
    if (s != DS_STATUS_OK)
        return s;
    return factory ? select_factory(p) : select_slot(p, slot, slots);
}

const ds_part *ds_posix_boot_part(const ds_posix *p)
{
    const ds_ptable *table = p->hal->table;
    const ds_part *part;
    ds_otadata now;
    int slot = -1;
    if (ds_posix_otadata(p, &part, &now) == DS_STATUS_OK)
        slot = ds_otadata_slot(&now, ds_ptable_ota_count(table));
    if (slot >= 0)
        return ds_ptable_find_type(table, DS_PART_APP, (uint8_t)(DS_PART_APP_OTA0 + slot));
    part = ds_ptable_find_type(table, DS_PART_APP, DS_PART_APP_FACTORY);
    return part ? part : ds_ptable_find_type(table, DS_PART_APP, DS_PART_APP_OTA0);
}
