// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The end of an update's trial: otadata's state, and the chip's secure version (anti-rollback). The bootloader begins
// the trial and gives up an app that did not end it. Source: ESP-IDF esp_ota_ops.c, esp_efuse_api.c (v5.4).
#include "agent/port/posix/posix.h"

// Rewritten in place, as ESP-IDF does: cut off in between, the entry is lost and the app before it boots.
static ds_status set_state(const ds_posix *p, const ds_part *part, const ds_otadata *o, enum ds_ota_state state)
{
    const ds_hal *h = p->hal;
    uint8_t entry[DS_OTADATA_ENTRY];
    uint32_t at = part->offset + (uint32_t)o->active * DS_OTADATA_SECTOR;
    ds_otadata_entry(o->entry[o->active].seq, (uint32_t)state, entry);
    bool ok = h->flash_erase(h->ctx, at, DS_OTADATA_SECTOR) && h->flash_program(h->ctx, at, entry, sizeof entry, true);
    return ok ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

// The chip's secure version is the number of bits set in its field.
static ds_status raise_secure_version(const ds_posix *p)
{
    const ds_hal *h = p->hal;
    ds_efuse_words words, bits = {0};
    ds_efuse_security now;
    const ds_efuse_field *field = ds_efuse_field_find(h->chip, "SECURE_VERSION");
    h->efuses(h->ctx, &words);
    ds_efuse_security_get(h->chip, &words, &now);
    if (!now.secure_boot || h->secure_version <= now.secure_version)
        return DS_STATUS_OK;
    if (!field || h->secure_version > field->bits)
        return DS_STATUS(PORT, UNSUPPORTED);
    uint32_t have = ds_efuse_get(h->chip, &words, field->name), add = 0;
    for (uint32_t bit = 0, left = h->secure_version - now.secure_version; left > 0; bit++)
        if (!(have >> bit & 1)) {
            add |= 1u << bit;
            left--;
        }
    if (!ds_efuse_set(h->chip, &bits, field->name, add) || !h->efuse_burn(h->ctx, field->block, &bits))
        return DS_STATUS(PORT, FLASH);
    return DS_STATUS_OK;
}

ds_status ds_posix_trial_end(void *ctx, bool good)
{
    const ds_posix *p = ctx;
    const ds_part *part;
    ds_otadata o;
    ds_status s = ds_posix_otadata(p, &part, &o);
    if (s != DS_STATUS_OK)
        return s;
    bool on_trial = o.active >= 0 && o.entry[o.active].state == DS_OTA_PENDING_VERIFY;
    if (on_trial && !good && !o.entry[!o.active].valid)
        return DS_STATUS(PORT, NOT_FOUND);
    if (on_trial)
        s = set_state(p, part, &o, good ? DS_OTA_VALID : DS_OTA_INVALID);
    if (s == DS_STATUS_OK && on_trial && !good)
        p->hal->restart(p->hal->ctx);
    return s == DS_STATUS_OK && good ? raise_secure_version(p) : s;
}
