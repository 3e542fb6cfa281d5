// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Steps 4 and 5: the device's request, and its certificate. Write-ahead in the ledger, then sign, then confirm: a
// certificate that was signed is never lost and never issued twice for one stamp.
#include "src/station/job.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/pki/cert.h"
#include "src/pki/csr.h"
#include "src/pki/dn.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static const int64_t NO_EXPIRY = 253402300799; // RFC 5280, 4.1.2.5: 99991231235959Z

// What the ledger has for this device into j->cert; its id is 0 where it has none.
static enum ds_class recall(ds_job *j, ds_err *e)
{
    ds_ledger_cert_free(&j->cert);
    j->cert = (ds_ledger_cert){0};
    ds_err none = DS_ERR_INIT;
    enum ds_class rc = ds_ledger_cert_of(j->o->ledger, j->device.id, &j->cert, &none);
    if (rc == DS_OK || rc == DS_INPUT) // DS_INPUT: there is none
        return DS_OK;
    *e = none;
    return rc;
}

static bool ledger_has_this_key(const ds_job *j)
{
    return j->cert.id && j->hello.has_key && memcmp(j->cert.public_key_digest, j->hello.key_digest, 32) == 0;
}

// A certificate that was signed under an earlier recipe is not quietly shipped under this one.
static enum ds_class signed_as_demanded(ds_job *j, ds_err *e)
{
    char subject[256];
    if (ds_recipe_subject(j->recipe, j->device.serial, j->hello.mac, subject, e))
        return e->cls;
    if (strcmp(subject, j->cert.subject) == 0)
        return DS_OK;
    return ds_hint(
        (ds_fail(e, DS_POLICY, "its certificate is for %s, the recipe demands %s", j->cert.subject, subject), e),
        "use the recipe it was begun with, or revoke (devstamp ledger revoke) and erase its flash");
}

enum ds_class ds_step_csr_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    if (!j->has_hello && ds_job_hello(j, 3000, e))
        return e->cls;
    if (recall(j, e))
        return e->cls;
    // A reservation that was never signed is asked for again, since the recipe may have been corrected meanwhile.
    *ret = ledger_has_this_key(j) && j->cert.state > DS_LEDGER_RESERVED ? DS_ALREADY : DS_READY;
    if (*ret == DS_ALREADY)
        return signed_as_demanded(j, e);
    if (j->hello.stage >= DEVSTAMP__STAGE__STAGE_CERTIFIED)
        return ds_hint((ds_fail(e, DS_POLICY, "the device holds a certificate that is not live in this ledger"), e),
                       "made elsewhere: use that station's ledger; revoked here: erase the device's flash first");
    return DS_OK;
}

static enum ds_class ask_csr(ds_job *j, const char *subject, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *text = ds_strdup(subject);
    Devstamp__MakeCsr make = DEVSTAMP__MAKE_CSR__INIT;
    make.subject = text;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_MAKE_CSR;
    req.make_csr = &make;
    Devstamp__Response *r = NULL;
    if (ds_job_call(j, &req, 15000, &r, e))
        return e->cls;
    enum ds_class rc = DS_OK;
    if (r->body_case == DEVSTAMP__RESPONSE__BODY_CSR)
        ds_buf_add(ret, r->csr->csr.data, r->csr->csr.len);
    else
        rc = ds_fail(e, DS_DEVICE, "the agent answered with something else");
    devstamp__response__free_unpacked(r, NULL);
    return rc;
}

static enum ds_class same_subject(const char *is, const char *must, ds_err *e)
{
    X509_NAME *a = NULL, *b = NULL;
    bool same = !ds_dn_parse(is, &a, e) && !ds_dn_parse(must, &b, e) && ds_dn_equal(a, b);
    X509_NAME_free(a);
    X509_NAME_free(b);
    return same ? DS_OK : ds_fail(e, DS_POLICY, "the request is for %s, asked was %s", is, must);
}

static enum ds_class check_csr(const ds_job *j, ds_view csr, const char *subject, ds_csr_info *info, ds_err *e)
{
    if (ds_csr_check(csr, info, e))
        return ds_wrap(e, "the device's request");
    if (info->key_type != j->recipe->key_type)
        return ds_fail(e, DS_POLICY, "the request's key is not of the recipe's type");
    if (memcmp(info->public_key_digest, j->hello.key_digest, 32) != 0)
        return ds_fail(e, DS_POLICY, "the request is for another key than the device's hello showed");
    return same_subject(info->subject, subject, e);
}

enum ds_class ds_step_csr_apply(ds_job *j, ds_err *e)
{
    if (j->recipe->origin == DS_ORIGIN_REMOTE) // its stamp has a certificate
        return ds_origin_adopt(j, e);
    char subject[256];
    if (ds_ledger_device_serial(j->o->ledger, j->device.id, j->recipe->serial_format, j->device.serial, e) ||
        ds_recipe_subject(j->recipe, j->device.serial, j->hello.mac, subject, e))
        return e->cls;
    DS_CLEANUP_BUF ds_buf csr = {0};
    ds_csr_info info;
    if (ask_csr(j, subject, &csr, e) || check_csr(j, ds_buf_view(&csr), subject, &info, e))
        return e->cls;
    int64_t now = ds_utc_now();
    const ds_ledger_reserve r = {
        .device = j->device.id,
        .slot = j->slot->name,
        .csr = ds_buf_view(&csr),
        .public_key_digest = info.public_key_digest,
        .subject = subject,
        .not_before_utc = now - 3600, // a device whose clock is an hour behind still connects
        .not_after_utc = j->recipe->certificate_days ? now + (int64_t)j->recipe->certificate_days * 86400 : NO_EXPIRY,
        .asked_of = j->o->station->est.url,
    };
    ds_ledger_cert_free(&j->cert);
    return ds_ledger_cert_reserve(j->o->ledger, &r, &j->cert, e);
}

enum ds_class ds_step_csr_check(ds_job *j, ds_err *e)
{
    if (recall(j, e))
        return e->cls;
    if (!ledger_has_this_key(j))
        return ds_fail(e, DS_STORE, "the ledger does not show the request it was given");
    if (ds_ledger_device_serial(j->o->ledger, j->device.id, j->recipe->serial_format, j->device.serial, e))
        return e->cls;
    snprintf(j->result->serial, sizeof j->result->serial, "%s", j->device.serial);
    return DS_OK;
}

enum ds_class ds_step_certificate_precondition(ds_job *j, enum ds_ready *ret, ds_err *e)
{
    const ds_hello *h = &j->hello;
    bool same = h->has_certificate && j->cert.state >= DS_LEDGER_SIGNED &&
                memcmp(h->certificate_digest, j->cert.fingerprint, 32) == 0;
    *ret = same && j->cert.state >= DS_LEDGER_INSTALLED ? DS_ALREADY : DS_READY;
    if (h->is_app && !same)
        return ds_fail(e, DS_POLICY, "the running app shows a certificate that is not the ledger's");
    return DS_OK;
}

// The signer waits for a hand: whoever stands at the line must see for which slot, before the token gives up.
static void say_touch(void *arg)
{
    ds_job_say(arg, "touch the token");
}

// A CA elsewhere is about to be asked: what it signs and we never hear of has its trace at least.
static enum ds_class write_down_request(const ds_job *j, ds_err *e)
{
    unsigned before = 0;
    if (!j->o->station->est.url != !j->cert.elsewhere)
        return ds_fail(e, DS_POLICY, "the certificate was asked of another CA than the station file names");
    if (!j->cert.elsewhere)
        return DS_OK;
    if (ds_ledger_cert_asked(j->o->ledger, j->cert.id, j->o->station->est.url, &before, e))
        return e->cls;
    if (before)
        ds_log(DS_LOG_WARN,
               "slot %s: %s: its certificate was asked for before (%u time%s) and may have been signed then "
               "(docs/est.md)",
               j->slot->name, j->device.serial, before, before == 1 ? "" : "s");
    return DS_OK;
}

// Serial number and dates are the certificate's own.
static enum ds_class receive(const ds_job *j, ds_view der, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_cert_info info;
    char serial[2 * sizeof info.serial + 1];
    if (ds_cert_parse(der, &cert, e) || ds_cert_describe(cert, &info, e))
        return e->cls;
    ds_hex(info.serial, info.serial_len, serial);
    const ds_ledger_received r = {der, serial, info.not_before_utc, info.not_after_utc};
    return ds_ledger_cert_received(j->o->ledger, j->cert.id, &r, e);
}

static enum ds_class sign(ds_job *j, ds_err *e)
{
    char mac[13];
    ds_hex(j->hello.mac, 6, mac);
    if (write_down_request(j, e))
        return e->cls;
    const ds_sign_request req = {
        .csr = ds_buf_view(&j->cert.csr),
        .serial = j->cert.serial,
        .not_before_utc = j->cert.not_before_utc,
        .not_after_utc = j->cert.not_after_utc,
        .subject = j->cert.subject,
        .key_type = j->recipe->key_type,
        .recipe = j->recipe->product,
        .device_serial = j->device.serial,
        .mac = mac,
        .on_touch = say_touch,
        .arg = j,
    };
    DS_CLEANUP_BUF ds_buf der = {0};
    int64_t begun_ms = ds_now_ms();
    enum ds_class rc = ds_signer_sign(j->o->signer, &req, &der, e);
    j->deadline_ms += ds_now_ms() - begun_ms; // which has deadlines of its own: the step's is the device's
    ds_job_say(j, "");
    if (rc)
        return ds_wrap(e, "sign");
    if (j->cert.elsewhere ? receive(j, ds_buf_view(&der), e)
                          : ds_ledger_cert_signed(j->o->ledger, j->cert.id, ds_buf_view(&der), e))
        return e->cls;
    if (recall(j, e))
        return e->cls;
    return j->cert.id ? DS_OK : ds_fail(e, DS_STORE, "the ledger lost the certificate it confirmed");
}

static enum ds_class write_chain_by(ds_job *j, const ds_buf *above, size_t count, ds_err *e)
{
    ProtobufCBinaryData certs[1 + DS_SIGNER_CHAIN_MAX] = {{j->cert.certificate.len, j->cert.certificate.ptr}};
    for (size_t i = 0; i < count; i++)
        certs[1 + i] = (ProtobufCBinaryData){above[i].len, above[i].ptr};
    Devstamp__WriteChain chain = DEVSTAMP__WRITE_CHAIN__INIT;
    chain.n_certificate = 1 + count;
    chain.certificate = certs;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_WRITE_CHAIN;
    req.write_chain = &chain;
    j->has_hello = false;
    return ds_job_do(j, &req, 5000, e);
}

static enum ds_class write_signers_chain(ds_job *j, ds_err *e)
{
    ds_signer_chain above;
    enum ds_class rc = ds_signer_chain_of(j->o->signer, ds_buf_view(&j->cert.certificate), &above, e);
    if (!rc)
        rc = write_chain_by(j, above.der, above.count, e);
    ds_signer_chain_free(&above);
    return rc;
}

static enum ds_class write_chain(ds_job *j, ds_err *e)
{
    ds_pool_stamp s;
    if (j->recipe->origin != DS_ORIGIN_REMOTE)
        return write_signers_chain(j, e);
    if (ds_origin_claim(j, &s, e))
        return e->cls;
    enum ds_class rc = write_chain_by(j, &s.issuer, 1, e);
    ds_pool_stamp_free(&s);
    return rc;
}

// The digest of what the device reads back, computed here over the bytes it sends, not taken from its word.
static enum ds_class read_back(ds_job *j, uint8_t digest[32], ds_err *e)
{
    Devstamp__ReadChain read = DEVSTAMP__READ_CHAIN__INIT;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_READ_CHAIN;
    req.read_chain = &read;
    Devstamp__Response *r = NULL;
    if (ds_job_call(j, &req, 3000, &r, e))
        return e->cls;
    enum ds_class rc = DS_OK;
    if (r->body_case == DEVSTAMP__RESPONSE__BODY_CHAIN && r->chain->n_certificate > 0)
        SHA256(r->chain->certificate[0].data, r->chain->certificate[0].len, digest);
    else
        rc = ds_fail(e, DS_DEVICE, "the device reads back no certificate");
    devstamp__response__free_unpacked(r, NULL);
    return rc;
}

enum ds_class ds_step_certificate_apply(ds_job *j, ds_err *e)
{
    if (j->cert.state == DS_LEDGER_RESERVED && sign(j, e))
        return e->cls;
    uint8_t digest[32];
    if (!j->hello.is_app) { // an app on its way to be sealed has it, and takes no other
        if (write_chain(j, e))
            return ds_wrap(e, "write");
        if (read_back(j, digest, e))
            return ds_wrap(e, "read back");
    } else {
        memcpy(digest, j->hello.certificate_digest, sizeof digest);
    }
    return ds_ledger_cert_installed(j->o->ledger, j->cert.id, digest, e);
}

enum ds_class ds_step_certificate_check(ds_job *j, ds_err *e)
{
    if (recall(j, e))
        return e->cls;
    if (j->cert.state < DS_LEDGER_INSTALLED)
        return ds_fail(e, DS_STORE, "the ledger does not show the certificate as installed");
    if (!j->has_hello && ds_job_hello(j, 3000, e))
        return e->cls;
    if (!j->hello.has_certificate || memcmp(j->hello.certificate_digest, j->cert.fingerprint, 32) != 0)
        return ds_fail(e, DS_DEVICE, "the device does not show the certificate it was given");
    return DS_OK;
}
