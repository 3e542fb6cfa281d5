// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates of a CA elsewhere: each request is in the record before it goes out, the certificate is taken with the
// serial number that its CA chose, and a reservation never changes sides.
#include "ledger_support.h"

#define CA "https://est.example"

static enum ds_class reserve_there(world *w, int64_t device, const stamp *s, ds_ledger_cert *ret)
{
    const ds_ledger_reserve r = {.device = device,
                                 .csr = ds_buf_view(&s->csr),
                                 .public_key_digest = s->digest,
                                 .subject = "CN=lamp",
                                 .not_before_utc = 1700000000,
                                 .not_after_utc = 1900000000,
                                 .slot = "1",
                                 .asked_of = CA};
    return ds_ledger_cert_reserve(w->l, &r, ret, &w->e);
}

static enum ds_class receive(world *w, int64_t id, const ds_buf *der)
{
    const ds_ledger_received r = {ds_buf_view(der), "0a0b", 1750000000, 1800000000};
    return ds_ledger_cert_received(w->l, id, &r, &w->e);
}

static bool add_event(void *arg, int64_t at_utc, const char *kind, const char *text)
{
    (void)at_utc;
    if (strcmp(kind, "ledger.certificate") == 0)
        collect(arg, text);
    return true;
}

static void test_reservation_and_requests_are_in_the_record(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0}, again = {0};
    unsigned before = 9;
    lines said = {0};
    char hex[33];
    assert_int_equal(reserve_there(w, d.id, &s, &c), DS_OK);
    assert_true(c.elsewhere);
    assert_in_range(c.serial[0], 0x80, 0xFF); // no certificate's
    assert_int_equal(ds_ledger_cert_asked(w->l, c.id, CA, &before, &w->e), DS_OK);
    assert_int_equal(before, 0);
    reopen(w, false);
    assert_int_equal(reserve_there(w, d.id, &s, &again), DS_OK);
    assert_int_equal(again.id, c.id);
    assert_true(again.elsewhere);
    assert_int_equal(again.csr.len, s.csr.len); // to be asked for again
    assert_int_equal(ds_ledger_cert_asked(w->l, c.id, CA, &before, &w->e), DS_OK);
    assert_int_equal(before, 1);
    assert_int_equal(ds_ledger_events(w->l, d.id, add_event, &said, &w->e), DS_OK);
    ds_hex(c.serial, 16, hex);
    DS_CLEANUP_FREE char *wanted =
        ds_asprintf("reserved %s at slot 1 for " CA "\nasked %s of " CA "\nasked %s of " CA "\n", hex, hex, hex);
    assert_string_equal(said.text, wanted);
    lines problems = {0};
    check(w->l, &problems);
    assert_has(problems.text, "whether the CA elsewhere signed it is not known here");
    ds_ledger_cert_free(&c);
    ds_ledger_cert_free(&again);
    stamp_free(&s);
}

static void test_certificate_is_taken_with_its_own_number(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp"), other = stamp_new("other");
    ds_ledger_cert c = {0}, got = {0};
    uint8_t number[16] = {0x0a, 0x0b}, digest[32];
    unsigned before = 0;
    lines said = {0};
    char text[64];
    assert_int_equal(ds_ledger_device_serial(w->l, d.id, "L-{counter:4}", text, &w->e), DS_OK);
    assert_int_equal(reserve_there(w, d.id, &s, &c), DS_OK);
    ds_buf der = certify(number, s.key), wrong = certify(number, other.key), second = certify(c.serial, s.key);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ds_ledger_cert_asked(w->l, c.id, CA, &before, &w->e), DS_OK);
    assert_int_equal(receive(w, c.id, &wrong), DS_POLICY);
    assert_int_equal(receive(w, c.id, &s.csr), DS_INPUT);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_POLICY); // not by our signer
    assert_int_equal(receive(w, c.id, &der), DS_OK);
    assert_int_equal(receive(w, c.id, &der), DS_OK); // the same again
    assert_int_equal(receive(w, c.id, &second), DS_POLICY);
    assert_int_equal(ds_ledger_cert_asked(w->l, c.id, CA, &before, &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_cert_of(w->l, d.id, &got, &w->e), DS_OK);
    assert_int_equal(got.state, DS_LEDGER_SIGNED);
    assert_int_equal(got.not_after_utc, 1800000000);
    assert_int_equal(got.csr.len, 0);
    SHA256(der.ptr, der.len, digest);
    assert_memory_equal(got.fingerprint, digest, 32);
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_OK);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, true, "{}", &w->e), DS_OK);
    assert_int_equal(ds_ledger_events(w->l, d.id, add_event, &said, &w->e), DS_OK);
    assert_has(said.text, " elsewhere, serial number 0a0b, asked 2 times: as many may have been signed");
    lines problems = {0};
    assert_int_equal(check(w->l, &problems), 0);
    ds_buf_free(&der);
    ds_buf_free(&wrong);
    ds_buf_free(&second);
    ds_ledger_cert_free(&c);
    ds_ledger_cert_free(&got);
    stamp_free(&s);
    stamp_free(&other);
}

static void test_certificate_is_not_counted_as_the_signers(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    uint8_t number[16] = {1}, ca[32] = {7}, root[32] = {8};
    assert_int_equal(reserve_there(w, d.id, &s, &c), DS_OK);
    ds_buf der = certify(number, s.key);
    assert_int_equal(receive(w, c.id, &der), DS_OK);
    const ds_ledger_log empty = {.ca = ca, .entries = 0, .root = root};
    assert_int_equal(ds_ledger_signer_head(w->l, &empty, &w->e), DS_OK);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_reservation_does_not_change_sides(void **state)
{
    world *w = *state;
    ds_ledger_device a = device_n(w->l, 1), b = device_n(w->l, 2);
    stamp s = stamp_new("a"), t = stamp_new("b");
    ds_ledger_cert c = {0}, none = {.id = 77};
    uint8_t number[16] = {1};
    assert_int_equal(reserve_there(w, a.id, &s, &c), DS_OK);
    assert_int_equal(reserve(w->l, a.id, &s, &none, &w->e), DS_POLICY);
    assert_has(w->e.text, "asked of a CA elsewhere");
    ds_ledger_cert_free(&c);
    c = (ds_ledger_cert){0};
    assert_int_equal(reserve(w->l, b.id, &t, &c, &w->e), DS_OK);
    assert_int_equal(reserve_there(w, b.id, &t, &none), DS_POLICY);
    assert_has(w->e.text, "asked of the signer");
    unsigned before = 0;
    ds_buf der = certify(number, t.key);
    assert_int_equal(ds_ledger_cert_asked(w->l, c.id, CA, &before, &w->e), DS_POLICY);
    assert_int_equal(receive(w, c.id, &der), DS_POLICY);
    assert_int_equal(none.id, 77);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
    stamp_free(&t);
}

static void test_what_was_given_up_takes_nothing(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    uint8_t number[16] = {1};
    unsigned before = 0;
    assert_int_equal(reserve_there(w, d.id, &s, &c), DS_OK);
    assert_int_equal(ds_ledger_cert_revoke(w->l, c.id, "flash erased", &w->e), DS_OK);
    ds_buf der = certify(number, s.key);
    assert_int_equal(ds_ledger_cert_asked(w->l, c.id, CA, &before, &w->e), DS_POLICY);
    assert_int_equal(receive(w, c.id, &der), DS_POLICY);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reservation_and_requests_are_in_the_record),
        TEST(test_certificate_is_taken_with_its_own_number),
        TEST(test_certificate_is_not_counted_as_the_signers),
        TEST(test_reservation_does_not_change_sides),
        TEST(test_what_was_given_up_takes_nothing),
    };
    return cmocka_run_group_tests_name("ledger: certificates from elsewhere", tests, NULL, NULL);
}
