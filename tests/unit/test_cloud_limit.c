// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Token buckets: what stands at once, what drains away, and that a flood cannot make them fuller than full.
#include "src/cloud/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const ds_rate rate = {.per_s = 10, .burst = 3};

static void test_bucket_fills_and_drains(void **state)
{
    (void)state;
    ds_bucket b = {0};
    int64_t now = 1000000;
    for (int i = 0; i < 3; i++) {
        assert_true(ds_bucket_open(&b, rate, now));
        ds_bucket_count(&b, rate, now);
    }
    assert_false(ds_bucket_open(&b, rate, now));
    assert_false(ds_bucket_open(&b, rate, now + 99));
    assert_true(ds_bucket_open(&b, rate, now + 100));
    ds_bucket_count(&b, rate, now + 100);
    assert_false(ds_bucket_open(&b, rate, now + 199));
    assert_true(ds_bucket_open(&b, rate, now + 200));
}

static void test_flood_keeps_a_bucket_shut_no_longer_than_it_lasts(void **state)
{
    (void)state;
    ds_bucket b = {0};
    for (int64_t i = 0; i < 100000; i++)
        ds_bucket_count(&b, rate, 1000 + i / 1000);
    assert_false(ds_bucket_open(&b, rate, 1100));
    assert_true(ds_bucket_open(&b, rate, 1100 + 250));    // one more than full, and one's room
    assert_true(ds_bucket_open(&b, rate, INT64_MAX / 2)); // no overflow after a long rest
    ds_bucket_count(&b, rate, 5);                         // a clock that goes back neither opens nor breaks it
    assert_true(ds_bucket_open(&b, rate, 5));
}

static void test_sources_are_told_apart(void **state)
{
    (void)state;
    static ds_sources s;
    unsigned met = 0;
    const ds_bucket *first = ds_sources_of(&s, "192.0.2.1");
    assert_ptr_equal(first, ds_sources_of(&s, "192.0.2.1"));
    for (unsigned i = 0; i < 1000; i++) {
        char address[32];
        snprintf(address, sizeof address, "198.51.%u.%u", i / 250, i % 250);
        met += ds_sources_of(&s, address) == first;
    }
    assert_in_range(met, 0, 20); // about one in a thousand
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket_fills_and_drains),
        cmocka_unit_test(test_flood_keeps_a_bucket_shut_no_longer_than_it_lasts),
        cmocka_unit_test(test_sources_are_told_apart),
    };
    return cmocka_run_group_tests_name("cloud: limits", tests, NULL, NULL);
}
