// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The whole way through the mfg firmware under faults: every port call fails once, and power is lost before and after
// every write. Whatever happens, running the station again completes the stamp, with the one key the device ever
// showed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/internal.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

enum { TRIES = 4 };

static fake_port f;
static fake_station st;

static void begin(uint64_t seed)
{
    fake_init(&f, seed);
    fake_station_init(&st);
}

// The private scalar as stored: SEC1 30 77 02 01 01 04 20 | scalar.
static void private_scalar(enum ds_area area, uint8_t ret[32])
{
    const fake_value *v = fake_find(&f, area, "stamp", "key");
    assert_non_null(v);
    assert_memory_equal(v->data, "\x30\x77\x02\x01\x01\x04\x20", 7);
    memcpy(ret, v->data + 7, 32);
}

static void assert_whole(void)
{
    uint8_t scalar[32];
    private_scalar(DS_AREA_PLAIN, scalar);
    // FinishStamp walked over the key; nothing of it may stay in memory.
    assert_false(fake_contains(f.frame, sizeof f.frame, scalar + 24, 8));
    assert_false(fake_contains(f.scratch, sizeof f.scratch, scalar + 24, 8));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_int_equal(f.key_sets, 1);
    const fake_value *chain = fake_find(&f, DS_AREA_PLAIN, "stamp", "chain");
    assert_int_equal(chain->len, st.device.len + st.sub.len);
    assert_memory_equal(chain->data, st.device.der, st.device.len);
    assert_false(fake_leaks(&f, scalar, 8));
    assert_false(fake_leaks(&f, scalar + 24, 8));
    assert_false(f.encrypted_opened_in_plain);
}

// Once a public key was shown it is the device's for good.
static int provision_checked(void)
{
    uint8_t key[sizeof st.public_key];
    size_t len = st.public_key_len;
    memcpy(key, st.public_key, sizeof key);
    int code = fake_provision(&f, &st);
    if (len > 0)
        assert_memory_equal(key, st.public_key, len);
    return code;
}

static int provision_until_done(void)
{
    int code = -1;
    for (int i = 0; i < TRIES && code != 0; i++)
        code = provision_checked();
    return code;
}

static void fail_every_call(bool after)
{
    long n = 1;
    for (bool reached = true; reached; n++) {
        begin((uint64_t)n);
        f.fail_call = n;
        f.fail_after = after;
        int code = provision_checked();
        reached = f.calls >= n;
        if (code != 0)
            code = provision_until_done();
        assert_int_equal(code, 0);
        f.fail_call = 0;
        assert_whole();
    }
    assert_true(n > 50);
}

static void test_every_call_fails_once_without_effect(void **state)
{
    (void)state;
    fail_every_call(false);
}

static void test_every_call_fails_once_after_effect(void **state)
{
    (void)state;
    fail_every_call(true);
}

// Two losses in one way: at write n, and at the m-th write after power came back.
static void lose_power(long n, long m, bool after, bool *ret_first, bool *ret_second)
{
    begin((uint64_t)(n * 100 + m));
    f.power_write = n;
    f.power_after = after;
    int code = provision_checked();
    *ret_first = f.dead;
    *ret_second = false;
    assert_int_equal(code, f.dead ? -1 : 0);
    if (f.dead) {
        fake_power_on(&f, DS_AGENT_MFG);
        f.power_write = f.writes + m;
        f.power_after = !after;
        provision_checked();
        *ret_second = f.dead;
    }
    fake_power_on(&f, DS_AGENT_MFG);
    assert_int_equal(provision_checked(), 0);
    assert_whole();
}

static void test_power_lost_twice_at_every_write(void **state)
{
    (void)state;
    int losses = 0;
    for (int after = 0; after < 2; after++) {
        bool first = true;
        for (long n = 1; first; n++) {
            bool second = true;
            for (long m = 1; second; m++) {
                lose_power(n, m, after != 0, &first, &second);
                losses += first + second;
            }
        }
    }
    assert_true(losses > 80);
}

// Storage that says it stored and did not is found by reading back.
static void test_every_lost_set_is_found(void **state)
{
    (void)state;
    bool reached = true;
    long n = 1;
    for (; reached; n++) {
        begin((uint64_t)n);
        f.lose_set = n;
        int code = provision_checked();
        reached = f.sets >= n;
        assert_int_equal(code, reached ? (int)DEVSTAMP__STATUS_CODE__CODE_FLASH : 0);
        assert_int_equal(provision_checked(), 0);
        assert_whole();
    }
    assert_int_equal(n - 2, 3 + FAKE_STAMP_COUNT); // key, chain, done and the values
}

static void test_run_ends_with_console(void **state)
{
    (void)state;
    begin(9);
    f.idle_polls = 5;
    ds_agent_run(&f.agent);
    assert_int_equal(f.idle_polls, 0);
    assert_int_equal(ds_agent_stage(&f.agent), DEVSTAMP__STAGE__STAGE_FRESH);
    f.dead = true;
    assert_int_equal(ds_agent_stage(&f.agent), -1);
}

static void test_reset_after_lost_answer_keeps_key(void **state)
{
    (void)state;
    begin(5);
    f.power_write = 1; // the key's own write
    f.power_after = true;
    assert_int_equal(fake_make_key(&f, &st, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, false, NULL), -1);
    fake_power_on(&f, DS_AGENT_MFG);
    uint8_t before[32], after[32];
    private_scalar(DS_AREA_PLAIN, before);
    bool made = true;
    assert_int_equal(fake_make_key(&f, &st, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, false, &made), 0);
    assert_false(made);
    private_scalar(DS_AREA_PLAIN, after);
    assert_memory_equal(before, after, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_once_without_effect),
        cmocka_unit_test(test_every_call_fails_once_after_effect),
        cmocka_unit_test(test_power_lost_twice_at_every_write),
        cmocka_unit_test(test_every_lost_set_is_found),
        cmocka_unit_test(test_run_ends_with_console),
        cmocka_unit_test(test_reset_after_lost_answer_keeps_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
