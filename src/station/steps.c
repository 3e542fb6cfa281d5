// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The way of a device as one table; the short steps are here, the others in step_*.c and proof.c. Each asks the device
// what it already has, so that a step cut off anywhere is simply run again.
#include "src/station/job.h"

#include "src/base/clock.h"
#include "src/base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_sealed(const ds_job *j)
{
    return j->hello.is_app && j->hello.stage == DEVSTAMP__STAGE__STAGE_SEALED;
}

static enum ds_class need_hello(ds_job *j, ds_err *e)
{
    return j->has_hello ? DS_OK : ds_job_hello(j, 3000, e);
}

// --- 1 connect: find the slot's device; who is it?

static enum ds_class connect_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    (void)j, (void)e;
    *ret = DS_READY;
    return DS_OK;
}

static enum ds_class know_device(ds_job *j, ds_err *e)
{
    if (ds_job_choose_recipe(j, j->hello.chip, e) || ds_job_claim(j, j->hello.chip, j->hello.mac, e))
        return e->cls;
    if (ds_ledger_device_get(j->o->ledger, j->hello.chip->id, j->hello.mac, j->recipe->product, &j->device, e))
        return e->cls;
    if (strcmp(j->device.product, j->recipe->product) != 0)
        return ds_hint((ds_fail(e, DS_POLICY, "the ledger knows this device as a %s, the recipe makes a %s",
                                j->device.product, j->recipe->product),
                        e),
                       "give the recipe it was begun with");
    const uint8_t *m = j->hello.mac;
    snprintf(j->result->mac, sizeof j->result->mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
             m[5]);
    snprintf(j->result->serial, sizeof j->result->serial, "%s", j->device.serial);
    return DS_OK;
}

static enum ds_class connect_check(ds_job *j, ds_err *e)
{
    static const char *const tests[] = {"flash", "random numbers", "RAM"};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (j->hello.self_test >> i & 1)
            return ds_hint((ds_fail(e, DS_DEVICE, "the device's self-test failed: %s", tests[i]), e),
                           "set the device aside");
    return know_device(j, e);
}

// --- 2 versions: mfg and app images at least the recipe's minimum?

static bool versions_ok(const ds_job *j)
{
    const ds_recipe *r = j->recipe;
    return ds_version_compare(j->hello.version, r->mfg_min_version) >= 0 && j->hello.app_version[0] &&
           ds_version_compare(j->hello.app_version, r->app_min_version) >= 0;
}

static enum ds_class versions_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    (void)e;
    // A running app is locked, or on its way: what it runs is changed by signed updates only.
    *ret = j->hello.is_app || versions_ok(j) ? DS_ALREADY : DS_READY;
    return DS_OK;
}

static enum ds_class versions_apply(ds_job *j, ds_err *e)
{
    snprintf(j->result->note, sizeof j->result->note, "re-flashed: mfg was %.24s, app was %.24s", j->hello.version,
             j->hello.app_version[0] ? j->hello.app_version : "missing");
    ds_rom *rom = NULL;
    if (ds_job_rom(j, 12000, &rom, e))
        return e->cls;
    enum ds_class rc = ds_flash_plain(j, rom, e);
    ds_job_leave_rom(j, rom);
    return rc ? rc : ds_job_restart(j, e);
}

static enum ds_class versions_check(ds_job *j, ds_err *e)
{
    if (need_hello(j, e))
        return e->cls;
    if (j->hello.is_app && ds_version_compare(j->hello.version, j->recipe->app_min_version) < 0)
        return ds_hint((ds_fail(e, DS_POLICY, "the locked device runs app %s, the recipe demands %s", j->hello.version,
                                j->recipe->app_min_version),
                        e),
                       "it takes signed updates by its app only: update it, then run again");
    if (j->hello.is_app || versions_ok(j))
        return ds_origin_possible(j, e);
    return ds_fail(e, DS_DEVICE, "runs mfg %s with app %s, the recipe demands %s and %s", j->hello.version,
                   j->hello.app_version[0] ? j->hello.app_version : "(none)", j->recipe->mfg_min_version,
                   j->recipe->app_min_version);
}

// --- 3 key: the device makes its key pair; the private key never leaves it. Or, where the recipe says so, it comes
// from elsewhere (origin.c)

static const char other_origin[] = "use the recipe it was begun with, or revoke (devstamp ledger revoke) and erase its "
                                   "flash";

static enum ds_class key_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    if (need_hello(j, e))
        return e->cls;
    bool ours = false;
    if (ds_origin_possible(j, e) || ds_origin_holds(j, &ours, e))
        return e->cls;
    *ret = j->hello.has_key && j->hello.key_type == j->recipe->key_type && ours ? DS_ALREADY : DS_READY;
    if (*ret == DS_ALREADY)
        return DS_OK;
    if (!j->hello.has_key && (j->hello.is_app || j->hello.stage > DEVSTAMP__STAGE__STAGE_FRESH))
        return ds_hint((ds_fail(e, DS_DEVICE, "the device has come further than its key, and shows none"), e),
                       "its storage is damaged: set the device aside");
    if (j->hello.stage > DEVSTAMP__STAGE__STAGE_KEYED)
        return ds_hint((ds_fail(e, DS_POLICY, "the device is certified with a key of another %s than the recipe's",
                                ours ? "type" : "origin"),
                        e),
                       "%s", other_origin);
    return DS_OK;
}

static enum ds_class key_apply(ds_job *j, ds_err *e)
{
    Devstamp__MakeKey make = DEVSTAMP__MAKE_KEY__INIT;
    make.type = (Devstamp__KeyType)j->recipe->key_type;
    // A key of another type is replaced only where the record knows of no certificate for it.
    if (j->hello.has_key) {
        ds_ledger_cert known = {0};
        enum ds_class rc = ds_ledger_cert_of(j->o->ledger, j->device.id, &known, e);
        ds_ledger_cert_free(&known);
        if (rc != DS_OK && rc != DS_INPUT) // DS_INPUT: there is none
            return rc;
        make.replace = rc == DS_INPUT;
    }
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_MAKE_KEY;
    req.make_key = &make;
    j->has_hello = false;
    if (j->recipe->origin != DS_ORIGIN_DEVICE)
        return ds_origin_import(j, make.replace, e);
    return ds_job_do(j, &req, 6000, e);
}

static enum ds_class key_check(ds_job *j, ds_err *e)
{
    if (need_hello(j, e))
        return e->cls;
    if (!j->hello.has_key || j->hello.key_type != j->recipe->key_type)
        return ds_fail(e, DS_DEVICE, "the device holds no key of the recipe's type");
    bool ours = false;
    if (ds_origin_holds(j, &ours, e))
        return e->cls;
    if (!ours)
        return ds_hint((ds_fail(e, DS_POLICY, "the device's key is of another origin than the recipe's"), e), "%s",
                       other_origin);
    int64_t owner = 0;
    if (ds_ledger_key_owner(j->o->ledger, j->hello.key_digest, &owner, e))
        return e->cls;
    if (owner != 0 && owner != j->device.id)
        return ds_hint((ds_fail(e, DS_POLICY, "another device showed this public key before"), e),
                       "its random numbers or its flash are not its own: set the device aside");
    return DS_OK;
}

// --- 7 bootloader: the secure one over the plain one

// The device that is on the slot at this very moment holds the key, certificate and serial number of the record.
static enum ds_class is_still_ours(ds_job *j, ds_err *e)
{
    j->has_hello = false;
    if (need_hello(j, e))
        return e->cls;
    const ds_hello *h = &j->hello;
    if (!h->has_key || memcmp(h->key_digest, j->cert.public_key_digest, 32) != 0 || !h->has_certificate ||
        memcmp(h->certificate_digest, j->cert.fingerprint, 32) != 0 || strcmp(h->serial, j->device.serial) != 0)
        return ds_hint((ds_fail(e, DS_POLICY, "the device does not hold the identity it was given"), e),
                       "was it changed midway? run again; if it stays so, set it aside");
    return DS_OK;
}

static enum ds_class bootloader_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    if (is_still_ours(j, e))
        return e->cls;
    *ret = j->hello.is_app ? DS_ALREADY : DS_READY;
    // From here on the next reset may burn eFuses: nothing may be missing on the device or in the record.
    if (*ret == DS_READY && (j->hello.stage != DEVSTAMP__STAGE__STAGE_STAMPED || !j->hello.app_version[0]))
        return ds_fail(e, DS_POLICY, "the device is not whole: stage %d, app %s", j->hello.stage,
                       j->hello.app_version[0] ? j->hello.app_version : "missing");
    if (*ret == DS_READY && j->cert.state < DS_LEDGER_INSTALLED)
        return ds_fail(e, DS_POLICY, "the ledger does not hold the device's certificate as installed");
    return DS_OK;
}

static enum ds_class bootloader_apply(ds_job *j, ds_err *e)
{
    const ds_region *b = &j->recipe->regions[DS_REGION_SECURE_BOOTLOADER];
    return ds_job_send_image(j, DEVSTAMP__IMAGE_TARGET__TARGET_BOOTLOADER, ds_buf_view(&b->data), b->sha256, e);
}

static enum ds_class no_check(ds_job *j, ds_err *e)
{
    (void)j, (void)e; // the device compared the digest of what it read back before it answered
    return DS_OK;
}

// --- 8 select: otadata points to the app

// A running app proves nothing: a device that lost power once its secure bootloader was in place runs the app because
// the mfg firmware that otadata still names is not signed. One that was finished before may have been updated since.
static bool is_selected(const ds_job *j)
{
    return strcmp(j->hello.boot_partition, j->recipe->app_partition) == 0 || (j->hello.is_app && j->device.locked);
}

static enum ds_class select_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    if (need_hello(j, e))
        return e->cls;
    *ret = is_selected(j) ? DS_ALREADY : DS_READY;
    return DS_OK;
}

static enum ds_class select_apply(ds_job *j, ds_err *e)
{
    DS_CLEANUP_FREE char *label = ds_strdup(j->recipe->app_partition);
    Devstamp__SelectBoot select = DEVSTAMP__SELECT_BOOT__INIT;
    select.partition = label;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_SELECT_BOOT;
    req.select_boot = &select;
    j->has_hello = false;
    return ds_job_do(j, &req, 5000, e);
}

static enum ds_class select_check(ds_job *j, ds_err *e)
{
    if (need_hello(j, e))
        return e->cls;
    if (!is_selected(j))
        return ds_fail(e, DS_DEVICE, "otadata selects '%s'", j->hello.boot_partition);
    return DS_OK;
}

// --- 9 firstboot: eFuses are burned, flash is encrypted, the stamp moves

static enum ds_class firstboot_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    if (is_still_ours(j, e))
        return e->cls;
    *ret = is_sealed(j) ? DS_ALREADY : DS_READY;
    return DS_OK;
}

static enum ds_class firstboot_apply(ds_job *j, ds_err *e)
{
    if (!j->hello.is_app) {
        Devstamp__Reboot reboot = DEVSTAMP__REBOOT__INIT;
        Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
        req.body_case = DEVSTAMP__REQUEST__BODY_REBOOT;
        req.reboot = &reboot;
        j->has_hello = false;
        ds_job_forget_console(j);
        // That it restarts is an answer too, where the other one was lost.
        if (ds_job_do(j, &req, 1000, e) && e->code != ECONNRESET)
            return ds_wrap(e, "reboot");
    }
    return ds_job_await_app(j, e);
}

static enum ds_class firstboot_check(ds_job *j, ds_err *e)
{
    if (need_hello(j, e))
        return e->cls;
    if (!is_sealed(j))
        return ds_fail(e, DS_DEVICE, "the app does not report a sealed stamp");
    if (strcmp(j->hello.serial, j->device.serial) != 0)
        return ds_fail(e, DS_POLICY, "the device calls itself %s, the ledger knows it as %s", j->hello.serial,
                       j->device.serial);
    return DS_OK;
}

#define S(name) name##_precondition, name##_apply, name##_check

const ds_step ds_steps[DS_STEP_COUNT] = {
    {"connect", 60000, connect_precondition, ds_job_reach, connect_check, false},
    {"versions", 60000, S(versions), true},
    {"key", 120000, S(key), false},
    {"csr", 30000, S(ds_step_csr), false},
    {"certificate", 60000, S(ds_step_certificate), false},
    {"stamp", 30000, S(ds_step_stamp), false},
    {"bootloader", 60000, bootloader_precondition, bootloader_apply, no_check, true},
    {"select", 15000, S(select), true},
    {"firstboot", 90000, S(firstboot), true},
    {"proof", 60000, S(ds_step_proof), false},
};

const char *const ds_step_names[DS_STEP_COUNT] = {"connect", "versions",   "key",    "csr",       "certificate",
                                                  "stamp",   "bootloader", "select", "firstboot", "proof"};

// Primes are found by luck: a device's time for an RSA key spreads like the sum of two exponential distributions,
// and 8.3 times the mean is exceeded once in a million. RSA-2048 takes an ESP32 about 10 s in the mean, which the
// table's 120 s cover; primes of RSA-3072 are half as many again to try, each by 3.4 times the work, in all 50 to 60 s:
// 500 s. A device that hangs is told sooner, as it no longer says that it is at work.
enum { RSA_3072_MS = 600000 };

static bool makes_long_key(const ds_step *s, const ds_job *j)
{
    return s->apply == key_apply && j->recipe && j->recipe->key_type == DEVSTAMP__KEY_TYPE__KEY_RSA_3072;
}

int64_t ds_step_deadline(const ds_step *s, const ds_job *j)
{
    size_t bytes = 0;
    int64_t own_ms = makes_long_key(s, j) ? RSA_3072_MS : s->deadline_ms;
    for (int i = 0; j->recipe && i < DS_REGION_COUNT; i++)
        bytes += j->recipe->regions[i].data.len;
    // A byte costs 10 bits on the wire, and 4096 of them up to 100 ms where they are encrypted in place.
    return own_ms + (int64_t)(bytes / 4096) * 100 + (int64_t)bytes * 10000 / j->o->station->baud;
}
