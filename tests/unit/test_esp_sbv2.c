// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Secure Boot V2 with both schemes, against sectors and key digests made by espsecure 5.2.0 (tests/data/sbv2).
#include "src/esp/sbv2.h"

#include "src/base/crc.h"
#include "src/base/file.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CONTENT 4096u

static const struct vector {
    const char *key_file, *signed_file, *key_digest;
    enum ds_sbv2_scheme scheme;
    size_t used; // bytes of the block that carry data
} vectors[] = {
    {DS_TEST_DATA "/sbv2/test-rsa3072.pem", DS_TEST_DATA "/sbv2/signed-rsa3072.bin",
     "f016725af199e244df4f435e32ea44f7bb0fe80bd6514619c93223a1f51c2d07", DS_SBV2_RSA3072, 1196},
    {DS_TEST_DATA "/sbv2/test-p256.pem", DS_TEST_DATA "/sbv2/signed-p256.bin",
     "a56e5dfdd27927eb41b4a2c59230d6cc3468efbab806ecd905d8c77517c27e73", DS_SBV2_ECDSA256, 165},
};

static EVP_PKEY *read_key(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(key);
    return key;
}

static void content(ds_buf *ret)
{
    ds_buf_clear(ret);
    for (unsigned i = 0; i < 4000; i++)
        ds_buf_add_u8(ret, (uint8_t)(i * 7 + (i >> 8)));
}

static void read_signed(const struct vector *v, ds_buf *ret)
{
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_file_read(v->signed_file, 8192, ret, &e), DS_OK);
    assert_int_equal(ret->len, 8192);
}

static void digest_of(const struct vector *v, uint8_t ret[32])
{
    assert_true(ds_unhex(v->key_digest, ret, 32));
}

static void test_sbv2_key_digest_is_espsecures(void **state)
{
    const struct vector *v = *state;
    uint8_t digest[32], want[32];
    ds_err e = DS_ERR_INIT;
    EVP_PKEY *key = read_key(v->key_file);
    assert_int_equal(ds_sbv2_key_digest(key, digest, &e), DS_OK);
    digest_of(v, want);
    assert_memory_equal(digest, want, 32);
    EVP_PKEY_free(key);
}

static void test_sbv2_espsecures_sector_is_read_and_verified(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    read_signed(v, &image);
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    uint8_t trusted[2][32] = {{0}}, got[32], sha[32];
    digest_of(v, trusted[1]);
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_sbv2_read(ds_buf_view(&image), CONTENT, blocks, &e), DS_OK);
    assert_true(blocks[0].valid && !blocks[1].valid && !blocks[2].valid);
    assert_int_equal(blocks[0].scheme, v->scheme);
    assert_memory_equal(blocks[0].key_digest, trusted[1], 32);
    SHA256(image.ptr, CONTENT, sha);
    assert_memory_equal(blocks[0].image_digest, sha, 32);
    assert_int_equal(ds_sbv2_verify(ds_buf_view(&image), CONTENT, (const uint8_t(*)[32])trusted, 2, got), DS_SBV2_OK);
    assert_memory_equal(got, trusted[1], 32);
    assert_int_equal(ds_sbv2_verify(ds_buf_view(&image), CONTENT, NULL, 0, NULL), DS_SBV2_OK);
    assert_int_equal(ds_sbv2_verify(ds_buf_view(&image), CONTENT, (const uint8_t(*)[32])trusted, 1, NULL),
                     DS_SBV2_UNTRUSTED_KEY);
}

static void test_sbv2_sign_equals_espsecure_but_for_the_signature(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf ours = {0}, theirs = {0};
    read_signed(v, &theirs);
    content(&ours);
    EVP_PKEY *key = read_key(v->key_file);
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_sbv2_sign(&ours, key, &e), DS_OK);
    EVP_PKEY_free(key);
    assert_int_equal(ours.len, theirs.len);
    size_t signature = v->scheme == DS_SBV2_RSA3072 ? 812 : 101;
    assert_memory_equal(ours.ptr, theirs.ptr, CONTENT + signature);
    assert_memory_equal(ours.ptr + CONTENT + v->used, theirs.ptr + CONTENT + v->used, 1196 - v->used);
    assert_memory_equal(ours.ptr + CONTENT + 1200, theirs.ptr + CONTENT + 1200, CONTENT - 1200);
    assert_int_equal(ds_sbv2_verify(ds_buf_view(&ours), CONTENT, NULL, 0, NULL), DS_SBV2_OK);
}

static void test_sbv2_flipped_bit_anywhere_is_refused(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    read_signed(v, &image);
    uint8_t trusted[1][32];
    digest_of(v, trusted[0]);
    for (size_t at = 0; at < CONTENT + DS_SBV2_BLOCK; at += at < CONTENT ? 61 : 1) {
        image.ptr[at] ^= 0x10;
        enum ds_sbv2_verdict got = ds_sbv2_verify(ds_buf_view(&image), CONTENT, (const uint8_t(*)[32])trusted, 1, NULL);
        assert_int_equal(got, at < CONTENT ? DS_SBV2_DIGEST_MISMATCH : DS_SBV2_UNSIGNED);
        image.ptr[at] ^= 0x10;
    }
}

// As above with the block's CRC made right again: what an attacker would do.
static void test_sbv2_flipped_bit_with_right_crc_is_refused(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    read_signed(v, &image);
    uint8_t trusted[1][32], *block = image.ptr + CONTENT;
    digest_of(v, trusted[0]);
    for (size_t at = 4; at < v->used; at += 3) {
        block[at] ^= 0x10;
        uint32_t crc = ds_le32(block + 1196);
        ds_put_le32(block + 1196, ds_crc32(block, 1196));
        enum ds_sbv2_verdict got = ds_sbv2_verify(ds_buf_view(&image), CONTENT, (const uint8_t(*)[32])trusted, 1, NULL);
        enum ds_sbv2_verdict carried = ds_sbv2_verify(ds_buf_view(&image), CONTENT, NULL, 0, NULL);
        assert_int_not_equal(got, DS_SBV2_OK);
        assert_int_not_equal(carried, DS_SBV2_OK);
        block[at] ^= 0x10;
        ds_put_le32(block + 1196, crc);
    }
    assert_int_equal(ds_sbv2_verify(ds_buf_view(&image), CONTENT, (const uint8_t(*)[32])trusted, 1, NULL), DS_SBV2_OK);
}

static void test_sbv2_truncated_anywhere_is_unsigned(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    read_signed(v, &image);
    for (size_t len = 0; len < image.len; len += len < 2 * CONTENT - 64 ? 127 : 1) {
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, image.ptr, len);
        assert_int_equal(ds_sbv2_verify((ds_view){copy, len}, CONTENT, NULL, 0, NULL), DS_SBV2_UNSIGNED);
        free(copy);
    }
}

static void test_sbv2_sign_again_appends_up_to_three_blocks(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    content(&image);
    EVP_PKEY *keys[2] = {read_key(vectors[0].key_file), read_key(vectors[1].key_file)};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_sbv2_sign(&image, keys[0], &e), DS_OK);
    assert_int_equal(ds_sbv2_sign(&image, keys[1], &e), DS_OK);
    uint8_t trusted[1][32];
    digest_of(v, trusted[0]); // either key is enough
    assert_int_equal(ds_sbv2_verify(ds_buf_view(&image), CONTENT, (const uint8_t(*)[32])trusted, 1, NULL), DS_SBV2_OK);
    assert_int_equal(ds_sbv2_sign(&image, keys[0], &e), DS_OK);
    assert_int_equal(image.len, 2 * CONTENT);
    assert_int_equal(ds_sbv2_sign(&image, keys[0], &e), DS_INPUT);
    assert_non_null(strstr(e.text, "3 signatures already"));
    EVP_PKEY_free(keys[0]);
    EVP_PKEY_free(keys[1]);
}

static enum ds_class foreign(void *arg, enum ds_sbv2_scheme scheme, const uint8_t digest[32], uint8_t *ret,
                             size_t *ret_len, ds_err *e)
{
    (void)scheme, (void)digest, (void)e;
    memset(ret, *(int *)arg, *ret_len);
    return DS_OK;
}

// The block that espsecure made, taken off its image and put under the same content again; and under anything else.
static void test_sbv2_append_takes_a_block_for_its_content_alone(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf theirs = {0}, image = {0};
    ds_sbv2_content c;
    ds_err e = DS_ERR_INIT;
    read_signed(v, &theirs);
    content(&image);
    assert_int_equal(ds_sbv2_measure(ds_buf_view(&image), &c, &e), DS_OK);
    assert_true(c.len == CONTENT && c.blocks == 0);
    assert_memory_equal(c.digest, theirs.ptr + CONTENT + 4, 32);
    uint8_t *block = theirs.ptr + CONTENT;
    assert_int_equal(ds_sbv2_append(&image, block, &e), DS_OK);
    assert_int_equal(image.len, theirs.len);
    assert_memory_equal(image.ptr, theirs.ptr, theirs.len);
    assert_int_equal(ds_sbv2_append(&image, block, &e), DS_POLICY);
    content(&image);
    image.ptr[0] ^= 1;
    assert_int_equal(ds_sbv2_append(&image, block, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "another image"));
    assert_int_equal(image.len, 4000);
    EVP_PKEY *key = read_key(v->key_file);
    uint8_t made[DS_SBV2_BLOCK];
    int fill = 7;
    assert_int_equal(ds_sbv2_make_block(key, c.digest, foreign, &fill, made, &e), DS_TOKEN);
    EVP_PKEY_free(key);
    block[v->scheme == DS_SBV2_RSA3072 ? 900 : 110] ^= 1;
    ds_put_le32(block + 1196, ds_crc32(block, 1196));
    content(&image);
    assert_int_equal(ds_sbv2_append(&image, block, &e), DS_INPUT);
}

static void test_sbv2_sign_changed_content_is_refused(void **state)
{
    const struct vector *v = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    read_signed(v, &image);
    image.ptr[100] ^= 1;
    EVP_PKEY *key = read_key(v->key_file);
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_sbv2_sign(&image, key, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "changed after"));
    ds_buf_clear(&image);
    assert_int_equal(ds_sbv2_sign(&image, key, &e), DS_INPUT);
    EVP_PKEY_free(key);
}

static void test_sbv2_other_keys_are_refused(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_RSA_gen(2048), EVP_EC_gen("P-384")};
    DS_CLEANUP_BUF ds_buf image = {0};
    for (unsigned i = 0; i < 2; i++) {
        uint8_t digest[32];
        ds_err e = DS_ERR_INIT;
        content(&image);
        assert_int_equal(ds_sbv2_key_digest(keys[i], digest, &e), DS_INPUT);
        assert_int_equal(ds_sbv2_sign(&image, keys[i], &e), DS_INPUT);
        assert_non_null(strstr(e.text, "neither RSA-3072 nor ECDSA P-256"));
        assert_int_equal(image.len, 4000);
        EVP_PKEY_free(keys[i]);
    }
}

#define BOTH(test)                                     \
    {#test " (RSA)", test, NULL, NULL, &states[0]},    \
    {                                                  \
#test " (ECDSA)", test, NULL, NULL, &states[1] \
    }

int main(void)
{
    static struct vector states[2];
    memcpy(states, vectors, sizeof states);
    const struct CMUnitTest tests[] = {
        BOTH(test_sbv2_key_digest_is_espsecures),
        BOTH(test_sbv2_espsecures_sector_is_read_and_verified),
        BOTH(test_sbv2_sign_equals_espsecure_but_for_the_signature),
        BOTH(test_sbv2_flipped_bit_anywhere_is_refused),
        BOTH(test_sbv2_flipped_bit_with_right_crc_is_refused),
        BOTH(test_sbv2_truncated_anywhere_is_unsigned),
        BOTH(test_sbv2_sign_again_appends_up_to_three_blocks),
        BOTH(test_sbv2_append_takes_a_block_for_its_content_alone),
        BOTH(test_sbv2_sign_changed_content_is_refused),
        cmocka_unit_test(test_sbv2_other_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
