// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Worthless RSA keys; see weak.h.
#include "src/pki/weak.h"

#include "src/pki/gcd.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <stdlib.h>

static BIGNUM *modulus_of(EVP_PKEY *key)
{
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1) {
        ERR_clear_error();
        return NULL;
    }
    return n;
}

// Is value a power of 65537 modulo p?
static bool in_subgroup(unsigned value, unsigned p)
{
    unsigned power = 1;
    do {
        if (power == value)
            return true;
        power = power * (65537 % p) % p;
    } while (power != 1);
    return false;
}

bool ds_rsa_is_roca(EVP_PKEY *key)
{
    static const unsigned primes[] = {3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,  43,
                                      47,  53,  59,  61,  67,  71,  73,  79,  83,  89,  97,  101, 103,
                                      107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167};
    BIGNUM *n = modulus_of(key);
    bool roca = n != NULL;
    for (size_t i = 0; roca && i < sizeof primes / sizeof *primes; i++)
        roca = in_subgroup((unsigned)BN_mod_word(n, primes[i]), primes[i]);
    BN_free(n);
    return roca;
}

// All odd primes below 752.
static const uint16_t small_primes[] = {
    3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,  43,  47,  53,  59,  61,  67,  71,  73,  79,  83,
    89,  97,  101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197,
    199, 211, 223, 227, 229, 233, 239, 241, 251, 257, 263, 269, 271, 277, 281, 283, 293, 307, 311, 313, 317, 331,
    337, 347, 349, 353, 359, 367, 373, 379, 383, 389, 397, 401, 409, 419, 421, 431, 433, 439, 443, 449, 457, 461,
    463, 467, 479, 487, 491, 499, 503, 509, 521, 523, 541, 547, 557, 563, 569, 571, 577, 587, 593, 599, 601, 607,
    613, 617, 619, 631, 641, 643, 647, 653, 659, 661, 673, 677, 683, 691, 701, 709, 719, 727, 733, 739, 743, 751};

// As many of them as fit are multiplied into one word, so that a division by it tells of all.
bool ds_rsa_has_small_factor(EVP_PKEY *key)
{
    enum { COUNT = sizeof small_primes / sizeof *small_primes };
    BIGNUM *n = modulus_of(key);
    bool small = n && !BN_is_odd(n);
    for (size_t i = 0; n && !small && i < COUNT;) {
        uint64_t factors = 1;
        size_t first = i;
        for (; i < COUNT && factors < UINT64_MAX / 752; i++)
            factors *= small_primes[i];
        uint64_t rest = BN_mod_word(n, factors);
        for (size_t k = first; !small && k < i; k++)
            small = rest % small_primes[k] == 0;
    }
    BN_free(n);
    return small;
}

struct ds_moduli {
    BIGNUM **n; // a ring
    size_t keep, next;
};

ds_moduli *ds_moduli_new(size_t keep)
{
    ds_moduli *m = ds_alloc(sizeof *m);
    m->n = ds_alloc(keep * sizeof(BIGNUM *));
    m->keep = keep;
    return m;
}

void ds_moduli_free(ds_moduli *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->keep; i++)
        BN_free(m->n[i]);
    free(m->n);
    free(m);
}

void ds_moduli_add(ds_moduli *m, EVP_PKEY *key)
{
    BIGNUM *n = modulus_of(key);
    if (!n)
        return;
    BN_free(m->n[m->next]);
    m->n[m->next] = n;
    m->next = (m->next + 1) % m->keep;
}

void ds_moduli_drop(ds_moduli *m, EVP_PKEY *key)
{
    BIGNUM *n = modulus_of(key);
    for (size_t i = 0; n && i < m->keep; i++)
        if (m->n[i] && BN_cmp(m->n[i], n) == 0) {
            BN_free(m->n[i]);
            m->n[i] = NULL;
        }
    BN_free(n);
}

// Multiply one more modulus in. Montgomery's multiplication takes any factor of n's own size, greater than n or not.
static bool multiply(BIGNUM *product, const BIGNUM *m, BIGNUM *rest, BN_MONT_CTX *mont, const BIGNUM *n, BN_CTX *ctx)
{
    if (BN_num_bits(m) == BN_num_bits(n))
        return BN_mod_mul_montgomery(product, product, m, mont, ctx) == 1;
    return BN_nnmod(rest, m, n, ctx) == 1 && BN_mod_mul_montgomery(product, product, rest, mont, ctx) == 1;
}

// The product of all of them modulo n, times a power of two that is prime to n.
static bool product(const ds_moduli *m, const BIGNUM *n, BN_CTX *ctx, BIGNUM *ret)
{
    BN_MONT_CTX *mont = BN_MONT_CTX_new();
    BIGNUM *rest = BN_new();
    bool good = mont && rest && BN_MONT_CTX_set(mont, n, ctx) == 1 && BN_one(ret) == 1;
    for (size_t i = 0; good && i < m->keep; i++)
        good = !m->n[i] || multiply(ret, m->n[i], rest, mont, n, ctx);
    BN_free(rest);
    BN_MONT_CTX_free(mont);
    return good;
}

// Multiplied, so that one greatest common divisor tells of all.
bool ds_moduli_share(const ds_moduli *m, EVP_PKEY *key)
{
    BIGNUM *n = modulus_of(key);
    if (!n)
        return false;
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *all = BN_new();
    if (!ctx || !all || !BN_is_odd(n) || BN_num_bits(n) > DS_GCD_BITS || !product(m, n, ctx, all))
        abort(); // out of memory, as everywhere: what is no RSA key of a size that is certified came not so far
    bool share = !ds_coprime(all, n);
    BN_free(all);
    BN_CTX_free(ctx);
    BN_free(n);
    return share;
}
