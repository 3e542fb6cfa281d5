// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The seal: what opens it and what does not, byte by byte; what it is tied to. TPMs are in tests/e2e/test_seal.py.
#include "seal_support.h"

static ds_seal_access by_words(const char *words)
{
    put_words(words);
    return (ds_seal_access){.passphrase = DS_PIN_FILE, .passphrase_file = words_path};
}

static void expect_open(const char *by, bool all, const ds_seal_access *a)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_err e = DS_ERR_INIT;
    if (make_seal(by, all, &bytes, &e) || open_bytes(ds_buf_view(&bytes), a, &e))
        fail_msg("%s%s: %s", by, all ? " all" : "", e.text);
}

static void expect_closed(const char *by, bool all, const ds_seal_access *a, enum ds_class cls, const char *words)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(make_seal(by, all, &bytes, &e), DS_OK);
    enum ds_class rc = open_bytes(ds_buf_view(&bytes), a, &e);
    if (rc != cls || !strstr(e.text, words) || !e.hint[0])
        fail_msg("%s%s: class %s, \"%s\" (%s); expected \"%s\"", by, all ? " all" : "", ds_class_name(rc), e.text,
                 e.hint, words);
}

static void test_seal_opens_by_each_unlocker_and_by_all(void **state)
{
    (void)state;
    const ds_seal_access words = by_words(PASSPHRASE "\n"), key = {.key_file = key_path};
    expect_open("p", false, &words);
    expect_open("p", true, &words);
    expect_open("k", false, &key);
    expect_open("op", false, &words);
    expect_open("pk", false, &words);
    expect_open("pk", false, &key);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    DS_CLEANUP_FREE char *credential = ds_asprintf("%s/pin.key", folder);
    uint8_t material[40];
    memset(material, 0x11, sizeof material);
    put_file(credential, material, sizeof material, 0440);
    expect_open("c", false, &(ds_seal_access){.passphrase = DS_PIN_NONE});
    expect_open("pkc", false, &(ds_seal_access){.passphrase = DS_PIN_NONE});
    ds_seal_access both = by_words(PASSPHRASE "\n" OTHER "\n");
    both.key_file = key_path;
    expect_open("pkco", true, &both);
    const ds_seal_access swapped = by_words(OTHER "\n" PASSPHRASE "\n");
    expect_closed("po", true, &swapped, DS_INPUT, "a passphrase is wrong");
    unsetenv("CREDENTIALS_DIRECTORY");
    expect_closed("c", false, &key, DS_POLICY, "systemd credential: this is no service with credentials");
}

static void test_seal_by_a_wrong_or_missing_secret_says_so(void **state)
{
    (void)state;
    const ds_seal_access nothing = {.passphrase = DS_PIN_NONE}, key = {.key_file = other_key_path};
    ds_seal_access wrong = by_words("correct horse batterz\n");
    expect_closed("p", false, &wrong, DS_INPUT, "the passphrase is wrong");
    expect_closed("po", false, &wrong, DS_INPUT, "the passphrase is wrong");
    expect_closed("k", false, &key, DS_INPUT, "key file: it is not the one that opens it");
    expect_closed("k", false, &nothing, DS_POLICY, "key file: none was named");
    expect_closed("p", false, &nothing, DS_POLICY, "passphrase: it was not given");
    expect_closed("pk", false, &nothing, DS_POLICY, "key file: none was named; passphrase: it was not given");
    wrong.key_file = other_key_path;
    expect_closed("kp", false, &wrong, DS_INPUT, "the passphrase is wrong; key file: it is not the one that opens it");
    wrong.key_file = key_path;
    expect_closed("pk", true, &wrong, DS_INPUT, "the passphrase is wrong, or the key");
    ds_seal_access right = by_words(PASSPHRASE "\n");
    expect_closed("pk", true, &right, DS_POLICY, "key file: none was named");
    right.key_file = other_key_path;
    expect_closed("pk", true, &right, DS_INPUT, "the passphrase is wrong, or the key");
    right.key_file = key_path;
    expect_open("pk", true, &right);
    assert_int_equal(chmod(other_key_path, 0644), 0);
    expect_closed("k", false, &key, DS_POLICY, "readable by others");
    put_file(other_key_path, "short", 5, 0600);
    expect_closed("k", false, &key, DS_POLICY, "fewer than 32 bytes are no key");
}

static void test_seal_with_any_byte_changed_does_not_open(void **state)
{
    (void)state;
    const ds_seal_access key = {.key_file = key_path};
    for (int all = 0; all < 2; all++) {
        DS_CLEANUP_BUF ds_buf bytes = {0};
        assert_int_equal(make_seal(all ? "k" : "kp", all, &bytes, NULL), DS_OK);
        for (size_t i = 0; i < bytes.len; i++)
            for (int fit = 0; fit < 2; fit++) {
                DS_CLEANUP_BUF ds_buf copy = {0};
                ds_err e = DS_ERR_INIT;
                ds_buf_add(&copy, bytes.ptr, bytes.len);
                copy.ptr[i] ^= (uint8_t)(1u << (i % 8));
                if (fit && i < bytes.len - 32)
                    fit_checksum(copy.ptr, copy.len);
                enum ds_class rc = open_bytes(ds_buf_view(&copy), &key, &e);
                if (rc != DS_INPUT || !e.hint[0])
                    fail_msg("byte %zu: %s, %s", i, ds_class_name(rc), e.text);
            }
    }
}

// Whoever edits what it is tied to, and knows how the file is made, is found out once the secrets are opened.
static void test_seal_whose_parts_were_edited_says_that_it_was_changed(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(make_seal("k", false, &bytes, NULL), DS_OK);
    uint8_t *name = memmem(bytes.ptr, bytes.len, "line-1", 6);
    assert_non_null(name);
    name[5] = '2';
    assert_int_equal(open_bytes(ds_buf_view(&bytes), &(ds_seal_access){.key_file = key_path}, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "damaged: its checksum does not fit"));
    fit_checksum(bytes.ptr, bytes.len);
    assert_int_equal(open_bytes(ds_buf_view(&bytes), &(ds_seal_access){.key_file = key_path}, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "it was changed after the officer made it"));
}

static void test_seal_cut_short_or_longer_is_refused(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_seal s;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(make_seal("pk", true, &bytes, NULL), DS_OK);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(ds_seal_parse((ds_view){bytes.ptr, len}, &s, &e), DS_INPUT);
    for (size_t len = 64; len < bytes.len; len++) { // by somebody who knows how the file is made
        DS_CLEANUP_BUF ds_buf copy = {0};
        ds_buf_add(&copy, bytes.ptr, len);
        ds_put_le32(copy.ptr + 8, (uint32_t)len);
        fit_checksum(copy.ptr, len);
        assert_int_equal(ds_seal_parse(ds_buf_view(&copy), &s, &e), DS_INPUT);
    }
    ds_buf_add_u8(&bytes, 0);
    assert_int_equal(ds_seal_parse(ds_buf_view(&bytes), &s, &e), DS_INPUT);
}

static void expect_refused(ds_buf *bytes, const char *words)
{
    ds_err e = DS_ERR_INIT;
    ds_seal s;
    fit_checksum(bytes->ptr, bytes->len);
    assert_int_equal(ds_seal_parse(ds_buf_view(bytes), &s, &e), DS_INPUT);
    if (!strstr(e.text, words) || !e.hint[0])
        fail_msg("\"%s\", expected \"%s\"", e.text, words);
}

static void test_seal_of_another_version_or_absurd_cost_is_named(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    assert_int_equal(make_seal("p", false, &bytes, NULL), DS_OK);
    bytes.ptr[6] = 2;
    expect_refused(&bytes, "its format 2 is newer than this devstamp");
    bytes.ptr[6] = 0;
    expect_refused(&bytes, "its format 0 is older than this devstamp");
    bytes.ptr[6] = 1;
    size_t costs = bytes.len - 32 - (16 + 256) - 4 - 24 - 72 - 8; // checksum, secrets, length, nonce, wrap
    assert_int_equal(ds_le32(bytes.ptr + costs), 1);
    assert_int_equal(ds_le32(bytes.ptr + costs + 4), DS_SEAL_MEMORY_MIN);
    static const uint32_t absurd[][2] = {{0, 1024}, {11, 1024}, {1, 1023}, {1, 1048577}, {UINT32_MAX, UINT32_MAX}};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        ds_put_le32(bytes.ptr + costs, absurd[i][0]);
        ds_put_le32(bytes.ptr + costs + 4, absurd[i][1]);
        expect_refused(&bytes, "which is out of bounds");
    }
    bytes.ptr[0] = 'X';
    expect_refused(&bytes, "it is not a seal");
}

typedef void (*change)(setting *s);
static void change_recipe(setting *s)
{
    s->digests[0][31] ^= 1;
}
static void change_subject(setting *s)
{
    s->profiles[1].subject = "CN=x{mac}";
}
static void change_format(setting *s)
{
    s->profiles[0].serial_format = "SN{counter:5}";
}
static void change_uri(setting *s)
{
    s->profiles[0].subject_alt_uri = "urn:x";
}
static void change_type(setting *s)
{
    s->profiles[0].key_type = DS_KEY_RSA_2048;
}
static void change_days(setting *s)
{
    s->profiles[1].days = 1;
}
static void change_product(setting *s)
{
    s->profiles[0].recipe = "lantern";
}
static void change_token(setting *s)
{
    s->cfg.token_serial = "0123456789abcdee";
}
static void change_ca(setting *s)
{
    s->ca[0] ^= 1;
}
static void change_key(setting *s)
{
    s->cfg.key = "pkcs11:token=line;object=other";
}
static void change_module(setting *s)
{
    s->cfg.module = "/tmp/m.so";
}
static void add_log_key(setting *s)
{
    s->cfg.log_key = "file:/k";
}
static void change_quota(setting *s)
{
    s->quota[9] ^= 1;
}
static void remove_quota(setting *s)
{
    s->station.quota = NULL;
}
static void change_station(setting *s)
{
    s->cfg.station = "line-2";
}
static void change_machine(setting *s)
{
    s->machine[1] ^= 1;
}

static void test_seal_names_the_one_part_that_differs(void **state)
{
    (void)state;
    static const struct {
        change change;
        const char *words;
    } cases[] = {
        {change_recipe, "recipe lamp is not as it was sealed"},
        {change_subject, "recipe plug is not as it was sealed"},
        {change_format, "recipe lamp is not as it was sealed"},
        {change_uri, "recipe lamp is not as it was sealed"},
        {change_type, "recipe lamp is not as it was sealed"},
        {change_days, "recipe plug is not as it was sealed"},
        {change_product, "recipe lantern is none of those it was sealed for"},
        {change_token, "it is for the token with serial number 0123456789abcdef, not 0123456789abcdee"},
        {change_ca, "it is for another Sub CA certificate"},
        {change_key, "the key, its module or the log key is not the one it was sealed for"},
        {change_module, "the key, its module or the log key is not the one it was sealed for"},
        {add_log_key, "the key, its module or the log key is not the one it was sealed for"},
        {change_quota, "the quota is not as it was sealed"},
        {remove_quota, "the quota is not as it was sealed (sealed: quota file; here: no quota)"},
        {change_station, "it is for station line-1, and this is line-2"},
        {change_machine, "it is for another computer (line-pc)"},
    };
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_seal seal;
    ds_seal_part parts[DS_SEAL_PARTS];
    setting s;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(make_seal("k", false, &bytes, NULL), DS_OK);
    assert_int_equal(ds_seal_parse(ds_buf_view(&bytes), &seal, NULL), DS_OK);
    assert_string_equal(ds_seal_token(&seal), "0123456789abcdef");
    init_setting(&s);
    assert_int_equal(ds_seal_compare(&seal, parts, describe(&s, parts), &e), DS_OK);
    s.cfg.profile_count = 1; // one of its recipes is enough, none is not
    assert_int_equal(ds_seal_compare(&seal, parts, describe(&s, parts), &e), DS_OK);
    s.cfg.profile_count = 0;
    assert_int_equal(ds_seal_compare(&seal, parts, describe(&s, parts), &e), DS_POLICY);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        init_setting(&s);
        cases[i].change(&s);
        enum ds_class rc = ds_seal_compare(&seal, parts, describe(&s, parts), &e);
        if (rc != DS_POLICY || !strstr(e.text, cases[i].words) || strstr(e.text, "also different"))
            fail_msg("\"%s\", expected \"%s\"", e.text, cases[i].words);
    }
    init_setting(&s);
    change_quota(&s);
    change_machine(&s);
    change_station(&s);
    assert_int_equal(ds_seal_compare(&seal, parts, describe(&s, parts), &e), DS_POLICY);
    assert_non_null(strstr(e.text, "the quota is not as it was sealed"));
    assert_non_null(strstr(e.text, "(also different: station, computer)"));
    ds_seal_free(&seal);
}

static void test_seal_machine_is_the_computers_identity_and_does_not_show_it(void **state)
{
    (void)state;
    static const char id[] = "0123456789abcdef0123456789abcdef\n", other[] = "0123456789abcdef0123456789abcdee\n";
    uint8_t a[32], b[32];
    put_file(words_path, id, strlen(id), 0600);
    assert_int_equal(ds_seal_machine(words_path, a, NULL), DS_OK);
    put_file(words_path, id, strlen(id) - 1, 0600);
    assert_int_equal(ds_seal_machine(words_path, b, NULL), DS_OK);
    assert_memory_equal(a, b, 32);
    put_file(words_path, other, strlen(other), 0600);
    assert_int_equal(ds_seal_machine(words_path, b, NULL), DS_OK);
    assert_memory_not_equal(a, b, 32);
    put_file(words_path, "uninitialized\n", 14, 0600);
    assert_int_equal(ds_seal_machine(words_path, b, &(ds_err){0}), DS_INPUT);
}

static void test_seal_make_refuses_what_protects_nothing(void **state)
{
    (void)state;
    setting s;
    ds_err e = DS_ERR_INIT;
    ds_seal_part parts[DS_SEAL_PARTS];
    ds_secret pin = {0}, words = {0};
    DS_CLEANUP_BUF ds_buf out = {0};
    init_setting(&s);
    make_secret(&pin, PIN, strlen(PIN));
    make_secret(&words, "7 bytes", 7);
    ds_seal_new one = {.by = DS_SEAL_PASSPHRASE, .label = "", .secret = &words, .passes = 1, .memory_kib = 1024};
    ds_seal_plan plan = {
        .parts = parts, .part_count = describe(&s, parts), .unlockers = &one, .unlocker_count = 1, .pin = &pin};
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_POLICY);
    one.by = DS_SEAL_KEY_FILE;
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_POLICY);
    ds_secret_free(&words);
    make_secret(&words, PASSPHRASE, strlen(PASSPHRASE));
    one.by = DS_SEAL_PASSPHRASE;
    one.memory_kib = 1023;
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_USAGE);
    one.memory_kib = 1024;
    one.label = "tab\t";
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_USAGE);
    one.label = "";
    plan.unlocker_count = 0;
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_USAGE);
    plan.unlocker_count = 1;
    ds_seal_new two[2] = {one, one};
    two[0].by = two[1].by = DS_SEAL_KEY_FILE;
    ds_seal_plan keys = plan;
    keys.unlockers = two;
    keys.unlocker_count = 2;
    keys.all = true;
    assert_int_equal(ds_seal_make(&keys, &out, &e), DS_USAGE);
    plan.part_count--; // no computer
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_INTERNAL);
    plan.part_count++;
    assert_int_equal(out.len, 0);
    assert_int_equal(ds_seal_make(&plan, &out, &e), DS_OK);
    assert_null(memmem(out.ptr, out.len, PIN, strlen(PIN)));
    ds_secret_free(&words);
    ds_secret_free(&pin);
}

// Made by other code (tests/e2e/sealed.py): what is published of the format is enough, and stays readable.
static void test_seal_vectors_open(void **state)
{
    (void)state;
    ds_seal_access both = by_words(PASSPHRASE "\n" OTHER "\n");
    static const char *const names[] = {"any", "all"};
    both.key_file = key_path;
    for (size_t i = 0; i < 2; i++) {
        DS_CLEANUP_FREE char *path = ds_asprintf("%s/seal/%s.seal", DS_TEST_DATA, names[i]);
        DS_CLEANUP_SECRET ds_secret pin = {0};
        ds_err e = DS_ERR_INIT;
        ds_seal s = {.all = false};
        ds_seal_part parts[DS_SEAL_PARTS];
        setting mine;
        init_setting(&mine);
        if (ds_seal_read(path, &s, &e) || ds_seal_compare(&s, parts, describe(&mine, parts), &e) ||
            ds_seal_open(&s, &both, &pin, &e))
            fail_msg("%s", e.text);
        assert_int_equal(pin.len, strlen(PIN));
        assert_memory_equal(pin.ptr, PIN, pin.len);
        assert_int_equal(s.created_utc, 1800000000);
        assert_int_equal(s.all, i == 1);
        ds_seal_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seal_opens_by_each_unlocker_and_by_all),
        cmocka_unit_test(test_seal_by_a_wrong_or_missing_secret_says_so),
        cmocka_unit_test(test_seal_with_any_byte_changed_does_not_open),
        cmocka_unit_test(test_seal_whose_parts_were_edited_says_that_it_was_changed),
        cmocka_unit_test(test_seal_cut_short_or_longer_is_refused),
        cmocka_unit_test(test_seal_of_another_version_or_absurd_cost_is_named),
        cmocka_unit_test(test_seal_names_the_one_part_that_differs),
        cmocka_unit_test(test_seal_machine_is_the_computers_identity_and_does_not_show_it),
        cmocka_unit_test(test_seal_make_refuses_what_protects_nothing),
        cmocka_unit_test(test_seal_vectors_open),
    };
    return cmocka_run_group_tests_name("signer: seal", tests, setup, teardown);
}
