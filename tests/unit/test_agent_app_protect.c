// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys protected by the chip: burned at FinishStamp whatever fails on the way, proved before the stamp counts, and from
// first boot on the private key is nowhere that software can read. Vectors: tests/data/dsig/vectors.py.
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
#define assert_code(status, code) assert_int_equal(DS_STATUS_CODE(status), CODE(code))

enum { COUNT = 5, PIECE = 24 };

static fake_port f, certified, stamped; // the device now, before FinishStamp, and behind it
static fake_station st;
static uint8_t digest[32];
static uint8_t private_parts[6][PIECE]; // of p, q and d, from either end of each

static void add_to_digest(mbedtls_md_context_t *md, const char *name_space, const char *key, int type, const char *data,
                          size_t len)
{
    uint8_t head[5] = {(uint8_t)type, (uint8_t)len};
    assert_int_equal(mbedtls_md_update(md, (const uint8_t *)name_space, strlen(name_space) + 1), 0);
    assert_int_equal(mbedtls_md_update(md, (const uint8_t *)key, strlen(key) + 1), 0);
    assert_int_equal(mbedtls_md_update(md, head, sizeof head), 0);
    assert_int_equal(mbedtls_md_update(md, (const uint8_t *)data, len), 0);
}

// Sorted, as the digest wants them.
static void write_stamp(void)
{
    static const struct {
        const char *key;
        int type;
        const char *data;
        size_t len;
    } values[COUNT] = {{"endpoint", DS_VALUE_STRING, "mqtts://localhost:8883", 22},
                       {"key_ds", DS_VALUE_U8, "\1", 1},
                       {"nvs_hmac", DS_VALUE_U8, "\1", 1},
                       {"pop", DS_VALUE_STRING, "ABCD2345", 8},
                       {"serial", DS_VALUE_STRING, "SN0042", 6}};
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    assert_int_equal(mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0), 0);
    assert_int_equal(mbedtls_md_starts(&md), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(
            fake_write_value(&f, &st, "stamp", values[i].key, values[i].type, values[i].data, values[i].len), 0);
        add_to_digest(&md, "stamp", values[i].key, values[i].type, values[i].data, values[i].len);
    }
    assert_int_equal(mbedtls_md_finish(&md, digest), 0);
    mbedtls_md_free(&md);
}

static void keep_part(int i, const mbedtls_mpi *number)
{
    uint8_t bytes[512];
    size_t len = mbedtls_mpi_size(number);
    assert_int_equal(mbedtls_mpi_write_binary(number, bytes, len), 0);
    memcpy(private_parts[i], bytes, PIECE);
    for (int k = 0; k < PIECE; k++) // little-endian, from its other end
        private_parts[i + 1][k] = bytes[len - 1 - (size_t)k];
}

static void keep_private_parts(void)
{
    const fake_value *v = fake_find(&f, DS_AREA_PLAIN, "stamp", "key");
    mbedtls_pk_context pk;
    mbedtls_mpi p, q, d;
    mbedtls_pk_init(&pk);
    mbedtls_mpi_init(&p);
    mbedtls_mpi_init(&q);
    mbedtls_mpi_init(&d);
    assert_int_equal(DS_PK_PARSE_KEY(&pk, v->data, v->len, random_bytes, &f), 0);
    assert_int_equal(mbedtls_rsa_export(mbedtls_pk_rsa(pk), NULL, &p, &q, &d, NULL), 0);
    keep_part(0, &p);
    keep_part(2, &q);
    keep_part(4, &d);
    mbedtls_mpi_free(&d);
    mbedtls_mpi_free(&q);
    mbedtls_mpi_free(&p);
    mbedtls_pk_free(&pk);
}

static int finish(void)
{
    return fake_finish(&f, &st, COUNT, digest);
}

static void as_app(void)
{
    f.security.flash_encryption = f.security.secure_boot = f.security.release_mode = true;
    f.read_protection_locked = true; // as the secure bootloader leaves it
    f.out_len = 0;
    fake_power_on(&f, DS_AGENT_APP);
}

static void start_from(const fake_port *where)
{
    memcpy(&f, where, sizeof f);
}

static int make_devices(void **state)
{
    (void)state;
    fake_init(&f, 8);
    fake_station_init(&st);
    assert_int_equal(fake_make_key(&f, &st, DEVSTAMP__KEY_TYPE__KEY_RSA_2048, false, NULL), 0);
    fake_issue(&st, st.public_key, st.public_key_len, &st.device);
    assert_int_equal(fake_write_chain(&f, &st, &st.device), 0);
    write_stamp();
    keep_private_parts();
    f.out_len = 0;
    fake_power_on(&f, DS_AGENT_MFG);
    certified = f;
    assert_int_equal(finish(), 0);
    fake_power_on(&f, DS_AGENT_MFG);
    stamped = f;
    return 0;
}

static const struct fake_block *block_of(enum ds_key_use use)
{
    for (int i = FAKE_BLOCKS; i-- > 0;)
        if (f.blocks[i].whole && f.blocks[i].use == use)
            return &f.blocks[i];
    return NULL;
}

// A stamp that counts as complete is protected as it asks: the blocks hold the secrets that its values were made with.
static void assert_protected(void)
{
    static fake_dsig open;
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_STAMPED);
    const struct fake_block *nvs = block_of(DS_KEY_USE_NVS), *dsig_block = block_of(DS_KEY_USE_DSIG);
    assert_non_null(nvs);
    assert_non_null(dsig_block);
    assert_memory_equal(nvs->bytes, fake_find(&f, DS_AREA_PLAIN, "stamp", "nvs_secret")->data, 32);
    assert_memory_equal(dsig_block->bytes, fake_find(&f, DS_AREA_PLAIN, "stamp", "dsig_secret")->data, 32);
    assert_memory_not_equal(nvs->bytes, dsig_block->bytes, 32);
    const fake_value *data = fake_find(&f, DS_AREA_PLAIN, "stamp", "dsig");
    assert_true(fake_dsig_open(data->data, data->len, dsig_block->bytes, &open));
    assert_memory_equal(open.p, private_parts[5], PIECE);
    for (int i = 0; i < 6; i++)
        assert_false(fake_leaks(&f, private_parts[i], PIECE));
    assert_false(fake_leaks(&f, nvs->bytes, 16) || fake_leaks(&f, dsig_block->bytes, 16));
    assert_false(fake_contains(f.frame, sizeof f.frame, dsig_block->bytes, 16));
}

static bool any_private_part_in(const void *hay, size_t len)
{
    for (int i = 0; i < 6; i++)
        if (fake_contains(hay, len, private_parts[i], PIECE))
            return true;
    return false;
}

static void assert_sealed(void)
{
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
    assert_false(f.areas[DS_AREA_PLAIN].touched);
    assert_null(fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "key"));
    assert_null(fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "dsig_secret"));
    assert_null(fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "nvs_secret"));
    for (int i = 0; i < FAKE_VALUES; i++) {
        const fake_value *v = &stamped.areas[DS_AREA_PLAIN].values[i];
        if (!v->used || strcmp(v->key, "key") == 0 || strstr(v->key, "_secret"))
            continue;
        const fake_value *copy = fake_find(&f, DS_AREA_ENCRYPTED, v->name_space, v->key);
        assert_non_null(copy);
        assert_int_equal(copy->len, v->len);
        assert_memory_equal(copy->data, v->data, v->len);
    }
    assert_false(any_private_part_in(f.areas, sizeof f.areas));
    assert_false(any_private_part_in(f.frame, sizeof f.frame) || any_private_part_in(f.scratch, sizeof f.scratch));
    assert_false(any_private_part_in(f.out, f.out_len) || any_private_part_in(f.log, strlen(f.log)));
    assert_int_equal(f.key_sets, 1);
}

// --- FinishStamp

static void test_finish_burns_proves_and_does_it_once(void **state)
{
    (void)state;
    start_from(&certified);
    assert_true(any_private_part_in(f.areas, sizeof f.areas)); // the control of assert_sealed
    assert_int_equal(finish(), 0);
    assert_protected();
    assert_int_equal(f.key_burns, 2);
    assert_non_null(strstr(f.log, "keys protected by the chip"));
    long writes = f.writes;
    assert_int_equal(finish(), 0);
    assert_int_equal(f.writes, writes);
    assert_int_equal(fake_write_value(&f, &st, "stamp", "key_ds", DS_VALUE_U8, "\0", 1), CODE(EXISTS));
}

static void test_finish_without_wishes_burns_nothing(void **state)
{
    (void)state;
    fake_init(&f, 9);
    assert_int_equal(fake_provision(&f, &(fake_station){.root = st.root, .sub = st.sub}), 0);
    assert_int_equal(f.key_burns, 0);
    assert_null(fake_find(&f, DS_AREA_PLAIN, "stamp", "dsig"));
}

static void test_finish_every_call_fails_once(void **state)
{
    (void)state;
    for (int after = 0; after < 2; after++) {
        bool reached = true;
        for (long n = stride_from(after, 3); reached; n += stride(3)) {
            start_from(&certified);
            long last = f.fail_call = f.calls + n;
            f.fail_after = after;
            int code = finish();
            reached = f.calls >= last;
            f.fail_call = 0;
            fake_power_on(&f, DS_AGENT_MFG);
            if (code != 0)
                assert_int_equal(finish(), 0);
            assert_protected();
            assert_int_equal(f.key_burns, 2); // no block was wasted
        }
    }
}

static void test_finish_power_lost_twice_at_every_write(void **state)
{
    (void)state;
    int losses = 0;
    for (int after = 0; after < 2; after++) {
        bool first = true;
        for (long n = 1; first; n++) {
            bool second = true;
            for (long m = stride_from(n, 4); second; m += stride(4)) {
                start_from(&certified);
                f.power_write = f.writes + n;
                f.power_after = after;
                finish();
                first = f.dead;
                fake_power_on(&f, DS_AGENT_MFG);
                f.power_write = f.writes + m;
                f.power_after = !after;
                finish();
                second = f.dead;
                fake_power_on(&f, DS_AGENT_MFG);
                if (fake_stage(&f, &st) == DEVSTAMP__STAGE__STAGE_STAMPED)
                    assert_protected();
                else
                    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
                assert_int_equal(finish(), 0);
                assert_protected();
                assert_int_equal(f.key_burns, 2);
                losses += first + second;
            }
        }
    }
    assert_true(losses > 40);
}

static void test_finish_leaves_bad_blocks_behind_while_there_are_others(void **state)
{
    (void)state;
    start_from(&certified);
    f.spoil_burns = 1;
    assert_int_equal(finish(), 0);
    assert_protected();
    assert_int_equal(f.key_burns, 3);
    start_from(&certified);
    f.spoil_burns = 2;
    assert_int_not_equal(finish(), 0);
    assert_int_equal(finish(), CODE(NO_SPACE));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
}

// Whoever burned a key before knows it.
static void test_finish_trusts_no_key_that_it_did_not_burn(void **state)
{
    (void)state;
    start_from(&certified);
    f.blocks[0] = (struct fake_block){.burned = true, .whole = true, .use = DS_KEY_USE_NVS, .bytes = {1, 2, 3}};
    assert_int_equal(finish(), 0);
    assert_protected();
    assert_memory_not_equal(block_of(DS_KEY_USE_NVS)->bytes, f.blocks[0].bytes, 32);
    start_from(&certified);
    for (int i = 0; i < FAKE_BLOCKS; i++)
        f.blocks[i] = (struct fake_block){.burned = true, .whole = true, .use = i ? DS_KEY_USE_NVS : DS_KEY_USE_DSIG};
    assert_int_equal(finish(), CODE(NO_SPACE));
    assert_int_equal(ds_protect(&f.agent) & 0xFFFF0000, DS_STATUS(KEY, NO_SPACE) & 0xFFFF0000); // not storage's
}

static void test_finish_where_the_chip_cannot_says_so(void **state)
{
    (void)state;
    start_from(&certified);
    f.read_protection_locked = true;
    assert_int_equal(finish(), CODE(NOT_ALLOWED));
    assert_int_equal(ds_protect(&f.agent) & 0xFFFF0000, DS_STATUS(KEY, NOT_ALLOWED) & 0xFFFF0000);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
    start_from(&certified);
    f.port.hmac = NULL;
    assert_int_equal(finish(), CODE(UNSUPPORTED));
    start_from(&certified);
    f.port.dsig = NULL;
    assert_int_equal(finish(), CODE(UNSUPPORTED));
    assert_int_equal(f.key_burns, 0);
    start_from(&certified);
    f.port.dsig_bits = 1024; // shorter than the key
    assert_int_equal(finish(), CODE(UNSUPPORTED));
    assert_int_equal(f.key_burns, 0);
    start_from(&certified);
    f.stuck_random = true;
    assert_int_equal(finish(), CODE(RANDOM));
    assert_int_equal(f.key_burns, 0);
}

static void test_finish_ecdsa_key_is_none_for_the_peripheral(void **state)
{
    (void)state;
    fake_station other = {.root = st.root, .sub = st.sub};
    fake_init(&f, 10);
    assert_int_equal(fake_make_key(&f, &other, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, false, NULL), 0);
    fake_issue(&other, other.public_key, other.public_key_len, &other.device);
    assert_int_equal(fake_write_chain(&f, &other, &other.device), 0);
    write_stamp();
    assert_int_equal(finish(), CODE(UNSUPPORTED));
    assert_int_equal(f.key_burns, 0);
}

// --- the data, against an implementation apart

static int counting_random(void *ctx, unsigned char *buf, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)(0x20 + i);
    return 0;
}

static void test_encrypt_matches_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        uint16_t chip;
        uint8_t sha[4];
    } cases[] = {{"dsig/test-rsa2048.pem", 3072, {0xa1, 0x24, 0x1a, 0x63}},
                 {"dsig/test-rsa2048.pem", 4096, {0x05, 0xc9, 0x76, 0x5e}},
                 {"sbv2/test-rsa3072.pem", 3072, {0x62, 0x17, 0xff, 0x82}},
                 {"sbv2/test-rsa3072.pem", 4096, {0x4a, 0x67, 0x7a, 0xcf}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], pem[4096] = "";
        uint8_t secret[32], data[DS_DSIG_MAX], sha[32];
        size_t len = 0;
        start_from(&certified);
        f.port.random = counting_random;
        f.port.dsig_bits = cases[i].chip;
        for (unsigned k = 0; k < 32; k++)
            secret[k] = (uint8_t)k;
        snprintf(path, sizeof path, "%s/%s", DS_TEST_DATA, cases[i].file);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        size_t n = fread(pem, 1, sizeof pem - 1, file);
        fclose(file);
        mbedtls_pk_context pk;
        mbedtls_pk_init(&pk);
        assert_int_equal(DS_PK_PARSE_KEY(&pk, (const uint8_t *)pem, n + 1, random_bytes, &f), 0);
        ds_rng rng = {.a = &f.agent};
        assert_int_equal(ds_dsig_encrypt(&f.agent, &rng, &pk, secret, data, &len), 0);
        assert_true(ds_sha256(data, len, sha));
        assert_memory_equal(sha, cases[i].sha, sizeof cases[i].sha);
        mbedtls_pk_free(&pk);
    }
}

// --- first boot

static void test_migrate_leaves_the_private_key_nowhere(void **state)
{
    (void)state;
    start_from(&stamped);
    as_app();
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_sealed();
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    assert_int_equal(ds_app_hello(&f.agent), 0); // with the data in place of a key
    assert_int_equal(f.publishes, 1);
    assert_sealed();
}

static void test_migrate_power_lost_at_every_write(void **state)
{
    (void)state;
    int losses = 0;
    for (int after = 0; after < 2; after++) {
        bool lost = true;
        for (long n = 1; lost; n++) {
            start_from(&stamped);
            as_app();
            f.power_write = f.writes + n;
            f.power_after = after;
            ds_app_migrate(&f.agent);
            lost = f.dead;
            fake_power_on(&f, DS_AGENT_APP);
            assert_true(fake_stage(&f, &st) >= (int)DEVSTAMP__STAGE__STAGE_STAMPED);
            assert_int_equal(ds_app_migrate(&f.agent), 0);
            assert_sealed();
            losses += lost;
        }
    }
    assert_true(losses > 30);
}

static void test_migrate_every_call_fails_once(void **state)
{
    (void)state;
    bool reached = true;
    for (long n = 2; reached; n += stride(3)) {
        start_from(&stamped);
        as_app();
        long last = f.fail_call = f.calls + n / 2;
        f.fail_after = n % 2;
        ds_status s = ds_app_migrate(&f.agent);
        reached = f.calls >= last;
        f.fail_call = 0;
        if (s != 0)
            assert_int_equal(ds_app_migrate(&f.agent), 0);
        assert_sealed();
    }
}

static void without(enum ds_area area, const char *key)
{
    for (int i = 0; i < FAKE_VALUES; i++)
        if (f.areas[area].values[i].used && strcmp(f.areas[area].values[i].key, key) == 0)
            memset(&f.areas[area].values[i], 0, sizeof(fake_value));
}

static void assert_nothing_moved(void)
{
    for (int i = 0; i < FAKE_VALUES; i++)
        assert_false(f.areas[DS_AREA_ENCRYPTED].values[i].used);
    assert_non_null(fake_find(&f, DS_AREA_PLAIN, "stamp", "done"));
}

static void test_migrate_without_what_the_stamp_asks_for_moves_nothing(void **state)
{
    (void)state;
    start_from(&stamped); // no key block
    memset(f.blocks, 0, sizeof f.blocks);
    as_app();
    assert_code(ds_app_migrate(&f.agent), UNSUPPORTED);
    assert_nothing_moved();
    for (int i = 0; i < FAKE_BLOCKS; i++) {
        if (stamped.blocks[i].use != DS_KEY_USE_DSIG)
            continue;
        start_from(&stamped); // the key's is missing
        memset(&f.blocks[i], 0, sizeof f.blocks[i]);
        as_app();
        assert_code(ds_app_migrate(&f.agent), MISMATCH);
        assert_nothing_moved();
        break;
    }
    start_from(&stamped); // another HMAC key than the stamp's
    for (int i = 0; i < FAKE_BLOCKS; i++)
        f.blocks[i].bytes[3] ^= f.blocks[i].use == DS_KEY_USE_NVS;
    as_app();
    assert_code(ds_app_migrate(&f.agent), UNSUPPORTED);
    assert_nothing_moved();
    start_from(&stamped); // data that was changed
    fake_value *v = find(&f, DS_AREA_PLAIN, "stamp", "dsig");
    v->data[700] ^= 1;
    as_app();
    assert_code(ds_app_migrate(&f.agent), MISMATCH);
    assert_nothing_moved();
    start_from(&stamped); // none
    without(DS_AREA_PLAIN, "dsig");
    as_app();
    assert_int_not_equal(ds_app_migrate(&f.agent), 0);
    assert_nothing_moved();
}

// The original goes only when the copy by itself can sign.
static void test_migrate_keeps_the_original_until_the_copy_signs(void **state)
{
    (void)state;
    int tried = 0;
    bool lost = true;
    for (long n = 1; lost; n++) {
        start_from(&stamped);
        as_app();
        f.power_write = f.writes + n;
        ds_app_migrate(&f.agent);
        lost = f.dead;
        fake_power_on(&f, DS_AGENT_APP);
        if (!fake_find(&f, DS_AREA_ENCRYPTED, "stamp", "moved") || !fake_find(&f, DS_AREA_PLAIN, "stamp", "key"))
            continue;
        memset(f.blocks, 0, sizeof f.blocks);
        assert_int_not_equal(ds_app_migrate(&f.agent), 0);
        assert_non_null(fake_find(&f, DS_AREA_PLAIN, "stamp", "key"));
        assert_int_not_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_SEALED);
        tried++;
    }
    assert_true(tried > 0);
}

// What the device signs of itself with the key in the chip, and where it says that its keys are.
static Devstamp__Evidence *signed_report(void)
{
    uint8_t nonce[32] = {9, 8, 7}, hash[32];
    static uint8_t all[2048];
    Devstamp__Response *r = fake_report(&f, &st, nonce, sizeof nonce);
    assert_int_equal(r->status, 0);
    memcpy(all, "devstamp report 1", 18);
    memcpy(all + 18, nonce, sizeof nonce);
    memcpy(all + 50, r->report->evidence.data, r->report->evidence.len);
    assert_true(ds_sha256(all, 50 + r->report->evidence.len, hash));
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    assert_int_equal(mbedtls_pk_parse_public_key(&pk, st.public_key, st.public_key_len), 0);
    assert_int_equal(
        mbedtls_pk_verify(&pk, MBEDTLS_MD_SHA256, hash, 32, r->report->signature.data, r->report->signature.len), 0);
    mbedtls_pk_free(&pk);
    Devstamp__Evidence *m = devstamp__evidence__unpack(NULL, r->report->evidence.len, r->report->evidence.data);
    fake_free(r);
    return m;
}

static void test_report_is_signed_by_the_chip(void **state)
{
    (void)state;
    start_from(&stamped);
    as_app();
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    Devstamp__Evidence *e = signed_report();
    assert_int_equal(e->stage, DEVSTAMP__STAGE__STAGE_SEALED);
    assert_int_equal(e->key_protection, DEVSTAMP__KEY_PROTECTION__KEY_IN_DS);
    assert_int_equal(e->nvs_keys, DEVSTAMP__NVS_KEYS__NVS_KEYS_HMAC);
    devstamp__evidence__free_unpacked(e, NULL);
    assert_sealed();
    // A key that fails says so, rather than leaving the report unsigned.
    memset(f.blocks, 0, sizeof f.blocks);
    uint8_t nonce[32] = {1};
    Devstamp__Response *r = fake_report(&f, &st, nonce, sizeof nonce);
    assert_int_not_equal(r->status, 0);
    fake_free(r);
}

static void test_hello_tells_the_certificates_key(void **state)
{
    (void)state;
    start_from(&stamped);
    as_app();
    assert_int_equal(ds_app_migrate(&f.agent), 0);
    uint8_t want[32];
    assert_true(ds_sha256(st.public_key, st.public_key_len, want));
    Devstamp__Hello h = DEVSTAMP__HELLO__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    q.hello = &h;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->hello->key_type, DEVSTAMP__KEY_TYPE__KEY_RSA_2048);
    assert_int_equal(r->hello->public_key_digest.len, 32);
    assert_memory_equal(r->hello->public_key_digest.data, want, 32);
    fake_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finish_burns_proves_and_does_it_once),
        cmocka_unit_test(test_finish_without_wishes_burns_nothing),
        cmocka_unit_test(test_finish_every_call_fails_once),
        cmocka_unit_test(test_finish_power_lost_twice_at_every_write),
        cmocka_unit_test(test_finish_leaves_bad_blocks_behind_while_there_are_others),
        cmocka_unit_test(test_finish_trusts_no_key_that_it_did_not_burn),
        cmocka_unit_test(test_finish_where_the_chip_cannot_says_so),
        cmocka_unit_test(test_finish_ecdsa_key_is_none_for_the_peripheral),
        cmocka_unit_test(test_encrypt_matches_vectors),
        cmocka_unit_test(test_migrate_leaves_the_private_key_nowhere),
        cmocka_unit_test(test_migrate_power_lost_at_every_write),
        cmocka_unit_test(test_migrate_every_call_fails_once),
        cmocka_unit_test(test_migrate_without_what_the_stamp_asks_for_moves_nothing),
        cmocka_unit_test(test_migrate_keeps_the_original_until_the_copy_signs),
        cmocka_unit_test(test_report_is_signed_by_the_chip),
        cmocka_unit_test(test_hello_tells_the_certificates_key),
    };
    return cmocka_run_group_tests(tests, make_devices, NULL);
}
