// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Dates.
#include "src/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void expect(int64_t from, int years, const char *wanted)
{
    char text[21];
    ds_utc_format(ds_utc_add_years(from, years), text);
    assert_string_equal(text, wanted);
}

static void test_years_later_is_the_same_date(void **state)
{
    (void)state;
    expect(1764110045, 0, "2025-11-25T22:34:05Z");
    expect(1764110045, 1, "2026-11-25T22:34:05Z");
    expect(1764110045, 15, "2040-11-25T22:34:05Z");
    expect(1764110045, 100, "2125-11-25T22:34:05Z"); // 2100 has no 29 February
    expect(1764110045, 1000, "3025-11-25T22:34:05Z");
    expect(1709208000, 4, "2028-02-29T12:00:00Z");
    expect(1709208000, 1, "2025-03-01T12:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_years_later_is_the_same_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
