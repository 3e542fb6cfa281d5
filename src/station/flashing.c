// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Writing flash through the ROM's loader; see job.h.
#include "src/station/job.h"

#include "src/base/clock.h"
#include "src/esp/otadata.h"

#include <openssl/evp.h>
#include <string.h>

enum ds_class ds_job_rom(ds_job *j, int64_t ms, ds_rom **ret, ds_err *e)
{
    int64_t until = ds_now_ms() + ms;
    if (until > j->deadline_ms)
        until = j->deadline_ms;
    const ds_reset *reset = j->reset.kind == DS_RESET_NONE ? NULL : &j->reset;
    uint32_t size = j->recipe ? j->recipe->flash_size : 0;
    j->has_hello = false;
    if (ds_rom_open(j->wire, reset, size, until, ret, e))
        return e->cls;
    const ds_rom_info *info = ds_rom_get_info(*ret);
    if (j->device.id && info->has_mac && !ds_job_is_device(j, info->chip, info->mac)) {
        ds_job_leave_rom(j, *ret);
        *ret = NULL;
        return ds_hint((ds_fail(e, DS_POLICY, "another device is on the slot now"), e),
                       "put the first one back and run again, or set both aside");
    }
    // A faster wire saves the line's time; one that cannot do it goes on at the console's rate.
    ds_err slow = DS_ERR_INIT;
    if (!ds_rom_get_info(*ret)->secure_download && j->o->station->flash_baud != j->o->station->baud &&
        ds_rom_set_baud(*ret, j->o->station->flash_baud, &slow)) {
        ds_job_leave_rom(j, *ret);
        *ret = NULL;
        return ds_rom_open(j->wire, reset, size, j->deadline_ms, ret, e);
    }
    return DS_OK;
}

void ds_job_leave_rom(ds_job *j, ds_rom *rom)
{
    ds_rom_close(rom);
    ds_err ignored = DS_ERR_INIT; // a wire that is gone shows at the next use
    (void)!j->wire->set_baud(j->wire, j->o->station->baud, &ignored);
}

typedef struct piece {
    const char *what;
    uint32_t addr;
    ds_view data;
    const uint8_t *md5;
} piece;

static enum ds_class matches(ds_rom *rom, const piece *p, bool *ret, ds_err *e)
{
    uint8_t md5[16];
    if (ds_rom_md5(rom, p->addr, (uint32_t)p->data.len, md5, e))
        return e->cls;
    *ret = memcmp(md5, p->md5, sizeof md5) == 0;
    return DS_OK;
}

// Write one piece unless it is there; where the loader can tell, both before and after by digest.
static enum ds_class put(ds_rom *rom, const piece *p, ds_err *e)
{
    bool can_tell = !ds_rom_get_info(rom)->secure_download, same = false;
    if (can_tell && matches(rom, p, &same, e))
        return ds_wrap(e, "%s: compare", p->what);
    if (same)
        return DS_OK;
    if (ds_rom_write(rom, p->addr, p->data, NULL, NULL, e))
        return ds_wrap(e, "%s", p->what);
    if (!can_tell)
        return DS_OK;
    if (matches(rom, p, &same, e))
        return ds_wrap(e, "%s: verify", p->what);
    if (!same)
        return ds_hint((ds_fail(e, DS_DEVICE, "%s: flash at 0x%x does not hold what was written", p->what, p->addr), e),
                       "the flash may be worn or the supply weak: set the device aside");
    return DS_OK;
}

static piece of_region(const ds_recipe *r, enum ds_region_id id)
{
    const ds_region *region = &r->regions[id];
    return (piece){region->what, region->addr, ds_buf_view(&region->data), region->md5};
}

static enum ds_class put_otadata(const ds_recipe *r, ds_rom *rom, unsigned slot, ds_err *e)
{
    uint8_t data[DS_OTADATA_SIZE], md5[16];
    ds_recipe_otadata(r, slot, data);
    (void)EVP_Digest(data, sizeof data, md5, NULL, EVP_md5(), NULL);
    const ds_part *p = ds_ptable_find_type(&r->table, DS_PART_DATA, DS_PART_DATA_OTA);
    const piece otadata = {"otadata", p->offset, {data, sizeof data}, md5};
    return put(rom, &otadata, e);
}

static enum ds_class put_all(const ds_recipe *r, ds_rom *rom, const enum ds_region_id *ids, size_t n, ds_err *e)
{
    for (size_t i = 0; i < n; i++) {
        const piece p = of_region(r, ids[i]);
        if (put(rom, &p, e))
            return e->cls;
    }
    return DS_OK;
}

enum ds_class ds_flash_plain(ds_job *j, ds_rom *rom, ds_err *e)
{
    // The bootloader last: until then a cut leaves a device that boots nothing rather than a mixture.
    static const enum ds_region_id ids[] = {DS_REGION_TABLE, DS_REGION_MFG, DS_REGION_APP, DS_REGION_BOOTLOADER};
    if (put_otadata(j->recipe, rom, j->recipe->mfg_slot, e))
        return e->cls;
    return put_all(j->recipe, rom, ids, sizeof ids / sizeof *ids, e);
}

enum ds_class ds_flash_signed(ds_job *j, ds_rom *rom, ds_err *e)
{
    static const enum ds_region_id ids[] = {DS_REGION_TABLE, DS_REGION_APP, DS_REGION_SECURE_BOOTLOADER};
    const ds_recipe *r = j->recipe;
    const ds_part *keys = ds_ptable_find_type(&r->table, DS_PART_DATA, DS_PART_DATA_NVS_KEYS);
    const ds_part *nvs = ds_ptable_find(&r->table, "nvs");
    // Half-encrypted key storage is of no use, and nothing was stored with it yet: the app runs only once encryption is
    // complete. The plain stamp is not touched: it is the device's identity.
    // There is none where the HMAC peripheral makes the keys.
    if ((keys && ds_rom_erase(rom, keys->offset, keys->size, e)) || ds_rom_erase(rom, nvs->offset, nvs->size, e))
        return ds_wrap(e, "erase NVS keys");
    if (put_otadata(r, rom, r->app_slot, e))
        return e->cls;
    return put_all(r, rom, ids, sizeof ids / sizeof *ids, e);
}
