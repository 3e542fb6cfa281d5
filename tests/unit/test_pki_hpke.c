// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Sealed messages: the RFC's own vector, a round trip, and everything that may be changed on the way.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "src/pki/hpke.h"
#include "src/pki/keytype.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <string.h>

static void unhex(const char *hex, uint8_t *ret, size_t len)
{
    assert_true(ds_unhex(hex, ret, len));
}

static EVP_PKEY *key_of(const char *scalar, const char *point)
{
    uint8_t d[32], q[DS_HPKE_PUBLIC];
    char group[] = "P-256";
    EVP_PKEY *key = NULL;
    unhex(scalar, d, sizeof d);
    unhex(point, q, sizeof q);
    for (size_t i = 0; i < sizeof d / 2; i++) { // OSSL_PARAM numbers are of the machine's order, here little-endian
        uint8_t t = d[i];
        d[i] = d[sizeof d - 1 - i];
        d[sizeof d - 1 - i] = t;
    }
    OSSL_PARAM p[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, q, sizeof q),
                      OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, d, sizeof d), OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, p), 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

// RFC 9180, A.3.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode, sequence number 0.
static void test_hpke_opens_the_rfcs_vector(void **state)
{
    (void)state;
    EVP_PKEY *key =
        key_of("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
               "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad"
               "6aa8f80e30f1d128aafd68a2ce72ea0");
    uint8_t sender[DS_HPKE_PUBLIC], sealed[45], aad[7];
    unhex("04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce6"
          "5c9bfc"
          "b9382657222d18c4",
          sender, sizeof sender);
    unhex("5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434", sealed,
          sizeof sealed);
    unhex("436f756e742d30", aad, sizeof aad);
    const ds_hpke_terms terms = {"Ode on a Grecian Urn", {aad, sizeof aad}};
    ds_secret plain = {0};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(
        ds_hpke_open(key, &terms, (ds_view){sender, sizeof sender}, (ds_view){sealed, sizeof sealed}, &plain, &e),
        DS_OK);
    assert_int_equal(plain.len, 29);
    assert_memory_equal(plain.ptr, "Beauty is truth, truth beauty", 29);
    ds_secret_free(&plain);
    EVP_PKEY_free(key);
}

static void test_hpke_opens_what_was_sealed_and_nothing_else(void **state)
{
    (void)state;
    EVP_PKEY *key = NULL, *other = NULL, *p384 = NULL;
    uint8_t to[DS_HPKE_PUBLIC], sender[DS_HPKE_PUBLIC], wrong[DS_HPKE_PUBLIC];
    ds_err e = DS_ERR_INIT;
    ds_secret plain = {0}, got = {0};
    ds_buf sealed = {0};
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &key, &e), DS_OK);
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &other, &e), DS_OK);
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P384, &p384, &e), DS_OK);
    assert_int_equal(ds_hpke_public(key, to, &e), DS_OK);
    assert_int_equal(ds_hpke_public(p384, wrong, &e), DS_INPUT);
    assert_int_equal(ds_secret_new(&plain, 1200, &e), DS_OK);
    memset(plain.ptr, 'x', plain.len);
    ds_hpke_terms terms = {"test", {(const uint8_t *)"aad", 3}};
    const ds_view from = {sender, sizeof sender};
    assert_int_equal(ds_hpke_seal((ds_view){to, sizeof to}, &terms, &plain, sender, &sealed, &e), DS_OK);
    assert_int_equal(sealed.len, 1200 + DS_HPKE_TAG);
    assert_int_equal(ds_hpke_open(key, &terms, from, ds_buf_view(&sealed), &got, &e), DS_OK);
    assert_int_equal(got.len, 1200);
    assert_memory_equal(got.ptr, plain.ptr, 1200);
    ds_secret_free(&got);
    assert_int_equal(ds_hpke_open(other, &terms, from, ds_buf_view(&sealed), &got, &e), DS_INPUT);
    terms.info = "another";
    assert_int_equal(ds_hpke_open(key, &terms, from, ds_buf_view(&sealed), &got, &e), DS_INPUT);
    terms = (ds_hpke_terms){"test", {(const uint8_t *)"aae", 3}};
    assert_int_equal(ds_hpke_open(key, &terms, from, ds_buf_view(&sealed), &got, &e), DS_INPUT);
    terms.aad.ptr = (const uint8_t *)"aad";
    for (size_t i = 0; i < sealed.len; i += 97) {
        sealed.ptr[i] ^= 1;
        assert_int_equal(ds_hpke_open(key, &terms, from, ds_buf_view(&sealed), &got, &e), DS_INPUT);
        sealed.ptr[i] ^= 1;
    }
    assert_int_equal(ds_hpke_open(key, &terms, from, (ds_view){sealed.ptr, DS_HPKE_TAG}, &got, &e), DS_INPUT);
    // No point of the curve: not to be sealed to, and from nobody.
    memcpy(wrong, to, sizeof wrong);
    wrong[64] ^= 1;
    assert_int_equal(ds_hpke_seal((ds_view){wrong, sizeof wrong}, &terms, &plain, sender, &sealed, &e), DS_INPUT);
    assert_int_equal(ds_hpke_seal((ds_view){to, 33}, &terms, &plain, sender, &sealed, &e), DS_INPUT);
    assert_int_equal(ds_hpke_open(key, &terms, (ds_view){wrong, sizeof wrong}, ds_buf_view(&sealed), &got, &e),
                     DS_INPUT);
    assert_null(got.ptr);
    ds_secret_free(&plain);
    ds_buf_free(&sealed);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(p384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hpke_opens_the_rfcs_vector),
        cmocka_unit_test(test_hpke_opens_what_was_sealed_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
