// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A stamp's file: the one that is kept opens for ever, and changed in any byte it is refused, or does not open.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "src/base/file.h"
#include "src/pki/hpke.h"
#include "src/pki/keytype.h"
#include "src/station/pool.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

static ds_buf file;
static EVP_PKEY *pool_key;

static int load(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_buf pem = {0};
    assert_int_equal(ds_file_read(DS_TEST_DATA "/pool/GAUGE-0042.stamp", 32768, &file, &e), DS_OK);
    assert_int_equal(ds_file_read(DS_TEST_DATA "/pool/pool.key", 4096, &pem, &e), DS_OK);
    BIO *in = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    pool_key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    assert_non_null(pool_key);
    BIO_free(in);
    ds_buf_free(&pem);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    ds_buf_free(&file);
    EVP_PKEY_free(pool_key);
    return 0;
}

static bool opens(const ds_pool_stamp *s, ds_secret *ret)
{
    char info[96];
    snprintf(info, sizeof info, "devstamp pool stamp 2 %s", s->recipe);
    const ds_hpke_terms terms = {info, {s->key.public_key_digest, 32}};
    return ds_hpke_open(pool_key, &terms, (ds_view){s->key.encapsulated, sizeof s->key.encapsulated},
                        ds_buf_view(&s->key.sealed), ret, NULL) == DS_OK;
}

static void test_stamp_of_version_2_opens(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_pool_stamp s;
    ds_secret der = {0};
    ds_buf again = {0};
    assert_int_equal(ds_pool_decode(ds_buf_view(&file), &s, &e), DS_OK);
    assert_string_equal(s.serial, "GAUGE-0042");
    assert_string_equal(s.recipe, "gauge");
    assert_true(opens(&s, &der));
    const uint8_t *at = der.ptr;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der.len);
    uint8_t digest[32];
    assert_non_null(key);
    assert_int_equal(ds_public_key_digest(key, digest, &e), DS_OK);
    assert_memory_equal(digest, s.key.public_key_digest, 32); // the key is the certificate's
    assert_int_equal(ds_pool_encode(&s, &again, &e), DS_OK);
    assert_int_equal(again.len, file.len);
    assert_memory_equal(again.ptr, file.ptr, file.len);
    EVP_PKEY_free(key);
    ds_buf_free(&again);
    ds_secret_free(&der);
    ds_pool_stamp_free(&s);
}

static void test_stamp_changed_anywhere_is_refused_or_does_not_open(void **state)
{
    (void)state;
    ds_pool_stamp whole = {.key_type = 0};
    assert_int_equal(ds_pool_decode(ds_buf_view(&file), &whole, NULL), DS_OK);
    for (size_t i = 0; i < file.len; i++) {
        ds_pool_stamp s = {.key_type = 0};
        ds_secret der = {0};
        file.ptr[i] ^= 0x10;
        bool read = ds_pool_decode(ds_buf_view(&file), &s, NULL) == DS_OK;
        file.ptr[i] ^= 0x10;
        // Its serial number is compared with the file's name and the certificate by those who use it.
        bool other_serial = read && strcmp(s.serial, whole.serial) != 0;
        bool other_issuer =
            read && (s.issuer.len != whole.issuer.len || memcmp(s.issuer.ptr, whole.issuer.ptr, whole.issuer.len) != 0);
        assert_true(!read || other_serial || other_issuer || !opens(&s, &der));
        ds_secret_free(&der);
        ds_pool_stamp_free(&s);
    }
    ds_pool_stamp_free(&whole);
    for (size_t len = 0; len < file.len; len += 11) {
        ds_pool_stamp s = {.key_type = 0};
        assert_int_not_equal(ds_pool_decode((ds_view){file.ptr, len}, &s, NULL), DS_OK);
        ds_pool_stamp_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stamp_of_version_2_opens),
        cmocka_unit_test(test_stamp_changed_anywhere_is_refused_or_does_not_open),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
