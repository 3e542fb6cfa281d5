// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signing a CRL, the child's side; see ceremony.h. The CRL log is an issuance log (log.h) of its own beside the CRL, so
// that an issuance log holds certificates alone. Each CRL is one entry, on disk before the CRL is: serial number = the
// CRL's number, key digest = SHA-256 of the CRL's DER, recipe "crl", and in place of the certificate
//   SEQUENCE { number INTEGER, digest OCTET STRING, thisUpdate INTEGER, nextUpdate INTEGER, revoked INTEGER }
// with times in seconds since 1970 UTC and the count of revoked certificates.
#include "src/signer/ceremony.h"

#include "src/base/file.h"
#include "src/pki/crl.h"
#include "src/pki/tlv.h"
#include "src/signer/issuer.h"
#include "src/signer/sandbox.h"

#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

enum { LIST_MAX = 64 << 20, CRL_MAX = 64 << 20 };

typedef struct work {
    const Devstamp__Signer__MakeCrl *req;
    X509 *ca;
    ds_cert_info info;
    ds_buf entries;
    ds_log_file *log;
    X509_CRL *previous, *crl;
    ds_pin pin;
    ds_key *key;
    ds_buf der;
} work;

static char *named(const work *w, const char *ending)
{
    return ds_asprintf("%s%s", w->req->stem, ending);
}

static enum ds_class read_ca(work *w, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf list = {0};
    enum ds_class rc = ds_cert_read(w->req->certificate, &w->ca, e);
    if (!rc)
        rc = ds_cert_describe(w->ca, &w->info, e);
    if (!rc && (!w->info.ca || !(w->info.key_usage & KU_CRL_SIGN)))
        rc = ds_fail(e, DS_INPUT, "%s is not a CA that may sign CRLs", w->info.subject);
    if (!rc)
        rc = ds_file_read(w->req->list, LIST_MAX, &list, e);
    if (!rc && ds_crl_list_read(ds_buf_view(&list), w->info.fingerprint, &w->entries, e))
        rc = ds_wrap(e, "%s", w->req->list);
    return rc;
}

// The CRL that was handed out last: one that the log knows.
static enum ds_class read_previous(work *w, ds_err *e)
{
    DS_CLEANUP_FREE char *path = named(w, ".crl");
    DS_CLEANUP_BUF ds_buf der = {0};
    uint8_t digest[32];
    if (access(path, F_OK) != 0) {
        if (ds_log_entries(w->log) == 0 || w->req->previous_lost)
            return DS_OK;
        return ds_hint((ds_fail(e, DS_STORE, "%s is not there, and %llu CRLs were signed", path,
                                (unsigned long long)ds_log_entries(w->log)),
                        e),
                       "put the last CRL back; where none is left, --previous-lost goes on without");
    }
    enum ds_class rc = ds_file_read(path, CRL_MAX, &der, e);
    if (!rc && ds_crl_parse(ds_buf_view(&der), &w->previous, e))
        rc = ds_wrap(e, "%s", path);
    if (rc)
        return rc;
    if (EVP_Digest(der.ptr, der.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "SHA-256");
    if (!ds_log_by_key(w->log, digest))
        return ds_hint(
            (ds_fail(e, DS_POLICY, "%s is not in the CRL log: one of them was exchanged, or begun anew", path), e),
            "put back the CRL and the log (.crl.log, .crl.log.head) that belong together");
    return DS_OK;
}

static uint64_t integer(ds_view body)
{
    uint64_t v = 0;
    for (size_t i = 0; i < body.len; i++)
        v = v << 8 | body.ptr[i];
    return v;
}

// A crash between log and hand-out leaves the CRL before the last one: what that one revoked is known by its count.
static enum ds_class check_count(const work *w, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf entry = {0};
    uint64_t number = ds_log_entries(w->log), count = w->entries.len / sizeof(ds_crl_entry);
    ds_view rest, fields, part = {0};
    if (number == 0 || w->req->previous_lost)
        return DS_OK;
    enum ds_class rc = ds_log_read(w->log, ds_log_by_number(w->log, number), &entry, e);
    if (rc)
        return rc;
    rest = ds_buf_view(&entry);
    if (!ds_tlv_take(&rest, DS_TLV_SEQUENCE, &fields) || !ds_tlv_take(&fields, DS_TLV_INTEGER, &part) ||
        !ds_tlv_take(&fields, DS_TLV_OCTET_STRING, &part) || !ds_tlv_take(&fields, DS_TLV_INTEGER, &part) ||
        !ds_tlv_take(&fields, DS_TLV_INTEGER, &part) || !ds_tlv_take(&fields, DS_TLV_INTEGER, &part))
        return ds_fail(e, DS_STORE, "the CRL log's last entry is none of a CRL");
    if (integer(part) <= count)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "the last CRL that was signed revoked %llu certificates, this one would %llu",
                            (unsigned long long)integer(part), (unsigned long long)count),
                    e),
                   "nothing revoked comes back: name every ledger, and the newest copy of each");
}

static enum ds_class open_log(work *w, ds_err *e)
{
    DS_CLEANUP_FREE char *path = named(w, ".crl.log");
    enum ds_class rc = ds_log_open(path, w->info.fingerprint, &w->log, e);
    if (rc)
        return ds_wrap(e, "CRL log");
    rc = read_previous(w, e);
    return rc ? rc : check_count(w, e);
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

// An INTEGER of a number that is not negative.
static void add_integer(ds_buf *out, uint64_t v)
{
    uint8_t bytes[9] = {0};
    size_t first = 8;
    for (size_t i = 8; i > 0; i--, v >>= 8)
        if ((bytes[i] = (uint8_t)v) != 0)
            first = i;
    first -= bytes[first] & 0x80 ? 1 : 0;
    ds_buf_add_u8(out, 0x02);
    ds_buf_add_u8(out, (uint8_t)(9 - first));
    ds_buf_add(out, bytes + first, 9 - first);
}

static enum ds_class record(work *w, uint64_t number, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf body = {0}, entry = {0};
    uint8_t digest[32], serial[16] = {0};
    if (EVP_Digest(w->der.ptr, w->der.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "SHA-256");
    add_integer(&body, number);
    ds_buf_add_u8(&body, 0x04);
    ds_buf_add_u8(&body, sizeof digest);
    ds_buf_add(&body, digest, sizeof digest);
    add_integer(&body, (uint64_t)w->req->this_update_utc);
    add_integer(&body, (uint64_t)w->req->next_update_utc);
    add_integer(&body, w->entries.len / sizeof(ds_crl_entry));
    ds_buf_add_u8(&entry, 0x30);
    ds_buf_add_u8(&entry, (uint8_t)body.len); // 83 at most
    ds_buf_add(&entry, body.ptr, body.len);
    for (size_t i = 0; i < 8; i++)
        serial[15 - i] = (uint8_t)(number >> 8 * i);
    enum ds_class rc = ds_log_append(w->log, &(ds_log_certificate){serial, digest, "crl", ds_buf_view(&entry)}, e);
    return rc ? rc : ds_log_put_head(w->log, NULL, e);
}

static enum ds_class hand_out(const work *w, ds_err *e)
{
    DS_CLEANUP_FREE char *der_path = named(w, ".crl"), *pem_path = named(w, ".crl.pem");
    DS_CLEANUP_BUF ds_buf pem = {0};
    enum ds_class rc = ds_crl_pem(w->crl, &pem, e);
    if (!rc)
        rc = ds_file_write(der_path, ds_buf_view(&w->der), 0644, e);
    return rc ? rc : ds_file_write(pem_path, ds_buf_view(&pem), 0644, e);
}

static enum ds_class sign(work *w, uint64_t number, ds_err *e)
{
    const ds_crl_spec spec = {
        .issuer = w->ca,
        .entries = (const ds_crl_entry *)(const void *)w->entries.ptr,
        .count = w->entries.len / sizeof(ds_crl_entry),
        .number = number,
        .this_update_utc = w->req->this_update_utc,
        .next_update_utc = w->req->next_update_utc,
    };
    if (spec.this_update_utc < w->info.not_before_utc || spec.this_update_utc > w->info.not_after_utc)
        return ds_fail(e, DS_POLICY, "the CA's certificate is not valid at the time of the CRL");
    enum ds_class rc = ds_crl_build(&spec, &w->crl, e);
    if (!rc && w->previous)
        rc = ds_crl_follows(w->crl, w->previous, e);
    if (!rc)
        rc = ds_key_ready(w->key, e);
    if (!rc && ds_crl_sign(w->crl, ds_key_private(w->key), ds_key_public(w->key), &w->der, e))
        rc = ds_key_failed(w->key, e);
    if (!rc)
        rc = record(w, number, e);
    return rc ? rc : hand_out(w, e);
}

static void release(work *w)
{
    X509_CRL_free(w->crl);
    X509_CRL_free(w->previous);
    X509_free(w->ca);
    ds_key_free(w->key);
    ds_pin_free(&w->pin);
    ds_log_close(w->log);
    ds_buf_free(&w->entries);
    ds_buf_free(&w->der);
}

enum ds_class ds_ceremony_hold_crl(const ds_signer_config *access, const Devstamp__Signer__MakeCrl *req,
                                   ds_ceremony_result *ret, ds_err *e)
{
    work w = {.req = req};
    enum ds_class rc = read_ca(&w, e);
    if (!rc)
        rc = open_log(&w, e);
    if (!rc)
        rc = open_key(&w, access, e);
    if (!rc)
        rc = ds_sandbox_enter(e);
    if (!rc) {
        ret->number = ds_log_entries(w.log) + 1;
        rc = sign(&w, ret->number, e);
    }
    release(&w);
    return rc;
}
