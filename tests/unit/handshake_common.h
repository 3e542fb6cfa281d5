// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the tests of the owner handshake share: a device, its owner, and the two authorities.
#ifndef DS_TESTS_HANDSHAKE_COMMON_H
#define DS_TESTS_HANDSHAKE_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/owner_bench.h"

#define STATUS(x) DEVSTAMP__OWNER__STATUS__STATUS_##x

static bench_ca ca, other_ca;
static EVP_PKEY *key, *other_key;
static bench b;
static ds_companion *c;
static ds_companion_transport wire;
static ds_err e;

static inline int setup(void **state)
{
    (void)state;
    bench_init(&b, &ca, key);
    c = bench_owner(&ca);
    wire = bench_wire(&b);
    e = DS_ERR_INIT;
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    ds_companion_free(c);
    return 0;
}

static inline void replace_owner(const char *name, const char *pop, const bench_ca *root, int64_t now_utc)
{
    const ds_companion_config g = {.roots = root->pem,
                                   .roots_len = root->pem_len,
                                   .name = name,
                                   .pop = (const uint8_t *)pop,
                                   .pop_len = strlen(pop),
                                   .now_utc = now_utc};
    ds_companion_free(c);
    assert_int_equal(ds_companion_new(&g, &c, &e), DS_OK);
}

// Nothing of the device's identity went over the wire or stayed with the owner, and nothing was taken.
static inline void assert_refused(enum ds_class cls, enum ds_companion_code code)
{
    assert_int_equal(ds_companion_verify(c, &wire, &e), cls);
    assert_int_equal(e.code, code);
    assert_null(ds_companion_get_device(c));
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, NULL), DS_POLICY);
    assert_int_equal(b.taken, 0);
}

static inline void assert_works(void)
{
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    int taken = b.taken;
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, &e), DS_OK);
    assert_int_equal(b.taken, taken + 1);
    assert_string_equal(b.ssid, "home");
    assert_string_equal(b.passphrase, "correct horse");
}

static inline int group_setup(void **state)
{
    (void)state;
    bench_ca_init(&ca, "Product");
    bench_ca_init(&other_ca, "Another");
    key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    return 0;
}

static inline int group_teardown(void **state)
{
    (void)state;
    bench_ca_free(&ca);
    bench_ca_free(&other_ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
