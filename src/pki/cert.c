// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Building and signing certificates; see cert.h. Every extension is built by hand from checked parts: nothing a request
// or a recipe says is ever read as OpenSSL configuration.
#include "src/pki/cert.h"
#include "src/pki/lint.h"
#include "src/pki/token.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

void ds_cert_serial(const uint8_t given[16], uint8_t ret[16])
{
    memcpy(ret, given, 16);
    ret[0] &= 0x7f;
}

static enum ds_class set_serial(X509 *cert, const uint8_t given[16], ds_err *e)
{
    uint8_t serial[16];
    ds_cert_serial(given, serial);
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    bool zero = number && BN_is_zero(number);
    bool good = number && !zero && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    if (zero)
        return ds_fail(e, DS_INPUT, "the serial number is zero");
    return good ? DS_OK : ds_ossl_fail(e, DS_INTERNAL, "serial number");
}

static enum ds_class set_times(X509 *cert, const ds_cert_spec *spec, ds_err *e)
{
    if (spec->not_before_utc < 0 || spec->not_after_utc > DS_NO_EXPIRY || spec->not_before_utc >= spec->not_after_utc)
        return ds_fail(e, DS_INPUT, "the validity is not a span of time between 1970 and 9999");
    if (!ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)spec->not_before_utc) ||
        !ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)spec->not_after_utc))
        return ds_ossl_fail(e, DS_INTERNAL, "validity");
    return DS_OK;
}

static bool add(X509 *cert, int nid, void *value, bool critical)
{
    return X509_add1_ext_i2d(cert, nid, value, critical, X509V3_ADD_DEFAULT) == 1;
}

static bool add_basic_constraints(X509 *cert, enum ds_cert_kind kind)
{
    BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
    if (!bc)
        return false;
    bc->ca = kind == DS_CERT_ROOT || kind == DS_CERT_SUB_CA ? 0xff : 0;
    if (kind == DS_CERT_SUB_CA)
        bc->pathlen = ASN1_INTEGER_new();
    bool good = (kind != DS_CERT_SUB_CA || (bc->pathlen && ASN1_INTEGER_set(bc->pathlen, 0) == 1)) &&
                add(cert, NID_basic_constraints, bc, true);
    BASIC_CONSTRAINTS_free(bc);
    return good;
}

static bool add_key_usage(X509 *cert, enum ds_cert_kind kind)
{
    enum { DIGITAL_SIGNATURE = 0, KEY_CERT_SIGN = 5, CRL_SIGN = 6 }; // bit numbers of RFC 5280, 4.2.1.3
    bool ca = kind == DS_CERT_ROOT || kind == DS_CERT_SUB_CA;
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool good = bits && (ca ? ASN1_BIT_STRING_set_bit(bits, KEY_CERT_SIGN, 1) == 1 &&
                                  ASN1_BIT_STRING_set_bit(bits, CRL_SIGN, 1) == 1
                            : ASN1_BIT_STRING_set_bit(bits, DIGITAL_SIGNATURE, 1) == 1);
    good = good && add(cert, NID_key_usage, bits, true);
    ASN1_BIT_STRING_free(bits);
    return good;
}

static bool add_extended_key_usage(X509 *cert, enum ds_cert_kind kind)
{
    if (kind == DS_CERT_ROOT || kind == DS_CERT_SUB_CA || kind == DS_CERT_VERIFICATION)
        return true;
    EXTENDED_KEY_USAGE *usages = sk_ASN1_OBJECT_new_null();
    ASN1_OBJECT *usage = OBJ_nid2obj(kind == DS_CERT_DEVICE ? NID_client_auth : NID_server_auth);
    bool good = usages && sk_ASN1_OBJECT_push(usages, usage) > 0 && add(cert, NID_ext_key_usage, usages, false);
    sk_ASN1_OBJECT_free(usages);
    return good;
}

// Method 1 of RFC 5280, 4.2.1.2: SHA-1 of the key's bits. An identifier, not a protection.
static ASN1_OCTET_STRING *key_identifier(EVP_PKEY *key)
{
    X509_PUBKEY *spki = NULL;
    const unsigned char *bits = NULL;
    int len = 0;
    uint8_t hash[20];
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    bool good = id && X509_PUBKEY_set(&spki, key) == 1 && X509_PUBKEY_get0_param(NULL, &bits, &len, NULL, spki) == 1 &&
                EVP_Digest(bits, (size_t)len, hash, NULL, EVP_sha1(), NULL) == 1 &&
                ASN1_OCTET_STRING_set(id, hash, sizeof hash) == 1;
    X509_PUBKEY_free(spki);
    if (good)
        return id;
    ASN1_OCTET_STRING_free(id);
    return NULL;
}

static bool add_key_identifiers(X509 *cert, const ds_cert_spec *spec, X509 *issuer)
{
    ASN1_OCTET_STRING *own = key_identifier(spec->public_key);
    bool good = own && add(cert, NID_subject_key_identifier, own, false);
    ASN1_OCTET_STRING_free(own);
    if (!good || !issuer)
        return good;
    const ASN1_OCTET_STRING *theirs = X509_get0_subject_key_id(issuer);
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    if (authority)
        authority->keyid = theirs ? ASN1_OCTET_STRING_dup(theirs) : NULL;
    good = authority && authority->keyid && add(cert, NID_authority_key_identifier, authority, false);
    AUTHORITY_KEYID_free(authority);
    return good;
}

static enum ds_class san_octets(const ds_san *san, uint8_t address[16], const void **ret, size_t *ret_len, ds_err *e)
{
    *ret = san->text;
    *ret_len = strlen(san->text);
    if (*ret_len == 0 || *ret_len > 255)
        return ds_fail(e, DS_INPUT, "an alternative name must have 1..255 characters");
    for (const char *p = san->text; *p; p++)
        if (*p <= 0x20 || *p > 0x7e)
            return ds_fail(e, DS_INPUT, "an alternative name must be plain ASCII without spaces");
    if (san->kind != DS_SAN_IP)
        return DS_OK;
    *ret = address;
    if (inet_pton(AF_INET, san->text, address) == 1)
        *ret_len = 4;
    else if (inet_pton(AF_INET6, san->text, address) == 1)
        *ret_len = 16;
    else
        return ds_fail(e, DS_INPUT, "\"%s\" is no IP address", san->text);
    return DS_OK;
}

static GENERAL_NAME *general_name(enum ds_san_kind kind, const void *octets, size_t len)
{
    static const int types[] = {[DS_SAN_URI] = GEN_URI, [DS_SAN_DNS] = GEN_DNS, [DS_SAN_IP] = GEN_IPADD};
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(kind == DS_SAN_IP ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (!name || !value || ASN1_STRING_set(value, octets, (int)len) != 1) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(value);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, types[kind], value);
    return name;
}

static enum ds_class fill_names(GENERAL_NAMES *names, const ds_cert_spec *spec, ds_err *e)
{
    for (size_t i = 0; i < spec->san_count; i++) {
        uint8_t address[16];
        const void *octets = NULL;
        size_t len = 0;
        if (san_octets(&spec->san[i], address, &octets, &len, e))
            return DS_INPUT;
        GENERAL_NAME *name = general_name(spec->san[i].kind, octets, len);
        if (!name || sk_GENERAL_NAME_push(names, name) <= 0) {
            GENERAL_NAME_free(name);
            return ds_ossl_fail(e, DS_INTERNAL, "alternative name");
        }
    }
    return DS_OK;
}

static enum ds_class add_alternative_names(X509 *cert, const ds_cert_spec *spec, ds_err *e)
{
    if (spec->san_count == 0)
        return DS_OK;
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    enum ds_class rc = names ? fill_names(names, spec, e) : ds_ossl_fail(e, DS_INTERNAL, "alternative names");
    // RFC 5280, 4.2.1.6: critical where the subject is empty
    if (!rc && !add(cert, NID_subject_alt_name, names, X509_NAME_entry_count(spec->subject) == 0))
        rc = ds_ossl_fail(e, DS_INTERNAL, "alternative names");
    GENERAL_NAMES_free(names);
    return rc;
}

static enum ds_class fill(X509 *cert, const ds_cert_spec *spec, X509 *issuer, ds_err *e)
{
    enum ds_class rc = set_serial(cert, spec->serial, e);
    if (!rc)
        rc = set_times(cert, spec, e);
    if (rc)
        return rc;
    const X509_NAME *issuer_name = issuer ? X509_get_subject_name(issuer) : spec->subject;
    if (X509_set_version(cert, X509_VERSION_3) != 1 || X509_set_subject_name(cert, spec->subject) != 1 ||
        X509_set_issuer_name(cert, issuer_name) != 1 || X509_set_pubkey(cert, spec->public_key) != 1 ||
        !add_basic_constraints(cert, spec->kind) || !add_key_usage(cert, spec->kind) ||
        !add_extended_key_usage(cert, spec->kind) || !add_key_identifiers(cert, spec, issuer))
        return ds_ossl_fail(e, DS_INTERNAL, "build certificate");
    rc = add_alternative_names(cert, spec, e);
    return !rc && spec->constraint_count ? ds_constraints_add(cert, spec->constraints, spec->constraint_count, e) : rc;
}

enum ds_class ds_cert_make(const ds_cert_spec *spec, X509 *issuer, EVP_PKEY *issuer_private, EVP_PKEY *issuer_public,
                           X509 **ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = X509_new();
    if (!cert)
        return ds_ossl_fail(e, DS_INTERNAL, "certificate");
    enum ds_class rc = fill(cert, spec, issuer, e);
    if (rc)
        return rc;
    ERR_clear_error();
    if (X509_sign(cert, issuer_private, ds_key_digest_md(issuer_public)) <= 0)
        return ds_token_hint((ds_ossl_fail(e, DS_TOKEN, "sign certificate"), e));
    ERR_clear_error(); // libp11 leaves what it tried in vain
    if (X509_verify(cert, issuer_public) != 1)
        return ds_ossl_fail(e, DS_TOKEN, "the signature that was made does not verify");
    rc = ds_lint_demand(cert, e);
    if (!rc && issuer)
        rc = ds_constraints_check(cert, issuer, e);
    if (rc)
        return rc;
    *ret = cert;
    cert = NULL;
    return DS_OK;
}
