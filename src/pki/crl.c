// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Revocation lists; see crl.h.
#include "src/pki/crl.h"
#include "src/pki/keytype.h"
#include "src/pki/token.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

static bool add_reason(X509_REVOKED *r, int reason)
{
    if (reason == 0) // RFC 5280, 5.3.1: unspecified is said by saying nothing
        return true;
    ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();
    bool good = code && ASN1_ENUMERATED_set(code, reason) == 1 &&
                X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, code, 0, X509V3_ADD_DEFAULT) == 1;
    ASN1_ENUMERATED_free(code);
    return good;
}

static bool add_entry(X509_CRL *crl, const ds_crl_entry *entry)
{
    X509_REVOKED *r = X509_REVOKED_new();
    BIGNUM *number = BN_bin2bn(entry->serial, (int)entry->serial_len, NULL);
    ASN1_INTEGER *serial = number ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
    ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)entry->revoked_utc);
    bool good = r && serial && at && X509_REVOKED_set_serialNumber(r, serial) == 1 &&
                X509_REVOKED_set_revocationDate(r, at) == 1 && add_reason(r, entry->reason) &&
                X509_CRL_add0_revoked(crl, r) == 1;
    if (!good)
        X509_REVOKED_free(r);
    ASN1_TIME_free(at);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    return good;
}

static bool set_times(X509_CRL *crl, const ds_crl_spec *spec)
{
    ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)spec->this_update_utc);
    ASN1_TIME *to = ASN1_TIME_set(NULL, (time_t)spec->next_update_utc);
    bool good = from && to && X509_CRL_set1_lastUpdate(crl, from) == 1 && X509_CRL_set1_nextUpdate(crl, to) == 1;
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    return good;
}

// RFC 5280, 5.2.1 and 5.2.3: both always there, neither critical.
static bool add_extensions(X509_CRL *crl, const ds_crl_spec *spec)
{
    const ASN1_OCTET_STRING *theirs = X509_get0_subject_key_id(spec->issuer);
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    if (authority)
        authority->keyid = theirs ? ASN1_OCTET_STRING_dup(theirs) : NULL;
    bool good = authority && authority->keyid && number && ASN1_INTEGER_set_uint64(number, spec->number) == 1 &&
                X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, authority, 0, X509V3_ADD_DEFAULT) == 1 &&
                X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, X509V3_ADD_DEFAULT) == 1;
    ASN1_INTEGER_free(number);
    AUTHORITY_KEYID_free(authority);
    return good;
}

static void cleanup_crl(X509_CRL **p)
{
    X509_CRL_free(*p);
}

enum ds_class ds_crl_build(const ds_crl_spec *spec, X509_CRL **ret, ds_err *e)
{
    __attribute__((cleanup(cleanup_crl))) X509_CRL *crl = X509_CRL_new();
    if (spec->this_update_utc >= spec->next_update_utc)
        return ds_fail(e, DS_INPUT, "the next CRL is due before this one");
    bool good = crl && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
                X509_CRL_set_issuer_name(crl, X509_get_subject_name(spec->issuer)) == 1 && set_times(crl, spec) &&
                add_extensions(crl, spec);
    for (size_t i = 0; good && i < spec->count; i++)
        good = add_entry(crl, &spec->entries[i]);
    if (!good || X509_CRL_sort(crl) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "build CRL");
    *ret = crl;
    crl = NULL;
    return DS_OK;
}

enum ds_class ds_crl_sign(X509_CRL *crl, EVP_PKEY *private_key, EVP_PKEY *public_key, ds_buf *ret_der, ds_err *e)
{
    ERR_clear_error();
    if (X509_CRL_sign(crl, private_key, ds_key_digest_md(public_key)) <= 0)
        return ds_token_hint((ds_ossl_fail(e, DS_TOKEN, "sign CRL"), e));
    ERR_clear_error(); // libp11 leaves what it tried in vain
    if (X509_CRL_verify(crl, public_key) != 1)
        return ds_ossl_fail(e, DS_TOKEN, "the signature that was made does not verify");
    uint8_t *der = NULL;
    int len = i2d_X509_CRL(crl, &der);
    if (len <= 0)
        return ds_ossl_fail(e, DS_INTERNAL, "encode CRL");
    ds_buf_add(ret_der, der, (size_t)len);
    OPENSSL_free(der);
    return DS_OK;
}

enum ds_class ds_crl_follows(X509_CRL *next, X509_CRL *previous, ds_err *e)
{
    STACK_OF(X509_REVOKED) *had = X509_CRL_get_REVOKED(previous);
    if (ASN1_TIME_compare(X509_CRL_get0_lastUpdate(next), X509_CRL_get0_lastUpdate(previous)) < 0)
        return ds_hint((ds_fail(e, DS_POLICY, "the last CRL is of a later time than this one"), e),
                       "set this computer's clock");
    for (int i = 0; i < sk_X509_REVOKED_num(had); i++) { // -1 where there are none
        X509_REVOKED *found = NULL, *r = sk_X509_REVOKED_value(had, i);
        ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_REVOKED_get0_serialNumber(r));
        int known = serial ? X509_CRL_get0_by_serial(next, &found, serial) : 0;
        ASN1_INTEGER_free(serial);
        if (known == 1)
            continue;
        const ASN1_INTEGER *missing = X509_REVOKED_get0_serialNumber(r);
        char hex[41] = "";
        if (ASN1_STRING_length(missing) <= 20)
            ds_hex(ASN1_STRING_get0_data(missing), (size_t)ASN1_STRING_length(missing), hex);
        return ds_hint(
            (ds_fail(e, DS_POLICY, "certificate %s is in the last CRL and would not be in this one", hex), e),
            "nothing revoked comes back: name every ledger, and the newest copy of each");
    }
    return DS_OK;
}

enum ds_class ds_crl_parse(ds_view der, X509_CRL **ret, ds_err *e)
{
    const unsigned char *p = der.ptr;
    X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)der.len);
    if (!crl || p != der.ptr + der.len) {
        X509_CRL_free(crl);
        return ds_ossl_fail(e, DS_INPUT, "not a CRL in DER");
    }
    *ret = crl;
    return DS_OK;
}

enum ds_class ds_crl_pem(X509_CRL *crl, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509_CRL(bio, crl) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "encode CRL");
    char *pem = NULL;
    long len = BIO_get_mem_data(bio, &pem);
    ds_buf_add(ret, pem, (size_t)len);
    return DS_OK;
}
