// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Flash encryption: keys and plaintexts 00 01 02 .. against what espsecure 5.2.0 makes of them.
#include "src/esp/flashenc.h"

#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static uint8_t count_up[256];

static int set_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof count_up; i++)
        count_up[i] = (uint8_t)i;
    return 0;
}

static void check_both_ways(enum ds_flash_cipher cipher, size_t key_len, uint8_t config, uint32_t addr, size_t off,
                            const char *want_hex)
{
    uint8_t out[128], want[128];
    size_t len = strlen(want_hex) / 2;
    assert_true(ds_unhex(want_hex, want, len));
    ds_view key = {count_up, key_len};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_flashenc_encrypt(cipher, key, config, addr + (uint32_t)off, count_up + off, out, len, &e),
                     DS_OK);
    assert_memory_equal(out, want, len);
    // In place, and back.
    assert_int_equal(ds_flashenc_decrypt(cipher, key, config, addr + (uint32_t)off, out, out, len, &e), DS_OK);
    assert_memory_equal(out, count_up + off, len);
}

static void test_flashenc_xts128_matches_vectors(void **state)
{
    (void)state;
    uint8_t out[128], sha[32], want[32];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(
        ds_flashenc_encrypt(DS_FLASH_CIPHER_XTS128, (ds_view){count_up, 32}, 0, 0x10000, count_up, out, 128, &e),
        DS_OK);
    SHA256(out, 128, sha);
    assert_true(ds_unhex("3cebc4701f6c8855db7bf22cb458e441a35dbc7b2d32eb18ecdd47c938479acf", want, 32));
    assert_memory_equal(sha, want, 32);
    check_both_ways(DS_FLASH_CIPHER_XTS128, 32, 0, 0x10000, 0, "2c2a288e9e96647587883012b81d1739");
    check_both_ways(DS_FLASH_CIPHER_XTS128, 32, 0, 0x10000, 112, "23cd8de5f72afcda58ee8fed7add2ae0");
}

static void test_flashenc_xts256_matches_vectors(void **state)
{
    (void)state;
    check_both_ways(DS_FLASH_CIPHER_XTS128, 64, 0, 0x10000, 0, "ed032950be116e860729b191d93e3cc2");
    check_both_ways(DS_FLASH_CIPHER_XTS128, 64, 0, 0x10000, 112, "3341544f3ff5a79fd038a5637e016f3d");
}

static void test_flashenc_esp32_matches_vectors(void **state)
{
    (void)state;
    check_both_ways(DS_FLASH_CIPHER_ESP32, 32, 0xF, 0x1000, 0,
                    "a354ea55e9d9d83cd027e80a6b03a53cfc3886d3f8090e2da27c51dbc4a61351");
    check_both_ways(DS_FLASH_CIPHER_ESP32, 32, 0xF, 0x10020, 0,
                    "debcdd986a12b1d93469641a1c04d9ca8e65b794ff1149e67e8e6f49c3f9c37f");
    // The second half of a unit alone uses the unit's key.
    check_both_ways(DS_FLASH_CIPHER_ESP32, 32, 0xF, 0x1000, 16, "fc3886d3f8090e2da27c51dbc4a61351");
}

static void test_flashenc_any_split_gives_the_same_bytes(void **state)
{
    (void)state;
    static const enum ds_flash_cipher ciphers[] = {DS_FLASH_CIPHER_ESP32, DS_FLASH_CIPHER_XTS128};
    for (unsigned c = 0; c < 2; c++) {
        uint8_t whole[256], parts[256];
        ds_view key = {count_up, 32};
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_flashenc_encrypt(ciphers[c], key, 0xF, 0x21F0, count_up, whole, 256, &e), DS_OK);
        for (size_t at = 0; at <= 256; at += 16) {
            assert_int_equal(ds_flashenc_encrypt(ciphers[c], key, 0xF, 0x21F0, count_up, parts, at, &e), DS_OK);
            assert_int_equal(ds_flashenc_encrypt(ciphers[c], key, 0xF, 0x21F0 + (uint32_t)at, count_up + at, parts + at,
                                                 256 - at, &e),
                             DS_OK);
            assert_memory_equal(parts, whole, 256);
        }
    }
}

static void test_flashenc_bad_arguments_are_refused(void **state)
{
    (void)state;
    uint8_t out[32];
    ds_err e = DS_ERR_INIT;
    ds_view key = {count_up, 32}, short_key = {count_up, 31}, long_key = {count_up, 64};
    assert_int_equal(ds_flashenc_encrypt(DS_FLASH_CIPHER_XTS128, short_key, 0, 0, count_up, out, 16, &e), DS_INPUT);
    assert_int_equal(ds_flashenc_encrypt(DS_FLASH_CIPHER_ESP32, long_key, 0, 0, count_up, out, 16, &e), DS_INPUT);
    assert_int_equal(ds_flashenc_encrypt(DS_FLASH_CIPHER_XTS128, key, 0, 8, count_up, out, 16, &e), DS_INPUT);
    assert_int_equal(ds_flashenc_encrypt(DS_FLASH_CIPHER_XTS128, key, 0, 0, count_up, out, 15, &e), DS_INPUT);
    assert_int_equal(ds_flashenc_encrypt(DS_FLASH_CIPHER_ESP32, key, 0, 0xFFFFFFF0, count_up, out, 32, &e), DS_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flashenc_xts128_matches_vectors),
        cmocka_unit_test(test_flashenc_xts256_matches_vectors),
        cmocka_unit_test(test_flashenc_esp32_matches_vectors),
        cmocka_unit_test(test_flashenc_any_split_gives_the_same_bytes),
        cmocka_unit_test(test_flashenc_bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
