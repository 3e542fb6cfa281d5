// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Asking for the signed report of proto/stamp.proto, and verifying it: ECDSA with DER-coded signatures, or RSA PKCS#1
// v1.5 (RFC 8017, section 8.2), with the digest that the device's certificate request is signed with too.
#include "src/station/evidence.h"

#include "src/base/secret.h"
#include "src/pki/keytype.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static const char tag[] = "devstamp report 1"; // its NUL is signed too

void ds_evidence_free(ds_evidence *v)
{
    ds_buf_free(&v->evidence);
    ds_buf_free(&v->signature);
    if (v->says)
        devstamp__evidence__free_unpacked(v->says, NULL);
    *v = (ds_evidence){0};
}

static enum ds_class take(const Devstamp__Response *r, ds_evidence *ret, ds_err *e)
{
    if (r->body_case != DEVSTAMP__RESPONSE__BODY_REPORT)
        return ds_fail(e, DS_DEVICE, "the agent answered report with something else");
    const Devstamp__ReportReply *m = r->report;
    ds_buf_add(&ret->evidence, m->evidence.data, m->evidence.len);
    ds_buf_add(&ret->signature, m->signature.data, m->signature.len);
    ret->says = devstamp__evidence__unpack(NULL, ret->evidence.len, ret->evidence.ptr);
    if (!ret->says || !ret->evidence.len)
        return ds_hint((ds_fail(e, DS_DEVICE, "the evidence in the agent's report cannot be read"), e),
                       "use firmware and devstamp of the same release");
    return DS_OK;
}

enum ds_class ds_evidence_ask(ds_job *j, int try_ms, ds_evidence *ret, ds_err *e)
{
    *ret = (ds_evidence){0};
    ds_random(ret->nonce, sizeof ret->nonce);
    Devstamp__Report report = DEVSTAMP__REPORT__INIT;
    report.nonce = (ProtobufCBinaryData){sizeof ret->nonce, ret->nonce};
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_REPORT;
    req.report = &report;
    Devstamp__Response *r = NULL;
    if (ds_job_call(j, &req, try_ms, &r, e))
        return ds_wrap(e, "report");
    enum ds_class rc = take(r, ret, e);
    devstamp__response__free_unpacked(r, NULL);
    if (rc)
        ds_evidence_free(ret);
    return rc;
}

static bool signed_by(const ds_evidence *v, EVP_PKEY *key)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    // The default padding of RSA keys is PKCS#1 v1.5.
    bool ok = md && EVP_DigestVerifyInit(md, NULL, ds_key_digest_md(key), NULL, key) == 1 &&
              EVP_DigestVerifyUpdate(md, tag, sizeof tag) == 1 &&
              EVP_DigestVerifyUpdate(md, v->nonce, sizeof v->nonce) == 1 &&
              EVP_DigestVerifyUpdate(md, v->evidence.ptr, v->evidence.len) == 1 &&
              EVP_DigestVerifyFinal(md, v->signature.ptr, v->signature.len) == 1;
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return ok;
}

enum ds_class ds_evidence_verify(const ds_evidence *v, ds_view certificate, ds_err *e)
{
    const uint8_t *at = certificate.ptr;
    X509 *x = certificate.len ? d2i_X509(NULL, &at, (long)certificate.len) : NULL;
    EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;
    enum ds_class rc = DS_OK;
    if (!key)
        rc = ds_fail(e, DS_STORE, "the ledger holds no certificate to check it with");
    else if (!v->signature.len)
        rc = ds_fail(e, DS_POLICY, "not signed");
    else if (!signed_by(v, key))
        rc = ds_fail(e, DS_POLICY, "not signed with the key of the device's certificate");
    X509_free(x);
    return rc;
}
