// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Memory that is given back holds nothing any more: free() is watched, by the linker's --wrap.
#include "src/base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEN = 100 };

static const uint8_t *watched;
static unsigned freed, left; // times; bytes that were not zero

void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
    if (p && p == watched) {
        freed++;
        for (size_t i = 0; i < LEN; i++)
            left += watched[i] != 0;
    }
    __real_free(p);
}

static void test_wipe_free_leaves_nothing(void **state)
{
    (void)state;
    uint8_t *secret = malloc(LEN);
    assert_non_null(secret);
    memset(secret, 0x5A, LEN);
    watched = secret;
    ds_wipe_free(secret);
    watched = NULL;
    assert_int_equal(freed, 1);
    assert_int_equal(left, 0);
    ds_wipe_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wipe_free_leaves_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
