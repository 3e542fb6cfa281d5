// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Topic patterns: what they give a device, and that none can give it another's.
#include "src/cloud/topics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void test_patterns_give_a_device_its_own(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_topics t;
    static const char *const own[] = {
        "devstamp/SN1/", "devstamp/SN1/hello", "devstamp/SN1/#", "devstamp/SN1/a/+", "$aws/things/SN1/shadow/update",
        "cfg/v1/SN1/get"};
    static const char *const others[] = {"devstamp/SN1",
                                         "devstamp/SN10/hello",
                                         "devstamp/SN2/#",
                                         "devstamp/+/hello",
                                         "devstamp/#",
                                         "#",
                                         "",
                                         "$aws/things/SN1/shadow",
                                         "$aws/things/SN1/shadow/update/x",
                                         "$aws/things/SN1/+/update",
                                         "cfg/v1/SN1/getter",
                                         "cfg/v2/SN1/get",
                                         "SN1/"};
    assert_int_equal(ds_topics_parse("devstamp/{name}/#,$aws/things/{name}/shadow/update,cfg/v1/{name}/get", &t, &e),
                     DS_OK);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!ds_topics_own(&t, "SN1", own[i]))
            fail_msg("not given: %s", own[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ds_topics_own(&t, "SN1", others[i]))
            fail_msg("given: %s", others[i]);
    assert_false(ds_topics_own(&t, "", "devstamp//x"));
    assert_true(ds_topics_any(&t, "devstamp/#"));
    assert_false(ds_topics_any(&t, "#"));
}

static void test_bad_patterns_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ",",
        "devstamp",
        "devstamp/#",
        "{name}",
        "{name}/#",
        "devstamp/x{name}/#",
        "devstamp/{name}x/#",
        "devstamp/{name}/{name}",
        "devstamp/+/{name}/#",
        "#",
        "devstamp/{name}/+",
        "devstamp/{name}/#/x",
        "devstamp/{name}#",
        "$SYS/{name}/#",
        "$aws/events/{name}/#",
        "$aws/{name}/#",
        "$share/{name}/#",
        "/{name}/#",
        "devstamp//{name}/#",
        "devstamp/{name}/",
        "devstamp/{name}//x",
        "dev stamp/{name}/#",
        "devstamp/{name}/#,",
        "a/{name}/#,a/b/{name}/#",
        "a/b/c/{name},a/{name}/x",
        "a/\"/{name}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ds_err e = DS_ERR_INIT;
        ds_topics t;
        if (ds_topics_parse(bad[i], &t, &e) != DS_USAGE)
            fail_msg("taken: '%s'", bad[i]);
    }
}

// Every pair of patterns that is taken, over names chosen to meet the levels of the other: nobody reaches another's.
static void test_no_two_devices_share_a_topic(void **state)
{
    (void)state;
    static const char *const patterns[] = {"a/{name}/#",   "b/{name}",       "a/{name}/b",
                                           "a/b/{name}/#", "b/a/{name}/#",   "a/$x/{name}/#",
                                           "c/a/b/{name}", "a/a/{name}/b/#", "$aws/things/{name}/#"};
    static const char *const names[] = {"a", "b", "c", "x", "things"};
    static const char *const topics[] = {"a/a/b",
                                         "a/b/a",
                                         "a/b/b",
                                         "a/a/b/b",
                                         "a/$x/a/b",
                                         "b/a",
                                         "b/b",
                                         "b/a/b/c",
                                         "c/a/b/a",
                                         "c/a/b/b",
                                         "a/a/a/b/c",
                                         "a/b/c/d",
                                         "$aws/things/a/b",
                                         "$aws/things/things/a",
                                         "a/x/b",
                                         "a/c/c"};
    size_t n = sizeof patterns / sizeof *patterns;
    for (size_t i = 0; i < n * n; i++) {
        char list[128];
        ds_err e = DS_ERR_INIT;
        ds_topics t;
        snprintf(list, sizeof list, "%s,%s", patterns[i / n], patterns[i % n]);
        if (ds_topics_parse(list, &t, &e))
            continue;
        for (size_t k = 0; k < sizeof topics / sizeof *topics; k++) {
            unsigned holders = 0;
            for (size_t m = 0; m < sizeof names / sizeof *names; m++)
                holders += ds_topics_own(&t, names[m], topics[k]);
            if (holders > 1)
                fail_msg("%s: %u devices share %s", list, holders, topics[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_give_a_device_its_own),
        cmocka_unit_test(test_bad_patterns_are_refused),
        cmocka_unit_test(test_no_two_devices_share_a_topic),
    };
    return cmocka_run_group_tests_name("cloud: topics", tests, NULL, NULL);
}
