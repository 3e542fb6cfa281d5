// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Stamp values, the digest over them, and what the device tells of itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/internal.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

#define CODE(x) DEVSTAMP__STATUS_CODE__CODE_##x

static fake_port f;
static fake_station st;

static int setup(void **state)
{
    (void)state;
    fake_init(&f, 3);
    fake_station_init(&st);
    return 0;
}

static int put_value(const char *name_space, const char *key, int type, const char *data, size_t len)
{
    return fake_write_value(&f, &st, name_space, key, type, data, len);
}

static void test_write_value_rules(void **state)
{
    (void)state;
    static const struct {
        const char *name_space, *key;
        int type, code;
        const char *data;
        size_t len;
    } cases[] = {
        {"cfg", "a", DS_VALUE_STRING, CODE(OK), "text", 4},
        {"cfg", "a", DS_VALUE_STRING, CODE(OK), "", 0},
        {"cfg", "b", DS_VALUE_BLOB, CODE(OK), "\0\1", 2},
        {"cfg", "c", DS_VALUE_U8, CODE(OK), "1", 1},
        {"cfg", "d", DS_VALUE_U16, CODE(OK), "12", 2},
        {"cfg", "e", DS_VALUE_I32, CODE(OK), "1234", 4},
        {"cfg", "f", DS_VALUE_U64, CODE(OK), "12345678", 8},
        {"cfg", "fifteen_letters", DS_VALUE_U8, CODE(OK), "1", 1},
        {"cfg", "sixteen__letters", DS_VALUE_U8, CODE(BAD_REQUEST), "1", 1},
        {"", "a", DS_VALUE_U8, CODE(BAD_REQUEST), "1", 1},
        {"cfg", "", DS_VALUE_U8, CODE(BAD_REQUEST), "1", 1},
        {"cfg", "a b", DS_VALUE_U8, CODE(BAD_REQUEST), "1", 1},
        {"cfg", "\xc3\xa9", DS_VALUE_U8, CODE(BAD_REQUEST), "1", 1},
        {"cfg", "g", DS_VALUE_STRING, CODE(BAD_REQUEST), "a\0b", 3},
        {"cfg", "h", DS_VALUE_U16, CODE(BAD_REQUEST), "123", 3},
        {"cfg", "i", DS_VALUE_U64, CODE(BAD_REQUEST), "1234", 4},
        {"cfg", "j", 7, CODE(BAD_REQUEST), "1", 1},
        {"cfg", "j", -1, CODE(BAD_REQUEST), "1", 1},
        {"stamp", "key", DS_VALUE_BLOB, CODE(NOT_ALLOWED), "1", 1},
        {"stamp", "chain", DS_VALUE_BLOB, CODE(NOT_ALLOWED), "1", 1},
        {"stamp", "done", DS_VALUE_U8, CODE(NOT_ALLOWED), "\1", 1},
        {"stamp", "moved", DS_VALUE_U8, CODE(NOT_ALLOWED), "\1", 1},
        {"stamp", "other", DS_VALUE_U8, CODE(NOT_ALLOWED), "\1", 1},
        {"stamp", "serial", DS_VALUE_STRING, CODE(OK), "SN-1_2.3:4", 10},
        {"stamp", "serial", DS_VALUE_BLOB, CODE(BAD_REQUEST), "SN1", 3},
        {"stamp", "serial", DS_VALUE_STRING, CODE(BAD_REQUEST), "", 0},
        {"stamp", "serial", DS_VALUE_STRING, CODE(BAD_REQUEST), "SN/1", 4},
        {"stamp", "serial", DS_VALUE_STRING, CODE(BAD_REQUEST), "SN#", 3},
        {"stamp", "serial", DS_VALUE_STRING, CODE(BAD_REQUEST), "SN\"", 3},
        {"stamp", "serial", DS_VALUE_STRING, CODE(BAD_REQUEST),
         "0123456789012345678901234567890123456789012345678901234567890123", 64},
        {"stamp", "dsig", DS_VALUE_BLOB, CODE(NOT_ALLOWED), "1", 1},
        {"stamp", "dsig_secret", DS_VALUE_BLOB, CODE(NOT_ALLOWED), "1", 1},
        {"stamp", "nvs_secret", DS_VALUE_BLOB, CODE(NOT_ALLOWED), "1", 1},
        {"stamp", "key_ds", DS_VALUE_U8, CODE(BAD_REQUEST), "\2", 1},
        {"stamp", "key_ds", DS_VALUE_STRING, CODE(BAD_REQUEST), "1", 1},
        {"stamp", "nvs_hmac", DS_VALUE_U8, CODE(BAD_REQUEST), "\377", 1},
        {"stamp", "close_dl", DS_VALUE_U8, CODE(OK), "\1", 1},
        {"stamp", "close_dl", DS_VALUE_U8, CODE(BAD_REQUEST), "\2", 1},
        {"stamp", "endpoint_ca", DS_VALUE_STRING, CODE(OK), "pem", 3},
        {"stamp", "endpoint_ca", DS_VALUE_BLOB, CODE(OK), "der", 3},
        {"stamp", "pop", DS_VALUE_U32, CODE(BAD_REQUEST), "1234", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(put_value(cases[i].name_space, cases[i].key, cases[i].type, cases[i].data, cases[i].len),
                         cases[i].code);
    static char big[4001];
    memset(big, 'x', sizeof big);
    assert_int_equal(put_value("cfg", "big", DS_VALUE_BLOB, big, 4000), 0);
    assert_int_equal(put_value("cfg", "big", DS_VALUE_BLOB, big, 4001), CODE(BAD_REQUEST));
    assert_int_equal(put_value("cfg", "big", DS_VALUE_STRING, big, 4000), CODE(BAD_REQUEST));
    assert_int_equal(put_value("cfg", "big", DS_VALUE_STRING, big, 3999), 0);
    const fake_value *v = fake_find(&f, DS_AREA_PLAIN, "cfg", "big");
    assert_int_equal(v->type, DS_VALUE_STRING);
    assert_int_equal(v->len, 3999);
}

static void test_write_value_full_storage_tells(void **state)
{
    (void)state;
    char key[8];
    int code = 0;
    for (int i = 0; i <= FAKE_VALUES && code == 0; i++) {
        snprintf(key, sizeof key, "k%d", i);
        code = put_value("cfg", key, DS_VALUE_U8, "1", 1);
    }
    assert_int_equal(code, CODE(NO_SPACE));
}

static void test_finish_known_digest_any_order(void **state)
{
    (void)state;
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT, fake_stamp_digest), CODE(NOT_ALLOWED));
    // Other order, and values of an earlier try, which are replaced.
    assert_int_equal(put_value("stamp", "close_dl", DS_VALUE_U8, "\0", 1), 0);
    assert_int_equal(put_value("cfg", "rate", DS_VALUE_BLOB, "\x00\xc2\x01\x00", 4), 0);
    assert_int_equal(put_value("stamp", "pop", DS_VALUE_BLOB, "other", 5), 0);
    assert_int_equal(fake_provision(&f, &st), 0);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT, fake_stamp_digest), 0);
    uint8_t wrong[32];
    memcpy(wrong, fake_stamp_digest, 32);
    wrong[31] ^= 1;
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT, wrong), CODE(MISMATCH));
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT + 1, fake_stamp_digest), CODE(MISMATCH));
}

// A stamp that leaves no room for what the app adds where it moves to is refused now: later the device is locked.
static void test_finish_without_room_for_the_move(void **state)
{
    (void)state;
    static fake_area unfinished;
    assert_int_equal(fake_provision(&f, &st), 0);
    for (int i = 0; i < FAKE_VALUES; i++)
        if (strcmp(f.areas[DS_AREA_PLAIN].values[i].key, "done") == 0)
            f.areas[DS_AREA_PLAIN].values[i].used = false;
    unfinished = f.areas[DS_AREA_PLAIN];
    for (int i = 0; area_free(&f, DS_AREA_PLAIN) >= 1024; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        assert_true(put(&f, DS_AREA_PLAIN, "cfg", name, DS_VALUE_U8, "1", 1));
    }
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT, fake_stamp_digest), CODE(NO_SPACE));
    assert_null(fake_find(&f, DS_AREA_PLAIN, "stamp", "done"));
    f.areas[DS_AREA_PLAIN] = unfinished;
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT, fake_stamp_digest), 0);
}

static void test_finish_mismatch_leaves_unfinished(void **state)
{
    (void)state;
    assert_int_equal(put_value("cfg", "extra", DS_VALUE_U8, "1", 1), 0);
    assert_int_equal(fake_provision(&f, &st), CODE(MISMATCH));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
    Devstamp__FinishStamp w = DEVSTAMP__FINISH_STAMP__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_FINISH_STAMP;
    q.finish_stamp = &w;
    assert_int_equal(fake_status(&f, &st, &q), CODE(BAD_REQUEST));
}

static void test_stamped_is_immutable(void **state)
{
    (void)state;
    assert_int_equal(fake_provision(&f, &st), 0);
    assert_int_equal(put_value("stamp", "serial", DS_VALUE_STRING, "SN0042", 6), 0);
    assert_int_equal(put_value("stamp", "serial", DS_VALUE_STRING, "SN0043", 6), CODE(EXISTS));
    assert_int_equal(put_value("cfg", "rate", DS_VALUE_I32, "\x00\xc2\x01\x00", 4), CODE(EXISTS));
    assert_int_equal(put_value("cfg", "new", DS_VALUE_U8, "1", 1), CODE(EXISTS));
    assert_int_equal(fake_provision(&f, &st), 0);
    assert_int_equal(f.key_sets, 1);
}

static void test_hello_tells_all(void **state)
{
    (void)state;
    assert_int_equal(fake_provision(&f, &st), 0);
    Devstamp__Hello m = DEVSTAMP__HELLO__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    q.hello = &m;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    const Devstamp__HelloReply *h = r->hello;
    assert_int_equal(h->protocol, 1);
    assert_int_equal(h->chip_id, 5);
    assert_int_equal(h->chip_revision, 3);
    assert_int_equal(h->mac.len, 6);
    assert_memory_equal(h->mac.data, f.identity.mac, 6);
    assert_int_equal(h->firmware, DEVSTAMP__FIRMWARE_KIND__FIRMWARE_MFG);
    assert_string_equal(h->project, "devstamp-mfg");
    assert_string_equal(h->version, "1.2.0");
    assert_string_equal(h->app_version, "2.0.1");
    assert_string_equal(h->boot_partition, "ota_1");
    assert_int_equal(h->stage, DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_int_equal(h->flash_size, 4 << 20);
    assert_true(h->free_bytes > 0);
    assert_int_equal(h->self_test, 0);
    assert_int_equal(h->key_type, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256);
    assert_string_equal(h->serial, "SN0042");
    uint8_t digest[32];
    assert_true(ds_sha256(st.public_key, st.public_key_len, digest));
    assert_memory_equal(h->public_key_digest.data, digest, 32);
    assert_true(ds_sha256(st.device.der, st.device.len, digest));
    assert_int_equal(h->certificate_digest.len, 32);
    assert_memory_equal(h->certificate_digest.data, digest, 32);
    fake_free(r);
}

static void test_report_tells_security(void **state)
{
    (void)state;
    assert_int_equal(fake_provision(&f, &st), 0);
    f.security = (ds_security){
        .secure_boot = true, .jtag_disabled = true, .download = 1, .digest_count = 2, .secure_version = 9};
    memset(f.security.digests[1], 0x77, 32);
    f.agent.last_status = 0x08020011;
    uint8_t nonce[32] = {1};
    Devstamp__Response *r = fake_report(&f, &st, nonce, sizeof nonce);
    assert_int_equal(r->report->signature.len, 0); // the mfg app vouches for nothing
    Devstamp__Evidence *p = devstamp__evidence__unpack(NULL, r->report->evidence.len, r->report->evidence.data);
    assert_non_null(p);
    assert_int_equal(p->stage, DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_true(p->secure_boot && p->jtag_disabled && !p->flash_encryption && !p->release_mode);
    assert_int_equal(p->download, DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_SECURE);
    assert_int_equal(p->n_key_digest, 2);
    assert_memory_equal(p->key_digest[1].data, f.security.digests[1], 32);
    assert_false(p->nvs_encrypted || p->plain_stamp_erased || p->endpoint_reached);
    assert_string_equal(p->serial, "SN0042");
    assert_int_equal(p->certificate_digest.len, 32);
    assert_int_equal(p->last_status, 0x08020011);
    assert_int_equal(p->secure_version, 9);
    devstamp__evidence__free_unpacked(p, NULL);
    fake_free(r);
    static const size_t bad[] = {0, 16, 31};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r = fake_report(&f, &st, nonce, bad[i]);
        assert_int_equal(DS_STATUS_CODE(r->status), CODE(BAD_REQUEST));
        fake_free(r);
    }
}

static void test_reboot_answers_first(void **state)
{
    (void)state;
    Devstamp__Reboot m = DEVSTAMP__REBOOT__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_REBOOT;
    q.reboot = &m;
    assert_int_equal(fake_status(&f, &st, &q), 0);
    assert_int_equal(f.reboots, 1);
}

static void test_select_boot(void **state)
{
    (void)state;
    char label[24] = "ota_0";
    Devstamp__SelectBoot m;
    devstamp__select_boot__init(&m);
    m.partition = label;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_SELECT_BOOT;
    q.select_boot = &m;
    assert_int_equal(fake_status(&f, &st, &q), 0);
    assert_string_equal(f.boot, "ota_0");
    snprintf(label, sizeof label, "%s", "ota_7");
    assert_int_equal(fake_status(&f, &st, &q), CODE(NOT_FOUND));
    snprintf(label, sizeof label, "%s", "seventeen_letters");
    assert_int_equal(fake_status(&f, &st, &q), CODE(BAD_REQUEST));
    assert_string_equal(f.boot, "ota_0");
}

static void test_app_role_allows_only_its_requests(void **state)
{
    (void)state;
    assert_int_equal(fake_provision(&f, &st), 0);
    fake_power_on(&f, DS_AGENT_APP);
    assert_int_equal(fake_make_key(&f, &st, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, false, NULL), CODE(NOT_ALLOWED));
    assert_int_equal(fake_write_chain(&f, &st, &st.device), CODE(NOT_ALLOWED));
    assert_int_equal(put_value("stamp", "serial", DS_VALUE_STRING, "SN0042", 6), CODE(NOT_ALLOWED));
    assert_int_equal(fake_finish(&f, &st, FAKE_STAMP_COUNT, fake_stamp_digest), CODE(NOT_ALLOWED));
    assert_int_equal(make_csr(&f, &st), CODE(NOT_ALLOWED));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_false(f.encrypted_opened_in_plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_write_value_rules, setup),
        cmocka_unit_test_setup(test_write_value_full_storage_tells, setup),
        cmocka_unit_test_setup(test_finish_known_digest_any_order, setup),
        cmocka_unit_test_setup(test_finish_without_room_for_the_move, setup),
        cmocka_unit_test_setup(test_finish_mismatch_leaves_unfinished, setup),
        cmocka_unit_test_setup(test_stamped_is_immutable, setup),
        cmocka_unit_test_setup(test_hello_tells_all, setup),
        cmocka_unit_test_setup(test_report_tells_security, setup),
        cmocka_unit_test_setup(test_reboot_answers_first, setup),
        cmocka_unit_test_setup(test_select_boot, setup),
        cmocka_unit_test_setup(test_app_role_allows_only_its_requests, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
