// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Revocation lists for the registry; see registry_import.h. Source: RFC 5280, 5.
#include "src/base/clock.h"
#include "src/cloud/internal.h"
#include "src/cloud/registry_import.h"
#include "src/pki/crl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { BATCH = 1000, NUMBER = 20 };

static enum ds_class parse(ds_view bytes, X509_CRL **ret, ds_err *e)
{
    static const char begin[] = "-----BEGIN";
    if (bytes.len < sizeof begin || memcmp(bytes.ptr, begin, sizeof begin - 1) != 0)
        return ds_crl_parse(bytes, ret, e);
    BIO *bio = BIO_new_mem_buf(bytes.ptr, (int)bytes.len);
    *ret = bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return *ret ? DS_OK : ds_ossl_fail(e, DS_INPUT, "not a CRL in PEM");
}

// Delta and partial lists, and lists for other CAs, say so in critical extensions: none is understood here.
static enum ds_class check_whole(X509_CRL *crl, ds_err *e)
{
    STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(crl);
    bool critical = false;
    for (int i = 0; i < X509_CRL_get_ext_count(crl); i++)
        critical |= X509_EXTENSION_get_critical(X509_CRL_get_ext(crl, i)) != 0;
    for (int i = 0; i < sk_X509_REVOKED_num(all); i++) {
        X509_REVOKED *one = sk_X509_REVOKED_value(all, i);
        for (int k = 0; k < X509_REVOKED_get_ext_count(one); k++)
            critical |= X509_EXTENSION_get_critical(X509_REVOKED_get_ext(one, k)) != 0;
    }
    return critical ? ds_fail(e, DS_INPUT, "it has a critical extension: take the CA's whole list, not a part of it")
                    : DS_OK;
}

static enum ds_class number_of(X509_CRL *crl, uint8_t ret[NUMBER], ds_err *e)
{
    ASN1_INTEGER *n = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    int len = n ? ASN1_STRING_length(n) : 0;
    bool good = n && ASN1_STRING_type(n) == V_ASN1_INTEGER && len <= NUMBER;
    memset(ret, 0, NUMBER);
    if (good && len > 0)
        memcpy(ret + NUMBER - len, ASN1_STRING_get0_data(n), (size_t)len);
    ASN1_INTEGER_free(n);
    return good ? DS_OK : ds_fail(e, DS_INPUT, "it has no number, or none that could be");
}

static bool signed_by(X509_CRL *crl, X509 *ca)
{
    if (X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(crl)) != 0)
        return false;
    if ((X509_get_extension_flags(ca) & EXFLAG_KUSAGE) && !(X509_get_key_usage(ca) & KU_CRL_SIGN))
        return false;
    bool good = X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
    ERR_clear_error();
    return good;
}

static enum ds_class check_number(ds_registry *r, int64_t ca, const uint8_t number[NUMBER], ds_err *e)
{
    int64_t newer = 0;
    enum ds_class rc = ds_sql_number(&r->sql, "SELECT crl_number > ? FROM ca WHERE number = ?",
                                     DS_ARGS(DS_BLOB(number, NUMBER), DS_INT(ca)), 0, &newer, e);
    if (rc || !newer)
        return rc;
    return ds_hint((ds_fail(e, DS_POLICY, "it is older than the one that was imported last"), e),
                   "take the CA's newest list");
}

static size_t serial_of(const X509_REVOKED *one, uint8_t ret[DS_REGISTRY_SERIAL])
{
    const ASN1_INTEGER *n = X509_REVOKED_get0_serialNumber(one);
    const unsigned char *p = ASN1_STRING_get0_data(n);
    size_t len = (size_t)ASN1_STRING_length(n);
    for (; len > 0 && *p == 0; p++)
        len--;
    if (len > DS_REGISTRY_SERIAL)
        return 0;
    if (len)
        memcpy(ret, p, len);
    return len;
}

static enum ds_class revoke_some(ds_registry *r, int64_t ca, X509_CRL *crl, int from, ds_registry_crl_result *ret,
                                 ds_err *e)
{
    STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(crl);
    int64_t change = 0;
    enum ds_class rc = ds_registry_count_change(r, &change, e);
    for (int i = from; !rc && i < from + BATCH && i < sk_X509_REVOKED_num(all); i++) {
        uint8_t serial[DS_REGISTRY_SERIAL];
        size_t len = serial_of(sk_X509_REVOKED_value(all, i), serial);
        rc = ds_sql_run(&r->sql, "INSERT OR IGNORE INTO revoked_serial(ca, serial, revoked_at) VALUES(?, ?, ?)",
                        DS_ARGS(DS_INT(ca), DS_BLOB(serial, len), DS_INT(ds_utc_now())), e);
        ret->fresh += !rc && ds_sql_changes(&r->sql) > 0;
        if (!rc)
            rc = ds_sql_run(&r->sql,
                            "UPDATE device SET state = 3, changed = ? WHERE ca = ? AND serial = ? AND state <> 3",
                            DS_ARGS(DS_INT(change), DS_INT(ca), DS_BLOB(serial, len)), e);
        if (!rc)
            ret->devices += (unsigned)ds_sql_changes(&r->sql);
    }
    return rc;
}

static enum ds_class revoke_devices(ds_registry *r, int64_t ca, X509_CRL *crl, ds_registry_crl_result *ret, ds_err *e)
{
    int count = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)); // -1 where there are none
    enum ds_class rc = DS_OK;
    for (int from = 0; !rc && from < count; from += BATCH) {
        rc = ds_sql_begin(&r->sql, e);
        if (!rc)
            rc = ds_sql_end(&r->sql, revoke_some(r, ca, crl, from, ret, e), e);
    }
    return rc;
}

// CAs that the list's CA signed, and that are in it.
static enum ds_class revoke_cas(ds_registry *r, size_t by, X509_CRL *crl, ds_registry_crl_result *ret, ds_err *e)
{
    static const bool off = false;
    enum ds_class rc = DS_OK;
    DS_CLEANUP_BUF ds_buf ids = {0}; // a change reads all CAs again
    for (size_t i = 0; i < r->ca_count; i++) {
        X509_REVOKED *found = NULL;
        X509 *cert = r->cas[i].cert;
        if (r->cas[i].info.active && ds_admission_issuer(cert, r->cas[by].cert, NULL) == DS_OK &&
            X509_CRL_get0_by_cert(crl, &found, cert) == 1)
            ds_buf_add(&ids, r->cas[i].info.id, 32);
    }
    ERR_clear_error();
    for (size_t at = 0; !rc && at < ids.len; at += 32) {
        rc = ds_registry_set_ca(r, ids.ptr + at, &(ds_registry_ca_change){.active = &off}, e);
        ret->cas += !rc;
    }
    return rc;
}

static enum ds_class take(ds_registry *r, size_t by, X509_CRL *crl, const uint8_t number[NUMBER],
                          ds_registry_crl_result *ret, ds_err *e)
{
    int64_t ca = r->cas[by].number;
    memcpy(ret->ca, r->cas[by].info.id, 32);
    memcpy(ret->subject, r->cas[by].info.subject, sizeof ret->subject);
    enum ds_class rc = check_number(r, ca, number, e);
    if (!rc)
        rc = revoke_devices(r, ca, crl, ret, e);
    if (!rc)
        rc = revoke_cas(r, by, crl, ret, e);
    return rc ? rc
              : ds_sql_run(&r->sql, "UPDATE ca SET crl_number = ?, crl_at = ? WHERE number = ?",
                           DS_ARGS(DS_BLOB(number, NUMBER), DS_INT(ds_utc_now()), DS_INT(ca)), e);
}

static enum ds_class run(ds_registry *r, X509_CRL *crl, int64_t now_utc, ds_registry_crl_result *ret, ds_err *e)
{
    uint8_t number[NUMBER];
    time_t now = (time_t)now_utc;
    bool found = false;
    enum ds_class rc = check_whole(crl, e);
    if (!rc)
        rc = number_of(crl, number, e);
    if (!rc)
        rc = ds_registry_refresh(r, e);
    for (size_t i = 0; !rc && i < r->ca_count; i++) { // CAs are never fewer
        if (!signed_by(crl, r->cas[i].cert))
            continue;
        found = true;
        rc = take(r, i, crl, number, ret, e);
        if (!rc)
            rc = ds_registry_refresh(r, e);
    }
    if (!rc && !found)
        rc = ds_fail(e, DS_POLICY, "no registered CA signed it");
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    int count = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl));
    ret->listed = count > 0 ? (unsigned)count : 0;
    ret->stale = next && X509_cmp_time(next, &now) < 0;
    return rc;
}

enum ds_class ds_registry_import_crl(ds_registry *r, ds_view crl, int64_t now_utc, ds_registry_crl_result *ret,
                                     ds_err *e)
{
    X509_CRL *parsed = NULL;
    *ret = (ds_registry_crl_result){0};
    enum ds_class rc = parse(crl, &parsed, e);
    if (!rc)
        rc = run(r, parsed, now_utc, ret, e);
    X509_CRL_free(parsed);
    return rc;
}
