// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Text of others on a person's screen: what is refused because it is not seen.
#include "src/cli/shown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static enum ds_class check(const char *text, ds_err *e)
{
    return ds_shown_check((ds_view){(const uint8_t *)text, strlen(text)}, e);
}

static void test_shown_text_that_is_seen_is_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"", "recipe: 1\n\tx \\ ~\r\n",
                                       "f\xC3\xBCr sp\xC3\xA4ter \xE2\x80\x94 \xE2\x82\xAC", "\xE6\x97\xA5\xE6\x9C\xAC",
                                       "\xF0\x9F\x94\x92"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(check(good[i], NULL), DS_OK);
}

static void test_shown_text_that_hides_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x1b[2J",
        "\x7f",
        "a\rb",
        "a\r", // control
        "\xC2\x85",
        "\xC2\xA0",
        "\xC2\xAD", // next line, no-break space, soft hyphen
        "\xE2\x80\x8B",
        "\xE2\x80\xA8",
        "\xE2\x80\xAE",
        "\xE2\x81\xA6", // zero width, line, direction
        "\xEF\xBB\xBF",
        "\xF3\xA0\x80\x81",
        "\xEE\x80\x80", // byte order mark, tag, private use
        "\xC1\x81",
        "\xE0\x81\x81",
        "\xF0\x80\x81\x81", // too long a form of 'A'
        "\xED\xA0\x80",
        "\xF4\x90\x80\x80",
        "\xF8\x88\x80\x80\x80", // no characters
        "\xC3",
        "\xE2\x82",
        "\xC3\x41",
        "\x80",
        "\xFF", // cut, or begun in the middle
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (check(bad[i], NULL) != DS_INPUT)
            fail_msg("text %zu was taken", i);
    }
    assert_int_equal(ds_shown_check((ds_view){(const uint8_t *)"a\0b", 3}, NULL), DS_INPUT);
}

static void test_shown_names_the_line(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(check("a\r\nb\nc\x1b", &e), DS_INPUT);
    assert_non_null(strstr(e.text, "line 3: "));
    assert_non_null(strstr(e.text, "0x1b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shown_text_that_is_seen_is_taken),
        cmocka_unit_test(test_shown_text_that_hides_is_refused),
        cmocka_unit_test(test_shown_names_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
