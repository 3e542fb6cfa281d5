// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a broker without memory could not publish is published later, in order, once.
#include "src/cloud/outbox.h"

#include "src/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char heard[256];
static unsigned room; // messages the broker takes before it fails

static bool publish(const char *topic, const char *payload)
{
    if (room == 0)
        return false;
    room--;
    size_t len = strlen(heard);
    snprintf(heard + len, sizeof heard - len, "%s=%s;", topic, payload);
    return true;
}

static int fresh(void **state)
{
    (void)state;
    heard[0] = '\0';
    room = 0;
    return 0;
}

static void test_send_goes_at_once(void **state)
{
    (void)state;
    ds_outbox o = {0};
    room = 1;
    assert_true(ds_outbox_send(&o, publish, "t", "1"));
    assert_string_equal(heard, "t=1;");
    assert_int_equal(o.count, 0);
    ds_outbox_clear(&o);
}

static void test_retry_publishes_in_order_and_once(void **state)
{
    (void)state;
    ds_outbox o = {0};
    assert_true(ds_outbox_send(&o, publish, "t", "1"));
    assert_true(ds_outbox_send(&o, publish, "t", "2"));
    ds_outbox_retry(&o, publish);
    assert_string_equal(heard, "");
    room = 1;
    assert_true(ds_outbox_send(&o, publish, "t", "3")); // does not overtake
    assert_string_equal(heard, "t=1;");
    room = 10;
    ds_outbox_retry(&o, publish);
    ds_outbox_retry(&o, publish);
    assert_string_equal(heard, "t=1;t=2;t=3;");
    assert_int_equal(o.count, 0);
    room = 0;
    assert_true(ds_outbox_send(&o, publish, "t", "4")); // an emptied box is usable
    ds_outbox_clear(&o);
    assert_int_equal(o.count, 0);
}

static void test_send_is_bounded(void **state)
{
    (void)state;
    ds_outbox o = {0};
    for (unsigned i = 0; i < DS_OUTBOX_MAX; i++)
        assert_true(ds_outbox_send(&o, publish, "t", "x"));
    assert_false(ds_outbox_send(&o, publish, "t", "x"));
    assert_int_equal(o.count, DS_OUTBOX_MAX);
    ds_outbox_clear(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_send_goes_at_once, fresh),
        cmocka_unit_test_setup(test_retry_publishes_in_order_and_once, fresh),
        cmocka_unit_test_setup(test_send_is_bounded, fresh),
    };
    return cmocka_run_group_tests_name("cloud: outbox", tests, NULL, NULL);
}
