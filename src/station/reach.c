// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Finding a slot's device, whatever state a cut-off run left it in; see job.h.
#include "src/station/job.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/station/evidence.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    LISTEN_MS = 1500, // a device that runs answers at once
    HELLO_MS = 400,   // a first try; each next one is given twice that, as a slow device answers late
    HELLO_MAX_MS = 3200,
    BOOT_MS = 8000, // from reset to the agent's first answer
    APP_MS = 20000, // the same of one that answered before: a product's app may be at its TLS handshake first
    ROM_MS = 12000,
    IN_PLACE_MS = 100, // encryption of one 4 KiB sector: 78 ms seen, rounded up
};

static enum ds_class no_recipe(const ds_chip *chip, ds_err *e)
{
    if (ds_chip_can_lock(chip))
        ds_fail(e, DS_DEVICE, "the device is an %s, and no recipe given is for one", chip->title);
    else
        ds_fail(e, DS_DEVICE, "the device is a generic platform, and no recipe given is for one");
    return ds_hint(e, "take the device off the slot, or give its recipe");
}

enum ds_class ds_job_choose_recipe(ds_job *j, const ds_chip *chip, ds_err *e)
{
    const ds_recipe *found = NULL;
    for (unsigned i = 0; i < j->o->recipe_count; i++) {
        const ds_recipe *r = j->o->recipes[i];
        if (r->chip != chip || (j->slot->product && strcmp(j->slot->product, r->product) != 0))
            continue;
        if (found)
            return ds_hint((ds_fail(e, DS_INPUT, "recipes %s and %s both fit", found->path, r->path), e),
                           "name the product in the slot");
        found = r;
    }
    if (!found)
        return no_recipe(chip, e);
    if (found->full_proof && j->slot->reset == DS_RESET_NONE)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "the recipe demands the full proof, and this slot cannot reset its device"), e),
            "give the slot a reset, or set lock.proof: report in the recipe");
    j->recipe = found;
    j->result->chip = chip->title;
    j->result->product = found->product;
    j->result->no_lock = !ds_chip_can_lock(chip);
    return DS_OK;
}

static int64_t encryption_ms(const ds_recipe *r)
{
    size_t sectors = (r->regions[DS_REGION_APP].data.len + r->regions[DS_REGION_SECURE_BOOTLOADER].data.len) / 4096 + 8;
    return (int64_t)sectors * IN_PLACE_MS + 2 * BOOT_MS;
}

// Did a firmware answer, if only to say that something is wrong with it? Then the ROM has nothing to add.
static bool answered(const ds_err *e)
{
    return e->code >> 24 != 0; // a status word carries its module there
}

// Hello until ms have passed, or as long as encryption may take once it is seen, or the ROM refuses what is in flash.
static enum ds_class await_hello(ds_job *j, int64_t ms, ds_err *e)
{
    int64_t until = ds_now_ms() + ms;
    bool extended = false;
    for (int64_t wait = HELLO_MS;; wait = wait < HELLO_MAX_MS ? 2 * wait : wait) {
        if (!ds_job_hello(j, wait, e))
            return DS_OK;
        if (e->cls != DS_DEVICE || answered(e))
            return e->cls;
        if (e->code != ETIMEDOUT && e->code != ECONNRESET)
            ds_sleep_ms(50); // the wire itself fails: it will not get better by asking faster
        if (j->saw_encryption && !extended && j->recipe) {
            extended = true;
            int64_t done = ds_now_ms() + encryption_ms(j->recipe);
            until = until > done ? until : done;
        }
        if (j->saw_refusal || ds_now_ms() >= until || ds_now_ms() >= j->deadline_ms)
            return e->cls;
        ds_agent_client_repeat(j->agent); // a device that falls behind answers an earlier one
    }
}

static enum ds_class reset_to_run(ds_job *j, ds_err *e)
{
    ds_agent_client_drop(j->agent);
    ds_job_forget_console(j);
    j->has_hello = false;
    return ds_reset_device(&j->reset, j->wire, false, e);
}

enum ds_class ds_job_restart(ds_job *j, ds_err *e)
{
    if (j->reset.kind != DS_RESET_NONE && reset_to_run(j, e))
        return e->cls;
    if (await_hello(j, APP_MS, e))
        return ds_wrap(e, "after reset");
    return DS_OK;
}

static enum ds_class reflash(ds_job *j, ds_rom *rom, ds_err *e)
{
    const ds_rom_info *info = ds_rom_get_info(rom);
    if (ds_job_choose_recipe(j, info->chip, e))
        return e->cls;
    // In secure download mode only the recipe knows the size, and which recipe it is shows the open loader.
    if (!info->flash_size && ds_rom_set_flash_size(rom, j->recipe->flash_size, e))
        return e->cls;
    if (info->flash_encryption)
        return ds_hint((ds_fail(e, DS_DEVICE, "the device is locked and its app does not answer"), e),
                       "it takes signed updates only, by its app: set it aside");
    if (info->has_security && info->secure_boot)
        return ds_flash_signed(j, rom, e);
    return ds_flash_plain(j, rom, e);
}

static enum ds_class from_rom(ds_job *j, ds_err *e)
{
    ds_rom *rom = NULL;
    if (ds_job_rom(j, ROM_MS, &rom, e))
        return e->cls;
    enum ds_class rc = reflash(j, rom, e);
    ds_job_leave_rom(j, rom);
    if (rc)
        return rc;
    if (j->reset.kind == DS_RESET_NONE)
        return ds_hint((ds_fail(e, DS_DEVICE, "flashed; the slot cannot reset the device"), e),
                       "power the device off and on, then run again");
    if (reset_to_run(j, e))
        return ds_wrap(e, "after re-flash");
    // However long flashing took of the step's time: what was just written gets its first boot.
    int64_t boot_ms = encryption_ms(j->recipe) + BOOT_MS, until = ds_now_ms() + boot_ms;
    if (j->deadline_ms < until)
        j->deadline_ms = until;
    if (await_hello(j, boot_ms, e))
        return ds_wrap(e, "after re-flash");
    return DS_OK;
}

// Is any of the recipes for a chip with a ROM that could be asked?
static bool may_have_rom(const ds_job *j)
{
    for (unsigned i = 0; i < j->o->recipe_count; i++)
        if (ds_chip_can_lock(j->o->recipes[i]->chip))
            return true;
    return false;
}

enum ds_class ds_job_reach(ds_job *j, ds_err *e)
{
    if (!await_hello(j, LISTEN_MS, e))
        return DS_OK;
    if (answered(e))
        return e->cls;
    if (j->reset.kind != DS_RESET_NONE && !j->saw_refusal) {
        if (reset_to_run(j, e))
            return e->cls;
        if (!await_hello(j, BOOT_MS, e))
            return DS_OK;
        if (answered(e))
            return e->cls;
    }
    if (!may_have_rom(j))
        return ds_wrap(e, "no firmware answers");
    ds_log(DS_LOG_INFO, "slot %s: no firmware answers, asking the ROM", j->slot->name);
    if (from_rom(j, e))
        return ds_wrap(e, "no firmware answers; ROM");
    return DS_OK;
}

// An app that is not sealed says what went wrong with the step it took by itself.
static enum ds_class why_not_sealed(ds_job *j, ds_err *e)
{
    ds_evidence v; // a complaint needs no proof
    if (ds_evidence_ask(j, 1000, &v, e))
        return e->cls;
    uint32_t status = v.says->last_status;
    // The endpoint comes after the seal; that it is not reached yet is no fault here.
    bool wrong = status != 0 && v.says->stage != DEVSTAMP__STAGE__STAGE_SEALED;
    ds_evidence_free(&v);
    if (!wrong)
        return DS_OK;
    char words[128];
    ds_status_text(status, words, sizeof words);
    if (status >> 16 == (DEVSTAMP__STATUS_MODULE__MODULE_MIGRATE << 8 | DEVSTAMP__STATUS_CODE__CODE_MISMATCH))
        return ds_hint((ds_fail(e, DS_POLICY, "the app's stamp was lost or replaced: %s", words), e),
                       "someone or something wrote to its flash after it was locked: set the device aside");
    return ds_hint((ds_fail(e, DS_DEVICE, "the app runs and could not move its stamp: %s", words), e),
                   "run again; if it stays so, set the device aside");
}

enum ds_class ds_job_await_app(ds_job *j, ds_err *e)
{
    // The device may still be the mfg firmware saying its last word, then the bootloader at work, then the app.
    for (;;) {
        enum ds_class rc = await_hello(j, encryption_ms(j->recipe), e);
        j->saw_encryption = false; // waited for; if it is begun again, that will be seen again
        if (rc && ds_job_reach(j, e))
            return e->cls;
        if (j->hello.is_app && j->hello.stage == DEVSTAMP__STAGE__STAGE_SEALED)
            return DS_OK;
        if (j->hello.is_app && why_not_sealed(j, e))
            return e->cls;
        if (ds_now_ms() >= j->deadline_ms)
            return ds_hint((ds_fail(e, DS_DEVICE, "the device still runs %s %s (stage %d)", j->hello.project,
                                    j->hello.version, j->hello.stage),
                            e),
                           "run again; if it stays so, read its console with -v");
        ds_sleep_ms(100);
    }
}
