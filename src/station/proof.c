// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Step 10: the proof that the device locked itself. Positive: what the app reports, believed only with its signature by
// the key of the ledger's certificate over a fresh nonce. Negative: a wrongly signed image is refused, and the ROM
// gives out neither keys nor plaintext. All of it is kept in the ledger as JSON, nonce, evidence and signature with it,
// so that others can verify it later.
#include "src/station/job.h"

#include "src/base/clock.h"
#include "src/station/evidence.h"

#include <jansson.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct proof {
    json_t *json;
    bool whole;
    char why[160]; // first thing that is not as it must be
} proof;

// Note one finding: name, whether it is as it must be, and what was seen.
static void finding(proof *p, const char *name, bool ok, const char *seen)
{
    json_t *f = json_pack("{s:b,s:s}", "ok", ok, "seen", seen);
    if (f)
        json_object_set_new(p->json, name, f);
    if (!ok && p->whole) {
        p->whole = false;
        snprintf(p->why, sizeof p->why, "%s: %s", name, seen);
    }
}

static void finding_bit(proof *p, const char *name, bool is, bool must)
{
    finding(p, name, is || !must, is ? "yes" : "no");
}

static bool trusts(const Devstamp__Evidence *r, const uint8_t digest[32])
{
    for (size_t i = 0; i < r->n_key_digest; i++)
        if (r->key_digest[i].len == 32 && memcmp(r->key_digest[i].data, digest, 32) == 0)
            return true;
    return false;
}

// All keys of the recipe, and no other.
static bool trusts_ours(const Devstamp__Evidence *r, const ds_recipe *recipe)
{
    bool all = r->n_key_digest == recipe->key_count;
    for (unsigned i = 0; i < recipe->key_count; i++)
        all = all && trusts(r, recipe->key_digests[i]);
    return all;
}

static bool is_our_certificate(const ds_job *j, const Devstamp__Evidence *r)
{
    return r->certificate_digest.len == 32 && memcmp(r->certificate_digest.data, j->cert.fingerprint, 32) == 0;
}

// The download mode that the recipe leads to, no more and no less.
static Devstamp__DownloadMode wanted_mode(const ds_recipe *r)
{
    if (r->close_download)
        return DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED;
    return r->release && r->chip->has_secure_download ? DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_SECURE
                                                      : DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_OPEN;
}

// More than the recipe asks for is as good.
static void judge_key_protection(const ds_recipe *recipe, proof *p, const Devstamp__Evidence *r)
{
    bool in_ds = r->key_protection == DEVSTAMP__KEY_PROTECTION__KEY_IN_DS;
    bool by_hmac = r->nvs_keys == DEVSTAMP__NVS_KEYS__NVS_KEYS_HMAC;
    finding(p, "key_protection", in_ds || !recipe->key_in_ds, in_ds ? "ds" : "nvs");
    finding(p, "nvs_keys", by_hmac || !recipe->nvs_by_hmac, by_hmac ? "hmac" : "flash");
    finding(p, "key_origin", !r->key_imported || recipe->origin != DS_ORIGIN_DEVICE,
            r->key_imported ? "imported" : "device");
}

static void judge_evidence(const ds_job *j, proof *p, const Devstamp__Evidence *r)
{
    static const char *const modes[] = {"open", "secure", "closed"};
    const ds_recipe *recipe = j->recipe;
    finding_bit(p, "sealed", r->stage == DEVSTAMP__STAGE__STAGE_SEALED, true);
    finding_bit(p, "secure_boot", r->secure_boot, true);
    finding_bit(p, "flash_encryption", r->flash_encryption, true);
    finding_bit(p, "release_mode", r->release_mode, recipe->release);
    finding_bit(p, "jtag_disabled", r->jtag_disabled, true);
    finding_bit(p, "stamp_encrypted", r->nvs_encrypted, true);
    finding_bit(p, "plain_stamp_erased", r->plain_stamp_erased, true);
    finding_bit(p, "trusts_only_our_key", trusts_ours(r, recipe), true);
    finding_bit(p, "serial", strcmp(r->serial, j->device.serial) == 0, true);
    finding_bit(p, "certificate", is_our_certificate(j, r), true);
    judge_key_protection(recipe, p, r);
    unsigned mode = (unsigned)r->download;
    finding(p, "download_mode", r->download == wanted_mode(recipe), mode < 3 ? modes[mode] : "unknown");
}

static void keep_hex(proof *p, const char *name, ds_view bytes)
{
    DS_CLEANUP_FREE char *text = ds_alloc(2 * bytes.len + 1);
    ds_hex(bytes.ptr, bytes.len, text);
    json_object_set_new(p->json, name, json_string(text));
}

// *ret_download: the mode the device claims, -1 where nothing it says can be believed.
static enum ds_class take_evidence(ds_job *j, proof *p, int *ret_download, ds_err *e)
{
    ds_evidence v;
    ds_err doubt = DS_ERR_INIT;
    if (ds_evidence_ask(j, 3000, &v, e))
        return e->cls;
    keep_hex(p, "nonce", (ds_view){v.nonce, sizeof v.nonce});
    keep_hex(p, "evidence", ds_buf_view(&v.evidence));
    keep_hex(p, "signature", ds_buf_view(&v.signature));
    bool believed = !ds_evidence_verify(&v, ds_buf_view(&j->cert.certificate), &doubt);
    finding(p, "report_signed", believed, believed ? "with the key of the device's certificate" : doubt.text);
    *ret_download = believed ? (int)v.says->download : -1;
    if (believed)
        judge_evidence(j, p, v.says);
    ds_evidence_free(&v);
    return DS_OK;
}

// The OTA slot that is not running, which is where an update is written. NULL where there is none.
static const char *update_slot(const ds_job *j)
{
    const ds_ptable *table = &j->recipe->table;
    for (unsigned i = 0; i < ds_ptable_ota_count(table); i++) {
        const ds_part *part = ds_ptable_find_type(table, DS_PART_APP, (uint8_t)(DS_PART_APP_OTA0 + i));
        if (part && strcmp(part->label, j->hello.boot_partition) != 0)
            return part->label;
    }
    return NULL;
}

// Offer a wrongly signed update: it must be refused for its signature.
static enum ds_class offer_impostor(ds_job *j, proof *p, ds_err *e)
{
    ds_view image;
    if (ds_proof_impostor(j->recipe, &image, e))
        return e->cls;
    uint8_t sha256[32];
    SHA256(image.ptr, image.len, sha256);
    if (ds_job_send_image(j, DEVSTAMP__IMAGE_TARGET__TARGET_UPDATE_SLOT, image, sha256, e))
        return ds_wrap(e, "offer a wrongly signed image");
    if (!j->has_hello && ds_job_hello(j, 3000, e))
        return e->cls;
    const char *slot = update_slot(j);
    if (!slot)
        return ds_fail(e, DS_INPUT, "the partition table has no slot for an update");
    DS_CLEANUP_FREE char *label = ds_strdup(slot);
    Devstamp__SelectBoot select;
    devstamp__select_boot__init(&select);
    select.partition = label;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_SELECT_BOOT;
    req.select_boot = &select;
    ds_err refusal = DS_ERR_INIT;
    enum ds_class rc = ds_job_do(j, &req, 5000, &refusal);
    bool for_signature = rc && ((refusal.code >> 16) & 0xFF) == DEVSTAMP__STATUS_CODE__CODE_BAD_SIGNATURE;
    finding(p, "wrongly_signed_image_refused", for_signature, rc ? refusal.text : "accepted");
    return DS_OK;
}

// Is any 16-byte row of the plain text (that is not filler) found where flash was read?
static bool shows_plaintext(const ds_buf *seen, const ds_region *plain)
{
    size_t len = seen->len < plain->data.len ? seen->len : plain->data.len;
    for (size_t i = 0; i + 16 <= len; i += 16)
        if (memcmp(seen->ptr + i, plain->data.ptr + i, 16) == 0)
            return true;
    return false;
}

static bool is_blank(const ds_buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (b->ptr[i] != 0xFF)
            return false;
    return true;
}

static void try_flash_reads(const ds_job *j, ds_rom *rom, proof *p)
{
    enum { SAMPLE = 1024 };
    const ds_region *app = &j->recipe->regions[DS_REGION_APP];
    const ds_part *stamp = ds_ptable_find(&j->recipe->table, "stamp");
    DS_CLEANUP_BUF ds_buf seen = {0};
    ds_err refusal = DS_ERR_INIT;
    if (ds_rom_read(rom, app->addr, SAMPLE, &seen, &refusal)) {
        finding(p, "flash_read", true, refusal.text);
        return;
    }
    finding(p, "flash_read", !shows_plaintext(&seen, app), shows_plaintext(&seen, app) ? "plaintext" : "ciphertext");
    ds_buf_clear(&seen);
    if (!ds_rom_read(rom, stamp->offset, SAMPLE, &seen, &refusal))
        finding(p, "plain_stamp_flash", is_blank(&seen), is_blank(&seen) ? "blank" : "not blank");
}

static void try_key_reads(const ds_recipe *recipe, ds_rom *rom, proof *p)
{
    const ds_rom_info *info = ds_rom_get_info(rom);
    ds_efuse_security security = {.flash_key_block = -1};
    ds_efuse_secrets secrets;
    if (!info->has_efuses) {
        finding(p, "key_read", info->secure_download, "refused: secure download mode");
        return;
    }
    ds_efuse_security_get(info->chip, &info->efuses, &security);
    ds_efuse_secrets_get(info->chip, &info->efuses, &secrets);
    // The flash key, and one for each of what else the recipe asks for.
    unsigned expected = 1u + recipe->key_in_ds + recipe->nvs_by_hmac;
    if (security.flash_key_block < 0 || !security.flash_key_protected)
        finding(p, "key_read", false, "the flash key can be read");
    else if (secrets.exposed || secrets.count < expected)
        finding(p, "key_read", false, secrets.exposed ? "a key block can be read" : "a key block is missing");
    else
        finding(p, "key_read", true, "zeros: read-protected");
}

// What the ROM gives out, asked as an attacker would. That it is silent proves nothing by itself, as a cut wire is too:
// it bears out what the device signed.
static enum ds_class try_rom(ds_job *j, proof *p, int download, ds_err *e)
{
    if (j->reset.kind == DS_RESET_NONE)
        return ds_hint((ds_fail(e, DS_DEVICE, "the negative proof needs a slot that can reset the device"), e),
                       "give the slot a reset, or set lock.proof: report in the recipe");
    bool closed = download == DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED;
    ds_rom *rom = NULL;
    ds_err silent = DS_ERR_INIT;
    if (ds_job_rom(j, closed ? 3000 : 12000, &rom, &silent)) {
        finding(p, "download_mode_refused", closed, closed ? "no answer" : silent.text);
        return DS_OK;
    }
    finding(p, "download_mode_refused", !closed, "answers");
    try_key_reads(j->recipe, rom, p);
    try_flash_reads(j, rom, p);
    ds_job_leave_rom(j, rom);
    return DS_OK;
}

static enum ds_class store(ds_job *j, proof *p, ds_err *e)
{
    char *text = json_dumps(p->json, JSON_COMPACT);
    if (!text)
        return ds_fail(e, DS_INTERNAL, "the proof cannot be written down");
    enum ds_class rc = ds_ledger_device_proof(j->o->ledger, j->device.id, p->whole, text, e);
    free(text);
    if (!rc && !p->whole)
        rc = ds_hint((ds_fail(e, DS_POLICY, "the device is not %s: %s",
                              ds_chip_can_lock(j->recipe->chip) ? "locked" : "whole", p->why),
                      e),
                     "set the device aside: it must not ship");
    return rc;
}

static enum ds_class store_now(ds_job *j, proof *p, ds_err *e)
{
    char now[21];
    ds_utc_format(ds_utc_now(), now);
    json_object_set_new(p->json, "taken_at", json_string(now));
    json_object_set_new(p->json, "negative", json_boolean(j->recipe->full_proof));
    return store(j, p, e);
}

// A platform of one's own: what it reports is written down as what it is, words that nobody signed; that it holds the
// certified key was shown by its request. Nothing is locked, and the record says so.
static enum ds_class gather_without_lock(ds_job *j, proof *p, ds_err *e)
{
    ds_evidence v;
    if (ds_job_hello(j, 3000, e) || ds_evidence_ask(j, 3000, &v, e))
        return e->cls;
    const Devstamp__Evidence *r = v.says;
    bool same_key = j->hello.has_key && memcmp(j->hello.key_digest, j->cert.public_key_digest, 32) == 0;
    keep_hex(p, "nonce", (ds_view){v.nonce, sizeof v.nonce});
    keep_hex(p, "evidence", ds_buf_view(&v.evidence));
    json_object_set_new(p->json, "locked", json_false());
    finding(p, "lock", true, "none: the platform has no lock");
    finding(p, "stamped", r->stage >= DEVSTAMP__STAGE__STAGE_STAMPED,
            r->stage >= DEVSTAMP__STAGE__STAGE_STAMPED ? "yes" : "no");
    finding_bit(p, "key", same_key, true);
    finding_bit(p, "serial", strcmp(r->serial, j->device.serial) == 0, true);
    finding_bit(p, "certificate", is_our_certificate(j, r), true);
    ds_evidence_free(&v);
    return store_now(j, p, e);
}

static enum ds_class gather(ds_job *j, proof *p, ds_err *e)
{
    int download = 0;
    if (take_evidence(j, p, &download, e))
        return e->cls;
    if (j->recipe->full_proof && download >= 0) {
        if (offer_impostor(j, p, e) || try_rom(j, p, download, e) || ds_job_restart(j, e))
            return e->cls;
        finding_bit(p, "boots_after_proof", j->hello.is_app && j->hello.stage == DEVSTAMP__STAGE__STAGE_SEALED, true);
    }
    return store_now(j, p, e);
}

enum ds_class ds_step_proof_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    (void)j, (void)e;
    *ret = DS_READY; // taken anew each time: what was true yesterday is no proof for today
    return DS_OK;
}

enum ds_class ds_step_proof_apply(ds_job *j, ds_err *e)
{
    // Before the proof is stored, after which nobody need come back.
    if (ds_origin_spend(j, e))
        return e->cls;
    proof p = {.json = json_object(), .whole = true};
    enum ds_class rc = ds_chip_can_lock(j->recipe->chip) ? gather(j, &p, e) : gather_without_lock(j, &p, e);
    json_decref(p.json);
    return rc;
}

enum ds_class ds_step_proof_check(ds_job *j, ds_err *e)
{
    ds_ledger_device d;
    if (ds_ledger_device_get(j->o->ledger, j->hello.chip->id, j->hello.mac, j->recipe->product, &d, e))
        return e->cls;
    if (ds_chip_can_lock(j->recipe->chip))
        return d.locked ? DS_OK : ds_fail(e, DS_STORE, "the ledger does not show the device as locked");
    DS_CLEANUP_BUF ds_buf stored = {0};
    if (ds_ledger_proof_of(j->o->ledger, d.id, &stored, e))
        return e->cls;
    return stored.len ? DS_OK : ds_fail(e, DS_STORE, "the ledger does not hold the device's proof");
}
