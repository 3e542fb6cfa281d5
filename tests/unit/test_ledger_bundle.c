// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Which release bundles were used: the newest counts, by product and chip, and each change is recorded once.
#include "ledger_support.h"

static enum ds_class use(world *w, const char *product, uint64_t release, uint8_t fill, bool allow_older)
{
    uint8_t digest[32];
    memset(digest, fill, sizeof digest);
    const ds_ledger_bundle b = {product, "esp32c3", release, digest, allow_older};
    return ds_ledger_use_bundle(w->l, &b, &w->e);
}

static int64_t events(world *w)
{
    int64_t count = 0;
    uint8_t head[32];
    assert_int_equal(ds_ledger_head(w->l, &count, head, &w->e), DS_OK);
    return count;
}

static void test_bundle_older_or_exchanged_is_refused(void **state)
{
    world *w = *state;
    assert_int_equal(use(w, "lamp", 7, 1, false), DS_OK);
    assert_int_equal(use(w, "lamp", 7, 1, false), DS_OK);
    assert_int_equal(events(w), 1);
    assert_int_equal(use(w, "lamp", 7, 2, false), DS_POLICY);
    assert_non_null(strstr(w->e.text, "another bundle was used here as release 7"));
    assert_int_equal(use(w, "lamp", 9, 3, false), DS_OK);
    assert_int_equal(use(w, "lamp", 8, 4, false), DS_POLICY);
    assert_non_null(strstr(w->e.text, "older than 9"));
    assert_int_equal(events(w), 2);
}

static void test_bundle_of_another_product_counts_by_itself(void **state)
{
    world *w = *state;
    const uint8_t digest[32] = {5};
    assert_int_equal(use(w, "lamp", 7, 1, false), DS_OK);
    assert_int_equal(use(w, "lamp two", 1, 1, false), DS_OK);
    assert_int_equal(use(w, "lamp two", 1, 2, false), DS_POLICY);
    const ds_ledger_bundle other_chip = {"lamp", "esp32", 1, digest, false};
    assert_int_equal(ds_ledger_use_bundle(w->l, &other_chip, &w->e), DS_OK);
}

static void test_bundle_that_an_officer_allows_leaves_the_newest_known(void **state)
{
    world *w = *state;
    assert_int_equal(use(w, "lamp", UINT64_C(1) << 40, 1, false), DS_OK);
    assert_int_equal(use(w, "lamp", 2, 2, true), DS_OK);
    assert_int_equal(use(w, "lamp", 2, 2, true), DS_OK);
    assert_int_equal(events(w), 2);
    assert_int_equal(use(w, "lamp", 3, 3, false), DS_POLICY);
    ds_ledger_close(w->l); // it is the file that remembers
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
    assert_int_equal(use(w, "lamp", 3, 3, false), DS_POLICY);
    assert_int_equal(use(w, "lamp", UINT64_C(1) << 40, 1, false), DS_OK);
    assert_int_equal(events(w), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bundle_older_or_exchanged_is_refused),
        TEST(test_bundle_of_another_product_counts_by_itself),
        TEST(test_bundle_that_an_officer_allows_leaves_the_newest_known),
    };
    return cmocka_run_group_tests_name("ledger: bundle", tests, NULL, NULL);
}
