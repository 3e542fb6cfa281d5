// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Device certificates made fast; see issue.h. Source: RFC 5280. test_pki_issue.c compares them with ds_cert_make's.
#include "src/pki/issue.h"
#include "src/pki/cert.h"
#include "src/pki/der.h"
#include "src/pki/keytype.h"
#include "src/pki/lint.h"
#include "src/pki/p256.h"
#include "src/pki/tlv.h"
#include "src/pki/token.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    INTEGER = 0x02,
    BIT_STRING = 0x03,
    OCTET_STRING = 0x04,
    UTC_TIME = 0x17,
    GENERALIZED_TIME = 0x18,
    SEQUENCE = 0x30,
    VERSION = 0xa0,
    EXTENSIONS = 0xa3,
    KEY_IDENTIFIER = 0x80, // of the authority
    URI = 0x86,            // in alternative names
};

struct ds_issuing {
    ds_buf algorithm, issuer, authority; // DER: AlgorithmIdentifier, Name, the authority key identifier's extension
    const EVP_MD *md;
    EVP_PKEY *public_key;
    ds_p256 *p256;     // NULL: another key
    X509 *constrained; // the CA where it has name constraints, else NULL
};

static const uint8_t version_3[] = {VERSION, 3, INTEGER, 1, 2};
// Extensions whose values are the same in all: basic constraints (critical, no CA), key usage (critical,
// digitalSignature), extended key usage (clientAuth).
static const uint8_t fixed_extensions[] = {0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x02, 0x30,
                                           0x00, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04,
                                           0x03, 0x02, 0x07, 0x80, 0x30, 0x13, 0x06, 0x03, 0x55, 0x1d, 0x25, 0x04, 0x0c,
                                           0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02};
static const uint8_t oid_subject_key[] = {0x06, 0x03, 0x55, 0x1d, 0x0e};
static const uint8_t oid_authority_key[] = {0x06, 0x03, 0x55, 0x1d, 0x23};
static const uint8_t oid_alternative_name[] = {0x06, 0x03, 0x55, 0x1d, 0x11};

static const uint8_t critical[] = {0x01, 0x01, 0xff};

static void add_extension(ds_buf *b, const uint8_t oid[5], bool is_critical, const ds_buf *value)
{
    DS_CLEANUP_BUF ds_buf body = {0};
    ds_buf_add(&body, oid, 5);
    if (is_critical)
        ds_buf_add(&body, critical, sizeof critical);
    ds_der_add(&body, OCTET_STRING, value->ptr, value->len);
    ds_der_add(b, SEQUENCE, body.ptr, body.len);
}

static void set_algorithm(ds_issuing *g)
{
    static const uint8_t ecdsa[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    static const uint8_t rsa[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00};
    g->md = ds_key_digest_md(g->public_key);
    if (EVP_PKEY_get_base_id(g->public_key) == EVP_PKEY_RSA) {
        ds_der_add(&g->algorithm, SEQUENCE, rsa, sizeof rsa);
        return;
    }
    ds_der_add(&g->algorithm, SEQUENCE, ecdsa, sizeof ecdsa);
    if (EVP_MD_is_a(g->md, "SHA384"))
        g->algorithm.ptr[g->algorithm.len - 1] = 0x03;
}

enum ds_class ds_issuing_new(X509 *ca, ds_issuing **ret, ds_err *e)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca);
    unsigned char *name = NULL;
    int len = i2d_X509_NAME(X509_get_subject_name(ca), &name);
    EVP_PKEY *key = X509_get_pubkey(ca);
    if (!id || len <= 0 || !key) {
        OPENSSL_free(name);
        EVP_PKEY_free(key);
        return ds_ossl_fail(e, DS_INPUT, "the CA's certificate has no key identifier");
    }
    ds_issuing *g = ds_alloc(sizeof *g);
    DS_CLEANUP_BUF ds_buf inner = {0};
    DS_CLEANUP_BUF ds_buf value = {0};
    ds_buf_add(&g->issuer, name, (size_t)len);
    OPENSSL_free(name);
    ds_der_add(&inner, KEY_IDENTIFIER, ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id));
    ds_der_add(&value, SEQUENCE, inner.ptr, inner.len);
    add_extension(&g->authority, oid_authority_key, false, &value);
    g->public_key = key;
    g->p256 = ds_p256_new(key);
    set_algorithm(g);
    if (X509_get_ext_by_NID(ca, NID_name_constraints, -1) >= 0 && X509_up_ref(ca) == 1)
        g->constrained = ca;
    *ret = g;
    return DS_OK;
}

void ds_issuing_free(ds_issuing *g)
{
    if (!g)
        return;
    ds_buf_free(&g->algorithm);
    ds_buf_free(&g->issuer);
    ds_buf_free(&g->authority);
    ds_p256_free(g->p256);
    EVP_PKEY_free(g->public_key);
    X509_free(g->constrained);
    free(g);
}

static enum ds_class add_serial(ds_buf *b, const uint8_t serial[16], ds_err *e)
{
    uint8_t padded[17] = {0};
    size_t skip = 1;
    memcpy(padded + 1, serial, 16);
    while (skip < sizeof padded && padded[skip] == 0)
        skip++;
    if (skip == sizeof padded)
        return ds_fail(e, DS_INPUT, "the serial number is zero");
    if (padded[skip] & 0x80)
        skip--;
    ds_der_add(b, INTEGER, padded + skip, sizeof padded - skip);
    return DS_OK;
}

// RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from then on.
static bool add_time(ds_buf *b, int64_t utc)
{
    char text[32];
    struct tm tm = {0};
    time_t t = (time_t)utc;
    if (!gmtime_r(&t, &tm) || tm.tm_year < 70 || tm.tm_year > 9999 - 1900)
        return false;
    bool utc_time = tm.tm_year < 150;
    int year = tm.tm_year + 1900;
    int n = snprintf(text, sizeof text, "%04d%02d%02d%02d%02d%02dZ", year, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
    if (n != 15)
        return false;
    ds_der_add(b, utc_time ? UTC_TIME : GENERALIZED_TIME, text + (utc_time ? 2 : 0), utc_time ? 13 : 15);
    return true;
}

static enum ds_class add_validity(ds_buf *b, const ds_issue_spec *spec, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf body = {0};
    if (spec->not_before_utc < 0 || spec->not_after_utc > DS_NO_EXPIRY || spec->not_before_utc >= spec->not_after_utc ||
        !add_time(&body, spec->not_before_utc) || !add_time(&body, spec->not_after_utc))
        return ds_fail(e, DS_INPUT, "the validity is not a span of time between 1970 and 9999");
    ds_der_add(b, SEQUENCE, body.ptr, body.len);
    return DS_OK;
}

// Method 1 of RFC 5280, 4.2.1.2: SHA-1 of the key's bits. An identifier, not a protection.
static enum ds_class add_key_identifier(ds_buf *b, ds_view spki, ds_err *e)
{
    ds_view body, skipped, bits;
    uint8_t hash[20];
    DS_CLEANUP_BUF ds_buf value = {0};
    if (!ds_tlv_take(&spki, SEQUENCE, &body) || !ds_tlv_take(&body, SEQUENCE, &skipped) ||
        !ds_tlv_take(&body, BIT_STRING, &bits) || bits.len < 2 ||
        EVP_Digest(bits.ptr + 1, bits.len - 1, hash, NULL, EVP_sha1(), NULL) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "key identifier");
    ds_der_add(&value, OCTET_STRING, hash, sizeof hash);
    add_extension(b, oid_subject_key, false, &value);
    return DS_OK;
}

static enum ds_class add_alternative_name(ds_buf *b, const ds_issue_spec *spec, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf inner = {0};
    DS_CLEANUP_BUF ds_buf value = {0};
    size_t len = strlen(spec->uri);
    if (!len)
        return DS_OK;
    if (len > 255)
        return ds_fail(e, DS_INPUT, "an alternative name must have 1..255 characters");
    for (const char *p = spec->uri; *p; p++)
        if (*p <= 0x20 || *p > 0x7e)
            return ds_fail(e, DS_INPUT, "an alternative name must be plain ASCII without spaces");
    ds_der_add(&inner, URI, spec->uri, len);
    ds_der_add(&value, SEQUENCE, inner.ptr, inner.len);
    add_extension(b, oid_alternative_name, X509_NAME_entry_count(spec->subject) == 0, &value);
    return DS_OK;
}

static enum ds_class add_extensions(ds_buf *b, const ds_issuing *g, const ds_issue_spec *spec, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf list = {0};
    DS_CLEANUP_BUF ds_buf sequence = {0};
    ds_buf_add(&list, fixed_extensions, sizeof fixed_extensions);
    enum ds_class rc = add_key_identifier(&list, spec->spki, e);
    ds_buf_add(&list, g->authority.ptr, g->authority.len);
    if (!rc)
        rc = add_alternative_name(&list, spec, e);
    ds_der_add(&sequence, SEQUENCE, list.ptr, list.len);
    ds_der_add(b, EXTENSIONS, sequence.ptr, sequence.len);
    return rc;
}

static enum ds_class build(const ds_issuing *g, const ds_issue_spec *spec, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf body = {0};
    unsigned char *name = NULL;
    ds_buf_add(&body, version_3, sizeof version_3);
    enum ds_class rc = add_serial(&body, spec->serial, e);
    ds_buf_add(&body, g->algorithm.ptr, g->algorithm.len);
    ds_buf_add(&body, g->issuer.ptr, g->issuer.len);
    if (!rc)
        rc = add_validity(&body, spec, e);
    int len = i2d_X509_NAME(spec->subject, &name);
    if (!rc && len <= 0)
        rc = ds_ossl_fail(e, DS_INTERNAL, "subject");
    if (len > 0)
        ds_buf_add(&body, name, (size_t)len);
    OPENSSL_free(name);
    ds_buf_add(&body, spec->spki.ptr, spec->spki.len);
    if (!rc)
        rc = add_extensions(&body, g, spec, e);
    if (!rc)
        ds_der_add(ret, SEQUENCE, body.ptr, body.len);
    return rc;
}

static bool verify(const ds_issuing *g, const ds_buf *tbs, ds_view signature)
{
    uint8_t digest[32];
    if (g->p256)
        return EVP_Digest(tbs->ptr, tbs->len, digest, NULL, g->md, NULL) == 1 &&
               ds_p256_verify(g->p256, digest, signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, g->md, NULL, g->public_key) == 1 &&
                EVP_DigestVerify(ctx, signature.ptr, signature.len, tbs->ptr, tbs->len) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static enum ds_class sign(const ds_issuing *g, EVP_PKEY *key, const ds_buf *tbs, uint8_t signature[1024], size_t *len,
                          ds_err *e)
{
    ERR_clear_error();
    *len = 1024;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool made = ctx && EVP_DigestSignInit(ctx, NULL, g->md, NULL, key) == 1 &&
                EVP_DigestSign(ctx, signature, len, tbs->ptr, tbs->len) == 1;
    EVP_MD_CTX_free(ctx);
    if (!made)
        return ds_token_hint((ds_ossl_fail(e, DS_TOKEN, "sign certificate"), e));
    ERR_clear_error(); // libp11 leaves what it tried in vain
    if (!verify(g, tbs, (ds_view){signature, *len}))
        return ds_ossl_fail(e, DS_TOKEN, "the signature that was made does not verify");
    return DS_OK;
}

static void add_signature(const ds_issuing *g, ds_view signature, ds_buf *body, ds_buf *ret)
{
    ds_buf_add(body, g->algorithm.ptr, g->algorithm.len);
    ds_der_head(body, BIT_STRING, signature.len + 1);
    ds_buf_add_u8(body, 0);
    ds_buf_add(body, signature.ptr, signature.len);
    ds_der_add(ret, SEQUENCE, body->ptr, body->len);
}

// Before anything is signed, and so with a signature that is none.
static enum ds_class check_constraints(const ds_issuing *g, const ds_buf *tbs, ds_err *e)
{
    static const uint8_t none[] = {0};
    DS_CLEANUP_X509 X509 *cert = NULL;
    DS_CLEANUP_BUF ds_buf body = {0}, der = {0};
    if (!g->constrained)
        return DS_OK;
    ds_buf_add(&body, tbs->ptr, tbs->len);
    add_signature(g, (ds_view){none, sizeof none}, &body, &der);
    enum ds_class rc = ds_cert_parse(ds_buf_view(&der), &cert, e);
    return rc ? rc : ds_constraints_check(cert, g->constrained, e);
}

enum ds_class ds_issue(const ds_issuing *g, EVP_PKEY *private_key, const ds_issue_spec *spec, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf body = {0};
    uint8_t signature[1024];
    size_t len = 0;
    enum ds_class rc = build(g, spec, &body, e);
    if (!rc)
        rc = ds_lint_demand_tbs(ds_buf_view(&body), e);
    if (!rc)
        rc = check_constraints(g, &body, e);
    if (!rc)
        rc = sign(g, private_key, &body, signature, &len, e);
    if (!rc)
        add_signature(g, (ds_view){signature, len}, &body, ret);
    return rc;
}
