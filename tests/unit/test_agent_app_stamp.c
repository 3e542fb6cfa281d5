// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The stamp as the product's firmware uses it: getters, the key as a handle, the health report, and a factory reset
// that power may leave at any write.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/app/internal.h"
#include "agent/app/stamp.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

#define CODE(x) DEVSTAMP__STATUS_CODE__CODE_##x
#define assert_code(status, name) assert_int_equal(DS_STATUS_CODE(status), CODE(name))

static fake_port f;
static fake_station st;
static fake_area born; // encrypted storage right after the move

static void set(const char *name_space, const char *key, const char *text)
{
    assert_true(put(&f, DS_AREA_ENCRYPTED, name_space, key, DS_VALUE_STRING, text, strlen(text)));
}

// A sealed device, without anything of the app's.
static int setup(void **state)
{
    (void)state;
    fake_init(&f, 21);
    fake_station_init(&st);
    assert_int_equal(fake_provision(&f, &st), 0);
    f.security.flash_encryption = f.security.secure_boot = true;
    fake_power_on(&f, DS_AGENT_APP);
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    born = f.areas[DS_AREA_ENCRYPTED];
    return 0;
}

static int setup_plain(void **state)
{
    (void)state;
    fake_init(&f, 21);
    fake_station_init(&st);
    assert_int_equal(fake_provision(&f, &st), 0);
    fake_power_on(&f, DS_AGENT_APP);
    return 0;
}

static void read_all(void)
{
    char text[256];
    uint8_t bytes[DS_AGENT_CHAIN_MAX];
    size_t len;
    uint32_t number;
    assert_int_equal(ds_stamp_serial(&f.agent, text), 0);
    assert_string_equal(text, "SN0042");
    assert_int_equal(ds_stamp_endpoint(&f.agent, text), 0);
    assert_string_equal(text, "mqtts://localhost:8883");
    assert_code(ds_stamp_endpoint_ca(&f.agent, bytes, sizeof bytes, &len), NOT_FOUND);
    assert_int_equal(ds_stamp_chain(&f.agent, bytes, sizeof bytes, &len), 0);
    assert_int_equal(len, st.device.len + st.sub.len);
    assert_memory_equal(bytes, st.device.der, st.device.len);
    assert_int_equal(ds_stamp_pop(&f.agent, bytes, sizeof bytes, &len), 0);
    assert_int_equal(len, 8);
    assert_int_equal(ds_stamp_u32(&f.agent, "cfg", "rate", &number), 0);
    assert_int_equal(number, 115200);
    assert_int_equal(ds_stamp_u32(&f.agent, "stamp", "close_dl", &number), 0);
    assert_int_equal(number, 1);
    assert_int_equal(ds_stamp_text(&f.agent, "cfg", "name", text, sizeof text), 0);
    assert_string_equal(text, "line \xc3\xa9");
}

static void test_getters_sealed(void **state)
{
    (void)state;
    read_all();
}

static void test_getters_before_the_move(void **state)
{
    (void)state;
    read_all();
    assert_false(f.encrypted_opened_in_plain);
}

static void test_getters_within_their_bounds(void **state)
{
    (void)state;
    char text[8];
    size_t len;
    uint32_t number = 7;
    assert_code(ds_stamp_text(&f.agent, "cfg", "name", text, 7), NO_SPACE);
    assert_string_equal(text, "");
    assert_int_equal(ds_stamp_text(&f.agent, "cfg", "name", text, 8), 0);
    assert_code(ds_stamp_text(&f.agent, "cfg", "name", text, 0), NO_SPACE);
    assert_code(ds_stamp_text(&f.agent, "cfg", "none", text, sizeof text), NOT_FOUND);
    assert_string_equal(text, "");
    assert_code(ds_stamp_pop(&f.agent, text, 7, &len), NO_SPACE);
    assert_int_equal(len, 8);
    assert_code(ds_stamp_u32(&f.agent, "cfg", "name", &number), MISMATCH);
    assert_code(ds_stamp_u32(&f.agent, "cfg", "none", &number), NOT_FOUND);
    assert_int_equal(number, 7);
    set("app", "three", "abc");
    assert_code(ds_stamp_u32(&f.agent, "app", "three", &number), MISMATCH);
}

// Whoever can write to flash blanks encrypted storage and puts a plain stamp of their own: no value of it is handed to
// the app as the device's.
static void test_getters_of_a_locked_device_take_no_plain_stamp(void **state)
{
    (void)state;
    char text[DS_AGENT_ENDPOINT_MAX + 1] = "x";
    uint32_t number = 7;
    size_t len = 9;
    memset(&f.areas[DS_AREA_ENCRYPTED], 0, sizeof(fake_area));
    put(&f, DS_AREA_PLAIN, "stamp", "endpoint", DS_VALUE_STRING, "mqtts://evil:8883", 17);
    put(&f, DS_AREA_PLAIN, "stamp", "endpoint_ca", DS_VALUE_STRING, "theirs", 6);
    put(&f, DS_AREA_PLAIN, "cfg", "rate", DS_VALUE_U32, "\1\2\3\4", 4);
    fake_power_on(&f, DS_AGENT_APP);
    assert_code(ds_app_migrate(&f.agent), MISMATCH);
    assert_code(ds_stamp_endpoint(&f.agent, text), MISMATCH);
    assert_string_equal(text, "");
    assert_code(ds_stamp_endpoint_ca(&f.agent, text, sizeof text, &len), MISMATCH);
    assert_int_equal(len, 0);
    assert_code(ds_stamp_u32(&f.agent, "cfg", "rate", &number), MISMATCH);
    assert_int_equal(number, 7);
}

static void test_key_is_a_handle_and_never_bytes(void **state)
{
    (void)state;
    uint8_t bytes[DS_AGENT_KEY_MAX], signature[DS_KEY_SIGNATURE_MAX], hash[32] = {1, 2, 3};
    size_t len = 9;
    assert_code(ds_stamp_value(&f.agent, "stamp", "key", bytes, sizeof bytes, &len), NOT_ALLOWED);
    assert_int_equal(len, 0);
    assert_code(ds_stamp_value(&f.agent, "stamp", "dsig_secret", bytes, sizeof bytes, &len), NOT_ALLOWED);
    assert_code(ds_stamp_value(&f.agent, "stamp", "nvs_secret", bytes, sizeof bytes, &len), NOT_ALLOWED);
    mbedtls_pk_context pk, public;
    assert_int_equal(ds_stamp_key(&f.agent, &pk), 0);
    assert_int_equal(DS_PK_SIGN(&pk, MBEDTLS_MD_SHA256, hash, sizeof hash, signature, sizeof signature, &len,
                                ds_stamp_random, &f.agent),
                     0);
    mbedtls_pk_init(&public);
    assert_int_equal(mbedtls_pk_parse_public_key(&public, st.public_key, st.public_key_len), 0);
    assert_int_equal(mbedtls_pk_verify(&public, MBEDTLS_MD_SHA256, hash, sizeof hash, signature, len), 0);
    mbedtls_pk_free(&public);
    mbedtls_pk_free(&pk);
    uint8_t scalar[32];
    memcpy(scalar, fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "key")->data + 7, 32);
    assert_false(fake_contains(f.scratch, sizeof f.scratch, scalar, 8));
    assert_false(fake_contains(f.frame, sizeof f.frame, scalar, 8));
    f.stuck_random = true;
    assert_int_not_equal(ds_stamp_random(&f.agent, bytes, 16), 0);
}

static void test_key_in_plain_storage_is_not_handed_out(void **state)
{
    (void)state;
    mbedtls_pk_context pk;
    assert_code(ds_stamp_key(&f.agent, &pk), NOT_ALLOWED);
    mbedtls_pk_free(&pk);
}

static void test_health(void **state)
{
    (void)state;
    ds_health h;
    char json[DS_HEALTH_JSON_MAX];
    snprintf(f.identity.project, sizeof f.identity.project, "%s", "pump \"1\"");
    f.security.download = DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_SECURE;
    f.agent.endpoint_reached = true;
    f.agent.last_status = DS_STATUS(ENDPOINT, NETWORK) & 0xFFFF0000;
    assert_int_equal(ds_stamp_health(&f.agent, &h), 0);
    assert_int_equal(h.stage, DEVSTAMP__STAGE__STAGE_SEALED);
    assert_int_equal(h.free_bytes, area_free(&f, DS_AREA_ENCRYPTED));
    size_t len = ds_stamp_health_json(&h, json, sizeof json);
    char want[DS_HEALTH_JSON_MAX];
    snprintf(want, sizeof want,
             "{\"serial\":\"SN0042\",\"project\":\"pump \\u00221\\u0022\",\"version\":\"1.2.0\",\"stage\":\"sealed\","
             "\"secure_boot\":true,\"flash_encryption\":true,\"release_mode\":false,\"jtag_disabled\":false,"
             "\"download\":\"secure\",\"secure_version\":0,\"last_status\":\"0a0d0000\",\"endpoint_reached\":true,"
             "\"reset_pending\":false,\"free_bytes\":%lu}",
             (unsigned long)h.free_bytes);
    assert_string_equal(json, want);
    assert_int_equal(len, strlen(want));
    assert_int_equal(ds_stamp_health_json(&h, json, sizeof json - 1), 0);
    // The longest there can be fits.
    memset(h.serial, 'S', sizeof h.serial - 1);
    memset(h.project, '\1', sizeof h.project - 1);
    memset(h.version, '\1', sizeof h.version - 1);
    h.secure_version = h.free_bytes = h.last_status = UINT32_MAX;
    h.stage = h.download = -1;
    assert_true(ds_stamp_health_json(&h, json, sizeof json) > 0);
    assert_non_null(strstr(json, "\"stage\":\"unknown\""));
    f.fail_call = f.calls + 1;
    assert_int_not_equal(ds_stamp_health(&f.agent, &h), 0);
}

static void test_health_before_the_move(void **state)
{
    (void)state;
    ds_health h;
    assert_int_equal(ds_stamp_health(&f.agent, &h), 0);
    assert_int_equal(h.stage, DEVSTAMP__STAGE__STAGE_STAMPED);
    assert_int_equal(h.free_bytes, 0);
    assert_string_equal(h.serial, "SN0042");
    assert_false(f.encrypted_opened_in_plain);
}

// ---- Factory reset

static void use_device(void)
{
    set("wifi", "ssid", "home");
    set("wifi", "pass", "correct horse");
    set("cfg", "theirs", "1"); // the app's own, in a namespace of the recipe
    set("nvs.net80211", "sta.ssid", "home");
    set("cfg", "name", "changed"); // the recipe's, overwritten
}

static bool is_born(const fake_value *v)
{
    for (int i = 0; i < FAKE_VALUES; i++)
        if (born.values[i].used && strcmp(born.values[i].name_space, v->name_space) == 0 &&
            strcmp(born.values[i].key, v->key) == 0)
            return true;
    return false;
}

// The stamp is there, whole, at any moment; with clean also nothing else.
static void assert_stamp_kept(bool clean)
{
    for (int i = 0; i < FAKE_VALUES; i++) {
        const fake_value *want = &born.values[i];
        if (!want->used)
            continue;
        const fake_value *v = fake_find(&f, DS_AREA_ENCRYPTED, want->name_space, want->key);
        assert_non_null(v);
        if (strcmp(want->key, "name") == 0 || strcmp(want->key, "reset") == 0)
            continue;
        assert_int_equal(v->len, want->len);
        assert_memory_equal(v->data, want->data, v->len);
    }
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
    for (int i = 0; clean && i < FAKE_VALUES; i++) {
        const fake_value *v = &f.areas[DS_AREA_ENCRYPTED].values[i];
        if (v->used && !is_born(v))
            assert_string_equal(v->key, "reset");
    }
}

static bool pending(void)
{
    ds_health h;
    assert_int_equal(ds_stamp_health(&f.agent, &h), 0);
    return h.reset_pending;
}

static void test_reset_keeps_the_stamp_and_nothing_else(void **state)
{
    (void)state;
    use_device();
    assert_int_equal(ds_stamp_reset(&f.agent), 0);
    assert_stamp_kept(true);
    assert_false(pending());
    assert_null(fake_find(&f, DS_AREA_ENCRYPTED, "wifi", "ssid"));
    assert_null(fake_find(&f, DS_AREA_ENCRYPTED, "cfg", "theirs"));
    assert_memory_equal(fake_find(&f, DS_AREA_ENCRYPTED, "cfg", "name")->data, "changed", 7);
    // Again, and on a device that was never used.
    assert_int_equal(ds_stamp_reset(&f.agent), 0);
    long writes = f.writes;
    assert_int_equal(ds_stamp_reset_resume(&f.agent), 0);
    assert_int_equal(f.writes, writes);
    fake_power_on(&f, DS_AGENT_APP);
    assert_stamp_kept(true);
    assert_non_null(strstr(f.log, "factory reset complete"));
}

static void test_reset_power_lost_twice_at_every_write(void **state)
{
    (void)state;
    int losses = 0, undone = 0;
    for (int after = 0; after < 2; after++) {
        bool first = true;
        for (long n = 1; first; n++) {
            bool second = true;
            for (long m = 1; second; m++) {
                f.areas[DS_AREA_ENCRYPTED] = born;
                fake_power_on(&f, DS_AGENT_APP);
                use_device();
                f.power_write = f.writes + n;
                f.power_after = after != 0;
                ds_stamp_reset(&f.agent);
                first = f.dead;
                fake_power_on(&f, DS_AGENT_APP);
                assert_stamp_kept(false);
                f.power_write = f.writes + m;
                f.power_after = after == 0;
                ds_stamp_reset_resume(&f.agent);
                second = f.dead;
                fake_power_on(&f, DS_AGENT_APP);
                assert_stamp_kept(false);
                losses += first + second;
                assert_int_equal(ds_stamp_reset_resume(&f.agent), 0);
                assert_false(pending());
                // Either all of it is gone, or it was never begun.
                if (fake_find(&f, DS_AREA_ENCRYPTED, "wifi", "ssid") != NULL) {
                    assert_non_null(fake_find(&f, DS_AREA_ENCRYPTED, "nvs.net80211", "sta.ssid"));
                    undone++;
                } else {
                    assert_stamp_kept(true);
                }
            }
        }
    }
    assert_true(losses > 40);
    assert_true(undone > 0);
}

static void test_reset_every_call_fails_once(void **state)
{
    (void)state;
    bool reached = true;
    for (long n = 2; reached; n++) {
        f.areas[DS_AREA_ENCRYPTED] = born;
        fake_power_on(&f, DS_AGENT_APP);
        use_device();
        long last = f.fail_call = f.calls + n / 2;
        f.fail_after = n % 2 != 0;
        bool failed = ds_stamp_reset(&f.agent) != 0;
        reached = f.calls >= last;
        assert_true(failed == reached);
        f.fail_call = 0;
        assert_stamp_kept(false);
        assert_int_equal(ds_stamp_reset(&f.agent), 0);
        assert_stamp_kept(true);
    }
}

static void test_reset_cut_off_is_completed_at_boot(void **state)
{
    (void)state;
    use_device();
    f.power_write = f.writes + 3;
    ds_stamp_reset(&f.agent);
    assert_true(f.dead);
    fake_power_on(&f, DS_AGENT_APP);
    assert_true(pending());
    f.idle_polls = 3;
    ds_app_run(&f.agent);
    assert_false(pending());
    assert_stamp_kept(true);
}

static void test_reset_refused(void **state)
{
    (void)state;
    use_device();
    fake_area used = f.areas[DS_AREA_ENCRYPTED];
    // Moved by a firmware that noted nothing, or in a way of its own.
    for (int i = 0; i < FAKE_VALUES; i++)
        if (strcmp(f.areas[DS_AREA_ENCRYPTED].values[i].key, "born") == 0)
            f.areas[DS_AREA_ENCRYPTED].values[i].used = false;
    assert_code(ds_stamp_reset(&f.agent), NOT_FOUND);
    static const uint8_t other[] = {2, 0, 0, 0, 0}, torn[] = {1, 0, 0, 0};
    put(&f, DS_AREA_ENCRYPTED, "stamp", "born", DS_VALUE_BLOB, other, sizeof other);
    assert_code(ds_stamp_reset(&f.agent), UNSUPPORTED);
    put(&f, DS_AREA_ENCRYPTED, "stamp", "born", DS_VALUE_BLOB, torn, sizeof torn);
    assert_code(ds_stamp_reset(&f.agent), UNSUPPORTED);
    f.port.values_clear = NULL;
    f.areas[DS_AREA_ENCRYPTED] = used;
    assert_code(ds_stamp_reset(&f.agent), UNSUPPORTED);
    assert_memory_equal(&f.areas[DS_AREA_ENCRYPTED], &used, sizeof used);
    assert_int_equal(ds_stamp_reset_resume(&f.agent), 0);
}

static void test_reset_refused_before_the_move(void **state)
{
    (void)state;
    assert_code(ds_stamp_reset(&f.agent), NOT_ALLOWED);
    assert_int_equal(ds_stamp_reset_resume(&f.agent), 0);
    assert_false(f.encrypted_opened_in_plain);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
}

// ---- An owner on the console

static size_t answer_owner(void *arg, const uint8_t *in, size_t len, uint8_t *ret, size_t cap)
{
    int *calls = arg;
    ++*calls;
    if (len == 3)
        return 0;
    memset(ret, 0xC0, cap < 4800 ? cap : 4800);
    memcpy(ret, in, len);
    return 4800;
}

static int ask_owner(size_t len, Devstamp__Response **ret)
{
    static uint8_t bytes[DS_AGENT_OWNER_MAX + 1];
    memset(bytes, 0xDB, sizeof bytes);
    Devstamp__Owner owner = DEVSTAMP__OWNER__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    owner.message = (ProtobufCBinaryData){.data = bytes, .len = len};
    q.body_case = DEVSTAMP__REQUEST__BODY_OWNER;
    q.owner = &owner;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    int code = r != NULL ? (int)DS_STATUS_CODE(r->status) : -1;
    if (ret != NULL && code == 0)
        *ret = r;
    else
        fake_free(r);
    return code;
}

static void test_owner_messages_reach_the_hook(void **state)
{
    (void)state;
    int calls = 0;
    Devstamp__Response *r = NULL;
    assert_int_equal(ask_owner(4, NULL), CODE(NOT_ALLOWED)); // no hook
    f.agent.owner = answer_owner;
    f.agent.owner_arg = &calls;
    assert_int_equal(ask_owner(DS_AGENT_OWNER_MAX, &r), 0);
    assert_int_equal(r->owner->message.len, 4800);
    for (size_t i = 0; i < 4800; i++)
        assert_int_equal(r->owner->message.data[i], i < DS_AGENT_OWNER_MAX ? 0xDB : 0xC0);
    fake_free(r);
    assert_int_equal(ask_owner(3, NULL), CODE(INTERNAL));
    assert_int_equal(ask_owner(0, NULL), CODE(BAD_REQUEST));
    assert_int_equal(ask_owner(DS_AGENT_OWNER_MAX + 1, NULL), CODE(BAD_REQUEST));
    assert_int_equal(calls, 2);
    fake_power_on(&f, DS_AGENT_MFG);
    f.agent.owner = answer_owner;
    assert_int_equal(ask_owner(4, NULL), CODE(NOT_ALLOWED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_getters_sealed, setup),
        cmocka_unit_test_setup(test_getters_before_the_move, setup_plain),
        cmocka_unit_test_setup(test_getters_within_their_bounds, setup),
        cmocka_unit_test_setup(test_getters_of_a_locked_device_take_no_plain_stamp, setup),
        cmocka_unit_test_setup(test_key_is_a_handle_and_never_bytes, setup),
        cmocka_unit_test_setup(test_key_in_plain_storage_is_not_handed_out, setup_plain),
        cmocka_unit_test_setup(test_health, setup),
        cmocka_unit_test_setup(test_health_before_the_move, setup_plain),
        cmocka_unit_test_setup(test_reset_keeps_the_stamp_and_nothing_else, setup),
        cmocka_unit_test_setup(test_reset_power_lost_twice_at_every_write, setup),
        cmocka_unit_test_setup(test_reset_every_call_fails_once, setup),
        cmocka_unit_test_setup(test_reset_cut_off_is_completed_at_boot, setup),
        cmocka_unit_test_setup(test_reset_refused, setup),
        cmocka_unit_test_setup(test_reset_refused_before_the_move, setup_plain),
        cmocka_unit_test_setup(test_owner_messages_reach_the_hook, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
