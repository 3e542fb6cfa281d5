// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Verification certificates, the child's side; see ceremony.h. What this ceremony signs can be nothing but that: a
// common name of 64 hex digits, no extended key usage, a key that nobody has, valid for three days at most. Source: AWS
// IoT Core Developer Guide, "Register your CA certificate".
#include "src/signer/ceremony.h"

#include "src/pki/dn.h"
#include "src/signer/issuer.h"
#include "src/signer/sandbox.h"

#include <openssl/x509v3.h>
#include <string.h>

enum { CODE_LEN = 64, LONGEST_S = 3 * 86400 };

typedef struct work {
    const Devstamp__Signer__MakeVerification *req;
    X509 *ca;
    ds_cert_info info;
    X509_NAME *subject;
    ds_log_file *log;
    ds_pin pin;
    ds_key *key;
} work;

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static enum ds_class check_subject(work *w, ds_err *e)
{
    enum ds_class rc = ds_dn_parse(w->req->subject, &w->subject, e);
    if (rc)
        return rc;
    int at = X509_NAME_get_index_by_NID(w->subject, NID_commonName, -1);
    const ASN1_STRING *name = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(w->subject, at));
    const unsigned char *text = name ? ASN1_STRING_get0_data(name) : NULL;
    bool good =
        name && ASN1_STRING_length(name) == CODE_LEN && X509_NAME_get_index_by_NID(w->subject, NID_commonName, at) < 0;
    for (size_t i = 0; good && i < CODE_LEN; i++)
        good = is_hex((char)text[i]);
    return good ? DS_OK
                : ds_fail(e, DS_POLICY,
                          "a verification certificate's common name is a registration code, 64 hex digits");
}

static enum ds_class read_ca(work *w, ds_err *e)
{
    int64_t from = w->req->not_before_utc, to = w->req->not_after_utc;
    enum ds_class rc = ds_cert_read(w->req->certificate, &w->ca, e);
    if (!rc)
        rc = ds_cert_describe(w->ca, &w->info, e);
    if (!rc && (!w->info.ca || !(w->info.key_usage & KU_KEY_CERT_SIGN)))
        rc = ds_fail(e, DS_INPUT, "%s is not a CA that may sign certificates", w->info.subject);
    if (!rc && (from >= to || to - from > LONGEST_S))
        rc = ds_fail(e, DS_POLICY, "a verification certificate is valid for three days at most");
    if (!rc && (from < w->info.not_before_utc || to > w->info.not_after_utc))
        rc = ds_fail(e, DS_POLICY, "the validity demanded is not within the CA's");
    return rc ? rc : check_subject(w, e);
}

static enum ds_class open_log(work *w, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s.verification.log", w->req->stem);
    enum ds_class rc = ds_log_open(path, w->info.fingerprint, &w->log, e);
    return rc ? ds_wrap(e, "verification log") : DS_OK;
}

static enum ds_class open_key(work *w, const ds_signer_config *access, ds_err *e)
{
    uint8_t digest[32];
    bool token = false;
    enum ds_class rc = ds_key_uri_check(w->req->key, &token, e);
    if (!rc)
        rc = ds_issuer_read_pin(access, w->req->stem, &w->pin, e);
    const ds_key_source src = {w->req->key, access->module, &w->pin.secret, &w->pin.note, access->token_serial};
    if (!rc)
        rc = ds_key_open(&src, &w->key, e);
    if (!rc)
        rc = ds_public_key_digest(ds_key_public(w->key), digest, e);
    if (!rc && memcmp(digest, w->info.public_key_digest, 32) != 0)
        rc = ds_hint((ds_fail(e, DS_INPUT, "the certificate of %s belongs to another key", w->info.subject), e),
                     "name the key that was made with this certificate");
    return rc;
}

static enum ds_class sign(work *w, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_PKEY EVP_PKEY *forgotten = NULL;
    DS_CLEANUP_X509 X509 *cert = NULL;
    uint8_t serial[16];
    enum ds_class rc = ds_key_make(DS_KEY_ECDSA_P256, &forgotten, e);
    if (rc)
        return rc;
    ds_random(serial, sizeof serial);
    const ds_cert_spec spec = {.kind = DS_CERT_VERIFICATION,
                               .subject = w->subject,
                               .public_key = forgotten,
                               .serial = serial,
                               .not_before_utc = w->req->not_before_utc,
                               .not_after_utc = w->req->not_after_utc};
    rc = ds_key_ready(w->key, e);
    if (!rc && ds_cert_make(&spec, w->ca, ds_key_private(w->key), ds_key_public(w->key), &cert, e))
        rc = ds_key_failed(w->key, e);
    if (!rc)
        rc = ds_issuer_record(w->log, cert, serial, "verification", ret, e);
    return rc ? rc : ds_log_put_head(w->log, NULL, e);
}

static void release(work *w)
{
    X509_NAME_free(w->subject);
    X509_free(w->ca);
    ds_key_free(w->key);
    ds_pin_free(&w->pin);
    ds_log_close(w->log);
}

enum ds_class ds_ceremony_hold_verification(const ds_signer_config *access,
                                            const Devstamp__Signer__MakeVerification *req, ds_ceremony_result *ret,
                                            ds_err *e)
{
    work w = {.req = req};
    enum ds_class rc = read_ca(&w, e);
    if (!rc)
        rc = open_log(&w, e);
    if (!rc)
        rc = open_key(&w, access, e);
    if (!rc)
        rc = ds_sandbox_enter(e);
    if (!rc)
        rc = sign(&w, &ret->certificate, e);
    release(&w);
    return rc;
}
