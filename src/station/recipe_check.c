// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The checks of a recipe as a whole; see recipe_check.h. "Nothing irreversible without proof" begins here: the secure
// bootloader would burn the key digest of whatever key it carries.
#include "src/station/recipe_check.h"

#include "src/esp/sbv2.h"
#include "src/pki/keytype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ds_class bad(const ds_recipe *r, ds_err *e, const char *what)
{
    return ds_fail(e, DS_INPUT, "%s: %s", r->path, what);
}

static enum ds_class need_partition(const ds_recipe *r, const char *label, uint8_t type, uint8_t subtype, ds_err *e)
{
    const ds_part *p = ds_ptable_find(&r->table, label);
    if (!p)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: the partition table has no partition '%s'", r->path, label), e),
                       "docs/recipe.md shows a partition table that fits");
    if (p->type != type || p->subtype != subtype)
        return ds_fail(e, DS_INPUT, "%s: partition '%s' has type %02x/%02x, not %02x/%02x", r->path, label, p->type,
                       p->subtype, type, subtype);
    return DS_OK;
}

static enum ds_class check_partitions(const ds_recipe *r, ds_err *e)
{
    if (need_partition(r, "stamp", DS_PART_DATA, DS_PART_DATA_NVS, e) ||
        need_partition(r, "nvs", DS_PART_DATA, DS_PART_DATA_NVS, e))
        return e->cls;
    const ds_part *keys = ds_ptable_find_type(&r->table, DS_PART_DATA, DS_PART_DATA_NVS_KEYS);
    if (!r->nvs_by_hmac && (!keys || !keys->encrypted))
        return bad(r, e, "the partition table has no nvs_keys partition flagged encrypted");
    if (!ds_ptable_find_type(&r->table, DS_PART_DATA, DS_PART_DATA_OTA))
        return bad(r, e, "the partition table has no otadata partition");
    if (ds_ptable_find(&r->table, "stamp")->encrypted || ds_ptable_find(&r->table, "nvs")->encrypted)
        return bad(r, e, "NVS partitions are not part of flash encryption: clear their encrypted flag");
    // Found out by the first boot of a device that is locked by then, it would be too late.
    if (ds_ptable_find(&r->table, "nvs")->size < ds_ptable_find(&r->table, "stamp")->size)
        return ds_hint((bad(r, e, "the partition nvs is smaller than stamp"), e),
                       "the app moves the whole stamp there, and keeps its own values beside it: make nvs larger");
    return DS_OK;
}

// What the chip is asked to protect keys with, it must have.
static enum ds_class check_key_protection(const ds_recipe *r, ds_err *e)
{
    const ds_key_kind *kind = ds_key_kind_of((enum ds_key_type)r->key_type);
    if (r->nvs_by_hmac && !r->chip->has_hmac)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "%s: nvs_keys: the %s has no HMAC peripheral", r->path, r->chip->title), e),
            "leave nvs_keys out, or say flash: the keys then lie behind flash encryption");
    if (!r->key_in_ds)
        return DS_OK;
    if (!r->chip->dsig_bits)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: key_protection: the %s has no digital-signature peripheral", r->path,
                                r->chip->title),
                        e),
                       "leave key_protection out, or say nvs: the key then lies in encrypted NVS");
    if (!kind || kind->curve || kind->bits > r->chip->dsig_bits)
        return ds_hint((ds_fail(e, DS_INPUT,
                                "%s: key_protection: the digital-signature peripheral of the %s does not "
                                "sign with %s",
                                r->path, r->chip->title, kind ? kind->label : "this key"),
                        e),
                       "use rsa-2048 or rsa-3072 with it");
    return DS_OK;
}

// Certificates of a pool are made before anybody knows for which device.
static enum ds_class check_origin(const ds_recipe *r, ds_err *e)
{
    if (r->origin != DS_ORIGIN_REMOTE)
        return DS_OK;
    if (strstr(r->subject, "{mac}") || strstr(r->serial_format, "{mac}"))
        return ds_hint(
            (ds_fail(e, DS_INPUT, "%s: {mac}: stamps of origin: remote are made before a device is known", r->path), e),
            "use {serial} in the subject and {counter} in the serial number");
    if (!strstr(r->subject, "{serial}") || !strstr(r->serial_format, "{counter"))
        return ds_fail(e, DS_INPUT,
                       "%s: origin: remote needs {serial} in the subject and {counter} in the serial number", r->path);
    return DS_OK;
}

static enum ds_class check_app_place(ds_recipe *r, enum ds_region_id id, const char *label, unsigned *ret_slot,
                                     ds_err *e)
{
    ds_region *region = &r->regions[id];
    const ds_part *p = ds_ptable_find(&r->table, label);
    if (!p)
        return ds_fail(e, DS_INPUT, "%s: %s: the partition table has no partition '%s'", r->path, region->what, label);
    if (p->type != DS_PART_APP || p->subtype < DS_PART_APP_OTA0 || p->subtype > DS_PART_APP_OTA0 + 15)
        return ds_fail(e, DS_INPUT, "%s: %s: partition '%s' is not an OTA slot", r->path, region->what, label);
    if (region->data.len > p->size)
        return ds_fail(e, DS_INPUT, "%s: %s: %zu bytes do not fit into '%s' of %u", r->path, region->what,
                       region->data.len, label, p->size);
    region->addr = p->offset;
    *ret_slot = p->subtype - (unsigned)DS_PART_APP_OTA0;
    return DS_OK;
}

static enum ds_class check_chip(const ds_recipe *r, ds_err *e)
{
    for (int i = 0; i < DS_REGION_COUNT; i++) {
        const ds_region *region = &r->regions[i];
        if (i == DS_REGION_TABLE || region->info.chip_id == r->chip->id)
            continue;
        const ds_chip *other = ds_chip_by_id(region->info.chip_id);
        return ds_fail(e, DS_INPUT, "%s: %s: is for %s, the recipe is for %s", r->path, region->what,
                       other ? other->title : "another chip", r->chip->title);
    }
    return DS_OK;
}

static enum ds_class check_version(const ds_recipe *r, enum ds_region_id id, const char *minimum, ds_err *e)
{
    const ds_region *region = &r->regions[id];
    if (!region->info.has_app_desc)
        return ds_fail(e, DS_INPUT, "%s: %s: has no application description", r->path, region->what);
    if (ds_version_compare(region->info.app.version, minimum) < 0)
        return ds_fail(e, DS_INPUT, "%s: %s: version %s is below the recipe's own minimum %s", r->path, region->what,
                       region->info.app.version, minimum);
    return DS_OK;
}

// Is it signed by one of these keys? Of none: by any.
static enum ds_sbv2_verdict verify(const ds_region *region, const uint8_t (*trusted)[32], unsigned n)
{
    return ds_sbv2_verify(ds_buf_view(&region->data), ds_sbv2_content_len(region->info.len), trusted, n, NULL);
}

// Both chips look at RSA-3072 alone, and at no block behind one that they cannot use.
static enum ds_class check_scheme(const ds_recipe *r, const ds_region *region, ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS],
                                  ds_err *e)
{
    if (ds_sbv2_read(ds_buf_view(&region->data), ds_sbv2_content_len(region->info.len), blocks, e))
        return ds_wrap(e, "%s: %s", r->path, region->what);
    for (unsigned i = 0; i < DS_SBV2_MAX_BLOCKS && blocks[i].valid; i++)
        if (blocks[i].scheme != DS_SBV2_RSA3072)
            return ds_hint((ds_fail(e, DS_INPUT, "%s: %s: is signed with ECDSA, which the %s cannot verify", r->path,
                                    region->what, r->chip->title),
                            e),
                           "sign secure bootloader and app with an RSA-3072 key");
    return DS_OK;
}

// Every key that the secure bootloader is signed with is burned, so that each of its signatures must hold.
static enum ds_class take_keys(ds_recipe *r, ds_err *e)
{
    const ds_region *boot = &r->regions[DS_REGION_SECURE_BOOTLOADER];
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    if (check_scheme(r, boot, blocks, e))
        return e->cls;
    for (unsigned i = 0; i < DS_SBV2_MAX_BLOCKS && blocks[i].valid; i++) {
        const uint8_t(*one)[32] = (const uint8_t(*)[32])blocks[i].key_digest;
        for (unsigned k = 0; k < i; k++)
            if (memcmp(r->key_digests[k], blocks[i].key_digest, 32) == 0)
                return ds_fail(e, DS_INPUT, "%s: secure bootloader: the same key has signed it twice", r->path);
        if (verify(boot, one, 1) != DS_SBV2_OK)
            return ds_fail(e, DS_INPUT, "%s: secure bootloader: its signature %u does not hold", r->path, i);
        memcpy(r->key_digests[r->key_count++], blocks[i].key_digest, 32);
    }
    if (r->key_count > r->chip->digests)
        return ds_fail(e, DS_INPUT, "%s: secure bootloader: has %u signatures, and an %s trusts %u key%s at most",
                       r->path, r->key_count, r->chip->title, r->chip->digests, r->chip->digests == 1 ? "" : "s");
    return DS_OK;
}

static bool same_image(const ds_region *a, const ds_region *b)
{
    return a->info.len == b->info.len && memcmp(a->data.ptr, b->data.ptr, a->info.len) == 0;
}

static enum ds_class check_signatures(ds_recipe *r, ds_err *e)
{
    const ds_region *boot = &r->regions[DS_REGION_SECURE_BOOTLOADER], *app = &r->regions[DS_REGION_APP];
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    enum ds_sbv2_verdict v = verify(boot, NULL, 0);
    if (v)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: secure bootloader: %s", r->path, ds_sbv2_verdict_text(v)), e),
                       "sign it: devstamp image sign --key KEY IN -o OUT");
    v = verify(app, NULL, 0);
    if (v)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: app image: %s", r->path, ds_sbv2_verdict_text(v)), e),
                       "sign it: devstamp image sign --key KEY IN -o OUT");
    if (take_keys(r, e) || check_scheme(r, app, blocks, e))
        return e->cls;
    const uint8_t(*keys)[32] = (const uint8_t(*)[32])r->key_digests;
    if (verify(app, keys, 1) != DS_SBV2_OK) // of several, the mfg firmware looks for the bootloader's first
        return ds_hint(
            (ds_fail(e, DS_POLICY, "%s: secure bootloader and app are signed with different keys", r->path), e),
            "the device would lock itself out: sign the app with the secure bootloader's (first) key");
    // A supplier flashes the plain one: a secure bootloader there would lock chips that have no identity yet.
    if (verify(&r->regions[DS_REGION_BOOTLOADER], NULL, 0) == DS_SBV2_OK ||
        same_image(&r->regions[DS_REGION_BOOTLOADER], boot))
        return ds_hint((ds_fail(e, DS_POLICY, "%s: the plain bootloader is signed, or is the secure one", r->path), e),
                       "it would lock the chip before it has an identity: name the plain, unsigned bootloader");
    if (verify(&r->regions[DS_REGION_MFG], keys, r->key_count) == DS_SBV2_OK)
        return ds_hint((ds_fail(e, DS_POLICY, "%s: the mfg image is signed with the secure boot key", r->path), e),
                       "it could boot again on a locked device: leave it unsigned");
    return DS_OK;
}

static enum ds_class check_bootloaders(const ds_recipe *r, ds_err *e)
{
    for (int i = DS_REGION_BOOTLOADER; i <= DS_REGION_SECURE_BOOTLOADER; i++) {
        const ds_region *region = &r->regions[i];
        if (region->addr + region->data.len > r->table_offset)
            return ds_fail(e, DS_INPUT, "%s: %s: %zu bytes reach into the partition table at 0x%x", r->path,
                           region->what, region->data.len, r->table_offset);
    }
    return DS_OK;
}

enum ds_class ds_recipe_check(ds_recipe *r, ds_err *e)
{
    if (check_key_protection(r, e) || check_origin(r, e))
        return e->cls;
    if (!ds_chip_can_lock(r->chip))
        return ds_recipe_check_stamp(r, e);
    if (check_partitions(r, e) || check_app_place(r, DS_REGION_MFG, r->mfg_partition, &r->mfg_slot, e) ||
        check_app_place(r, DS_REGION_APP, r->app_partition, &r->app_slot, e))
        return e->cls;
    if (r->mfg_slot == r->app_slot)
        return bad(r, e, "mfg and app must live in different partitions");
    if (check_chip(r, e) || check_version(r, DS_REGION_MFG, r->mfg_min_version, e) ||
        check_version(r, DS_REGION_APP, r->app_min_version, e) || check_bootloaders(r, e) || check_signatures(r, e))
        return e->cls;
    return ds_recipe_check_stamp(r, e);
}
