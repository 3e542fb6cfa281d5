// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Sizes as people write them in recipes.
#include "src/station/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_parse_size_reads_numbers_and_suffixes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t size;
    } cases[] = {{"4096", 4096},    {"0x1000", 0x1000},     {"64K", 64 << 10},          {"4MB", 4 << 20},
                 {"16m", 16 << 20}, {"4095M", 4095u << 20}, {"4294967295", UINT32_MAX}, {"0", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t size = 1;
        assert_true(ds_parse_size(cases[i].text, &size));
        assert_int_equal(size, cases[i].size);
    }
}

static void test_parse_size_refuses_what_does_not_fit_or_is_no_number(void **state)
{
    (void)state;
    // The sixth is 2^44 + 1 MiB, which 64 bits would wrap into 1 MiB.
    static const char *const cases[] = {
        "", "M", "4 MB", "4B", "-1", "17592186044417M", "18014398509481985K", "4096M", "4294967296", "4MBs"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t size = 7;
        assert_false(ds_parse_size(cases[i], &size));
        assert_int_equal(size, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_size_reads_numbers_and_suffixes),
        cmocka_unit_test(test_parse_size_refuses_what_does_not_fit_or_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
