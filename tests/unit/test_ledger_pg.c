// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What only a shared database has: places, schema versions, several stations at once, and a database that goes away.
#include "ledger_support.h"

static void test_place_is_told_from_a_file(void **state)
{
    (void)state;
    static const char *const places[] = {"postgresql://h/d", "postgres://h/d", "host=h dbname=d", "service=ledger"};
    static const char *const files[] = {"ledger.db", "/var/lib/x/ledger.db", "a=b", "./host=h", ""};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        assert_true(ds_ledger_is_database(places[i]));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_false(ds_ledger_is_database(files[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_is_told_from_a_file),
    };
    return cmocka_run_group_tests_name("ledger: database", tests, NULL, NULL);
}
