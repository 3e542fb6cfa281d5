// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The fault plan's text, the wire's faults, and the timing model's debts.
#include "sim/chip.h"
#include "proto/stamp.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void test_fault_parse_full_plan_fills_all(void **state)
{
    (void)state;
    ds_sim_fault f;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(
        ds_sim_fault_parse("cut@12,again@3,drop=5,double=6,flip=1000000,hang@99,seed=18446744073709551615", &f, &e), 0);
    assert_int_equal(f.cut_at, 12);
    assert_int_equal(f.again_after, 3);
    assert_false(f.stay_off);
    assert_int_equal(f.drop_ppm, 5);
    assert_int_equal(f.double_ppm, 6);
    assert_int_equal(f.flip_ppm, 1000000);
    assert_int_equal(f.hang_at, 99);
    assert_true(f.rng == UINT64_MAX);
    assert_null(f.flash_ops);
    assert_int_equal(ds_sim_fault_parse("off@7", &f, &e), 0);
    assert_int_equal(f.cut_at, 7);
    assert_true(f.stay_off);
    assert_int_equal(ds_sim_fault_parse("", &f, &e), 0);
    assert_int_equal(f.cut_at, 0);
    assert_int_equal(ds_sim_fault_parse(NULL, &f, &e), 0);
}

static void test_fault_parse_bad_plan_is_named_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"cut@",         "cut@x",     "cut=3",   "cut@0",
                                      "drop=1000001", "flip@3",    "bogus=1", "cut@1 ",
                                      "drop=-1",      "seed=",     "cut",     "cut@18446744073709551616",
                                      "cut@3,,bogus", "hang@5,x=2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ds_sim_fault f = {.cut_at = 77};
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_sim_fault_parse(bad[i], &f, &e), DS_USAGE);
        assert_non_null(strstr(e.text, "fault plan: "));
        assert_int_equal(f.cut_at, 77);
    }
}

static void test_fault_wire_without_plan_is_transparent(void **state)
{
    (void)state;
    ds_sim_fault f = {.rng = 1};
    uint8_t in[256], out[512];
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)i;
    assert_int_equal(ds_sim_fault_wire(&f, in, sizeof in, out), sizeof in);
    assert_memory_equal(in, out, sizeof in);
}

static void test_fault_wire_hang_silences_after_n_bytes(void **state)
{
    (void)state;
    ds_sim_fault f = {.rng = 1, .hang_at = 10};
    uint8_t in[8] = {0}, out[16];
    assert_int_equal(ds_sim_fault_wire(&f, in, 8, out), 8);
    assert_int_equal(ds_sim_fault_wire(&f, in, 8, out), 2);
    assert_int_equal(ds_sim_fault_wire(&f, in, 8, out), 0);
}

static size_t run_wire(const char *plan, const uint8_t *in, size_t len, uint8_t *out)
{
    ds_sim_fault f;
    assert_int_equal(ds_sim_fault_parse(plan, &f, NULL), 0);
    return ds_sim_fault_wire(&f, in, len, out);
}

static void test_fault_wire_rates_are_as_asked_and_seeded(void **state)
{
    (void)state;
    enum { LEN = 100000 };
    uint8_t *in = calloc(1, LEN), *out = calloc(2, LEN), *again = calloc(2, LEN);
    assert_true(in && out && again);
    size_t n = run_wire("drop=100000,seed=5", in, LEN, out);
    assert_in_range(n, LEN - LEN / 10 - 500, LEN - LEN / 10 + 500);
    n = run_wire("double=100000,seed=5", in, LEN, out);
    assert_in_range(n, LEN + LEN / 10 - 500, LEN + LEN / 10 + 500);
    n = run_wire("flip=100000,seed=5", in, LEN, out);
    assert_int_equal(n, LEN);
    size_t flipped = 0;
    for (size_t i = 0; i < LEN; i++) {
        assert_true(__builtin_popcount(out[i]) <= 1);
        flipped += out[i] != 0;
    }
    assert_in_range(flipped, LEN / 10 - 500, LEN / 10 + 500);
    assert_int_equal(run_wire("flip=100000,seed=5", in, LEN, again), LEN);
    assert_memory_equal(out, again, LEN);
    assert_int_equal(run_wire("flip=100000,seed=6", in, LEN, again), LEN);
    assert_memory_not_equal(out, again, LEN);
    free(in);
    free(out);
    free(again);
}

static jmp_buf power;

static void power_gone(void *ctx)
{
    ++*(int *)ctx;
    longjmp(power, 1);
}

static void test_fault_flash_cuts_once_at_its_count(void **state)
{
    (void)state;
    uint64_t ops = 0;
    int cuts = 0;
    ds_sim_fault f = {.cut_at = 3, .flash_ops = &ops, .power_cut = power_gone, .ctx = &cuts};
    for (volatile int i = 0; i < 10; i++) {
        assert_int_equal(ds_sim_fault_flash_due(&f), i == 2);
        if (!setjmp(power))
            ds_sim_fault_flash(&f);
    }
    assert_int_equal(cuts, 1);
    assert_int_equal(ops, 10);
    f.flash_ops = NULL;
    ds_sim_fault_flash(&f);
    assert_false(ds_sim_fault_flash_due(&f));
}

static void test_fault_flash_cuts_again_after_its_count(void **state)
{
    (void)state;
    uint64_t ops = 0;
    int cuts = 0;
    ds_sim_fault f = {.cut_at = 3, .again_after = 4, .flash_ops = &ops, .power_cut = power_gone, .ctx = &cuts};
    for (volatile int i = 0; i < 12; i++) {
        assert_int_equal(ds_sim_fault_flash_due(&f), i == 2 || i == 6);
        if (!setjmp(power))
            ds_sim_fault_flash(&f);
    }
    assert_int_equal(cuts, 2);
}

static void test_fault_flash_without_hook_ends_the_process(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t ops = 0;
        ds_sim_fault f = {.cut_at = 1, .flash_ops = &ops};
        ds_sim_fault_flash(&f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), DS_SIM_EXIT_POWER_CUT);
}

static uint64_t elapsed_us(void (*act)(ds_sim_timing *t), ds_sim_timing *t)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    act(t);
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (uint64_t)((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
}

static void hundred_bytes_hundred_times(ds_sim_timing *t)
{
    for (int i = 0; i < 100; i++)
        ds_sim_timing_bytes(t, 100);
}

static void test_timing_wire_takes_ten_bits_a_byte(void **state)
{
    (void)state;
    ds_sim_timing t;
    ds_sim_timing_default(&t, 1);
    t.baud = 1000000;
    // 10000 bytes: 100 ms, less what is still owed.
    assert_in_range(elapsed_us(hundred_bytes_hundred_times, &t), 95000, 1000000);
    t.on = false;
    assert_in_range(elapsed_us(hundred_bytes_hundred_times, &t), 0, 50000);
}

static void one_rsa_key(ds_sim_timing *t)
{
    ds_sim_timing_key(t, DEVSTAMP__KEY_TYPE__KEY_RSA_2048);
}

static void one_ec_key(ds_sim_timing *t)
{
    ds_sim_timing_key(t, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256);
}

static void test_timing_keys_take_their_time(void **state)
{
    (void)state;
    ds_sim_timing t;
    ds_sim_timing_default(&t, 1);
    assert_int_equal(t.rsa2048_ms_min, 7000);
    assert_int_equal(t.rsa2048_ms_max, 12000);
    t.rsa2048_ms_min = 60;
    t.rsa2048_ms_max = 80;
    t.ecdsa_ms = 20;
    assert_in_range(elapsed_us(one_rsa_key, &t), 60000, 1000000);
    assert_in_range(elapsed_us(one_ec_key, &t), 19000, 1000000);
    t.on = false;
    assert_in_range(elapsed_us(one_rsa_key, &t), 0, 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault_parse_full_plan_fills_all),
        cmocka_unit_test(test_fault_parse_bad_plan_is_named_and_changes_nothing),
        cmocka_unit_test(test_fault_wire_without_plan_is_transparent),
        cmocka_unit_test(test_fault_wire_hang_silences_after_n_bytes),
        cmocka_unit_test(test_fault_wire_rates_are_as_asked_and_seeded),
        cmocka_unit_test(test_fault_flash_cuts_once_at_its_count),
        cmocka_unit_test(test_fault_flash_cuts_again_after_its_count),
        cmocka_unit_test(test_fault_flash_without_hook_ends_the_process),
        cmocka_unit_test(test_timing_wire_takes_ten_bits_a_byte),
        cmocka_unit_test(test_timing_keys_take_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
