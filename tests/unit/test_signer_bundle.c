// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Release bundles as somebody else made them (tests/data/bundle, by tests/e2e/bundlelib.py): read, refused byte by
// byte, judged; orders and answers likewise.
#include "src/base/file.h"
#include "src/pki/key.h"
#include "src/signer/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static ds_buf file; // the vector

static int read_vector(void **state)
{
    (void)state;
    return (int)ds_file_read(DS_TEST_DATA "/bundle/lamp.bundle", 1 << 16, &file, NULL);
}

static int free_vector(void **state)
{
    (void)state;
    ds_buf_free(&file);
    return 0;
}

// In memory of just that size, so that a sanitizer sees what reads beyond.
static enum ds_class parse(const void *bytes, size_t len, ds_bundle *ret, ds_err *e)
{
    ds_buf copy = {0};
    if (len)
        ds_buf_add(&copy, bytes, len);
    return ds_bundle_parse(&copy, ret, e);
}

static void test_bundle_of_somebody_else_is_read(void **state)
{
    (void)state;
    ds_bundle b;
    ds_err e = DS_ERR_INIT;
    if (parse(file.ptr, file.len, &b, &e))
        fail_msg("%s", e.text);
    const ds_manifest *m = &b.manifest;
    assert_string_equal(m->product, "lamp");
    assert_string_equal(m->chip, "esp32c3");
    assert_string_equal(m->app_min_version, "1.9.0");
    assert_true(m->release == 7 && m->secure_version == 3 && m->created_utc == 1800000000);
    assert_true(m->trusted_count == 1 && m->trusted[0][31] == 0xa5);
    assert_true(m->burns.count == 1 && m->burns.list[0].when == DS_BURN_FIRSTBOOT);
    assert_memory_equal(b.parts[DS_PART_RECIPE].ptr, "recipe: 1\n", 10);
    assert_int_equal(b.parts[DS_PART_APP_IMAGE].len, 64);
    assert_int_equal(b.count, 2);
    assert_true(b.signatures[0].role == DS_ROLE_RELEASE && b.signatures[0].key_type == DS_KEY_ECDSA_P256);
    assert_true(b.signatures[1].role == DS_ROLE_APPROVAL && b.signatures[1].key_type == DS_KEY_RSA_2048);
    ds_bundle_free(&b);
}

static void test_bundle_with_any_byte_changed_is_refused(void **state)
{
    (void)state;
    for (size_t at = 0; at < file.len; at += at < 64 ? 1 : 3) {
        ds_bundle b;
        ds_err e = DS_ERR_INIT;
        file.ptr[at] ^= 0x01;
        if (parse(file.ptr, file.len, &b, &e) == DS_OK || !e.text[0])
            fail_msg("byte %zu changed: taken", at);
        file.ptr[at] ^= 0x01;
    }
}

static void test_bundle_cut_off_or_longer_is_refused(void **state)
{
    (void)state;
    ds_bundle b;
    ds_err e = DS_ERR_INIT;
    for (size_t len = 0; len < file.len; len += len < 64 ? 1 : 3)
        if (parse(file.ptr, len, &b, &e) == DS_OK)
            fail_msg("%zu bytes: taken", len);
    ds_buf_add_u8(&file, 0);
    assert_int_equal(parse(file.ptr, file.len, &b, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "something follows"));
    file.len--;
}

// The vector's manifest with one text put for another, and no signatures.
static enum ds_class parse_with(const char *old, const char *new, ds_manifest *ret, ds_err *e)
{
    ds_bundle b;
    assert_int_equal(parse(file.ptr, file.len, &b, e), DS_OK);
    DS_CLEANUP_FREE char *text = ds_asprintf("%.*s", (int)b.text.len, (const char *)b.text.ptr);
    char *at = strstr(text, old);
    if (!at)
        fail_msg("the vector has no %s", old);
    DS_CLEANUP_FREE char *other = ds_asprintf("%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    ds_bundle_free(&b);
    return ds_manifest_parse((ds_view){(const uint8_t *)other, strlen(other)}, ret, e);
}

static void test_manifest_has_one_spelling_and_known_words(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new;
    } cases[] = {
        {"\"release\":7", "\"release\":7.0"},
        {"\"release\":7", "\"release\":0"},
        {"\"release\":7", "\"release\":-7"},
        {"\"release\":7", "\"release\":99999999999999999999"},
        {"\"release\":7", "\"release\":7,\"release\":8"},
        {"\"release\":7", "\"release\": 7"},
        {"\"release\":7", "\"more\":1,\"release\":7"},
        {"\"release\":7", "\"releases\":7"},
        {"\"bundle\":1", "\"bundle\":2"},
        {"\"bundle\":1", "\"bundle\":\"1\""},
        {"\"lamp\"", "\"\""},
        {"\"lamp\"", "\"lam\\u0070\""},
        {"\"lamp\"", "\"l\\u001b[2J\""},
        {"\"lamp\"", "\"l\\u00e4mp\""},
        {"\"lamp\"", "\"0123456789012345678901234567890123456789012345678901234567890123\""},
        {"2027-01-15T08:00:00Z", "2027-01-15T08:00:00z"},
        {"2027-01-15T08:00:00Z", "2027-13-15T08:00:00Z"},
        {"\"part\":\"recipe\"", "\"part\":\"app\""},
        {"\"part\":\"recipe\"", "\"part\":\"../recipe\""},
        {"\"size\":64", "\"size\":0"},
        {"\"size\":64", "\"size\":4294967297"},
        {"\"size\":64", "\"size\":16777217"},
        {"first-boot", "never"},
        {"[\"a5a5", "[\"A5a5"},
        {"\"secure_version\":3", "\"secure_version\":4294967296"},
        {"\"mfg\":{", "\"mfq\":{"},
        {"{", "[{"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ds_manifest m;
        ds_err e = DS_ERR_INIT;
        if (parse_with(cases[i].old, cases[i].new, &m, &e) != DS_INPUT)
            fail_msg("%s for %s: taken", cases[i].new, cases[i].old);
    }
    ds_manifest m;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(parse_with("\"release\":7", "\"release\":8", &m, &e), DS_OK);
    assert_int_equal(m.release, 8);
    DS_CLEANUP_BUF ds_buf deep = {0};
    ds_buf_add_fill(&deep, '[', DS_MANIFEST_MAX);
    assert_int_equal(ds_manifest_parse(ds_buf_view(&deep), &m, &e), DS_INPUT);
}

static void test_bundle_is_judged_by_whose_signatures_count(void **state)
{
    (void)state;
    ds_bundle b;
    ds_bundle_policy p = {.release_count = 1};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(parse(file.ptr, file.len, &b, &e), DS_OK);
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_POLICY); // a key of zeros
    memcpy(p.release_keys[0], b.signatures[0].key_id, 32);
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_OK);
    p.approvals = 1;
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_POLICY);
    memcpy(p.approvers[p.approver_count++], b.signatures[0].key_id, 32);
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_POLICY);
    memcpy(p.approvers[p.approver_count++], b.signatures[1].key_id, 32);
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_OK);
    p.approvals = 2;
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_POLICY);
    memcpy(p.release_keys[0], b.signatures[1].key_id, 32); // who approves has not released
    p.approvals = 0;
    assert_int_equal(ds_bundle_judge(&b, &p, &e), DS_POLICY);
    ds_bundle_free(&b);
}

static void test_signature_serves_in_its_own_role_alone(void **state)
{
    (void)state;
    ds_bundle b;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(parse(file.ptr, file.len, &b, &e), DS_OK);
    const ds_bundle_new_signature as_approval = {DS_ROLE_APPROVAL, b.signatures[0].key, b.signatures[0].signature};
    assert_int_equal(ds_bundle_add(&b, &as_approval, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "does not hold"));
    const ds_bundle_new_signature again = {DS_ROLE_RELEASE, b.signatures[0].key, b.signatures[0].signature};
    assert_int_equal(ds_bundle_add(&b, &again, &e), DS_POLICY);
    assert_int_equal(b.count, 2);
    ds_bundle_free(&b);
}

static void test_secure_boot_key_may_not_sign_bundles(void **state)
{
    (void)state;
    ds_manifest *m = ds_alloc(sizeof *m);
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    ds_err e = DS_ERR_INIT;
    m->trusted_count = 2;
    assert_int_equal(ds_sbv2_key_digest(key, m->trusted[1], &e), DS_OK);
    assert_int_equal(ds_bundle_check_key(key, m, &e), DS_POLICY);
    assert_int_equal(ds_bundle_check_key(other, m, &e), DS_OK);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    free(m);
}

static void test_order_of_somebody_else_is_read_and_refused_byte_by_byte(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_order o;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_file_read(DS_TEST_DATA "/bundle/lamp.order", 1 << 16, &text, &e), DS_OK);
    assert_int_equal(ds_order_parse(ds_buf_view(&text), &o, &e), DS_OK);
    assert_true(o.what == DS_ORDER_RELEASE && o.manifest->release == 7);
    ds_order_free(&o);
    for (size_t len = 0; len < text.len; len++)
        assert_int_equal(ds_order_parse((ds_view){text.ptr, len}, &o, &e), DS_INPUT);
    for (size_t at = 0; at < text.len; at++) { // what still parses says something else, in its one spelling
        DS_CLEANUP_BUF ds_buf again = {0};
        text.ptr[at] ^= 0x01;
        if (ds_order_parse(ds_buf_view(&text), &o, &e) == DS_OK) {
            assert_int_equal(ds_order_write(&o, &again, &e), DS_OK);
            assert_int_equal(again.len, text.len);
            assert_memory_equal(again.ptr, text.ptr, text.len);
            ds_order_free(&o);
        }
        text.ptr[at] ^= 0x01;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bundle_of_somebody_else_is_read),
        cmocka_unit_test(test_bundle_with_any_byte_changed_is_refused),
        cmocka_unit_test(test_bundle_cut_off_or_longer_is_refused),
        cmocka_unit_test(test_manifest_has_one_spelling_and_known_words),
        cmocka_unit_test(test_bundle_is_judged_by_whose_signatures_count),
        cmocka_unit_test(test_signature_serves_in_its_own_role_alone),
        cmocka_unit_test(test_secure_boot_key_may_not_sign_bundles),
        cmocka_unit_test(test_order_of_somebody_else_is_read_and_refused_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, read_vector, free_vector);
}
