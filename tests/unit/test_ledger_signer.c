// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the ledger remembers of a signer's issuance log: it may grow, and nothing else.
#include "ledger_support.h"

static const uint8_t ca_a[32] = {0xAA}, ca_b[32] = {0xBB};

static uint8_t *head_of(unsigned n)
{
    static uint8_t head[32];
    memset(head, (int)n, sizeof head);
    return head;
}

static int64_t events(world *w)
{
    int64_t count = -1;
    uint8_t hash[32];
    assert_int_equal(ds_ledger_head(w->l, &count, hash, &w->e), DS_OK);
    return count;
}

static void test_signer_head_grows_and_is_recorded_once(void **state)
{
    world *w = *state;
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 0, head_of(9), &w->e), DS_OK);
    assert_int_equal(events(w), 0); // an empty log that was never seen is nothing to write down
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 2, head_of(2), &w->e), DS_OK);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 2, head_of(2), &w->e), DS_OK);
    assert_int_equal(events(w), 1);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 10, head_of(10), &w->e), DS_OK);
    reopen(w, false);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 10, head_of(10), &w->e), DS_OK);
    assert_int_equal(events(w), 2);
}

static void test_signer_head_rollback_is_refused(void **state)
{
    world *w = *state;
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 9, head_of(9), &w->e), DS_OK);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 10, head_of(10), &w->e), DS_OK);
    const struct {
        uint64_t entries;
        unsigned head;
        const char *words;
    } cases[] = {
        {9, 9, "has 9 entries, and had 10"}, {0, 0, "has 0 entries, and had 10"}, {10, 11, "entry 10 is another"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w->e = (ds_err)DS_ERR_INIT;
        assert_int_equal(ds_ledger_signer_head(w->l, ca_a, cases[i].entries, head_of(cases[i].head), &w->e), DS_POLICY);
        assert_has(w->e.text, cases[i].words);
        assert_has(w->e.hint, "copy");
        assert_int_equal(events(w), 2);
    }
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 10, head_of(10), &w->e), DS_OK);
}

static void test_signer_head_has_no_fewer_than_were_signed(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    whole_device(w->l, 2);
    int64_t before = events(w);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 1, head_of(1), &w->e), DS_POLICY);
    assert_has(w->e.text, "has 1 entries, the ledger 2 certificates");
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 0, head_of(1), &w->e), DS_POLICY);
    assert_int_equal(events(w), before);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 2, head_of(2), &w->e), DS_OK);
    whole_device(w->l, 3); // signed since; the log lost it
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 2, head_of(2), &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 3, head_of(3), &w->e), DS_OK);
}

// A new Sub CA has a log of its own, which begins empty.
static void test_signer_head_is_kept_for_each_ca(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 1, head_of(1), &w->e), DS_OK);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_b, 0, head_of(7), &w->e), DS_OK);
    whole_device(w->l, 2);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_b, 0, head_of(7), &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_b, 1, head_of(8), &w->e), DS_OK);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 1, head_of(1), &w->e), DS_OK);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 0, head_of(0), &w->e), DS_POLICY);
}

static void test_check_counts_what_was_signed_elsewhere(void **state)
{
    world *w = *state;
    lines said;
    whole_device(w->l, 1);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 1, head_of(1), &w->e), DS_OK);
    assert_int_equal(check(w->l, &said), 0);
    whole_device(w->l, 2); // a running line: signed, and the log not compared yet
    assert_int_equal(check(w->l, &said), 0);
    assert_int_equal(ds_ledger_signer_head(w->l, ca_a, 4, head_of(4), &w->e), DS_OK);
    assert_int_equal(check(w->l, &said), 1);
    assert_has(said.text, "2 certificates were signed that this ledger does not know");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_signer_head_grows_and_is_recorded_once),    TEST(test_signer_head_rollback_is_refused),
        TEST(test_signer_head_has_no_fewer_than_were_signed), TEST(test_signer_head_is_kept_for_each_ca),
        TEST(test_check_counts_what_was_signed_elsewhere),
    };
    return cmocka_run_group_tests_name("ledger: signer", tests, NULL, NULL);
}
