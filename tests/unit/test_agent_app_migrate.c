// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// First boot of the app: the stamp moves whole or the move is repeated, the key leaves the plain area, download mode
// closes last, and the endpoint hears of the device.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/app/internal.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"
#include "tests/unit/thorough.h"

#define CODE(x) DEVSTAMP__STATUS_CODE__CODE_##x

static fake_port f;
static fake_station st;
static fake_area stamp; // as the station left it

// A stamped device, booting the app for the first time with flash encryption on.
static int setup(void **state)
{
    (void)state;
    fake_init(&f, 8);
    fake_station_init(&st);
    assert_int_equal(fake_provision(&f, &st), 0);
    stamp = f.areas[DS_AREA_PLAIN];
    snprintf(f.identity.project, sizeof f.identity.project, "%s", "pump");
    snprintf(f.identity.version, sizeof f.identity.version, "%s", "3.0");
    f.security.flash_encryption = f.security.secure_boot = f.security.release_mode = true;
    f.security.download = DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_SECURE;
    f.out_len = 0;
    fake_power_on(&f, DS_AGENT_APP);
    return 0;
}

static bool holds_stamp(enum ds_area area)
{
    for (int i = 0; i < FAKE_VALUES; i++) {
        const fake_value *want = &stamp.values[i];
        if (!want->used)
            continue;
        const fake_value *v = fake_find(&f, area, want->name_space, want->key);
        if (v == NULL || v->type != want->type || v->len != want->len || memcmp(v->data, want->data, v->len) != 0)
            return false;
    }
    return true;
}

static void assert_sealed(void)
{
    assert_true(holds_stamp(DS_AREA_ENCRYPTED));
    assert_false(f.areas[DS_AREA_PLAIN].touched);
    uint8_t scalar[32];
    memcpy(scalar, fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "key")->data + 7, 32);
    assert_false(fake_contains(&f.areas[DS_AREA_PLAIN], sizeof(fake_area), scalar, 8));
    assert_false(fake_contains(f.frame, sizeof f.frame, scalar, 8));
    assert_false(fake_contains(f.scratch, sizeof f.scratch, scalar, 8));
    assert_false(fake_contains(f.scratch, sizeof f.scratch, scalar + 24, 8));
    assert_false(fake_leaks(&f, scalar, 8));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
    assert_int_equal(f.key_sets, 1);
    assert_false(f.encrypted_opened_in_plain);
    uint8_t digest[32];
    assert_true(ds_sha256(st.device.der, st.device.len, digest));
    assert_int_equal(f.anchor_len, f.anchor_cap);
    assert_memory_equal(f.anchor, digest, f.anchor_cap);
    assert_int_equal(f.burns, 1);
}

static void test_migrate_whole_and_again(void **state)
{
    (void)state;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_sealed();
    long writes = f.writes;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_int_equal(f.writes, writes);
    fake_power_on(&f, DS_AGENT_APP);
    assert_sealed();
}

static void test_migrate_refused_without_flash_encryption(void **state)
{
    (void)state;
    f.security.flash_encryption = false;
    assert_int_equal(DS_STATUS_CODE(ds_app_migrate(&f.agent)), CODE(NOT_ALLOWED));
    assert_true(holds_stamp(DS_AREA_PLAIN));
    f.idle_polls = 3;
    ds_app_run(&f.agent);
    assert_int_equal(f.publishes, 0);
    assert_int_equal(DS_STATUS_CODE(f.agent.last_status), CODE(NOT_ALLOWED));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_false(f.encrypted_opened_in_plain);
    assert_int_equal(f.closes, 0);
}

static void test_migrate_refused_unfinished(void **state)
{
    (void)state;
    for (int i = 0; i < FAKE_VALUES; i++)
        if (strcmp(f.areas[0].values[i].key, "done") == 0)
            memset(&f.areas[0].values[i], 0, sizeof(fake_value));
    assert_int_equal(DS_STATUS_CODE(ds_app_migrate(&f.agent)), CODE(NOT_ALLOWED));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
    memset(&f.areas[0], 0, sizeof f.areas[0]);
    assert_int_equal(DS_STATUS_CODE(ds_app_migrate(&f.agent)), CODE(NOT_ALLOWED));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_FRESH);
}

static void test_migrate_every_call_fails_once(void **state)
{
    (void)state;
    bool reached = true;
    for (long n = 2; reached; n++) {
        setup(NULL);
        f.fail_call = f.calls + n / 2;
        f.fail_after = n % 2 != 0;
        long last = f.fail_call;
        bool failed = ds_app_migrate(&f.agent) != 0;
        reached = f.calls >= last;
        assert_true(holds_stamp(DS_AREA_PLAIN) || holds_stamp(DS_AREA_ENCRYPTED));
        if (failed) {
            assert_true(reached);
            assert_int_equal(ds_app_migrate(&f.agent), 0);
        }
        f.fail_call = 0;
        assert_sealed();
    }
}

static void test_migrate_every_lost_set_is_found(void **state)
{
    (void)state;
    bool reached = true;
    for (long n = 1; reached; n++) {
        setup(NULL);
        long last = f.lose_set = f.sets + n;
        ds_status s = ds_app_migrate(&f.agent);
        reached = f.sets >= last;
        assert_int_equal(DS_STATUS_CODE(s), reached ? CODE(FLASH) : CODE(OK));
        assert_true(holds_stamp(DS_AREA_PLAIN) || !reached);
        assert_int_equal(ds_app_migrate(&f.agent), 0);
        assert_sealed();
    }
}

static void test_migrate_power_lost_twice_at_every_write(void **state)
{
    (void)state;
    int losses = 0;
    for (int after = 0; after < 2; after++) {
        bool first = true;
        for (long n = 1; first; n++) {
            bool second = true;
            for (long m = stride_from(n, 3); second; m += stride(3)) {
                setup(NULL);
                f.power_write = f.writes + n;
                f.power_after = after != 0;
                ds_app_migrate(&f.agent);
                first = f.dead;
                assert_true(holds_stamp(DS_AREA_PLAIN) || holds_stamp(DS_AREA_ENCRYPTED));
                fake_power_on(&f, DS_AGENT_APP);
                f.power_write = f.writes + m;
                f.power_after = after == 0;
                ds_app_migrate(&f.agent);
                second = f.dead;
                assert_true(holds_stamp(DS_AREA_PLAIN) || holds_stamp(DS_AREA_ENCRYPTED));
                fake_power_on(&f, DS_AGENT_APP);
                // The original goes only after the anchor was burned, and the anchor is only burned for a whole copy.
                assert_true(f.anchor_len > 0 || holds_stamp(DS_AREA_PLAIN));
                assert_true(f.anchor_len == 0 || fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "moved") != NULL);
                // At any moment the device is stamped with the same identity.
                assert_true(fake_stage(&f, &st) >= (int)DEVSTAMP__STAGE__STAGE_STAMPED);
                assert_int_equal(ds_app_migrate(&f.agent), 0);
                assert_sealed();
                losses += first + second;
            }
        }
    }
    assert_true(losses > 80);
}

static void test_close_download_only_when_asked_and_sealed(void **state)
{
    (void)state;
    assert_int_equal(ds_app_close_download(&f.agent), 0);
    assert_int_equal(f.closes, 0); // not moved yet
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_int_equal(ds_app_close_download(&f.agent), 0);
    assert_int_equal(f.closes, 1);
    assert_int_equal(ds_app_close_download(&f.agent), 0);
    assert_int_equal(f.closes, 1);

    setup(NULL);
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_true(put(&f, DS_AREA_ENCRYPTED, "stamp", "close_dl", DS_VALUE_U8, "\0", 1));
    assert_int_equal(ds_app_close_download(&f.agent), 0);
    assert_int_equal(f.closes, 0);
    assert_true(put(&f, DS_AREA_ENCRYPTED, "stamp", "close_dl", DS_VALUE_U8, "\1", 1));
    f.port.download_close = NULL;
    assert_int_equal(DS_STATUS_CODE(ds_app_close_download(&f.agent)), CODE(UNSUPPORTED));
}

// Flash as an attacker leaves it: encrypted storage blank, and a plain stamp of his choice.
static void rewrite_flash(const fake_area *plain)
{
    memset(&f.areas[DS_AREA_ENCRYPTED], 0, sizeof(fake_area));
    f.areas[DS_AREA_PLAIN] = *plain;
    fake_power_on(&f, DS_AGENT_APP);
    f.idle_polls = 130;
    f.out_len = 0;
}

// The app runs and answers, and takes nothing of what lies there.
static void assert_stamp_refused(const fake_area *plain)
{
    f.publishes = f.closes = 0;
    ds_app_run(&f.agent);
    assert_int_equal(f.agent.last_status & 0xFFFF0000, DS_STATUS(MIGRATE, MISMATCH) & 0xFFFF0000);
    assert_int_equal(f.publishes, 0);
    assert_int_equal(f.closes, 0);
    assert_int_not_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
    for (int i = 0; i < FAKE_VALUES; i++)
        assert_false(f.areas[DS_AREA_ENCRYPTED].values[i].used);
    assert_memory_equal(&f.areas[DS_AREA_PLAIN], plain, sizeof *plain);
    assert_non_null(strstr(f.log, "stamp lost or replaced"));
}

// A whole and valid stamp of another device.
static fake_area foreign_stamp(void)
{
    static fake_port donor;
    static fake_station other;
    fake_init(&donor, 99);
    fake_station_init(&other);
    assert_int_equal(fake_provision(&donor, &other), 0);
    return donor.areas[DS_AREA_PLAIN];
}

static void test_anchored_device_refuses_a_foreign_stamp(void **state)
{
    (void)state;
    static const size_t caps[] = {32, 7}; // as chips hold it
    for (size_t i = 0; i < 2; i++) {
        setup(NULL);
        f.anchor_cap = caps[i];
        assert_int_equal(ds_app_migrate(&f.agent), 0);
        fake_area foreign = foreign_stamp();
        rewrite_flash(&foreign);
        assert_stamp_refused(&foreign);
        fake_area none = {.touched = false};
        rewrite_flash(&none);
        assert_stamp_refused(&none);
    }
}

// Its own certificate, which anybody may know, does not let a device take a key that is not its own.
static void test_anchored_device_refuses_its_certificate_with_another_key(void **state)
{
    (void)state;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    fake_area mixed = stamp, foreign = foreign_stamp();
    for (int i = 0; i < FAKE_VALUES; i++)
        for (int k = 0; k < FAKE_VALUES; k++)
            if (strcmp(mixed.values[i].key, "key") == 0 && strcmp(foreign.values[k].key, "key") == 0)
                mixed.values[i] = foreign.values[k];
    rewrite_flash(&mixed);
    assert_stamp_refused(&mixed);
}

static void test_anchored_device_takes_its_own_stamp_again(void **state)
{
    (void)state;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    rewrite_flash(&stamp);
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_sealed();
}

static void test_encrypted_stamp_other_than_the_anchor_is_not_used(void **state)
{
    (void)state;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    f.anchor[0] ^= 1;
    fake_power_on(&f, DS_AGENT_APP);
    f.idle_polls = 70;
    ds_app_run(&f.agent);
    assert_int_equal(DS_STATUS_CODE(f.agent.last_status), CODE(MISMATCH));
    assert_int_equal(f.publishes, 0);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
}

static void test_migrate_without_room_for_an_anchor_keeps_the_original(void **state)
{
    (void)state;
    f.anchor_cap = 0;
    assert_int_equal(DS_STATUS_CODE(ds_app_migrate(&f.agent)), CODE(NO_SPACE));
    assert_true(holds_stamp(DS_AREA_PLAIN));
    assert_int_not_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
    f.port.anchor_set = NULL;
    assert_int_equal(DS_STATUS_CODE(ds_app_migrate(&f.agent)), CODE(UNSUPPORTED));
    assert_true(holds_stamp(DS_AREA_PLAIN));
}

static void test_hello_publishes(void **state)
{
    (void)state;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    snprintf(f.identity.version, sizeof f.identity.version, "%s", "3.0\"\\\n\xff");
    f.publish_failures = 2; // as an endpoint that registers just in time
    assert_int_equal(ds_app_hello(&f.agent), 0);
    assert_int_equal(f.publishes, 1);
    assert_string_equal(f.endpoint, "mqtts://localhost:8883");
    assert_string_equal(f.client_id, "SN0042");
    assert_string_equal(f.topic, "devstamp/SN0042/hello");
    assert_string_equal(
        f.payload, "{\"serial\":\"SN0042\",\"firmware\":\"pump\",\"version\":\"3.0\\u0022\\u005c\\u000a\\u00ff\"}");
    assert_true(f.agent.endpoint_reached);
    assert_int_equal(f.agent.last_status, 0);
    assert_sealed();
}

static void test_hello_without_endpoint_or_network(void **state)
{
    (void)state;
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_true(put(&f, DS_AREA_ENCRYPTED, "stamp", "endpoint", DS_VALUE_STRING, "", 0));
    assert_int_equal(DS_STATUS_CODE(ds_app_hello(&f.agent)), CODE(NOT_FOUND));
    assert_true(put(&f, DS_AREA_ENCRYPTED, "stamp", "endpoint", DS_VALUE_BLOB, stamp.values, 300));
    assert_int_equal(DS_STATUS_CODE(ds_app_hello(&f.agent)), CODE(NO_SPACE));
    f.port.publish = NULL;
    assert_int_equal(DS_STATUS_CODE(ds_app_hello(&f.agent)), CODE(UNSUPPORTED));
    f.idle_polls = 1;
    assert_int_equal(DS_STATUS_CODE(ds_app_hello(&f.agent)), CODE(UNSUPPORTED));
    assert_false(f.agent.endpoint_reached);
}

// The report, its signature checked with the public key the station certified.
static Devstamp__Evidence *signed_report(void)
{
    uint8_t nonce[32], hash[48];
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)(st.id + i);
    Devstamp__Response *r = fake_report(&f, &st, nonce, sizeof nonce);
    assert_int_equal(r->status, 0);
    const ProtobufCBinaryData *e = &r->report->evidence, *sig = &r->report->signature;
    static uint8_t all[2048];
    memcpy(all, "devstamp report 1", 18);
    memcpy(all + 18, nonce, sizeof nonce);
    memcpy(all + 50, e->data, e->len);
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    assert_int_equal(mbedtls_pk_parse_public_key(&pk, st.public_key, st.public_key_len), 0);
    bool p384 = mbedtls_pk_get_bitlen(&pk) == 384;
    mbedtls_md_type_t type = p384 ? MBEDTLS_MD_SHA384 : MBEDTLS_MD_SHA256;
    assert_int_equal(mbedtls_md(mbedtls_md_info_from_type(type), all, 50 + e->len, hash), 0);
    assert_int_equal(mbedtls_pk_verify(&pk, type, hash, p384 ? 48 : 32, sig->data, sig->len), 0);
    mbedtls_pk_free(&pk);
    Devstamp__Evidence *m = devstamp__evidence__unpack(NULL, e->len, e->data);
    assert_non_null(m);
    fake_free(r);
    return m;
}

static void test_report_is_signed_by_keys_of_every_kind(void **state)
{
    (void)state;
    static const int types[] = {DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384, DEVSTAMP__KEY_TYPE__KEY_RSA_2048};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        fake_init(&f, 8);
        fake_station_init(&st);
        assert_int_equal(fake_make_key(&f, &st, types[i], false, NULL), 0);
        fake_issue(&st, st.public_key, st.public_key_len, &st.device);
        assert_int_equal(fake_write_chain(&f, &st, &st.device), 0);
        assert_true(put(&f, DS_AREA_PLAIN, "stamp", "done", DS_VALUE_U8, "\1", 1));
        f.security.flash_encryption = true;
        fake_power_on(&f, DS_AGENT_APP);
        assert_int_equal(ds_app_migrate(&f.agent), 0);
        Devstamp__Evidence *e = signed_report();
        assert_int_equal(e->stage, DEVSTAMP__STAGE__STAGE_SEALED);
        devstamp__evidence__free_unpacked(e, NULL);
        const fake_value *key = fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "key");
        const uint8_t *secret = key->data + (i == 0 ? 10 : key->len / 2); // in the scalar; in a prime
        assert_false(fake_contains(f.frame, sizeof f.frame, secret, 8));
        assert_false(fake_leaks(&f, secret, 8));
    }
}

// What a device says of itself with a key that lies in the plain area is worth nothing.
static void test_report_is_not_signed_with_a_plain_key(void **state)
{
    (void)state;
    uint8_t nonce[32] = {7};
    Devstamp__Response *r = fake_report(&f, &st, nonce, sizeof nonce);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->report->signature.len, 0);
    assert_int_not_equal(r->report->evidence.len, 0);
    fake_free(r);
}

static void test_run_first_boot(void **state)
{
    (void)state;
    f.publish_failures = 1;
    f.idle_polls = 60;
    ds_app_run(&f.agent);
    assert_int_equal(f.publishes, 1);
    assert_int_equal(f.closes, 1);
    assert_sealed();
    Devstamp__Evidence *e = signed_report();
    assert_int_equal(e->stage, DEVSTAMP__STAGE__STAGE_SEALED);
    assert_true(e->nvs_encrypted && e->plain_stamp_erased && e->endpoint_reached);
    assert_int_equal(e->download, DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED);
    assert_string_equal(e->serial, "SN0042");
    devstamp__evidence__free_unpacked(e, NULL);
}

static void test_run_judges_the_running_image(void **state)
{
    (void)state;
    f.publish_failures = 100; // a network that is down is no fault of the image
    f.idle_polls = 28 + 5;
    ds_app_run(&f.agent);
    assert_int_equal(f.trials_good, 1);
    assert_int_equal(f.trials_bad, 0);
    setup(NULL);
    f.self_test = 1;
    f.idle_polls = 10;
    ds_app_run(&f.agent);
    assert_int_equal(f.trials_good, 0);
    assert_int_equal(f.trials_bad, 1);
}

static void test_run_unreachable_endpoint_answers_and_keeps_trying(void **state)
{
    (void)state;
    f.publish_failures = 5;
    f.idle_polls = 28 + 59; // the tries of the first boot, then not yet another
    ds_app_run(&f.agent);
    assert_int_equal(f.publishes, 0);
    assert_int_equal(f.publish_failures, 1);
    assert_int_equal(DS_STATUS_CODE(f.agent.last_status), CODE(NETWORK));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
    setup(NULL);
    f.publish_failures = 5;
    f.idle_polls = 28 + 130;
    ds_app_run(&f.agent);
    assert_int_equal(f.publishes, 1);
}

static void test_run_failed_move_is_tried_again(void **state)
{
    (void)state;
    f.fail_call = f.calls + 20;
    f.idle_polls = 70;
    ds_app_run(&f.agent);
    assert_int_equal(f.publishes, 1);
    assert_sealed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_migrate_whole_and_again, setup),
        cmocka_unit_test_setup(test_migrate_refused_without_flash_encryption, setup),
        cmocka_unit_test_setup(test_migrate_refused_unfinished, setup),
        cmocka_unit_test_setup(test_migrate_every_call_fails_once, setup),
        cmocka_unit_test_setup(test_migrate_every_lost_set_is_found, setup),
        cmocka_unit_test_setup(test_hello_without_endpoint_or_network, setup),
        cmocka_unit_test_setup(test_migrate_power_lost_twice_at_every_write, setup),
        cmocka_unit_test_setup(test_close_download_only_when_asked_and_sealed, setup),
        cmocka_unit_test_setup(test_anchored_device_refuses_a_foreign_stamp, setup),
        cmocka_unit_test_setup(test_anchored_device_refuses_its_certificate_with_another_key, setup),
        cmocka_unit_test_setup(test_anchored_device_takes_its_own_stamp_again, setup),
        cmocka_unit_test_setup(test_encrypted_stamp_other_than_the_anchor_is_not_used, setup),
        cmocka_unit_test_setup(test_migrate_without_room_for_an_anchor_keeps_the_original, setup),
        cmocka_unit_test_setup(test_hello_publishes, setup),
        cmocka_unit_test_setup(test_report_is_signed_by_keys_of_every_kind, setup),
        cmocka_unit_test_setup(test_report_is_not_signed_with_a_plain_key, setup),
        cmocka_unit_test_setup(test_run_first_boot, setup),
        cmocka_unit_test_setup(test_run_judges_the_running_image, setup),
        cmocka_unit_test_setup(test_run_unreachable_endpoint_answers_and_keeps_trying, setup),
        cmocka_unit_test_setup(test_run_failed_move_is_tried_again, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
