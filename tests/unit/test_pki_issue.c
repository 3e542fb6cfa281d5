// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The fast ways of the signer against the long ones: what is read, what is written, and signatures that do not hold.
#include "src/base/secret.h"
#include "src/pki/cert.h"
#include "src/pki/der.h"
#include "src/pki/dn.h"
#include "src/pki/issue.h"
#include "src/pki/p256.h"
#include "src/pki/plain.h"
#include "src/pki/weak.h"
#include "tests/unit/thorough.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SUBJECT "CN=SN0042,O=Acme Devices,serialNumber=SN0042"

static const enum ds_key_type types[] = {DS_KEY_ECDSA_P256, DS_KEY_ECDSA_P384, DS_KEY_RSA_2048, DS_KEY_RSA_3072};
enum { TYPES = sizeof types / sizeof *types };

static void request_of(EVP_PKEY *key, const char *subject, ds_buf *ret)
{
    X509_NAME *name = NULL;
    assert_int_equal(ds_dn_parse(subject, &name, NULL), DS_OK);
    assert_int_equal(ds_request_make(name, key, ret, NULL), DS_OK);
    X509_NAME_free(name);
}

static void test_issue_reads_requests_as_the_long_way_does(void **state)
{
    (void)state;
    ds_plain *p = ds_plain_new();
    for (size_t i = 0; i < TYPES; i++) {
        EVP_PKEY *key = NULL;
        uint8_t *spki = NULL;
        ds_csr_info info;
        ds_request fast = {0};
        DS_CLEANUP_BUF ds_buf csr = {0};
        assert_int_equal(ds_key_make(types[i], &key, NULL), DS_OK);
        request_of(key, SUBJECT, &csr);
        assert_int_equal(ds_csr_check(ds_buf_view(&csr), &info, NULL), DS_OK);
        assert_int_equal(ds_request_read(p, ds_buf_view(&csr), &fast, NULL), DS_OK);
        assert_memory_equal(&info, &fast.info, sizeof info);
        int len = i2d_PUBKEY(key, &spki);
        assert_int_equal(fast.spki.len, len);
        assert_memory_equal(fast.spki.ptr, spki, (size_t)len);
        assert_true((fast.key != NULL) == (i >= 2));
        assert_null(fast.wishes);
        ds_request_free(&fast);
        OPENSSL_free(spki);
        EVP_PKEY_free(key);
    }
    ds_plain_free(p);
}

// Whatever bit is changed, wherever it is cut: what is taken is what the long way takes, with the same result.
static void test_issue_reads_nothing_the_long_way_refuses(void **state)
{
    (void)state;
    ds_plain *p = ds_plain_new();
    EVP_PKEY *key = NULL;
    DS_CLEANUP_BUF ds_buf csr = {0};
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &key, NULL), DS_OK);
    request_of(key, SUBJECT, &csr);
    for (size_t bit = 0; bit < csr.len * 8; bit += (size_t)stride(3)) { // every place and, over them, every bit
        ds_request fast = {0};
        ds_csr_info info;
        csr.ptr[bit / 8] ^= (uint8_t)(1U << bit % 8);
        enum ds_class rc = ds_request_read(p, ds_buf_view(&csr), &fast, NULL);
        assert_int_equal(rc, ds_csr_check(ds_buf_view(&csr), &info, NULL));
        csr.ptr[bit / 8] ^= (uint8_t)(1U << bit % 8);
        ds_request_free(&fast);
    }
    for (size_t len = 0; len < csr.len; len++) {
        ds_request fast = {0};
        assert_int_equal(ds_request_read(p, (ds_view){csr.ptr, len}, &fast, NULL), DS_INPUT);
        ds_request_free(&fast);
    }
    EVP_PKEY_free(key);
    ds_plain_free(p);
}

static void expect_same(EVP_PKEY *ca_key, X509 *ca, const ds_issuing *g, const ds_cert_spec *slow, const char *uri)
{
    DS_CLEANUP_BUF ds_buf made = {0};
    uint8_t serial[16];
    uint8_t *spki = NULL, *tbs[2] = {NULL, NULL};
    X509 *cert[2] = {NULL, NULL};
    ds_err e = DS_ERR_INIT;
    const ds_san san = {DS_SAN_URI, uri};
    ds_cert_spec long_way = *slow;
    long_way.san = &san;
    long_way.san_count = uri[0] ? 1 : 0;
    int spki_len = i2d_PUBKEY(slow->public_key, &spki);
    ds_cert_serial(slow->serial, serial);
    const ds_issue_spec spec = {.subject = slow->subject,
                                .spki = {spki, (size_t)spki_len},
                                .serial = serial,
                                .not_before_utc = slow->not_before_utc,
                                .not_after_utc = slow->not_after_utc,
                                .uri = uri};
    enum ds_class rc = ds_cert_make(&long_way, ca, ca_key, ca_key, &cert[0], NULL);
    assert_int_equal(ds_issue(g, ca_key, &spec, &made, &e), rc);
    if (!rc) {
        assert_int_equal(ds_cert_parse(ds_buf_view(&made), &cert[1], NULL), DS_OK);
        int len = i2d_re_X509_tbs(cert[0], &tbs[0]);
        assert_int_equal(i2d_re_X509_tbs(cert[1], &tbs[1]), len);
        assert_memory_equal(tbs[0], tbs[1], (size_t)len);
        assert_int_equal(X509_verify(cert[1], ca_key), 1);
    }
    for (int i = 0; i < 2; i++) {
        OPENSSL_free(tbs[i]);
        X509_free(cert[i]);
    }
    OPENSSL_free(spki);
}

static void test_issue_writes_the_same_certificate(void **state)
{
    (void)state;
    static const uint8_t serials[][16] = {{1, 2, 3}, {0xff, 0xff}, {0, 0x80, 1}, {0, 0, 0x7f}, {[15] = 1}, {0x80}};
    static const int64_t times[][2] = {{0, 1},
                                       {1700000000, DS_NO_EXPIRY},
                                       {INT64_C(2524607999), INT64_C(2524608000)}, // the last second of 2049
                                       {5, 5},
                                       {-1, 7}};
    static const char *const uris[] = {"", "urn:dev:SN0042", "urn:with space"};
    EVP_PKEY *device = NULL;
    X509_NAME *name = NULL, *ca_name = NULL;
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &device, NULL), DS_OK);
    assert_int_equal(ds_dn_parse(SUBJECT, &name, NULL), DS_OK);
    assert_int_equal(ds_dn_parse("CN=Sub CA,O=Acme", &ca_name, NULL), DS_OK);
    for (size_t i = 0; i < TYPES; i++) {
        EVP_PKEY *key = NULL;
        X509 *ca = NULL;
        ds_issuing *g = NULL;
        assert_int_equal(ds_key_make(types[i], &key, NULL), DS_OK);
        const ds_cert_spec of_ca = {DS_CERT_ROOT, ca_name, key, serials[0], 0, DS_NO_EXPIRY, NULL, 0, NULL, 0};
        assert_int_equal(ds_cert_make(&of_ca, NULL, key, key, &ca, NULL), DS_OK);
        assert_int_equal(ds_issuing_new(ca, &g, NULL), DS_OK);
        ds_cert_spec spec = {DS_CERT_DEVICE, name, device, serials[0], 0, 1, NULL, 0, NULL, 0};
        for (size_t s = 0; s < sizeof serials / sizeof *serials; s++) {
            spec.serial = serials[s];
            expect_same(key, ca, g, &spec, "");
        }
        spec.serial = serials[0];
        for (size_t t = 0; t < sizeof times / sizeof *times; t++) {
            spec.not_before_utc = times[t][0];
            spec.not_after_utc = times[t][1];
            expect_same(key, ca, g, &spec, uris[t % 2]);
        }
        spec.not_before_utc = 0;
        spec.not_after_utc = 1;
        for (size_t u = 0; u < sizeof uris / sizeof *uris; u++)
            expect_same(key, ca, g, &spec, uris[u]);
        ds_issuing_free(g);
        X509_free(ca);
        EVP_PKEY_free(key);
    }
    X509_NAME_free(name);
    X509_NAME_free(ca_name);
    EVP_PKEY_free(device);
}

static void test_issue_gives_no_certificate_whose_signature_does_not_hold(void **state)
{
    (void)state;
    static const uint8_t serial[16] = {1};
    for (size_t i = 0; i < TYPES; i++) {
        EVP_PKEY *key = NULL, *other = NULL;
        X509 *ca = NULL;
        X509_NAME *name = NULL;
        ds_issuing *g = NULL;
        uint8_t *spki = NULL;
        DS_CLEANUP_BUF ds_buf der = {0};
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_key_make(types[i], &key, NULL), DS_OK);
        assert_int_equal(ds_key_make(types[i], &other, NULL), DS_OK);
        assert_int_equal(ds_dn_parse(SUBJECT, &name, NULL), DS_OK);
        const ds_cert_spec of_ca = {DS_CERT_ROOT, name, key, serial, 0, DS_NO_EXPIRY, NULL, 0, NULL, 0};
        assert_int_equal(ds_cert_make(&of_ca, NULL, key, key, &ca, NULL), DS_OK);
        assert_int_equal(ds_issuing_new(ca, &g, NULL), DS_OK);
        int len = i2d_PUBKEY(key, &spki);
        const ds_issue_spec spec = {name, {spki, (size_t)len}, serial, 0, 1, ""};
        assert_int_equal(ds_issue(g, other, &spec, &der, &e), DS_TOKEN);
        assert_non_null(strstr(e.text, "does not verify"));
        assert_int_equal(der.len, 0);
        OPENSSL_free(spki);
        ds_issuing_free(g);
        X509_NAME_free(name);
        X509_free(ca);
        EVP_PKEY_free(key);
        EVP_PKEY_free(other);
    }
}

// Against OpenSSL's own verification, with signatures that hold and signatures that were changed.
static void test_issue_p256_agrees_with_openssl(void **state)
{
    (void)state;
    enum { ROUNDS = 300 };
    EVP_PKEY *key = NULL, *other = NULL;
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &key, NULL), DS_OK);
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P384, &other, NULL), DS_OK);
    assert_null(ds_p256_new(other));
    ds_p256 *p = ds_p256_new(key);
    assert_non_null(p);
    EVP_PKEY_CTX *sign = EVP_PKEY_CTX_new(key, NULL), *verify = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_sign_init(sign), 1);
    assert_int_equal(EVP_PKEY_verify_init(verify), 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t digest[32], sig[80];
        size_t len = sizeof sig;
        ds_random(digest, sizeof digest);
        assert_int_equal(EVP_PKEY_sign(sign, sig, &len, digest, sizeof digest), 1);
        assert_true(ds_p256_verify(p, digest, (ds_view){sig, len}));
        sig[4 + i % (len - 4)] ^= (uint8_t)(1U << i % 8);
        assert_int_equal(ds_p256_verify(p, digest, (ds_view){sig, len}),
                         EVP_PKEY_verify(verify, sig, len, digest, sizeof digest) == 1);
    }
    static const uint8_t zero[] = {0x30, 6, 2, 1, 0, 2, 1, 0}, negative[] = {0x30, 6, 2, 1, 0xff, 2, 1, 0xff},
                         small[] = {0x30, 6, 2, 1, 1, 2, 1, 1};
    uint8_t digest[32] = {0};
    assert_false(ds_p256_verify(p, digest, (ds_view){zero, sizeof zero}));
    assert_false(ds_p256_verify(p, digest, (ds_view){negative, sizeof negative}));
    assert_false(ds_p256_verify(p, digest, (ds_view){small, sizeof small}));
    assert_false(ds_p256_verify(p, digest, (ds_view){NULL, 0}));
    EVP_PKEY_CTX_free(sign);
    EVP_PKEY_CTX_free(verify);
    ds_p256_free(p);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static EVP_PKEY *rsa_of(const BIGNUM *n)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *e = BN_new();
    BN_set_word(e, 65537);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(e);
    return key;
}

static void test_issue_small_factors_are_found(void **state)
{
    (void)state;
    static const unsigned factors[] = {3, 5, 7, 11, 53, 59, 251, 257, 563, 743, 751, 757, 65537};
    BIGNUM *p = BN_new(), *n = BN_new();
    assert_int_equal(BN_generate_prime_ex(p, 1024, 0, NULL, NULL, NULL), 1);
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        assert_non_null(BN_copy(n, p));
        assert_int_equal(BN_mul_word(n, factors[i]), 1);
        EVP_PKEY *key = rsa_of(n);
        assert_int_equal(ds_rsa_has_small_factor(key), factors[i] < 752);
        EVP_PKEY_free(key);
    }
    BN_free(p);
    BN_free(n);
}

static enum ds_class issue(const ds_issuing *g, EVP_PKEY *key, const char *subject, const char *uri, ds_buf *ret)
{
    static const uint8_t serial[16] = {1};
    X509_NAME *name = NULL;
    uint8_t *spki = NULL;
    assert_int_equal(ds_dn_parse(subject, &name, NULL), DS_OK);
    int len = i2d_PUBKEY(key, &spki);
    const ds_issue_spec spec = {name, {spki, (size_t)len}, serial, 0, 1, uri};
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = ds_issue(g, key, &spec, ret, &e);
    OPENSSL_free(spki);
    X509_NAME_free(name);
    return rc;
}

static void test_issue_keeps_to_lint_and_name_constraints(void **state)
{
    static const uint8_t serial[16] = {1};
    static const ds_constraint list[] = {{false, DS_CONSTRAINT_DN, "O=Acme"},
                                         {false, DS_CONSTRAINT_URI, ".acme.example"},
                                         {false, DS_CONSTRAINT_DNS, "acme.example"}};
    EVP_PKEY *key = NULL;
    X509 *ca = NULL;
    X509_NAME *name = NULL;
    ds_issuing *g = NULL;
    DS_CLEANUP_BUF ds_buf der = {0};
    (void)state;
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &key, NULL), DS_OK);
    assert_int_equal(ds_dn_parse("CN=Sub CA", &name, NULL), DS_OK);
    const ds_cert_spec spec = {DS_CERT_SUB_CA, name, key, serial, 0, DS_NO_EXPIRY, NULL, 0, list, 3};
    assert_int_equal(ds_cert_make(&spec, NULL, key, key, &ca, NULL), DS_OK);
    assert_int_equal(ds_issuing_new(ca, &g, NULL), DS_OK);
    assert_int_equal(issue(g, key, "CN=SN1,O=Acme", "", &der), DS_POLICY);
    assert_int_equal(issue(g, key, "O=Acme,CN=SN1", "https://evil.example/1", &der), DS_POLICY);
    assert_int_equal(issue(g, key, "O=Acme,CN=SN1", "no-scheme", &der), DS_POLICY);
    assert_int_equal(issue(g, key, "O=Acme,CN=sn1.evil.example", "", &der), DS_POLICY);
    assert_int_equal(der.len, 0);
    assert_int_equal(issue(g, key, "O=Acme,CN=sn1.acme.example", "", &der), DS_OK);
    ds_buf_clear(&der);
    assert_int_equal(issue(g, key, "O=Acme,CN=SN1", "https://x.acme.example/1", &der), DS_OK);
    assert_true(der.len > 0);
    ds_issuing_free(g);
    X509_free(ca);
    X509_NAME_free(name);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issue_keeps_to_lint_and_name_constraints),
        cmocka_unit_test(test_issue_reads_requests_as_the_long_way_does),
        cmocka_unit_test(test_issue_reads_nothing_the_long_way_refuses),
        cmocka_unit_test(test_issue_writes_the_same_certificate),
        cmocka_unit_test(test_issue_gives_no_certificate_whose_signature_does_not_hold),
        cmocka_unit_test(test_issue_p256_agrees_with_openssl),
        cmocka_unit_test(test_issue_small_factors_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
