// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The digital-signature peripheral's data and what it signs, against tests/data/dsig/vectors.py; what it refuses; the
// seeds of HMAC-made NVS keys; and which key blocks count as secret and hidden.
#include "src/esp/dsig.h"
#include "src/esp/efuse.h"
#include "src/esp/nvs.h"

#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static uint8_t hmac_key[32], iv[16];

static int set_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 32; i++)
        hmac_key[i] = (uint8_t)i;
    for (unsigned i = 0; i < 16; i++)
        iv[i] = (uint8_t)(0x20 + i);
    return 0;
}

static EVP_PKEY *load(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", DS_TEST_DATA, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(key);
    return key;
}

static void expect_sha256(const void *data, size_t len, const char *want)
{
    uint8_t sha[32];
    char hex[65];
    SHA256(data, len, sha);
    ds_hex(sha, 32, hex);
    assert_string_equal(hex, want);
}

static void test_dsig_matches_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        unsigned bits;
        const char *on_3072, *on_4096, *signs;
    } cases[] = {
        {"dsig/test-rsa2048.pem", 2048, "a1241a6300bc752036ea8eb367bcc862f40f4cbd6bada961a3921e5e19831665",
         "05c9765e9fdf0aaa0dffd462647aad2f1d5815c6747715ffc0fda7485355b46e",
         "c5627e5e0cf3d6ec835ade528ad18f57f96d0bc4d242c19796bdac9c20afa907"},
        {"sbv2/test-rsa3072.pem", 3072, "6217ff826ac68ac9ced756f509ed890827087f4b35636aeaf206e71d194daade",
         "4a677acf41483d8c0803ae44999293416456bf3c5da527fabaa45ce2b7152565",
         "6027316a66e1824b3184ef93ed8ab8076f03891721fe8270a03ff0914831caa1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        EVP_PKEY *key = load(cases[i].file);
        for (unsigned chip = 3072; chip <= 4096; chip += 1024) {
            ds_err e = DS_ERR_INIT;
            DS_CLEANUP_BUF ds_buf data = {0};
            assert_int_equal(ds_dsig_seal(chip, key, hmac_key, iv, &data, &e), DS_OK);
            assert_int_equal(data.len, ds_dsig_len(chip));
            assert_int_equal(ds_dsig_bits(chip, ds_buf_view(&data)), cases[i].bits);
            expect_sha256(data.ptr, data.len, chip == 3072 ? cases[i].on_3072 : cases[i].on_4096);
            uint8_t message[384], signature[384];
            size_t len = cases[i].bits / 8;
            for (size_t k = 0; k < len; k++)
                message[k] = (uint8_t)k;
            assert_int_equal(ds_dsig_sign(chip, ds_buf_view(&data), hmac_key, message, signature, len, &e), DS_OK);
            expect_sha256(signature, len, cases[i].signs);
        }
        EVP_PKEY_free(key);
    }
}

static void test_dsig_refuses_what_is_not_whole(void **state)
{
    (void)state;
    EVP_PKEY *key = load("dsig/test-rsa2048.pem"), *ec = EVP_EC_gen("P-256");
    DS_CLEANUP_BUF ds_buf data = {0};
    uint8_t message[256] = {0}, signature[256], other[32];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_dsig_seal(3072, key, hmac_key, iv, &data, &e), DS_OK);
    ds_view v = ds_buf_view(&data);
    memcpy(other, hmac_key, 32);
    other[31] ^= 1;
    assert_int_equal(ds_dsig_sign(3072, v, other, message, signature, 256, &e), DS_POLICY);
    // Every byte that is changed shows: of the IV, in either of the operands, of the digest, of the padding.
    for (size_t at = 4; at < data.len; at += at < 20 || at > 1140 ? 1 : 37) {
        data.ptr[at] ^= 0x40;
        assert_int_equal(ds_dsig_sign(3072, v, hmac_key, message, signature, 256, &e), DS_POLICY);
        data.ptr[at] ^= 0x40;
    }
    assert_int_equal(ds_dsig_sign(3072, v, hmac_key, message, signature, 384, &e), DS_INPUT);
    assert_int_equal(ds_dsig_sign(4096, v, hmac_key, message, signature, 256, &e), DS_INPUT);
    memset(message, 0xFF, sizeof message);
    assert_int_equal(ds_dsig_sign(3072, v, hmac_key, message, signature, 256, &e), DS_INPUT);
    ds_put_le32(data.ptr, 3072 / 32 - 1); // claims another length than it was made for
    assert_int_equal(ds_dsig_sign(3072, v, hmac_key, message, signature, 384, &e), DS_POLICY);
    ds_put_le32(data.ptr, 3072 / 32);
    assert_int_equal(ds_dsig_bits(3072, v), 0);
    ds_put_le32(data.ptr, 0xFFFFFFFF);
    assert_int_equal(ds_dsig_bits(3072, v), 0);
    assert_int_equal(ds_dsig_seal(3072, ec, hmac_key, iv, &data, &e), DS_INPUT);
    assert_int_equal(ds_dsig_seal(1024, key, hmac_key, iv, &data, &e), DS_INPUT);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ec);
}

static void test_nvs_hmac_seed_makes_the_keys(void **state)
{
    (void)state;
    static const char *const want[] = {"813a141220ddb819f4d73d59fa3032ab9f592cc26a18cf1fde692f712b6a025c",
                                       "b20ad6b6ddd1658a6e14d1b5b726e42356adf4ff2f68fcd8826ac2908408addf"};
    for (int i = 0; i < 2; i++) {
        uint8_t seed[32], key[32];
        char hex[65];
        ds_nvs_hmac_seed(i == 1, seed);
        assert_non_null(HMAC(EVP_sha256(), hmac_key, 32, seed, 32, key, NULL));
        ds_hex(key, 32, hex);
        assert_string_equal(hex, want[i]);
    }
}

static void expect_secrets(const ds_chip *chip, const ds_efuse_words *w, unsigned count, unsigned exposed)
{
    ds_efuse_secrets s;
    ds_efuse_secrets_get(chip, w, &s);
    assert_int_equal(s.count, count);
    assert_int_equal(s.exposed, exposed);
}

static void test_efuse_secrets_are_counted_by_purpose(void **state)
{
    (void)state;
    const ds_chip *c3 = ds_chip_by_name("esp32c3"), *esp32 = ds_chip_by_name("esp32");
    ds_efuse_words w = {0};
    expect_secrets(c3, &w, 0, 0);
    static const uint32_t secret[] = {4, 5, 6, 7, 8};
    for (unsigned i = 0; i < 5; i++) {
        char field[16];
        snprintf(field, sizeof field, "KEY_PURPOSE_%u", i);
        assert_true(ds_efuse_set(c3, &w, field, secret[i]));
    }
    assert_true(ds_efuse_set(c3, &w, "KEY_PURPOSE_5", DS_EFUSE_PURPOSE_SB_DIGEST0));
    expect_secrets(c3, &w, 5, 5);
    assert_true(ds_efuse_set(c3, &w, "RD_DIS", 0x0F));
    expect_secrets(c3, &w, 5, 1);
    assert_true(ds_efuse_set(c3, &w, "RD_DIS", 0x1F));
    expect_secrets(c3, &w, 5, 0);
    w.w[6][3] = 1; // protected, and yet it shows something
    expect_secrets(c3, &w, 5, 1);
    ds_efuse_words old = {0};
    expect_secrets(esp32, &old, 0, 0);
    old.w[1][0] = 1;
    expect_secrets(esp32, &old, 1, 1);
    old.w[1][0] = 0;
    assert_true(ds_efuse_set(esp32, &old, "RD_DIS", 1));
    expect_secrets(esp32, &old, 1, 0);
}

static void test_efuse_key_tells_its_protections_apart(void **state)
{
    (void)state;
    const ds_chip *c3 = ds_chip_by_name("esp32c3");
    ds_efuse_words w = {0};
    ds_efuse_key k;
    ds_efuse_key_get(c3, &w, 4, &k);
    assert_int_equal(k.block, 8);
    assert_true(k.blank && !k.read_protected && !k.write_protected && !k.purpose_locked && k.purpose == 0);
    assert_int_equal(k.wr_dis_block, 1u << 27);
    assert_int_equal(k.wr_dis_purpose, 1u << 12);
    assert_int_equal(k.rd_dis, 1u << 4);
    assert_true(ds_efuse_set(c3, &w, k.purpose_field, 7) && ds_efuse_set(c3, &w, "WR_DIS", 1u << 27));
    w.w[8][7] = 0x80000000;
    ds_efuse_key_get(c3, &w, 4, &k);
    assert_true(!k.blank && !k.read_protected && k.write_protected && !k.purpose_locked && k.purpose == 7);
    assert_int_equal(k.bytes[31], 0x80);
    assert_true(ds_efuse_set(c3, &w, "WR_DIS", 1u << 12) && ds_efuse_set(c3, &w, "RD_DIS", 1u << 4));
    ds_efuse_key_get(c3, &w, 4, &k);
    assert_true(k.read_protected && k.purpose_locked);
    ds_efuse_key_get(c3, &w, 3, &k);
    assert_true(k.blank && !k.read_protected && !k.write_protected && !k.purpose_locked && k.purpose == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_dsig_matches_vectors, set_up),
        cmocka_unit_test_setup(test_dsig_refuses_what_is_not_whole, set_up),
        cmocka_unit_test_setup(test_nvs_hmac_seed_makes_the_keys, set_up),
        cmocka_unit_test(test_efuse_secrets_are_counted_by_purpose),
        cmocka_unit_test(test_efuse_key_tells_its_protections_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
