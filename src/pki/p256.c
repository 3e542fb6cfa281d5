// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ECDSA P-256 of one key; see p256.h. OpenSSL multiplies a group's generator with a table of its own; the key's point
// is made the generator of a second group, for which it computes such a table when asked. That one call is deprecated
// since OpenSSL 3.0 without anything in its place.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "src/pki/p256.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <stdlib.h>

struct ds_p256 {
    EC_GROUP *curve, *key;
};

static EC_GROUP *group_of(const EC_GROUP *curve, const uint8_t *point, size_t len)
{
    EC_GROUP *group = EC_GROUP_dup(curve);
    EC_POINT *q = EC_POINT_new(curve);
    bool good = group && q && EC_POINT_oct2point(curve, q, point, len, NULL) == 1 &&
                EC_GROUP_set_generator(group, q, EC_GROUP_get0_order(curve), BN_value_one()) == 1 &&
                EC_GROUP_precompute_mult(group, NULL) == 1;
    EC_POINT_free(q);
    if (good)
        return group;
    EC_GROUP_free(group);
    return NULL;
}

ds_p256 *ds_p256_new(EVP_PKEY *key)
{
    char name[32] = "";
    uint8_t point[65];
    size_t len = 0;
    ds_p256 *p = ds_alloc(sizeof *p);
    if (EVP_PKEY_get_group_name(key, name, sizeof name, NULL) == 1 && OBJ_sn2nid(name) == NID_X9_62_prime256v1 &&
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len) == 1) {
        p->curve = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
        p->key = p->curve ? group_of(p->curve, point, len) : NULL;
    }
    ERR_clear_error();
    if (p->key)
        return p;
    ds_p256_free(p);
    return NULL;
}

void ds_p256_free(ds_p256 *p)
{
    if (!p)
        return;
    EC_GROUP_free(p->curve);
    EC_GROUP_free(p->key);
    free(p);
}

// 256-bit numbers, lowest word first. All of them are public: time may depend on them.
enum { WORDS = 4 };
typedef struct number {
    uint64_t w[WORDS];
} number;

static unsigned add(number *a, const number *b)
{
    unsigned __int128 sum = 0;
    for (size_t i = 0; i < WORDS; i++) {
        sum += (unsigned __int128)a->w[i] + b->w[i];
        a->w[i] = (uint64_t)sum;
        sum >>= 64;
    }
    return (unsigned)sum;
}

static unsigned subtract(number *a, const number *b)
{
    unsigned borrow = 0;
    for (size_t i = 0; i < WORDS; i++) {
        unsigned __int128 difference = (unsigned __int128)a->w[i] - b->w[i] - borrow;
        a->w[i] = (uint64_t)difference;
        borrow = (unsigned)(difference >> 64) & 1;
    }
    return borrow;
}

static void halve(number *a, unsigned carry)
{
    for (size_t i = 0; i + 1 < WORDS; i++)
        a->w[i] = a->w[i] >> 1 | a->w[i + 1] << 63;
    a->w[WORDS - 1] = a->w[WORDS - 1] >> 1 | (uint64_t)carry << 63;
}

static bool is_one(const number *a)
{
    return a->w[0] == 1 && !(a->w[1] | a->w[2] | a->w[3]);
}

static bool at_least(const number *a, const number *b)
{
    for (size_t i = WORDS; i-- > 0;)
        if (a->w[i] != b->w[i])
            return a->w[i] > b->w[i];
    return true;
}

static void make_odd(number *u, number *x, const number *n)
{
    while (!(u->w[0] & 1)) {
        halve(u, 0);
        halve(x, x->w[0] & 1 ? add(x, n) : 0);
    }
}

// The inverse of a modulo n, a prime greater than a, which is not zero; by halving (Knuth, 4.5.2, exercise 39). OpenSSL
// takes ten times as long for what must stay secret.
static number inverse(number a, const number *n)
{
    number v = *n, x = {{1}}, y = {{0}};
    while (!is_one(&a) && !is_one(&v)) {
        make_odd(&a, &x, n);
        make_odd(&v, &y, n);
        bool greater = at_least(&a, &v);
        (void)subtract(greater ? &a : &v, greater ? &v : &a);
        if (subtract(greater ? &x : &y, greater ? &y : &x))
            (void)add(greater ? &x : &y, n);
    }
    return is_one(&a) ? x : y;
}

static bool from_bn(const BIGNUM *bn, number *ret)
{
    uint8_t bytes[8 * WORDS];
    if (BN_bn2lebinpad(bn, bytes, sizeof bytes) != (int)sizeof bytes)
        return false;
    for (size_t i = 0; i < WORDS; i++)
        ret->w[i] = (uint64_t)ds_le32(bytes + 8 * i) | (uint64_t)ds_le32(bytes + 8 * i + 4) << 32;
    return true;
}

static bool invert(const BIGNUM *a, const BIGNUM *n, BIGNUM *ret)
{
    number x, modulus;
    uint8_t bytes[8 * WORDS];
    if (!from_bn(a, &x) || !from_bn(n, &modulus))
        return false;
    x = inverse(x, &modulus);
    for (size_t i = 0; i < WORDS; i++) {
        ds_put_le32(bytes + 8 * i, (uint32_t)x.w[i]);
        ds_put_le32(bytes + 8 * i + 4, (uint32_t)(x.w[i] >> 32));
    }
    return BN_lebin2bn(bytes, sizeof bytes, ret) != NULL;
}

// Numbers and points of one verification.
typedef struct work {
    BN_CTX *ctx;
    BIGNUM *e, *w, *u1, *u2, *x;
    EC_POINT *a, *b;
} work;

static bool take_numbers(const ds_p256 *p, work *k)
{
    k->e = BN_CTX_get(k->ctx);
    k->w = BN_CTX_get(k->ctx);
    k->u1 = BN_CTX_get(k->ctx);
    k->u2 = BN_CTX_get(k->ctx);
    k->x = BN_CTX_get(k->ctx);
    k->a = EC_POINT_new(p->curve);
    k->b = EC_POINT_new(p->curve);
    return k->x && k->a && k->b;
}

// x of e/s * G + r/s * Q, modulo the order, must be r.
static bool holds(const ds_p256 *p, work *k, const uint8_t digest[32], const BIGNUM *r, const BIGNUM *s)
{
    const BIGNUM *order = EC_GROUP_get0_order(p->curve);
    if (BN_is_zero(r) || BN_is_zero(s) || BN_is_negative(r) || BN_is_negative(s) || BN_cmp(r, order) >= 0 ||
        BN_cmp(s, order) >= 0)
        return false;
    return BN_bin2bn(digest, 32, k->e) && invert(s, order, k->w) && BN_mod_mul(k->u1, k->e, k->w, order, k->ctx) == 1 &&
           BN_mod_mul(k->u2, r, k->w, order, k->ctx) == 1 &&
           EC_POINT_mul(p->curve, k->a, k->u1, NULL, NULL, k->ctx) == 1 &&
           EC_POINT_mul(p->key, k->b, k->u2, NULL, NULL, k->ctx) == 1 &&
           EC_POINT_add(p->curve, k->a, k->a, k->b, k->ctx) == 1 && EC_POINT_is_at_infinity(p->curve, k->a) == 0 &&
           EC_POINT_get_affine_coordinates(p->curve, k->a, k->x, NULL, k->ctx) == 1 &&
           BN_nnmod(k->x, k->x, order, k->ctx) == 1 && BN_cmp(k->x, r) == 0;
}

bool ds_p256_verify(const ds_p256 *p, const uint8_t digest[32], ds_view signature)
{
    const unsigned char *at = signature.ptr;
    ECDSA_SIG *sig = signature.len ? d2i_ECDSA_SIG(NULL, &at, (long)signature.len) : NULL;
    work k = {.ctx = BN_CTX_new()};
    BN_CTX_start(k.ctx);
    bool good = sig && at == signature.ptr + signature.len && k.ctx && take_numbers(p, &k) &&
                holds(p, &k, digest, ECDSA_SIG_get0_r(sig), ECDSA_SIG_get0_s(sig));
    EC_POINT_free(k.a);
    EC_POINT_free(k.b);
    BN_CTX_end(k.ctx);
    BN_CTX_free(k.ctx);
    ECDSA_SIG_free(sig);
    ERR_clear_error();
    return good;
}
