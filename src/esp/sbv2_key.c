// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys inside signature blocks: numbers are little-endian there; RSA keys carry R = 2^6144 mod n and M' = -n^-1 mod
// 2^32 for the chip's Montgomery multiplier. ESP-IDF secure-boot-v2.rst.
#include "src/esp/sbv2_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

#define N_OFF DS_SBV2_KEY_OFF
#define E_OFF (N_OFF + DS_SBV2_RSA_LEN)
#define R_OFF (E_OFF + 4)
#define M_OFF (R_OFF + DS_SBV2_RSA_LEN)
#define X_OFF (DS_SBV2_KEY_OFF + 1)
#define Y_OFF (X_OFF + DS_SBV2_POINT_LEN)

// -n^-1 mod 2^32 by Newton's iteration; n is odd.
static uint32_t montgomery_m(uint32_t n)
{
    uint32_t inverse = n;
    for (int i = 0; i < 4; i++)
        inverse *= 2 - n * inverse;
    return 0u - inverse;
}

static bool put_rsa_r(const BIGNUM *n, uint8_t *ret)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *r = BN_new();
    bool ok = ctx && r && BN_set_bit(r, 2 * 8 * (int)DS_SBV2_RSA_LEN) && BN_mod(r, r, n, ctx) &&
              BN_bn2lebinpad(r, ret, DS_SBV2_RSA_LEN) == (int)DS_SBV2_RSA_LEN;
    BN_free(r);
    BN_CTX_free(ctx);
    return ok;
}

static bool put_rsa(EVP_PKEY *key, uint8_t *block)
{
    BIGNUM *n = NULL, *exp = NULL;
    bool ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exp) && BN_num_bits(exp) <= 32 &&
              BN_bn2lebinpad(n, block + N_OFF, DS_SBV2_RSA_LEN) == (int)DS_SBV2_RSA_LEN &&
              BN_bn2lebinpad(exp, block + E_OFF, 4) == 4 && put_rsa_r(n, block + R_OFF);
    if (ok)
        ds_put_le32(block + M_OFF, montgomery_m(ds_le32(block + N_OFF)));
    BN_free(exp);
    BN_free(n);
    return ok;
}

static bool put_ec(EVP_PKEY *key, uint8_t *block)
{
    BIGNUM *x = NULL, *y = NULL;
    block[DS_SBV2_KEY_OFF] = DS_SBV2_CURVE_P256;
    bool ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) &&
              BN_bn2lebinpad(x, block + X_OFF, DS_SBV2_POINT_LEN) == (int)DS_SBV2_POINT_LEN &&
              BN_bn2lebinpad(y, block + Y_OFF, DS_SBV2_POINT_LEN) == (int)DS_SBV2_POINT_LEN;
    BN_free(y);
    BN_free(x);
    return ok;
}

static bool is_p256(const EVP_PKEY *key)
{
    char name[32];
    size_t len;
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, name, sizeof name, &len) &&
           (!strcmp(name, "prime256v1") || !strcmp(name, "P-256"));
}

enum ds_class ds_sbv2_block_put_key(EVP_PKEY *key, uint8_t block[DS_SBV2_BLOCK], enum ds_sbv2_scheme *ret, ds_err *e)
{
    bool ok;
    if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) == 3072) {
        *ret = DS_SBV2_RSA3072;
        block[1] = DS_SBV2_VERSION_RSA;
        ok = put_rsa(key, block);
    } else if (is_p256(key)) {
        *ret = DS_SBV2_ECDSA256;
        block[1] = DS_SBV2_VERSION_ECDSA;
        ok = put_ec(key, block);
    } else {
        ds_fail(e, DS_INPUT, "secure boot key is neither RSA-3072 nor ECDSA P-256");
        return ds_hint(e, "make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072");
    }
    if (!ok)
        return ds_fail(e, DS_INPUT, "secure boot key: its numbers do not fit a signature block");
    return DS_OK;
}

enum ds_class ds_sbv2_key_digest(EVP_PKEY *key, uint8_t ret[32], ds_err *e)
{
    uint8_t block[DS_SBV2_BLOCK] = {0};
    enum ds_sbv2_scheme scheme;
    enum ds_class cls = ds_sbv2_block_put_key(key, block, &scheme, e);
    if (!cls)
        SHA256(block + DS_SBV2_KEY_OFF, ds_sbv2_key_len(scheme), ret);
    return cls;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const uint8_t *block)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_lebin2bn(block + N_OFF, DS_SBV2_RSA_LEN, NULL);
    BIGNUM *exp = BN_lebin2bn(block + E_OFF, 4, NULL);
    EVP_PKEY *key = NULL;
    // The chip multiplies with the R and M' it is given; ones that do not belong to n would make it fail.
    uint8_t r[DS_SBV2_RSA_LEN];
    bool sound = bld && n && exp && BN_is_odd(n) && BN_num_bits(n) == 3072 && put_rsa_r(n, r) &&
                 !memcmp(r, block + R_OFF, sizeof r) && ds_le32(block + M_OFF) == montgomery_m(ds_le32(block + N_OFF));
    if (sound && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exp))
        key = key_from("RSA", bld);
    BN_free(exp);
    BN_free(n);
    OSSL_PARAM_BLD_free(bld);
    return key;
}

static void copy_reversed(uint8_t *dst, const uint8_t *src, size_t len)
{
    for (size_t i = 0; i < len; i++)
        dst[i] = src[len - 1 - i];
}

static EVP_PKEY *ec_key(const uint8_t *block)
{
    uint8_t point[1 + 2 * DS_SBV2_POINT_LEN] = {0x04}; // uncompressed
    copy_reversed(point + 1, block + X_OFF, DS_SBV2_POINT_LEN);
    copy_reversed(point + 1 + DS_SBV2_POINT_LEN, block + Y_OFF, DS_SBV2_POINT_LEN);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point))
        key = key_from("EC", bld);
    OSSL_PARAM_BLD_free(bld);
    return key;
}

static bool verify_digest(EVP_PKEY *key, bool pss, const uint8_t *sig, size_t sig_len, const uint8_t digest[32])
{
    EVP_PKEY_CTX *ctx = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    bool ok = ctx && EVP_PKEY_verify_init(ctx) > 0;
    if (ok && pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
             EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) > 0 && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 32) > 0;
    ok = ok && EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0 &&
         EVP_PKEY_verify(ctx, sig, sig_len, digest, 32) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static bool verify_rsa(const uint8_t *block)
{
    uint8_t sig[DS_SBV2_RSA_LEN];
    copy_reversed(sig, block + DS_SBV2_KEY_OFF + ds_sbv2_key_len(DS_SBV2_RSA3072), sizeof sig);
    EVP_PKEY *key = rsa_key(block);
    bool ok = verify_digest(key, true, sig, sizeof sig, block + DS_SBV2_DIGEST_OFF);
    EVP_PKEY_free(key);
    return ok;
}

static bool verify_ec(const uint8_t *block)
{
    const uint8_t *raw = block + DS_SBV2_KEY_OFF + ds_sbv2_key_len(DS_SBV2_ECDSA256);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_lebin2bn(raw, DS_SBV2_POINT_LEN, NULL);
    BIGNUM *s = BN_lebin2bn(raw + DS_SBV2_POINT_LEN, DS_SBV2_POINT_LEN, NULL);
    unsigned char *der = NULL;
    bool ok = false;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) {
        r = s = NULL; // owned by sig now
        int len = i2d_ECDSA_SIG(sig, &der);
        EVP_PKEY *key = ec_key(block);
        ok = len > 0 && verify_digest(key, false, der, (size_t)len, block + DS_SBV2_DIGEST_OFF);
        EVP_PKEY_free(key);
    }
    OPENSSL_free(der);
    BN_free(s);
    BN_free(r);
    ECDSA_SIG_free(sig);
    return ok;
}

bool ds_sbv2_block_verify(const uint8_t block[DS_SBV2_BLOCK], enum ds_sbv2_scheme scheme)
{
    return scheme == DS_SBV2_RSA3072 ? verify_rsa(block) : verify_ec(block);
}
