// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual chip's HMAC and digital-signature peripherals: keyed by read-protected blocks, of the right purpose only.
#include "sim/keyed.h"
#include "src/esp/dsig.h"

#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/ds-keyed-XXXXXX";
static char path[64];
static uint8_t key[32];
static ds_sim_fault no_fault;
static ds_sim_chip chip;

static void open_chip(const char *name)
{
    ds_err e = DS_ERR_INIT;
    unlink(path);
    chip = (ds_sim_chip){.chip = ds_chip_by_name(name), .fault = &no_fault};
    assert_int_equal(
        ds_sim_efuse_open(path, chip.chip, (const uint8_t[]){2, 0, 0, 0, 0, 1}, 4, &no_fault, &chip.efuse, &e), DS_OK);
}

static int set_up(void **state)
{
    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/efuse", folder);
    for (unsigned i = 0; i < 32; i++)
        key[i] = (uint8_t)(i * 7 + 1);
    open_chip("esp32c3");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ds_sim_efuse_close(chip.efuse);
    unlink(path);
    rmdir(folder);
    return 0;
}

// The key to KEY4, with that purpose, and hidden from software.
static void burn_key(uint32_t purpose)
{
    ds_efuse_words bits = {0}, seen;
    ds_efuse_set_block(&bits, 8, key);
    assert_true(ds_sim_efuse_burn(chip.efuse, 8, &bits));
    memset(&bits, 0, sizeof bits);
    ds_efuse_set(chip.chip, &bits, "KEY_PURPOSE_4", purpose);
    ds_efuse_set(chip.chip, &bits, "RD_DIS", 1u << 4);
    ds_efuse_set(chip.chip, &bits, "WR_DIS", 1u << 27 | 1u << 12);
    assert_true(ds_sim_efuse_burn(chip.efuse, 0, &bits));
    ds_sim_efuse_read(chip.efuse, &seen);
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        assert_int_equal(seen.w[8][i], 0);
}

static void test_keyed_hmac_uses_a_hidden_key_of_its_purpose(void **state)
{
    (void)state;
    uint8_t mac[32], want[32];
    assert_false(ds_sim_hmac(&chip, 8, "text", 4, mac)); // purpose USER
    burn_key(DS_EFUSE_PURPOSE_HMAC_UP);
    assert_true(ds_sim_hmac(&chip, 8, "text", 4, mac));
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)"text", 4, want, NULL));
    assert_memory_equal(mac, want, 32);
    static const unsigned others[] = {0, 1, 3, 4, 7, 9, 10, 11, 1000};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(ds_sim_hmac(&chip, others[i], "text", 4, mac));
}

static void sealed_key(EVP_PKEY **ret_key, ds_buf *ret)
{
    ds_err e = DS_ERR_INIT;
    *ret_key = EVP_RSA_gen(2048);
    assert_int_equal(ds_dsig_seal(3072, *ret_key, key, key, ret, &e), DS_OK);
}

static bool verifies(EVP_PKEY *rsa, const uint8_t signature[256], const uint8_t message[256])
{
    uint8_t back[256];
    size_t len = sizeof back;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(rsa, NULL);
    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
    assert_int_equal(EVP_PKEY_encrypt(ctx, back, &len, signature, 256), 1);
    EVP_PKEY_CTX_free(ctx);
    return !memcmp(back, message, sizeof back);
}

static void test_keyed_dsig_signs_with_what_only_the_chip_opens(void **state)
{
    (void)state;
    static const uint32_t feeds[] = {DS_EFUSE_PURPOSE_HMAC_DOWN_DS, DS_EFUSE_PURPOSE_HMAC_DOWN_ALL};
    EVP_PKEY *rsa;
    DS_CLEANUP_BUF ds_buf data = {0};
    uint8_t message[256] = {0, 1, 2, 3}, signature[256];
    sealed_key(&rsa, &data);
    for (size_t i = 0; i < 2; i++) {
        ds_sim_efuse_close(chip.efuse);
        open_chip("esp32c3");
        assert_false(ds_sim_dsig(&chip, 8, ds_buf_view(&data), message, signature, 256));
        burn_key(feeds[i]);
        assert_true(ds_sim_dsig(&chip, 8, ds_buf_view(&data), message, signature, 256));
        assert_true(verifies(rsa, signature, message));
        assert_false(ds_sim_dsig(&chip, 7, ds_buf_view(&data), message, signature, 256));
        assert_false(ds_sim_hmac(&chip, 8, "text", 4, signature)); // downstream keys give software nothing
        data.ptr[100] ^= 1;
        assert_false(ds_sim_dsig(&chip, 8, ds_buf_view(&data), message, signature, 256));
        data.ptr[100] ^= 1;
    }
    EVP_PKEY_free(rsa);
}

static void test_keyed_dsig_takes_no_upstream_key(void **state)
{
    (void)state;
    EVP_PKEY *rsa;
    DS_CLEANUP_BUF ds_buf data = {0};
    uint8_t message[256] = {0}, signature[256];
    sealed_key(&rsa, &data);
    burn_key(DS_EFUSE_PURPOSE_HMAC_UP);
    assert_false(ds_sim_dsig(&chip, 8, ds_buf_view(&data), message, signature, 256));
    EVP_PKEY_free(rsa);
}

static void test_keyed_esp32_has_neither(void **state)
{
    (void)state;
    uint8_t out[256] = {0};
    ds_sim_efuse_close(chip.efuse);
    open_chip("esp32");
    for (unsigned block = 0; block < 12; block++) {
        assert_false(ds_sim_hmac(&chip, block, "text", 4, out));
        assert_false(ds_sim_dsig(&chip, block, (ds_view){out, sizeof out}, out, out, 256));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keyed_hmac_uses_a_hidden_key_of_its_purpose, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keyed_dsig_signs_with_what_only_the_chip_opens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keyed_dsig_takes_no_upstream_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keyed_esp32_has_neither, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
