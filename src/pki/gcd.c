// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Lehmer's greatest common divisor; see gcd.h. Knuth, The Art of Computer Programming 2, 4.5.2, algorithm L: as long as
// the leading bits of both numbers alone decide the quotients, several steps of Euclid's are gathered in four small
// factors, which are then applied to the whole numbers at once.
#include "src/pki/gcd.h"

#include <stdint.h>
#include <stdlib.h>

enum { LIMBS = DS_GCD_BITS / 64, LEADING = 62 };

typedef unsigned __int128 wide;

typedef struct number {
    uint64_t limb[LIMBS]; // least significant first
    size_t n;             // limbs, none leading is 0
} number;

static void trim(number *x)
{
    while (x->n && x->limb[x->n - 1] == 0)
        x->n--;
}

static void load(const BIGNUM *from, number *ret)
{
    uint8_t bytes[LIMBS * 8];
    if (BN_bn2lebinpad(from, bytes, sizeof bytes) < 0)
        abort();
    for (size_t i = 0; i < LIMBS; i++) {
        ret->limb[i] = 0;
        for (size_t k = 8; k--;)
            ret->limb[i] = ret->limb[i] << 8 | bytes[8 * i + k];
    }
    ret->n = LIMBS;
    trim(ret);
}

static size_t bits(const number *x)
{
    return x->n ? 64 * x->n - (size_t)__builtin_clzll(x->limb[x->n - 1]) : 0;
}

static int compare(const number *x, const number *y)
{
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    for (size_t i = x->n; i--;)
        if (x->limb[i] != y->limb[i])
            return x->limb[i] < y->limb[i] ? -1 : 1;
    return 0;
}

// x >> shift, of which at most 64 bits are left.
static int64_t leading(const number *x, size_t shift)
{
    size_t at = shift / 64, by = shift % 64;
    uint64_t low = at < x->n ? x->limb[at] >> by : 0;
    uint64_t high = by && at + 1 < x->n ? x->limb[at + 1] << (64 - by) : 0;
    return (int64_t)(low | high);
}

// What the gathered steps make of x and y: a*x + b*y and c*x + d*y. One of a and b, and one of c and d, is not
// positive.
typedef struct steps {
    int64_t a, b, c, d;
} steps;

// Euclid's steps on the leading bits, as far as no bits below them could change a quotient.
static steps gather(int64_t x, int64_t y)
{
    steps s = {1, 0, 0, 1};
    while (y + s.c > 0 && y + s.d > 0) {
        int64_t q = (x + s.a) / (y + s.c);
        if (q != (x + s.b) / (y + s.d))
            break;
        int64_t a = s.a - q * s.c, b = s.b - q * s.d, rest = x - q * y;
        s = (steps){s.c, s.d, a, b};
        x = y;
        y = rest;
    }
    return s;
}

// ret = plus*x - minus*y, which is not negative and no longer than x; n limbs are looked at.
static void combine(const number *x, uint64_t plus, const number *y, uint64_t minus, size_t n, number *ret)
{
    wide add = 0, sub = 0;
    uint64_t borrow = 0;
    for (size_t i = 0; i < n; i++) {
        add += (wide)plus * x->limb[i];
        sub += (wide)minus * y->limb[i];
        uint64_t p = (uint64_t)add, m = (uint64_t)sub, rest = p - m;
        ret->limb[i] = rest - borrow;
        borrow = (uint64_t)(p < m) | (uint64_t)(rest < borrow);
        add >>= 64;
        sub >>= 64;
    }
    ret->n = n;
    trim(ret);
}

static void apply(const number *x, const number *y, int64_t a, int64_t b, size_t n, number *ret)
{
    if (a > 0)
        combine(x, (uint64_t)a, y, (uint64_t)-b, n, ret);
    else
        combine(y, (uint64_t)b, x, (uint64_t)-a, n, ret);
}

// x - (y << shift), which is not negative.
static void subtract_shifted(number *x, const number *y, size_t shift)
{
    size_t at = shift / 64, by = shift % 64;
    uint64_t borrow = 0;
    for (size_t i = at; i < x->n; i++) {
        uint64_t low = i - at < y->n ? y->limb[i - at] << by : 0;
        uint64_t high = by && i > at && i - at - 1 < y->n ? y->limb[i - at - 1] >> (64 - by) : 0;
        uint64_t m = low | high, rest = x->limb[i] - m, more = x->limb[i] < m;
        x->limb[i] = rest - borrow;
        borrow = more | (uint64_t)(rest < borrow);
    }
    trim(x);
}

// x mod y by shifting and subtracting: rare, or the quotient is small.
static void reduce(number *x, const number *y)
{
    while (compare(x, y) >= 0) {
        size_t shift = bits(x) - bits(y);
        subtract_shifted(x, y, shift ? shift - 1 : 0);
    }
}

static bool is_one(uint64_t x, uint64_t y)
{
    while (y) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return x == 1;
}

static void exchange(number **x, number **y)
{
    number *was = *x;
    *x = *y;
    *y = was;
}

bool ds_coprime(const BIGNUM *a, const BIGNUM *b)
{
    number numbers[4];
    number *x = &numbers[0], *y = &numbers[1], *u = &numbers[2], *v = &numbers[3];
    load(a, x);
    load(b, y);
    if (compare(x, y) < 0)
        exchange(&x, &y);
    while (y->n > 1) { // x is never the shorter one
        size_t shift = bits(x) - LEADING;
        steps s = gather(leading(x, shift), leading(y, shift));
        if (s.b == 0) {
            reduce(x, y);
            exchange(&x, &y);
            continue;
        }
        apply(x, y, s.a, s.b, x->n, u);
        apply(x, y, s.c, s.d, x->n, v);
        exchange(&x, &u);
        exchange(&y, &v);
    }
    if (y->n == 0)
        return x->n == 1 && x->limb[0] == 1;
    reduce(x, y);
    return is_one(y->limb[0], x->n ? x->limb[0] : 0);
}
