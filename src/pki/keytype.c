// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Kinds of key; see keytype.h.
#include "src/pki/keytype.h"
#include "src/pki/weak.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <string.h>

static const ds_key_kind kinds[] = {
    {DS_KEY_RSA_2048, "rsa-2048", "RSA-2048", 2048, NULL},
    {DS_KEY_RSA_3072, "rsa-3072", "RSA-3072", 3072, NULL},
    {DS_KEY_RSA_4096, "rsa-4096", "RSA-4096", 4096, NULL},
    {DS_KEY_ECDSA_P256, "ecdsa-p256", "ECDSA P-256", 256, SN_X9_62_prime256v1},
    {DS_KEY_ECDSA_P384, "ecdsa-p384", "ECDSA P-384", 384, SN_secp384r1},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const ds_key_kind *ds_key_kind_of(enum ds_key_type type)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].type == type)
            return &kinds[i];
    return NULL;
}

enum ds_key_type ds_key_type_parse(const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].type;
    return DS_KEY_NONE;
}

enum ds_key_type ds_key_type_of(EVP_PKEY *key)
{
    char group[64] = "";
    int id = EVP_PKEY_get_base_id(key);
    if (id == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
        return DS_KEY_NONE;
    for (size_t i = 0; i < KINDS; i++) {
        if (id == EVP_PKEY_EC && kinds[i].curve && strcmp(kinds[i].curve, group) == 0)
            return kinds[i].type;
        if (id == EVP_PKEY_RSA && !kinds[i].curve && EVP_PKEY_get_bits(key) == (int)kinds[i].bits)
            return kinds[i].type;
    }
    return DS_KEY_NONE;
}

static enum ds_class check_rsa_exponent(EVP_PKEY *key, ds_err *e)
{
    BIGNUM *exponent = NULL;
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 && BN_is_word(exponent, 65537);
    BN_free(exponent);
    return good ? DS_OK : ds_fail(e, DS_INPUT, "the RSA public exponent is not 65537");
}

// OpenSSL writes curve and point back in the form they were read in, so that form is looked at here: a curve by its
// name and an uncompressed point; NULL parameters and nothing else for RSA.
static bool has_canonical_form(const X509_PUBKEY *spki, enum ds_key_type type)
{
    const ds_key_kind *kind = ds_key_kind_of(type);
    const unsigned char *point = NULL;
    int len = 0, param = V_ASN1_UNDEF;
    X509_ALGOR *alg = NULL;
    const void *curve = NULL;
    if (X509_PUBKEY_get0_param(NULL, &point, &len, &alg, spki) != 1)
        return false;
    X509_ALGOR_get0(NULL, &param, &curve, alg);
    if (!kind->curve)
        return param == V_ASN1_NULL;
    return param == V_ASN1_OBJECT && OBJ_obj2nid(curve) == OBJ_sn2nid(kind->curve) &&
           len == 1 + 2 * (int)(kind->bits / 8) && point[0] == POINT_CONVERSION_UNCOMPRESSED;
}

// One key, one encoding: a second spelling of the same key would have another digest and so pass for another device's.
static enum ds_class check_canonical(X509_PUBKEY *spki, EVP_PKEY *key, enum ds_key_type type, uint8_t ret_digest[32],
                                     ds_err *e)
{
    uint8_t *given = NULL, *canonical = NULL;
    int given_len = i2d_X509_PUBKEY(spki, &given), len = i2d_PUBKEY(key, &canonical);
    enum ds_class rc = DS_OK;
    if (given_len <= 0 || len <= 0)
        rc = ds_ossl_fail(e, DS_INPUT, "encode public key");
    else if (given_len != len || memcmp(given, canonical, (size_t)len) != 0 || !has_canonical_form(spki, type))
        rc = ds_fail(e, DS_INPUT, "the public key is not encoded in the one canonical way (named curve, uncompressed)");
    else if (EVP_Digest(canonical, (size_t)len, ret_digest, NULL, EVP_sha256(), NULL) != 1)
        rc = ds_ossl_fail(e, DS_INTERNAL, "SHA-256");
    OPENSSL_free(given);
    OPENSSL_free(canonical);
    return rc;
}

static enum ds_class describe_unknown(EVP_PKEY *key, ds_err *e)
{
    const char *name = EVP_PKEY_get0_type_name(key);
    return ds_hint(
        (ds_fail(e, DS_INPUT, "a %s key of %d bits is not accepted", name ? name : "strange", EVP_PKEY_get_bits(key)),
         e),
        "use RSA-2048, RSA-3072, ECDSA P-256 or P-384");
}

enum ds_class ds_public_key_check(X509_PUBKEY *spki, enum ds_key_type *ret_type, uint8_t ret_digest[32], ds_err *e)
{
    EVP_PKEY *key = spki ? X509_PUBKEY_get0(spki) : NULL; // borrowed
    if (!key)
        return ds_ossl_fail(e, DS_INPUT, "the public key cannot be read");
    enum ds_key_type type = ds_key_type_of(key);
    if (type == DS_KEY_NONE)
        return describe_unknown(key, e);
    bool rsa = ds_key_kind_of(type)->curve == NULL;
    if (check_canonical(spki, key, type, ret_digest, e) || (rsa && check_rsa_exponent(key, e)))
        return DS_INPUT;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    int sound = ctx ? EVP_PKEY_public_check(ctx) : 0;
    EVP_PKEY_CTX_free(ctx);
    if (sound != 1)
        return ds_ossl_fail(e, DS_INPUT, "the public key is not a sound %s key", ds_key_kind_of(type)->label);
    if (rsa && ds_rsa_is_roca(key))
        return ds_hint((ds_fail(e, DS_INPUT, "the RSA key was made by a library whose keys can be broken (ROCA)"), e),
                       "let the device make its key with other software (CVE-2017-15361)");
    *ret_type = type;
    return DS_OK;
}

enum ds_class ds_public_key_digest(EVP_PKEY *key, uint8_t ret[32], ds_err *e)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    bool good = len > 0 && EVP_Digest(der, (size_t)len, ret, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return good ? DS_OK : ds_ossl_fail(e, DS_INTERNAL, "digest of the public key");
}

enum ds_class ds_key_make(enum ds_key_type type, EVP_PKEY **ret, ds_err *e)
{
    const ds_key_kind *kind = ds_key_kind_of(type);
    if (!kind)
        return ds_fail(e, DS_USAGE, "no such key type");
    EVP_PKEY *key = kind->curve ? EVP_EC_gen(kind->curve) : EVP_RSA_gen(kind->bits);
    if (!key)
        return ds_ossl_fail(e, DS_INTERNAL, "make %s key", kind->label);
    *ret = key;
    return DS_OK;
}

const EVP_MD *ds_key_digest_md(EVP_PKEY *key)
{
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha256();
}
