// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the ledger remembers of a signer's issuance log: it may grow, and nothing else.
#include "ledger_support.h"
#include "src/ledger/internal.h"

#include "src/pki/merkle.h"

static const uint8_t ca_a[32] = {0xAA}, ca_b[32] = {0xBB};

// A log of which leaf i is SHA-256-sized and tells its branch: logs of one branch go on from each other.
typedef struct branch {
    uint8_t id;
    uint64_t fork; // leaves below this are those of branch 0
} branch;

static enum ds_class leaf_of(void *arg, unsigned level, uint64_t index, uint8_t ret[32], ds_err *e)
{
    const branch *b = arg;
    (void)level, (void)e;
    memset(ret, 0, 32);
    ret[0] = index < b->fork ? 0 : b->id;
    ret[1] = (uint8_t)index;
    return DS_OK;
}

// What a signer with that branch's log of that many entries would answer the ledger.
static enum ds_class head_of_branch(world *w, const uint8_t ca[32], uint64_t entries, branch b)
{
    const ds_merkle_source s = {.node = leaf_of, .arg = &b};
    ds_hasher *h = ds_hasher_new();
    ds_merkle_proof p = {0};
    uint8_t root[32], known[32];
    uint64_t from = 0;
    bool has_root = false;
    w->e = (ds_err)DS_ERR_INIT;
    assert_int_equal(ds_ledger_signer_known(w->l, ca, &from, known, &has_root, &w->e), DS_OK);
    assert_int_equal(ds_merkle_root_of(&s, h, entries, root, NULL), DS_OK);
    if (from <= entries)
        assert_int_equal(ds_merkle_prove_consistency(&s, h, from, entries, &p, NULL), DS_OK);
    ds_hasher_free(h);
    const ds_ledger_log log = {ca, entries, root, from, p.hash, p.count};
    return ds_ledger_signer_head(w->l, &log, &w->e);
}

static enum ds_class head(world *w, const uint8_t ca[32], uint64_t entries)
{
    return head_of_branch(w, ca, entries, (branch){0, 0});
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
    assert_int_equal(head(w, ca_a, 0), DS_OK);
    assert_int_equal(events(w), 0); // an empty log that was never seen is nothing to write down
    assert_int_equal(head(w, ca_a, 2), DS_OK);
    assert_int_equal(head(w, ca_a, 2), DS_OK);
    assert_int_equal(events(w), 1);
    assert_int_equal(head(w, ca_a, 10), DS_OK);
    reopen(w, false);
    assert_int_equal(head(w, ca_a, 10), DS_OK);
    assert_int_equal(events(w), 2);
}

static void test_signer_head_rollback_is_refused(void **state)
{
    world *w = *state;
    assert_int_equal(head(w, ca_a, 9), DS_OK);
    assert_int_equal(head(w, ca_a, 10), DS_OK);
    const struct {
        uint64_t entries;
        branch branch;
        const char *words;
    } cases[] = {{9, {0, 0}, "has 9 entries, and had 10"},
                 {0, {0, 0}, "has 0 entries, and had 10"},
                 {10, {1, 9}, "entry 10 is another"},
                 {10, {1, 3}, "entry 10 is another"},
                 {11, {1, 9}, "its first 10 are not those that it had"},
                 {200, {1, 0}, "its first 10 are not those that it had"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(head_of_branch(w, ca_a, cases[i].entries, cases[i].branch), DS_POLICY);
        assert_has(w->e.text, cases[i].words);
        assert_has(w->e.hint, "copy");
        assert_int_equal(events(w), 2);
    }
    assert_int_equal(head_of_branch(w, ca_a, 11, (branch){1, 10}), DS_OK);
}

// A record of the first format holds a hash that no Merkle log can have: only its length counts, once.
static void test_signer_head_follows_a_record_of_the_first_format(void **state)
{
    world *w = *state;
    char text[200];
    memset(text, 'a', 64);
    memset(text + 64, ' ', 1);
    memcpy(text + 65, "12 ", 3);
    memset(text + 68, 'b', 64);
    text[132] = '\0';
    assert_int_equal(ds_ledger_begin(w->l, &w->e), DS_OK);
    assert_int_equal(ds_ledger_end(w->l, ds_ledger_append(w->l, 0, DS_LEDGER_KIND_SIGNER, text, &w->e), &w->e), DS_OK);
    uint8_t ca[32];
    memset(ca, 0xaa, sizeof ca);
    assert_int_equal(head(w, ca, 11), DS_POLICY);
    assert_has(w->e.text, "has 11 entries, and had 12");
    assert_int_equal(head(w, ca, 12), DS_OK);
    assert_int_equal(events(w), 2);
    assert_int_equal(head_of_branch(w, ca, 12, (branch){1, 0}), DS_POLICY);
    assert_int_equal(head(w, ca, 12), DS_OK);
    assert_int_equal(events(w), 2);
}

static void test_signer_head_has_no_fewer_than_were_signed(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    whole_device(w->l, 2);
    int64_t before = events(w);
    assert_int_equal(head(w, ca_a, 1), DS_POLICY);
    assert_has(w->e.text, "has 1 entries, the ledger 2 certificates");
    assert_int_equal(head(w, ca_a, 0), DS_POLICY);
    assert_int_equal(events(w), before);
    assert_int_equal(head(w, ca_a, 2), DS_OK);
    whole_device(w->l, 3); // signed since; the log lost it
    assert_int_equal(head(w, ca_a, 2), DS_POLICY);
    assert_int_equal(head(w, ca_a, 3), DS_OK);
}

// A new Sub CA has a log of its own, which begins empty.
static void test_signer_head_is_kept_for_each_ca(void **state)
{
    world *w = *state;
    whole_device(w->l, 1);
    assert_int_equal(head(w, ca_a, 1), DS_OK);
    assert_int_equal(head(w, ca_b, 0), DS_OK);
    whole_device(w->l, 2);
    assert_int_equal(head(w, ca_b, 0), DS_POLICY);
    assert_int_equal(head(w, ca_b, 1), DS_OK);
    assert_int_equal(head(w, ca_a, 1), DS_OK);
    assert_int_equal(head(w, ca_a, 0), DS_POLICY);
}

static void test_check_counts_what_was_signed_elsewhere(void **state)
{
    world *w = *state;
    lines said;
    whole_device(w->l, 1);
    assert_int_equal(head(w, ca_a, 1), DS_OK);
    assert_int_equal(check(w->l, &said), 0);
    whole_device(w->l, 2); // a running line: signed, and the log not compared yet
    assert_int_equal(check(w->l, &said), 0);
    assert_int_equal(head(w, ca_a, 4), DS_OK);
    assert_int_equal(check(w->l, &said), 1);
    assert_has(said.text, "2 certificates were signed that this ledger does not know");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_signer_head_grows_and_is_recorded_once),
        TEST(test_signer_head_rollback_is_refused),
        TEST(test_signer_head_follows_a_record_of_the_first_format),
        TEST(test_signer_head_has_no_fewer_than_were_signed),
        TEST(test_signer_head_is_kept_for_each_ca),
        TEST(test_check_counts_what_was_signed_elsewhere),
    };
    return cmocka_run_group_tests_name("ledger: signer", tests, NULL, NULL);
}
