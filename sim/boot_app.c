// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The second-stage bootloader: partition table, otadata, and the app to run, with the fallbacks of ESP-IDF v5.4's
// bootloader_utility.c. Words of the log are ESP-IDF's where a person or a script may look for them.
#include "sim/boot.h"

#include "sim/firmware.h"
#include "src/esp/otadata.h"

#include <stdlib.h>

#define FACTORY (-1)

static bool load_table(ds_sim_stage *b)
{
    uint8_t raw[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    uint32_t at = b->kind.table_offset;
    if (!ds_sim_cache_read(b->c, at, raw, sizeof raw) || ds_ptable_parse((ds_view){raw, sizeof raw}, &b->table, &e) ||
        ds_ptable_check(&b->table, at, ds_sim_flash_size(b->c->flash), &e)) {
        ds_sim_boot_log(b, 'E', "flash_parts", "partition table at 0x%x: %s", at, e.text);
        ds_sim_boot_log(b, 'E', "boot", "Failed to verify partition table");
        return false;
    }
    ds_sim_boot_log(b, 'I', "boot", "Partition Table:");
    ds_sim_boot_log(b, 'I', "boot", "## Label            Type ST Offset   Length");
    for (unsigned i = 0; i < b->table.count; i++) {
        const ds_part *p = &b->table.parts[i];
        ds_sim_boot_log(b, 'I', "boot", "%2u %-16s %02x   %02x %08x %08x", i, p->label, p->type, p->subtype, p->offset,
                        p->size);
    }
    return true;
}

static const ds_part *app_part(const ds_sim_stage *b, int index)
{
    uint8_t subtype = index == FACTORY ? DS_PART_APP_FACTORY : (uint8_t)(DS_PART_APP_OTA0 + index);
    return ds_ptable_find_type(&b->table, DS_PART_APP, subtype);
}

static bool check_chip(ds_sim_stage *b, const ds_image_info *info)
{
    unsigned rev = ds_efuse_revision(b->c->chip, &b->efuses);
    unsigned min = info->min_rev_full, max = info->max_rev_full;
    if (info->chip_id != b->c->chip->id) {
        ds_sim_boot_log(b, 'E', "boot_comm", "mismatch chip ID, expected %u, found %u", b->c->chip->id, info->chip_id);
        return false;
    }
    if (rev < min)
        ds_sim_boot_log(b, 'E', "boot_comm", "Image requires chip rev >= v%u.%u, but chip is v%u.%u", min / 100,
                        min % 100, rev / 100, rev % 100);
    else if (max != 65535 && rev > max)
        ds_sim_boot_log(b, 'E', "boot_comm", "Image requires chip rev <= v%u.%u, but chip is v%u.%u", max / 100,
                        max % 100, rev / 100, rev % 100);
    else
        return true;
    return false;
}

static bool check_rollback(ds_sim_stage *b, const ds_image_info *info)
{
    if (!info->has_app_desc) {
        ds_sim_boot_log(b, 'E', "boot", "image has no app description");
        return false;
    }
    if (info->app.secure_version >= b->security.secure_version)
        return true;
    ds_sim_boot_log(b, 'E', "boot", "secure version %u of the app is older than the device's %u",
                    info->app.secure_version, b->security.secure_version);
    return false;
}

// Until secure boot is on, a secure bootloader accepts the key that the app carries.
static bool check_signature(ds_sim_stage *b, const ds_sim_loaded *app)
{
    ds_sim_digests trusted = {0};
    if (!b->kind.secure && !b->security.secure_boot)
        return true;
    if (b->security.secure_boot)
        ds_sim_boot_trusted(b, &trusted);
    enum ds_sbv2_verdict v = DS_SBV2_UNTRUSTED_KEY;
    if (trusted.count || !b->security.secure_boot)
        v = ds_sim_boot_verify(b, app, &trusted, NULL);
    if (v == DS_SBV2_OK) {
        ds_sim_boot_log(b, 'I', "secure_boot_v2", "Signature verified successfully!");
        return true;
    }
    ds_sim_boot_log(b, 'E', "secure_boot_v2", "Secure Boot V2 verification failed: %s", ds_sbv2_verdict_text(v));
    ds_sim_boot_log(b, 'E', "esp_image", "Secure boot signature verification failed");
    return false;
}

bool ds_sim_boot_check_app(ds_sim_stage *b, const ds_part *part, ds_sim_loaded *ret)
{
    ds_err e = DS_ERR_INIT;
    if (ds_sim_boot_load(b, part->offset, part->size, ret, &e)) {
        ds_sim_boot_log(b, 'E', "esp_image", "%s", e.text);
        return false;
    }
    if (check_chip(b, &ret->info) && check_rollback(b, &ret->info) && check_signature(b, ret))
        return true;
    ds_sim_loaded_free(ret);
    return false;
}

static int from_blank_otadata(ds_sim_stage *b)
{
    if (app_part(b, FACTORY)) {
        ds_sim_boot_log(b, 'I', "boot", "Defaulting to factory image");
        return FACTORY;
    }
    ds_sim_boot_log(b, 'I', "boot", "No factory image, trying OTA 0");
    return 0;
}

static bool write_entry(ds_sim_stage *b, unsigned sector, const uint8_t entry[DS_OTADATA_ENTRY])
{
    const ds_part *part = ds_ptable_find_type(&b->table, DS_PART_DATA, DS_PART_DATA_OTA);
    uint32_t at = part->offset + sector * DS_OTADATA_SECTOR;
    if (!ds_sim_flash_erase(b->c->flash, at, DS_OTADATA_SECTOR))
        return false;
    return b->security.flash_encryption ? ds_sim_crypt_program(b->c, at, entry, DS_OTADATA_ENTRY)
                                        : ds_sim_flash_program(b->c->flash, at, entry, DS_OTADATA_ENTRY);
}

static void set_state(ds_sim_stage *b, ds_otadata *o, unsigned i, enum ds_ota_state state)
{
    uint8_t entry[DS_OTADATA_ENTRY];
    ds_otadata_entry(o->entry[i].seq, (uint32_t)state, entry);
    write_entry(b, i, entry);
    o->entry[i].state = (uint32_t)state;
}

// As CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE has it, which secure bootloaders are built with: a new app is on trial for
// one boot; one that was not confirmed in it is given up.
static void hold_trial(ds_sim_stage *b, uint8_t raw[DS_OTADATA_SIZE], ds_otadata *o)
{
    bool given_up = false;
    for (unsigned i = 0; i < 2; i++)
        if (o->entry[i].valid && o->entry[i].state == DS_OTA_PENDING_VERIFY) {
            ds_sim_boot_log(b, 'W', "boot", "otadata[%u] was not confirmed: ABORTED", i);
            set_state(b, o, i, DS_OTA_ABORTED);
            given_up = true;
        }
    const ds_part *part = ds_ptable_find_type(&b->table, DS_PART_DATA, DS_PART_DATA_OTA);
    if (given_up && ds_sim_cache_read(b->c, part->offset, raw, DS_OTADATA_SIZE))
        ds_otadata_parse(raw, o);
    if (o->active >= 0 && o->entry[o->active].state == DS_OTA_NEW)
        set_state(b, o, (unsigned)o->active, DS_OTA_PENDING_VERIFY);
}

// The app that otadata names; *ret_blank where it should be given a first entry, as there is neither entry nor factory
// app.
static int select_app(ds_sim_stage *b, bool *ret_blank)
{
    const ds_part *part = ds_ptable_find_type(&b->table, DS_PART_DATA, DS_PART_DATA_OTA);
    unsigned slots = ds_ptable_ota_count(&b->table);
    *ret_blank = false;
    if (!part || !slots)
        return FACTORY;
    uint8_t *raw = ds_alloc(DS_OTADATA_SIZE);
    ds_otadata o = {.active = -1};
    if (ds_sim_cache_read(b->c, part->offset, raw, DS_OTADATA_SIZE))
        ds_otadata_parse(raw, &o);
    if (b->kind.secure)
        hold_trial(b, raw, &o);
    free(raw);
    int slot = ds_otadata_slot(&o, slots);
    if (slot >= 0)
        return slot;
    if (o.entry[0].seq != 0xFFFFFFFF || o.entry[1].seq != 0xFFFFFFFF)
        ds_sim_boot_log(b, 'E', "boot", "ota data partition invalid");
    *ret_blank = !app_part(b, FACTORY);
    return from_blank_otadata(b);
}

static void write_first_otadata(ds_sim_stage *b, int index)
{
    ds_otadata none = {.active = -1};
    uint8_t entry[DS_OTADATA_ENTRY];
    unsigned sector;
    ds_otadata_select(&none, (unsigned)index, ds_ptable_ota_count(&b->table), entry, &sector);
    ds_put_le32(entry + DS_OTADATA_STATE, DS_OTA_VALID);
    if (write_entry(b, sector, entry))
        ds_sim_boot_log(b, 'I', "boot", "Set actual ota_seq=%d in otadata[%u]", index + 1, sector);
}

// Try one app; true where it ran and the console is gone.
static bool try_app(ds_sim_stage *b, int index, bool blank)
{
    const ds_part *part = app_part(b, index);
    ds_sim_loaded app;
    if (!part)
        return false;
    bool ran = false;
    if (ds_sim_boot_check_app(b, part, &app)) {
        if (blank && index != FACTORY)
            write_first_otadata(b, index);
        ds_sim_boot_log(b, 'I', "boot", "Loaded app from partition at offset 0x%x", part->offset);
        if (!b->kind.secure || ds_sim_boot_secure(b, &app)) {
            ds_sim_firmware_run(b->c, &b->table, part, &app.info);
            ran = true;
        }
        ds_sim_loaded_free(&app);
    }
    if (!ran && index == FACTORY)
        ds_sim_boot_log(b, 'E', "boot", "Factory app partition is not bootable");
    else if (!ran)
        ds_sim_boot_log(b, 'E', "boot", "OTA app partition slot %d is not bootable", index);
    return ran;
}

static bool boot_any(ds_sim_stage *b)
{
    bool blank;
    int start = select_app(b, &blank);
    int slots = (int)ds_ptable_ota_count(&b->table);
    for (int i = start; i >= FACTORY; i--)
        if (try_app(b, i, blank))
            return true;
    for (int i = start + 1; i < slots; i++)
        if (try_app(b, i, blank))
            return true;
    ds_sim_boot_log(b, 'E', "boot", "No bootable app partitions in the partition table");
    return false;
}

bool ds_sim_boot_app(ds_sim_stage *b)
{
    ds_sim_boot_log(b, 'I', "boot", "virtual 2nd stage bootloader (%s)",
                    !b->kind.secure   ? "plain"
                    : b->kind.release ? "secure, release"
                                      : "secure, development");
    ds_sim_boot_log(b, 'I', "boot", "chip revision: v%u.%u", ds_efuse_revision(b->c->chip, &b->efuses) / 100u,
                    ds_efuse_revision(b->c->chip, &b->efuses) % 100u);
    return load_table(b) && boot_any(b);
}
