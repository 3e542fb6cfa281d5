// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Devices: met once, numbered once, found again; events and proofs.
#include "ledger_support.h"

static void test_device_get_again_is_the_same(void **state)
{
    world *w = *state;
    ds_ledger_device a = device_n(w->l, 7), b = device_n(w->l, 7), c = device_n(w->l, 8), other;
    assert_int_equal(a.id, b.id);
    assert_int_not_equal(a.id, c.id);
    assert_int_equal(ds_ledger_device_get(w->l, 0, a.mac, "lamp", &other, &w->e), DS_OK); // another chip, same address
    assert_int_not_equal(other.id, a.id);
    assert_string_equal(a.product, "lamp");
    assert_string_equal(a.serial, "");
    assert_false(a.locked);
    assert_true(a.first_seen_utc > 1700000000 && b.last_seen_utc >= a.last_seen_utc);
}

static void test_device_product_follows_until_numbered(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    char serial[64];
    assert_int_equal(ds_ledger_device_get(w->l, CHIP, d.mac, "fan", &d, &w->e), DS_OK);
    assert_string_equal(d.product, "fan");
    assert_int_equal(ds_ledger_device_serial(w->l, d.id, "{mac}", serial, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_get(w->l, CHIP, d.mac, "lamp", &d, &w->e), DS_OK);
    assert_string_equal(d.product, "fan");
}

static void test_serial_formats(void **state)
{
    world *w = *state;
    static const struct {
        const char *format, *want; // want NULL: DS_INPUT
    } cases[] = {
        {"{mac}", "020000000001"},
        {"SN-{mac}.x", "SN-020000000002.x"},
        {"{counter}", "1"}, // counts per product whatever the format
        {"A{counter:6}", "A000002"},
        {"{counter:1}", "3"},
        {"{mac}_{counter:12}", "020000000006_000000000004"},
        {"", NULL},
        {"{", NULL},
        {"{}", NULL},
        {"{mac", NULL},
        {"{MAC}", NULL},
        {"{counter:0}", NULL},
        {"{counter:13}", NULL},
        {"{counter:-1}", NULL},
        {"{counter:3x}", NULL},
        {"{counter: 3}", NULL},
        {"{counter:}", NULL},
        {"a b", NULL},
        {"a/{mac}", NULL},
        {"a#", NULL},
        {"a+", NULL},
        {"a,CN=x", NULL},
        {"}", NULL},
        {"0123456789012345678901234567890123456789012345678901{mac}", NULL},
        {"012345678901234567890123456789012345678901234567890{mac}", // 63 bytes: the longest
         "012345678901234567890123456789012345678901234567890020000000019"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        ds_ledger_device d = device_n(w->l, i + 1);
        char serial[64] = "";
        enum ds_class rc = ds_ledger_device_serial(w->l, d.id, cases[i].format, serial, &w->e);
        assert_int_equal(rc, cases[i].want ? DS_OK : DS_INPUT);
        assert_string_equal(serial, cases[i].want ? cases[i].want : "");
    }
}

static void test_serial_given_once(void **state)
{
    world *w = *state;
    ds_ledger_device a = device_n(w->l, 1), b = device_n(w->l, 2);
    char serial[64];
    assert_int_equal(ds_ledger_device_serial(w->l, a.id, "A{counter:2}", serial, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, a.id, "B{counter:2}", serial, &w->e), DS_OK);
    assert_string_equal(serial, "A01");
    assert_int_equal(ds_ledger_device_serial(w->l, b.id, "B{counter:2}", serial, &w->e), DS_OK);
    assert_string_equal(serial, "B02"); // the repeated question used up no number
}

static void test_serial_not_unique_is_refused_and_counts_nothing(void **state)
{
    world *w = *state;
    ds_ledger_device a = device_n(w->l, 1), b = device_n(w->l, 2), fan;
    uint8_t mac[6] = {2, 9};
    char serial[64] = "untouched";
    assert_int_equal(ds_ledger_device_serial(w->l, a.id, "same", serial, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, b.id, "same", serial, &w->e), DS_POLICY);
    assert_has(w->e.text, "'same'");
    assert_has(w->e.hint, "{counter}");
    assert_int_equal(ds_ledger_device_serial(w->l, b.id, "N{counter}", serial, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_get(w->l, CHIP, mac, "fan", &fan, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, fan.id, "N{counter}", serial, &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_device_serial(w->l, fan.id, "F{counter}", serial, &w->e), DS_OK);
    assert_string_equal(serial, "F1");
}

static void test_serial_digits_used_up_is_refused(void **state)
{
    world *w = *state;
    char serial[64];
    for (unsigned i = 1; i <= 9; i++)
        assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, i).id, "{counter:1}", serial, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_serial(w->l, device_n(w->l, 10).id, "{counter:1}", serial, &w->e), DS_POLICY);
    assert_has(w->e.text, "used up");
}

static void test_pop_kept(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    char pop[64];
    assert_int_equal(ds_ledger_device_pop(w->l, d.id, "first", pop, &w->e), DS_OK);
    assert_string_equal(pop, "first");
    assert_int_equal(ds_ledger_device_pop(w->l, d.id, "second", pop, &w->e), DS_OK);
    assert_string_equal(pop, "first");
    assert_int_equal(ds_ledger_device_pop(w->l, d.id, "", pop, &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_device_pop(w->l, d.id + 1, "x", pop, &w->e), DS_INPUT);
    reopen(w, true);
    assert_string_equal(d.pop, "");
    assert_int_equal(ds_ledger_find(w->l, "02:00:00:00:00:01", &d, &w->e), DS_OK);
    assert_string_equal(d.pop, "first");
}

static void test_stage_kept(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    assert_int_equal(ds_ledger_device_stage(w->l, d.id, "key", &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_stage(w->l, d.id, "certificate", &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_stage(w->l, d.id, "much too long a stage", &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_device_stage(w->l, 99, "key", &w->e), DS_INPUT);
    reopen(w, false);
    assert_string_equal(device_n(w->l, 1).stage, "certificate");
}

static void test_find_by_serial_and_address(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 0xABCDEF), got;
    static const char *const good[] = {"SN1", "02:00:00:ab:cd:ef", "020000ABCDEF", "02-00-00-AB-cd-EF"};
    static const char *const bad[] = {"",
                                      "SN",
                                      "SN1 ",
                                      "020000abcde",
                                      "020000abcdef0",
                                      "02:00:00:ab:cd:",
                                      ":020000abcdef",
                                      "02::00:00:ab:cd:ef",
                                      "020000abcdeg"};
    char serial[64];
    assert_int_equal(ds_ledger_device_serial(w->l, d.id, "SN{counter}", serial, &w->e), DS_OK);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(ds_ledger_find(w->l, good[i], &got, &w->e), DS_OK);
        assert_int_equal(got.id, d.id);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ds_ledger_find(w->l, bad[i], &got, &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_device_get(w->l, 0, d.mac, "lamp", &got, &w->e), DS_OK);
    assert_int_equal(ds_ledger_find(w->l, "020000ABCDEF", &got, &w->e), DS_INPUT); // two chips: which?
    assert_has(w->e.text, "2 devices");
}

typedef struct seen {
    unsigned rows, stop_at;
    char text[4096];
    ds_ledger *l;
} seen;

static bool see_row(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    seen *s = arg;
    ds_ledger_device again;
    ds_err e;
    assert_int_equal(ds_ledger_find(s->l, d->serial[0] ? d->serial : "02:00:00:00:00:02", &again, &e), DS_OK);
    assert_int_equal(again.id, d->id); // the callback may use the ledger
    assert_int_equal(c->state, d->serial[0] ? DS_LEDGER_REGISTERED : 0);
    return ++s->rows != s->stop_at;
}

static void test_each_shows_every_device_and_stops(void **state)
{
    world *w = *state;
    seen s = {.l = w->l};
    whole_device(w->l, 1);
    device_n(w->l, 2);
    assert_int_equal(ds_ledger_each(w->l, see_row, &s, &w->e), DS_OK);
    assert_int_equal(s.rows, 2);
    s = (seen){.l = w->l, .stop_at = 1};
    assert_int_equal(ds_ledger_each(w->l, see_row, &s, &w->e), DS_OK);
    assert_int_equal(s.rows, 1);
}

static bool see_event(void *arg, int64_t at_utc, const char *kind, const char *text)
{
    seen *s = arg;
    assert_true(at_utc > 1700000000);
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof s->text - len, "%s=%.40s;", kind, text);
    return ++s->rows != s->stop_at;
}

static void test_events_in_order_and_per_device(void **state)
{
    world *w = *state;
    ds_ledger_device a = device_n(w->l, 1), b = device_n(w->l, 2);
    seen s = {0};
    assert_int_equal(ds_ledger_event(w->l, a.id, "step", "connect", &w->e), DS_OK);
    assert_int_equal(ds_ledger_event(w->l, 0, "fault", "token gone", &w->e), DS_OK);
    assert_int_equal(ds_ledger_event(w->l, b.id, "step", "other", &w->e), DS_OK);
    assert_int_equal(ds_ledger_event(w->l, a.id, "step", "versions", &w->e), DS_OK);
    assert_int_equal(ds_ledger_event(w->l, 77, "step", "x", &w->e), DS_INPUT);
    assert_int_equal(ds_ledger_event(w->l, a.id, "ledger.certificate", "signed x", &w->e), DS_INTERNAL);
    assert_int_equal(ds_ledger_events(w->l, a.id, see_event, &s, &w->e), DS_OK);
    assert_string_equal(s.text, "ledger.device=first seen;step=connect;step=versions;");
    s = (seen){0};
    assert_int_equal(ds_ledger_events(w->l, 0, see_event, &s, &w->e), DS_OK);
    assert_string_equal(s.text, "fault=token gone;");
    s = (seen){.stop_at = 2};
    assert_int_equal(ds_ledger_events(w->l, a.id, see_event, &s, &w->e), DS_OK);
    assert_int_equal(s.rows, 2);
}

static void test_proof_newest_wins_and_lock_stays(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    DS_CLEANUP_BUF ds_buf proof = {0};
    assert_int_equal(ds_ledger_proof_of(w->l, d.id, &proof, &w->e), DS_OK);
    assert_int_equal(proof.len, 0);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, false, "{\"n\":1}", &w->e), DS_OK);
    assert_false(device_n(w->l, 1).locked);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, true, "{\"n\":2}", &w->e), DS_OK);
    assert_true(device_n(w->l, 1).locked);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, false, "{\"n\":3}", &w->e), DS_OK);
    assert_true(device_n(w->l, 1).locked);
    assert_int_equal(ds_ledger_proof_of(w->l, d.id, &proof, &w->e), DS_OK);
    assert_int_equal(proof.len, 7);
    assert_memory_equal(proof.ptr, "{\"n\":3}", 7);
    assert_int_equal(ds_ledger_device_proof(w->l, 9, true, "{}", &w->e), DS_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_device_get_again_is_the_same),
        TEST(test_device_product_follows_until_numbered),
        TEST(test_serial_formats),
        TEST(test_serial_given_once),
        TEST(test_serial_not_unique_is_refused_and_counts_nothing),
        TEST(test_serial_digits_used_up_is_refused),
        TEST(test_pop_kept),
        TEST(test_stage_kept),
        TEST(test_find_by_serial_and_address),
        TEST(test_each_shows_every_device_and_stops),
        TEST(test_events_in_order_and_per_device),
        TEST(test_proof_newest_wins_and_lock_stays),
    };
    return cmocka_run_group_tests_name("ledger: devices", tests, NULL, NULL);
}
