// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Mutual TLS with a private key that is elsewhere: whole handshakes in memory, TLS 1.2 (PKCS#1 v1.5 or PSS, as the two
// agree) and 1.3 (PSS), against a server that demands the certificate.
#include "agent/port/posix/tls.h"

#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static EVP_PKEY *device_key, *ca_key;
static X509 *device_certificate, *ca;
static uint8_t *device_der, *ca_der;
static int device_der_len, ca_der_len;
static unsigned signatures;
static bool broken;

static X509 *issue(EVP_PKEY *key, const char *common, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *x = X509_new();
    X509V3_CTX ctx;
    assert_int_equal(X509_set_version(x, 2), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)common, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    X509_set_pubkey(x, key);
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, issuer ? NID_subject_alt_name : NID_basic_constraints,
                                            issuer ? "DNS:localhost" : "critical,CA:TRUE");
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
    assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
    return x;
}

static int set_up(void **state)
{
    (void)state;
    device_key = EVP_RSA_gen(2048);
    ca_key = EVP_EC_gen("P-256");
    ca = issue(ca_key, "CA", NULL, ca_key);
    device_certificate = issue(device_key, "device", ca, ca_key);
    device_der_len = i2d_X509(device_certificate, &device_der);
    ca_der_len = i2d_X509(ca, &ca_der);
    assert_true(device_der_len > 0 && ca_der_len > 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    OPENSSL_free(device_der);
    OPENSSL_free(ca_der);
    X509_free(device_certificate);
    X509_free(ca);
    EVP_PKEY_free(device_key);
    EVP_PKEY_free(ca_key);
    return 0;
}

// What the chip's peripheral does: one number to the power of d.
static bool sign(void *ctx, ds_view key, const uint8_t *in, uint8_t *ret, size_t len)
{
    size_t out = len;
    assert_ptr_equal(ctx, &signatures);
    assert_memory_equal(key.ptr, "sealed", key.len);
    signatures++;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(device_key, NULL);
    bool ok = EVP_PKEY_decrypt_init(c) == 1 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_NO_PADDING) == 1 &&
              EVP_PKEY_decrypt(c, ret, &out, in, len) == 1 && out == len;
    EVP_PKEY_CTX_free(c);
    if (broken)
        ret[0] ^= 1;
    return ok;
}

static SSL_CTX *server_of(int version, const char *algorithms)
{
    SSL_CTX *s = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = issue(key, "localhost", ca, ca_key);
    assert_int_equal(SSL_CTX_use_certificate(s, x), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(s, key), 1);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(s), ca);
    SSL_CTX_set_verify(s, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    assert_int_equal(SSL_CTX_set_min_proto_version(s, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(s, version), 1);
    assert_int_equal(SSL_CTX_set1_client_sigalgs_list(s, algorithms), 1);
    X509_free(x);
    EVP_PKEY_free(key);
    return s;
}

static bool shake_hands(SSL_CTX *client_ctx, SSL_CTX *server_ctx)
{
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    BIO *a = NULL, *b = NULL;
    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(client, a, a);
    SSL_set_bio(server, b, b);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    bool done = false;
    for (int i = 0; i < 20 && !done; i++) {
        (void)SSL_do_handshake(client);
        (void)SSL_do_handshake(server);
        done = SSL_is_init_finished(client) && SSL_is_init_finished(server);
    }
    X509 *peer = SSL_get0_peer_certificate(server);
    done = done && peer && X509_cmp(peer, device_certificate) == 0 && SSL_get_verify_result(server) == X509_V_OK;
    SSL_free(client);
    SSL_free(server);
    return done;
}

static bool connects(int version, const char *algorithms)
{
    ds_tls_spec spec = {.key = {(const uint8_t *)"sealed", 6},
                        .chain = {device_der, (size_t)device_der_len},
                        .ca = {ca_der, (size_t)ca_der_len},
                        .host = "localhost",
                        .sign = sign,
                        .sign_ctx = &signatures};
    signatures = 0;
    SSL_CTX *client = ds_tls_new(&spec), *server = server_of(version, algorithms);
    assert_non_null(client);
    bool done = shake_hands(client, server);
    assert_int_equal(signatures, 1);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    return done;
}

static void test_key_elsewhere_signs_what_servers_ask_for(void **state)
{
    (void)state;
    broken = false;
    assert_true(connects(TLS1_2_VERSION, "RSA+SHA256"));
    assert_true(connects(TLS1_2_VERSION, "RSA+SHA512"));
    assert_true(connects(TLS1_2_VERSION, "rsa_pss_rsae_sha256"));
    assert_true(connects(TLS1_3_VERSION, "rsa_pss_rsae_sha256"));
    assert_true(connects(TLS1_3_VERSION, "rsa_pss_rsae_sha512"));
}

static void test_key_elsewhere_that_signs_wrongly_is_refused(void **state)
{
    (void)state;
    broken = true;
    assert_false(connects(TLS1_2_VERSION, "RSA+SHA256"));
    assert_false(connects(TLS1_3_VERSION, "rsa_pss_rsae_sha256"));
}

static void test_key_elsewhere_must_be_rsa(void **state)
{
    (void)state;
    ds_tls_spec spec = {
        .chain = {ca_der, (size_t)ca_der_len}, .ca = {ca_der, (size_t)ca_der_len}, .host = "localhost", .sign = sign};
    assert_null(ds_tls_new(&spec));
    spec.chain.len = 0;
    assert_null(ds_tls_new(&spec));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_elsewhere_signs_what_servers_ask_for),
        cmocka_unit_test(test_key_elsewhere_that_signs_wrongly_is_refused),
        cmocka_unit_test(test_key_elsewhere_must_be_rsa),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
