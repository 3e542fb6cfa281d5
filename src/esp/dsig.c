// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The digital-signature peripheral's data and its computation; see dsig.h.
#include "src/esp/dsig.h"

#include "src/base/secret.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <string.h>

enum { HEAD = 4 + 16, TAIL = 32 + 4 + 4 + 8, P_MAX = 3 * (int)(DS_DSIG_BITS_MAX / 8) + TAIL };

// P, and where its parts are.
typedef struct plain {
    size_t param; // bytes of Y, M and Rb
    size_t len;
    uint8_t p[P_MAX];
} plain;

static uint8_t *part(plain *t, unsigned index)
{
    return t->p + index * t->param;
}

static plain plain_of(unsigned chip_bits)
{
    size_t param = chip_bits / 8;
    return (plain){.param = param, .len = 3 * param + TAIL};
}

size_t ds_dsig_len(unsigned chip_bits)
{
    return HEAD + plain_of(chip_bits).len;
}

unsigned ds_dsig_bits(unsigned chip_bits, ds_view data)
{
    if (!chip_bits || chip_bits > DS_DSIG_BITS_MAX || data.len != ds_dsig_len(chip_bits))
        return 0;
    uint32_t words = ds_le32(data.ptr);
    return words < chip_bits / 32 ? (words + 1) * 32 : 0;
}

// Over the parts in the order that MD has them: M' and L follow Rb there, with nothing between.
static void digest(plain *t, const uint8_t iv[16], uint8_t ret[32])
{
    DS_CLEANUP_BUF ds_buf all = {0};
    ds_buf_add(&all, t->p, 3 * t->param);
    ds_buf_add(&all, part(t, 3) + 32, 8);
    ds_buf_add(&all, iv, 16);
    SHA256(all.ptr, all.len, ret);
    ds_wipe(all.ptr, all.len);
}

static bool crypt_plain(plain *t, bool encrypt, const uint8_t hmac_key[32], const uint8_t iv[16])
{
    uint8_t ones[32], key[32];
    int len = 0;
    memset(ones, 0xFF, sizeof ones);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && HMAC(EVP_sha256(), hmac_key, 32, ones, sizeof ones, key, NULL) &&
              EVP_CipherInit_ex(ctx, EVP_aes_256_cbc(), NULL, key, iv, encrypt) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 && EVP_CipherUpdate(ctx, t->p, &len, t->p, (int)t->len) == 1 &&
              (size_t)len == t->len;
    EVP_CIPHER_CTX_free(ctx);
    ds_wipe(key, sizeof key);
    return ok;
}

// -m^-1 mod 2^32, by Newton's iteration; m is odd.
static uint32_t negated_inverse(uint32_t m)
{
    uint32_t x = m; // right in its lowest 3 bits
    for (int i = 0; i < 4; i++)
        x *= 2 - m * x;
    return 0u - x;
}

static bool fill(plain *t, const BIGNUM *n, const BIGNUM *d, unsigned bits, const uint8_t iv[16])
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *rb = BN_new();
    bool ok = ctx && rb && BN_set_bit(rb, (int)bits * 2) == 1 && BN_mod(rb, rb, n, ctx) == 1 &&
              BN_bn2lebinpad(d, part(t, 0), (int)t->param) >= 0 && BN_bn2lebinpad(n, part(t, 1), (int)t->param) >= 0 &&
              BN_bn2lebinpad(rb, part(t, 2), (int)t->param) >= 0;
    uint8_t *tail = part(t, 3);
    ds_put_le32(tail + 32, negated_inverse(ds_le32(part(t, 1))));
    ds_put_le32(tail + 36, bits / 32 - 1);
    memset(tail + 40, 8, 8);
    digest(t, iv, tail);
    BN_free(rb);
    BN_CTX_free(ctx);
    return ok;
}

enum ds_class ds_dsig_seal(unsigned chip_bits, EVP_PKEY *key, const uint8_t hmac_key[32], const uint8_t iv[16],
                           ds_buf *ret, ds_err *e)
{
    BIGNUM *n = NULL, *d = NULL;
    unsigned bits = (unsigned)EVP_PKEY_get_bits(key);
    plain t = plain_of(chip_bits);
    enum ds_class rc = DS_OK;
    if (chip_bits > DS_DSIG_BITS_MAX || !bits || bits > chip_bits || bits % 32 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &d) != 1 || !BN_is_odd(n))
        rc = ds_fail(e, DS_INPUT, "not an RSA private key that the peripheral can use");
    else if (!fill(&t, n, d, bits, iv) || !crypt_plain(&t, true, hmac_key, iv))
        rc = ds_fail(e, DS_INTERNAL, "encrypt a key for the digital-signature peripheral");
    if (!rc) {
        ds_buf_add_le32(ret, bits / 32 - 1);
        ds_buf_add(ret, iv, 16);
        ds_buf_add(ret, t.p, t.len);
    }
    ds_wipe(&t, sizeof t);
    BN_free(n);
    BN_clear_free(d);
    return rc;
}

static bool is_whole(plain *t, const uint8_t iv[16], unsigned bits)
{
    static const uint8_t padding[8] = {8, 8, 8, 8, 8, 8, 8, 8};
    const uint8_t *tail = part(t, 3);
    uint8_t md[32];
    digest(t, iv, md);
    return !memcmp(tail, md, sizeof md) && !memcmp(tail + 40, padding, sizeof padding) &&
           ds_le32(tail + 36) == bits / 32 - 1;
}

static bool exponentiate(plain *t, const uint8_t *in, uint8_t *ret, size_t len)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *d = BN_lebin2bn(part(t, 0), (int)t->param, NULL), *n = BN_lebin2bn(part(t, 1), (int)t->param, NULL);
    BIGNUM *x = BN_bin2bn(in, (int)len, NULL);
    bool ok = ctx && d && n && x && BN_cmp(x, n) < 0 && BN_is_odd(n) &&
              BN_mod_exp_mont_consttime(x, x, d, n, ctx, NULL) == 1 && BN_bn2binpad(x, ret, (int)len) == (int)len;
    BN_clear_free(d);
    BN_free(n);
    BN_free(x);
    BN_CTX_free(ctx);
    return ok;
}

enum ds_class ds_dsig_sign(unsigned chip_bits, ds_view data, const uint8_t hmac_key[32], const uint8_t *in,
                           uint8_t *ret, size_t len, ds_err *e)
{
    unsigned bits = ds_dsig_bits(chip_bits, data);
    if (!bits || len != bits / 8)
        return ds_fail(e, DS_INPUT, "not data for this chip's digital-signature peripheral, or not of this length");
    const uint8_t *iv = data.ptr + 4;
    plain t = plain_of(chip_bits);
    memcpy(t.p, data.ptr + HEAD, t.len);
    enum ds_class rc = DS_OK;
    if (!crypt_plain(&t, false, hmac_key, iv))
        rc = ds_fail(e, DS_INTERNAL, "decrypt a key of the digital-signature peripheral");
    else if (!is_whole(&t, iv, bits))
        rc = ds_fail(e, DS_POLICY, "the digital-signature peripheral refuses its data");
    else if (!exponentiate(&t, in, ret, len))
        rc = ds_fail(e, DS_INPUT, "the message is not below the modulus");
    ds_wipe(&t, sizeof t);
    return rc;
}
