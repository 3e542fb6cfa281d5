// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests: one that mbedTLS 2.28 made, and bad ones of every kind.
#include "src/pki/csr.h"
#include "src/pki/dn.h"
#include "src/pki/keytype.h"
#include "src/pki/request.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SUBJECT "CN=SN0042,O=Acme Devices,serialNumber=SN0042"

// By mbedTLS 2.28.3: ecdsa-with-SHA256 with NULL parameters.
static const char mbedtls_csr[] =
    "3081f730819b0201003039310f300d06035504030c06534e3030343231153013060355040a0c0c41636d652044657669"
    "636573310f300d06035504051306534e303034323059301306072a8648ce3d020106082a8648ce3d03010703420004c3"
    "98ac9618c699f4c1fbe86109b0d41c836d85d9a3f6c17d2b3f37e96d8632f9d9dd30853fd86c3c106d40b08de259b66c"
    "3687b81ef00f79f1224409905f37c1a000300c06082a8648ce3d04030205000349003046022100ef65d2ba121e771f59"
    "98a9260e9caf5a6c49ea5a909c834967e7be26b8bb8f1702210099ab0f4463812ac0f7d7840fc41b750dbc58616d3591"
    "4448c0110b1fa88df75e";
// openssl req -pubkey | openssl pkey -pubin -outform DER | sha256sum
static const char mbedtls_key[] = "513f47dbe3fe1fa40ef4f74966cb07e17a6d632d7dea7c4607636b1e3e7e05d0";

enum { GOLDEN_LEN = 250 };

static void golden(uint8_t ret[GOLDEN_LEN])
{
    assert_int_equal(strlen(mbedtls_csr), 2 * GOLDEN_LEN);
    assert_true(ds_unhex(mbedtls_csr, ret, GOLDEN_LEN));
}

static void test_csr_of_mbedtls_is_accepted(void **state)
{
    (void)state;
    uint8_t der[GOLDEN_LEN];
    golden(der);
    ds_csr_info info;
    ds_err e = DS_ERR_INIT;
    if (ds_csr_check((ds_view){der, sizeof der}, &info, &e))
        fail_msg("%s", e.text);
    char hex[65];
    ds_hex(info.public_key_digest, 32, hex);
    assert_string_equal(hex, mbedtls_key);
    assert_string_equal(info.subject, SUBJECT);
    assert_int_equal(info.key_type, DS_KEY_ECDSA_P256);
}

static void test_csr_changed_in_any_bit_is_refused(void **state)
{
    (void)state;
    uint8_t der[GOLDEN_LEN];
    golden(der);
    ds_csr_info info;
    for (size_t bit = 0; bit < 8 * sizeof der; bit++) {
        der[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (ds_csr_check((ds_view){der, sizeof der}, &info, NULL) == DS_OK)
            fail_msg("bit %zu", bit);
        der[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void test_csr_of_any_other_length_is_refused(void **state)
{
    (void)state;
    ds_csr_info info;
    uint8_t *der = malloc(9000);
    memset(der, 0, 9000);
    uint8_t good[GOLDEN_LEN];
    golden(good);
    for (size_t len = 0; len < GOLDEN_LEN; len++) {
        uint8_t *exact = malloc(len + 1); // so that reading past the end is seen
        memcpy(exact, good, len);
        assert_int_not_equal(ds_csr_check((ds_view){exact, len}, &info, NULL), DS_OK);
        free(exact);
    }
    memcpy(der, good, GOLDEN_LEN);
    assert_int_equal(ds_csr_check((ds_view){der, GOLDEN_LEN + 1}, &info, NULL), DS_INPUT);
    assert_int_equal(ds_csr_check((ds_view){der, 9000}, &info, NULL), DS_INPUT);
    free(der);
}

static void request_of(EVP_PKEY *key, ds_buf *ret)
{
    X509_NAME *name = NULL;
    assert_non_null(key);
    assert_int_equal(ds_dn_parse(SUBJECT, &name, NULL), DS_OK);
    assert_int_equal(ds_request_make(name, key, ret, NULL), DS_OK);
    X509_NAME_free(name);
}

static void expect_key_refused(EVP_PKEY *key, const char *words)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_csr_info info;
    ds_err e = DS_ERR_INIT;
    request_of(key, &der);
    enum ds_class rc = ds_csr_check(ds_buf_view(&der), &info, &e);
    if (rc != DS_INPUT || !strstr(e.text, words))
        fail_msg("class %d, text \"%s\", expected \"%s\"", (int)rc, e.text, words);
    EVP_PKEY_free(key);
}

static EVP_PKEY *rsa_with_exponent(unsigned bits, unsigned long exponent)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    BIGNUM *e = BN_new();
    BN_set_word(e, exponent);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits), 1);
    assert_int_equal(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &key), 1);
    BN_free(e);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static void test_csr_with_a_weak_or_strange_key_is_refused(void **state)
{
    (void)state;
    expect_key_refused(EVP_RSA_gen(1024), "a RSA key of 1024 bits is not accepted");
    expect_key_refused(rsa_with_exponent(2048, 3), "exponent is not 65537");
    expect_key_refused(EVP_RSA_gen(2056), "a RSA key of 2056 bits");
    expect_key_refused(EVP_RSA_gen(4096), "RSA-4096 is not a key type of devices");
    expect_key_refused(EVP_EC_gen("prime192v1"), "a EC key of 192 bits is not accepted");
    expect_key_refused(EVP_EC_gen("secp256k1"), "a EC key of 256 bits is not accepted");
    expect_key_refused(EVP_EC_gen("brainpoolP256r1"), "a EC key of 256 bits is not accepted");
    static const char *const forms[] = {"compressed", "hybrid"};
    EVP_PKEY *key = NULL;
    for (size_t i = 0; i < 2; i++) {
        key = EVP_EC_gen("P-256");
        assert_int_equal(EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, forms[i]), 1);
        expect_key_refused(key, "not encoded in the one canonical way");
    }
    key = EVP_EC_gen("P-256");
    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"), 1);
    expect_key_refused(key, "public key");
}

static void test_csr_of_every_good_key_type_is_accepted(void **state)
{
    (void)state;
    for (int type = DS_KEY_RSA_2048; type <= DS_KEY_ECDSA_P384; type++) {
        EVP_PKEY *key = NULL;
        DS_CLEANUP_BUF ds_buf der = {0};
        ds_csr_info info;
        assert_int_equal(ds_key_make((enum ds_key_type)type, &key, NULL), DS_OK);
        request_of(key, &der);
        ds_err e = DS_ERR_INIT;
        if (ds_csr_check(ds_buf_view(&der), &info, &e))
            fail_msg("%d: %s", type, e.text);
        assert_int_equal(info.key_type, type);
        EVP_PKEY_free(key);
    }
}

// A request signed with another key, another digest, or asking for CA:TRUE.
static void odd_request(EVP_PKEY *shown, EVP_PKEY *signs, const EVP_MD *md, bool ca, ds_buf *ret)
{
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name = NULL;
    assert_int_equal(ds_dn_parse(SUBJECT, &name, NULL), DS_OK);
    X509_REQ_set_subject_name(req, name);
    X509_REQ_set_pubkey(req, shown);
    X509_EXTENSION *bc = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, ca ? "CA:TRUE" : "CA:FALSE");
    X509_EXTENSION *usage = X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "keyCertSign");
    STACK_OF(X509_EXTENSION) *wanted = sk_X509_EXTENSION_new_null();
    sk_X509_EXTENSION_push(wanted, bc);
    sk_X509_EXTENSION_push(wanted, usage);
    assert_int_equal(X509_REQ_add_extensions(req, wanted), 1);
    assert_true(X509_REQ_sign(req, signs, md) > 0);
    uint8_t *der = NULL;
    int len = i2d_X509_REQ(req, &der);
    ds_buf_add(ret, der, (size_t)len);
    OPENSSL_free(der);
    sk_X509_EXTENSION_pop_free(wanted, X509_EXTENSION_free);
    X509_NAME_free(name);
    X509_REQ_free(req);
}

static void test_csr_signed_otherwise_or_asking_for_more_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *a = EVP_EC_gen("P-256"), *b = EVP_EC_gen("P-256");
    ds_csr_info info;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf der = {0};
    odd_request(a, b, EVP_sha256(), false, &der);
    assert_int_equal(ds_csr_check(ds_buf_view(&der), &info, &e), DS_INPUT);
    assert_string_equal(e.text, "the request's signature is not by its own key");
    ds_buf_clear(&der);
    odd_request(a, a, EVP_sha1(), false, &der);
    assert_int_equal(ds_csr_check(ds_buf_view(&der), &info, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "ecdsa-with-SHA1"));
    ds_buf_clear(&der);
    odd_request(a, a, EVP_sha256(), true, &der);
    assert_int_equal(ds_csr_check(ds_buf_view(&der), &info, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "asks to be a certificate authority"));
    ds_buf_clear(&der);
    odd_request(a, a, EVP_sha256(), false, &der); // other wishes are not heard
    assert_int_equal(ds_csr_check(ds_buf_view(&der), &info, &e), DS_OK);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
}

static void test_public_key_off_its_curve_is_refused(void **state)
{
    (void)state;
    uint8_t der[GOLDEN_LEN];
    golden(der);
    der[150] ^= 1; // inside the point
    ds_csr_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_csr_check((ds_view){der, sizeof der}, &info, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "public key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csr_of_mbedtls_is_accepted),
        cmocka_unit_test(test_csr_changed_in_any_bit_is_refused),
        cmocka_unit_test(test_csr_of_any_other_length_is_refused),
        cmocka_unit_test(test_csr_with_a_weak_or_strange_key_is_refused),
        cmocka_unit_test(test_csr_of_every_good_key_type_is_accepted),
        cmocka_unit_test(test_csr_signed_otherwise_or_asking_for_more_is_refused),
        cmocka_unit_test(test_public_key_off_its_curve_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
