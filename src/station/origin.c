// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Step 3 where the recipe says that the device does not make its key: the signer makes it, sealed to a key pair that
// the device made for this transfer, and the station carries what it cannot open. The certificate comes afterwards and
// as always, by a request that the device signs with this key: nothing is signed for a key that no device holds
// (docs/decisions/0012-key-origin.md). With origin: remote, key and certificate are a stamp of a pool, claimed for the
// device before anything of it is used; the signer opens its key and seals it to the device, once. An address is the
// device's word alone: whoever shows it and does not hold the key that was sent to it gets another stamp, or none.
#include "src/station/job.h"

#include "src/base/log.h"

#include <string.h>

enum { TRANSFERS = 2 }; // a device that restarted has forgotten its transport key

static const char *name_of(enum ds_origin origin)
{
    static const char *const names[] = {
        [DS_ORIGIN_DEVICE] = "device", [DS_ORIGIN_STATION] = "station", [DS_ORIGIN_REMOTE] = "remote"};
    return names[origin];
}

enum ds_class ds_origin_possible(const ds_job *j, ds_err *e)
{
    if (j->recipe->origin == DS_ORIGIN_DEVICE || j->hello.imports_keys || j->hello.is_app)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "its firmware %s takes no key from elsewhere, and the recipe says origin: %s",
                            j->hello.version, name_of(j->recipe->origin)),
                    e),
                   "use mfg firmware that was built with key import (docs/key-origin.md), or origin: device");
}

enum ds_class ds_origin_holds(const ds_job *j, bool *ret, ds_err *e)
{
    char origin[16] = "";
    *ret = false;
    if (!j->hello.has_key)
        return DS_OK;
    if (j->recipe->origin == DS_ORIGIN_DEVICE) {
        *ret = !j->hello.key_imported;
        return DS_OK;
    }
    // The device's word alone would let a key pass that somebody else gave it.
    if (ds_ledger_key_origin(j->o->ledger, j->device.id, j->hello.key_digest, origin, e))
        return e->cls;
    *ret = strcmp(origin, name_of(j->recipe->origin)) == 0;
    return DS_OK;
}

static enum ds_class ask_transport(ds_job *j, ds_buf *ret, ds_err *e)
{
    Devstamp__OpenImport open = DEVSTAMP__OPEN_IMPORT__INIT;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_OPEN_IMPORT;
    req.open_import = &open;
    Devstamp__Response *r = NULL;
    if (ds_job_call(j, &req, 6000, &r, e))
        return e->cls;
    enum ds_class rc = DS_OK;
    if (r->body_case == DEVSTAMP__RESPONSE__BODY_IMPORT_OFFER)
        ds_buf_add(ret, r->import_offer->transport_key.data, r->import_offer->transport_key.len);
    else
        rc = ds_fail(e, DS_DEVICE, "the agent answered with something else");
    devstamp__response__free_unpacked(r, NULL);
    return rc;
}

static enum ds_class send_key(ds_job *j, ds_sealed_key *k, bool replace, ds_err *e)
{
    Devstamp__ImportKey import = DEVSTAMP__IMPORT_KEY__INIT;
    import.type = (Devstamp__KeyType)j->recipe->key_type;
    import.public_key_digest = (ProtobufCBinaryData){sizeof k->public_key_digest, k->public_key_digest};
    import.encapsulated = (ProtobufCBinaryData){sizeof k->encapsulated, k->encapsulated};
    import.sealed = (ProtobufCBinaryData){k->sealed.len, k->sealed.ptr};
    import.replace = replace;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_IMPORT_KEY;
    req.import_key = &import;
    return ds_job_do(j, &req, 6000, e);
}

static ds_pool_device pool_device(const ds_job *j)
{
    return (ds_pool_device){j->hello.chip->id, j->hello.mac, j->recipe->product, j->recipe->key_type,
                            j->o->station->pool_ca};
}

enum ds_class ds_origin_claim(const ds_job *j, ds_pool_stamp *ret, ds_err *e)
{
    if (!j->o->station->pool)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "%s: names no pool, and the recipe says origin: remote", j->o->station->path), e),
            "signer.pool, signer.pool_key and signer.pool_ca (docs/key-origin.md)");
    const ds_pool_device d = pool_device(j);
    return ds_pool_claim(j->o->station->pool, &d, ret, e);
}

enum ds_class ds_origin_spend(const ds_job *j, ds_err *e)
{
    if (j->recipe->origin != DS_ORIGIN_REMOTE || !j->o->station->pool)
        return DS_OK;
    const ds_pool_device d = pool_device(j);
    return ds_pool_spend(j->o->station->pool, &d, e);
}

// A serial number is given once: the stamp's, or none.
static enum ds_class take_serial(ds_job *j, const ds_pool_stamp *s, ds_err *e)
{
    if (ds_ledger_device_serial(j->o->ledger, j->device.id, s->serial, j->device.serial, e))
        return e->cls;
    if (strcmp(j->device.serial, s->serial) == 0)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "the device is %s already, its stamp is %s", j->device.serial, s->serial), e),
                   "use the recipe it was begun with, or set the device aside");
}

static bool shows(const ds_job *j, const uint8_t key_digest[32])
{
    return j->hello.has_key && memcmp(j->hello.key_digest, key_digest, 32) == 0;
}

// A device that was certified shows the key of its certificate, whatever was cut off.
static enum ds_class not_certified_otherwise(const ds_job *j, ds_err *e)
{
    ds_ledger_cert live = {0};
    ds_err none = DS_ERR_INIT;
    enum ds_class rc = ds_ledger_cert_of(j->o->ledger, j->device.id, &live, &none);
    if (rc == DS_OK && !shows(j, live.public_key_digest))
        rc = ds_ledger_refuse_live(&live, e);
    else if (rc == DS_INPUT) // there is none
        rc = DS_OK;
    else if (rc)
        *e = none;
    ds_ledger_cert_free(&live);
    return rc;
}

static enum ds_class other_key(ds_err *e)
{
    return ds_hint((ds_fail(e, DS_POLICY, "the device holds another key than its stamp's"), e),
                   "two devices may show one address: set both aside and call the officer");
}

enum ds_class ds_origin_adopt(ds_job *j, ds_err *e)
{
    ds_pool_stamp s;
    ds_cert_info info;
    const ds_pool_device d = pool_device(j);
    if (not_certified_otherwise(j, e) || ds_origin_claim(j, &s, e))
        return e->cls;
    enum ds_class rc =
        shows(j, s.key.public_key_digest) ? ds_pool_judge_words(&s, j->recipe, j->hello.mac, &info, e) : other_key(e);
    if (!rc) // before the ledger, which other stations do not see
        rc = ds_pool_own(j->o->station->pool, &d, s.serial, e);
    if (!rc)
        rc = take_serial(j, &s, e);
    if (!rc) {
        const ds_ledger_adopt a = {.device = j->device.id,
                                   .certificate = ds_buf_view(&s.certificate),
                                   .serial = info.serial,
                                   .public_key_digest = s.key.public_key_digest,
                                   .subject = info.subject,
                                   .not_before_utc = info.not_before_utc,
                                   .not_after_utc = info.not_after_utc,
                                   .slot = j->slot->name};
        ds_ledger_cert_free(&j->cert);
        rc = ds_ledger_cert_adopt(j->o->ledger, &a, &j->cert, e);
    }
    ds_pool_stamp_free(&s);
    return rc;
}

// The device's stamp, whose key was never sent. Where one was and the device does not show it, nobody can tell whether
// the device lost power before the key was stored, or another one has it: that stamp is given up for another.
static enum ds_class claim_unsent(const ds_job *j, ds_pool_stamp *ret, ds_err *e)
{
    const ds_pool_device d = pool_device(j);
    enum ds_class rc = ds_origin_claim(j, ret, e);
    if (!rc && ret->state == DS_POOL_SENT) {
        ds_log(DS_LOG_WARN, "stamp %s is spoiled: its key was sent, and the device does not show it", ret->serial);
        rc = ds_pool_spoil(j->o->station->pool, &d, ret->serial, e);
        ds_pool_stamp_free(ret);
        if (!rc)
            rc = ds_origin_claim(j, ret, e);
    }
    if (rc || ret->state == DS_POOL_CLAIMED)
        return rc;
    ds_fail(e, DS_POLICY, "the device's stamp %s is certified, and the device does not show its key", ret->serial);
    ds_pool_stamp_free(ret);
    return ds_hint(e, "its flash was erased, or two devices show one address: set it aside and call the officer");
}

// The key of the device's stamp, sealed to it. It may be sent when this returns, and never again.
static enum ds_class unlock(ds_job *j, ds_view transport, ds_sealed_key *ret, ds_err *e)
{
    ds_pool_stamp s;
    const ds_pool_device d = pool_device(j);
    if (claim_unsent(j, &s, e))
        return e->cls;
    enum ds_class rc = ds_signer_open_stamp(j->o->signer, j->recipe->product, &s.key, transport, ret, e);
    if (rc)
        (void)ds_wrap(e, "open the stamp");
    else
        rc = ds_pool_send(j->o->station->pool, &d, s.serial, e);
    ds_pool_stamp_free(&s);
    return rc;
}

// The device holds the key of its stamp already, and this ledger does not know: another station of the pool sent it.
static enum ds_class was_sent(ds_job *j, bool *ret, ds_err *e)
{
    ds_pool_stamp s;
    *ret = false;
    if (!j->hello.has_key)
        return DS_OK;
    enum ds_class rc = ds_origin_claim(j, &s, e);
    if (rc)
        return rc;
    *ret = s.state != DS_POOL_CLAIMED && shows(j, s.key.public_key_digest);
    if (*ret)
        rc = ds_ledger_key_given(j->o->ledger, j->device.id, name_of(DS_ORIGIN_REMOTE), s.key.public_key_digest, e);
    ds_pool_stamp_free(&s);
    return rc;
}

static enum ds_class make(ds_job *j, ds_view transport, ds_sealed_key *ret, ds_err *e)
{
    enum ds_class rc = ds_signer_make_key(j->o->signer, j->recipe->product, j->recipe->key_type, transport, ret, e);
    return rc ? ds_wrap(e, "make a key") : DS_OK;
}

// One key, made or opened for this transfer. What the device holds afterwards is asked by the step's check.
static enum ds_class transfer(ds_job *j, bool replace, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf transport = {0};
    ds_sealed_key key = {0};
    if (ask_transport(j, &transport, e))
        return ds_wrap(e, "open the import");
    enum ds_class rc = j->recipe->origin == DS_ORIGIN_REMOTE ? unlock(j, ds_buf_view(&transport), &key, e)
                                                             : make(j, ds_buf_view(&transport), &key, e);
    if (!rc)
        rc = ds_ledger_key_given(j->o->ledger, j->device.id, name_of(j->recipe->origin), key.public_key_digest, e);
    if (!rc && (rc = send_key(j, &key, replace, e)) != DS_OK)
        (void)ds_wrap(e, "import the key");
    ds_buf_free(&key.sealed);
    return rc;
}

static bool is_forgotten(const ds_err *e)
{
    return e->cls == DS_DEVICE && e->code >> 24 == DEVSTAMP__STATUS_MODULE__MODULE_KEY &&
           (e->code >> 16 & 0xFF) == DEVSTAMP__STATUS_CODE__CODE_NOT_FOUND;
}

enum ds_class ds_origin_import(ds_job *j, bool replace, ds_err *e)
{
    bool there = false;
    *e = DS_ERR_INIT; // the caller asked whether there is a certificate, and "none" is an answer
    if (j->recipe->origin == DS_ORIGIN_REMOTE && (not_certified_otherwise(j, e) || was_sent(j, &there, e) || there))
        return e->cls;
    enum ds_class rc = DS_DEVICE;
    for (int i = 0; i < TRANSFERS && rc; i++) {
        if (i > 0 && !is_forgotten(e))
            break;
        *e = DS_ERR_INIT;
        rc = transfer(j, replace, e);
    }
    return rc;
}
