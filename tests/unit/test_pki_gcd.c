// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Our greatest common divisor against OpenSSL's.
#include "src/pki/gcd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct pair {
    BIGNUM *a, *b, *gcd;
    BN_CTX *ctx;
} pair;

static int setup(void **state)
{
    pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    *p = (pair){BN_new(), BN_new(), BN_new(), BN_CTX_new()};
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    pair *p = *state;
    BN_free(p->a);
    BN_free(p->b);
    BN_free(p->gcd);
    BN_CTX_free(p->ctx);
    free(p);
    return 0;
}

static void check(const pair *p)
{
    assert_true(BN_gcd(p->gcd, p->a, p->b, p->ctx));
    if (ds_coprime(p->a, p->b) != BN_is_one(p->gcd) || ds_coprime(p->b, p->a) != BN_is_one(p->gcd))
        fail_msg("a %s b %s", BN_bn2hex(p->a), BN_bn2hex(p->b));
}

static void test_random_numbers_of_all_lengths(void **state)
{
    pair *p = *state;
    for (int i = 0; i < 150; i++) {
        assert_true(BN_rand(p->a, 1 + (i * 37 + 1000 * (i % 3)) % DS_GCD_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY));
        assert_true(BN_rand(p->b, 1 + (i * 113) % DS_GCD_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD));
        check(p);
    }
}

// As RSA moduli have one: no small factor would hide a large one that is missed.
static void test_a_large_factor_in_common_is_seen(void **state)
{
    pair *p = *state;
    BIGNUM *prime = BN_new();
    for (int i = 0; i < 16; i++) {
        assert_true(BN_generate_prime_ex2(prime, 128 + i * 20, 0, NULL, NULL, NULL, p->ctx));
        assert_true(BN_rand(p->a, 900 + i, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD));
        assert_true(BN_rand(p->b, 960 - i, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD));
        check(p);
        assert_true(BN_mul(p->a, p->a, prime, p->ctx) && BN_mul(p->b, p->b, prime, p->ctx));
        assert_false(ds_coprime(p->a, p->b));
        assert_false(ds_coprime(p->b, p->a));
        check(p);
    }
    BN_free(prime);
}

// Neighbours among Fibonacci's numbers: every quotient is 1, as many steps as there can be.
static void test_the_most_steps(void **state)
{
    pair *p = *state;
    assert_true(BN_one(p->a) && BN_one(p->b));
    while (BN_num_bits(p->a) < DS_GCD_BITS) {
        assert_true(ds_coprime(p->a, p->b));
        BN_swap(p->a, p->b);
        assert_true(BN_add(p->a, p->a, p->b));
    }
}

// 2^i and its neighbours beside 2^k and its neighbours: quotients that no leading bits decide, and long numbers beside
// short ones.
static void test_neighbours_of_powers_of_two(void **state)
{
    pair *p = *state;
    for (int i = 1; i < DS_GCD_BITS; i += 263)
        for (int k = i % 7 + 1; k < DS_GCD_BITS; k += 509)
            for (int n = 0; n < 9; n++) {
                assert_true(BN_set_word(p->a, 0) && BN_set_bit(p->a, i) && BN_set_word(p->b, 0) && BN_set_bit(p->b, k));
                assert_true(BN_add_word(p->a, (BN_ULONG)(n % 3)) && BN_sub_word(p->a, 1));
                assert_true(BN_add_word(p->b, (BN_ULONG)(n / 3)) && BN_sub_word(p->b, 1));
                check(p);
            }
}

static void test_nothing_one_and_the_same(void **state)
{
    pair *p = *state;
    for (BN_ULONG i = 0; i < 4; i++)
        for (BN_ULONG k = i == 0; k < 4; k++) {
            assert_true(BN_set_word(p->a, i) && BN_set_word(p->b, k));
            check(p);
        }
    assert_true(BN_rand(p->a, DS_GCD_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) && BN_copy(p->b, p->a));
    check(p);
    assert_true(BN_one(p->b));
    check(p);
    BN_zero(p->b);
    check(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_numbers_of_all_lengths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_large_factor_in_common_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_most_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_neighbours_of_powers_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_one_and_the_same, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
