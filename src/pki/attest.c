// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Attestations; see attest.h. The makers' certificates do not follow RFC 5280 in everything (some have no key
// identifiers), so that OpenSSL's strict mode is not used here: signatures, CA flags, path lengths and times are
// checked all the same.
#include "src/pki/attest.h"
#include "src/pki/dn.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ARC "1.3.6.1.4.1.41482.3."

// The value of one of the maker's extensions; false where there is none, or several.
static bool extension(X509 *cert, const char *oid, ds_view *ret)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = object ? X509_get_ext_by_OBJ(cert, object, -1) : -1;
    bool one = at >= 0 && X509_get_ext_by_OBJ(cert, object, at) < 0;
    ASN1_OBJECT_free(object);
    if (!one)
        return false;
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(cert, at));
    *ret = (ds_view){ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)};
    return true;
}

bool ds_attestation_is(X509 *cert)
{
    ds_view v;
    return extension(cert, ARC "8", &v) && v.len == 2;
}

static bool read_serial(ds_view der, uint32_t *ret)
{
    const unsigned char *p = der.ptr;
    ASN1_INTEGER *number = d2i_ASN1_INTEGER(NULL, &p, (long)der.len);
    uint64_t value = 0;
    bool good = number && p == der.ptr + der.len && ASN1_INTEGER_get_uint64(&value, number) == 1 && value <= UINT32_MAX;
    ASN1_INTEGER_free(number);
    ERR_clear_error();
    *ret = (uint32_t)value;
    return good;
}

// The subject is "YubiKey PIV Attestation 9c".
static uint8_t read_slot(X509 *cert)
{
    static const char words[] = "PIV Attestation ";
    char name[128];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    const char *at = len > 0 ? strstr(name, words) : NULL;
    if (!at)
        return 0;
    char *end = NULL;
    unsigned long slot = strtoul(at + sizeof words - 1, &end, 16);
    return *end || slot > 0xFF ? 0 : (uint8_t)slot;
}

enum ds_class ds_attestation_read(X509 *leaf, ds_attestation *ret, ds_err *e)
{
    ds_attestation a = {.slot = read_slot(leaf)};
    ds_view firmware, serial, policies, form;
    EVP_PKEY *key = X509_get0_pubkey(leaf);
    if (!ds_attestation_is(leaf) || !key)
        return ds_fail(e, DS_INPUT, "the certificate is no attestation of a token's key");
    bool has_form = extension(leaf, ARC "9", &form);
    a.has_serial = extension(leaf, ARC "7", &serial);
    if (!extension(leaf, ARC "3", &firmware) || firmware.len != sizeof a.firmware ||
        !extension(leaf, ARC "8", &policies) || (a.has_serial && !read_serial(serial, &a.serial)) ||
        (has_form && form.len != 1))
        return ds_fail(e, DS_INPUT, "the attestation is damaged");
    memcpy(a.firmware, firmware.ptr, sizeof a.firmware);
    a.pin_policy = policies.ptr[0];
    a.touch_policy = policies.ptr[1];
    a.form_factor = has_form ? form.ptr[0] : 0;
    a.key_type = ds_key_type_of(key);
    enum ds_class rc = ds_public_key_digest(key, a.key_digest, e);
    if (!rc)
        *ret = a;
    return rc;
}

static bool signs_itself(X509 *cert)
{
    return X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
}

// Roots to the store, all others to what may lie in between.
static bool sort_out(const ds_attestation_check *c, X509_STORE *roots, STACK_OF(X509) * between, int *ret_roots)
{
    for (int i = 0; c->chain && i < sk_X509_num(c->chain); i++)
        if (sk_X509_push(between, sk_X509_value(c->chain, i)) <= 0)
            return false;
    *ret_roots = 0;
    for (int i = 0; i < sk_X509_num(c->maker); i++) {
        X509 *cert = sk_X509_value(c->maker, i);
        bool root = signs_itself(cert);
        *ret_roots += root;
        if (root ? X509_STORE_add_cert(roots, cert) != 1 : sk_X509_push(between, cert) <= 0)
            return false;
    }
    return true;
}

static enum ds_class follow(const ds_attestation_check *c, X509_STORE *roots, STACK_OF(X509) * between,
                            ds_attestation *a, ds_err *e)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    enum ds_class rc = DS_OK;
    if (!ctx || X509_STORE_CTX_init(ctx, roots, c->leaf, between) != 1) {
        rc = ds_ossl_fail(e, DS_INTERNAL, "verify attestation");
    } else {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_time(param, (time_t)c->at_utc);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CHECK_SS_SIGNATURE);
        if (X509_verify_cert(ctx) != 1)
            rc = ds_hint((ds_fail(e, DS_POLICY, "the attestation does not lead to the maker's root: %s",
                                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx))),
                          e),
                         "trust nothing that is said of this key; have the maker's root from the maker itself");
    }
    STACK_OF(X509) *path = rc ? NULL : X509_STORE_CTX_get0_chain(ctx);
    if (!rc && sk_X509_num(path) < 2)
        rc = ds_fail(e, DS_POLICY, "the attestation is its own root");
    if (!rc)
        rc =
            ds_dn_text(X509_get_subject_name(sk_X509_value(path, sk_X509_num(path) - 1)), a->maker, sizeof a->maker, e);
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return rc;
}

enum ds_class ds_attestation_verify(const ds_attestation_check *c, ds_attestation *ret, ds_err *e)
{
    ds_attestation a;
    uint8_t digest[32];
    int root_count = 0;
    enum ds_class rc = ds_attestation_read(c->leaf, &a, e);
    if (!rc)
        rc = ds_public_key_digest(c->key, digest, e);
    if (rc)
        return rc;
    X509_STORE *roots = X509_STORE_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    if (!roots || !between || !sort_out(c, roots, between, &root_count))
        rc = ds_ossl_fail(e, DS_INTERNAL, "verify attestation");
    else if (root_count == 0)
        rc = ds_hint((ds_fail(e, DS_INPUT, "none of the maker's certificates is a root"), e),
                     "give the root that the maker publishes, with the certificates between if there are any");
    else
        rc = follow(c, roots, between, &a, e);
    sk_X509_free(between);
    X509_STORE_free(roots);
    if (!rc && memcmp(digest, a.key_digest, sizeof digest) != 0)
        rc = ds_hint((ds_fail(e, DS_POLICY, "the attestation is of another key"), e),
                     "give the attestation of the Sub CA's key");
    if (!rc)
        *ret = a;
    return rc;
}

static const char *name_of(const char *const *names, uint8_t value, size_t count)
{
    return value < count && names[value] ? names[value] : "one that is not known here";
}

const char *ds_pin_policy_name(uint8_t policy)
{
    static const char *const names[] = {NULL, "never", "once", "always", "fingerprint, once", "fingerprint, always"};
    return name_of(names, policy, sizeof names / sizeof *names);
}

const char *ds_touch_policy_name(uint8_t policy)
{
    static const char *const names[] = {NULL, "never", "always", "cached"};
    return name_of(names, policy, sizeof names / sizeof *names);
}
