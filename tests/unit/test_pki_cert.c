// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The four certificate profiles and chains of them. What independent programs say of them is in the end-to-end tests.
#include "src/pki/cert.h"
#include "src/pki/dn.h"

#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1800000000 };

static EVP_PKEY *root_key, *sub_key, *leaf_key;
static X509 *root, *sub;

static X509 *make(enum ds_cert_kind kind, const char *subject, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                  const ds_san *san, size_t sans, ds_err *e)
{
    static const uint8_t serial[16] = {0xff, 0xee, 3};
    X509_NAME *name = NULL;
    X509 *cert = NULL;
    assert_int_equal(ds_dn_parse(subject, &name, NULL), DS_OK);
    const ds_cert_spec spec = {kind, name, key, serial, NOW - 100, DS_NO_EXPIRY, san, sans, NULL, 0};
    if (ds_cert_make(&spec, issuer, issuer_key, issuer_key, &cert, e))
        cert = NULL;
    X509_NAME_free(name);
    return cert;
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P384, &root_key, NULL), DS_OK);
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &sub_key, NULL), DS_OK);
    assert_int_equal(ds_key_make(DS_KEY_RSA_2048, &leaf_key, NULL), DS_OK);
    root = make(DS_CERT_ROOT, "CN=Root", root_key, NULL, root_key, NULL, 0, NULL);
    sub = make(DS_CERT_SUB_CA, "CN=Sub", sub_key, root, root_key, NULL, 0, NULL);
    assert_non_null(root);
    assert_non_null(sub);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(sub);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(sub_key);
    EVP_PKEY_free(leaf_key);
    return 0;
}

static bool critical(X509 *cert, int nid)
{
    int at = X509_get_ext_by_NID(cert, nid, -1);
    assert_true(at >= 0);
    return X509_EXTENSION_get_critical(X509_get_ext(cert, at)) == 1;
}

static void test_ca_profiles(void **state)
{
    (void)state;
    ds_cert_info info;
    assert_int_equal(ds_cert_describe(root, &info, NULL), DS_OK);
    assert_true(info.ca && info.path_len == -1 && info.key_usage == (KU_KEY_CERT_SIGN | KU_CRL_SIGN));
    assert_int_equal(X509_get_signature_nid(root), NID_ecdsa_with_SHA384);
    assert_int_equal(ds_cert_describe(sub, &info, NULL), DS_OK);
    assert_true(info.ca && info.path_len == 0 && info.key_usage == (KU_KEY_CERT_SIGN | KU_CRL_SIGN));
    assert_true(critical(sub, NID_basic_constraints) && critical(sub, NID_key_usage));
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(sub), X509_get0_subject_key_id(root)), 0);
    assert_int_equal(X509_get_ext_by_NID(sub, NID_ext_key_usage, -1), -1);
    assert_int_equal(info.not_after_utc, DS_NO_EXPIRY);
    assert_int_equal(X509_get0_notAfter(sub)->type, V_ASN1_GENERALIZEDTIME);
    assert_int_equal(X509_get0_notBefore(sub)->type, V_ASN1_UTCTIME);
    assert_string_equal((const char *)ASN1_STRING_get0_data(X509_get0_notAfter(sub)), "99991231235959Z");
}

static void test_device_profile_and_chain(void **state)
{
    (void)state;
    const ds_san uri = {DS_SAN_URI, "urn:uuid:1"};
    X509 *device = make(DS_CERT_DEVICE, "CN=SN1,O=Acme", leaf_key, sub, sub_key, &uri, 1, NULL);
    assert_non_null(device);
    ds_cert_info info;
    assert_int_equal(ds_cert_describe(device, &info, NULL), DS_OK);
    assert_false(info.ca);
    assert_int_equal(info.key_usage, KU_DIGITAL_SIGNATURE);
    assert_true(info.client_auth && !info.server_auth);
    assert_true(critical(device, NID_basic_constraints) && critical(device, NID_key_usage));
    static const uint8_t serial[16] = {0x7f, 0xee, 3}; // the top bit is cleared, so that it is positive
    assert_int_equal(info.serial_len, 16);
    assert_memory_equal(info.serial, serial, 16);
    assert_int_equal(X509_get_signature_nid(device), NID_ecdsa_with_SHA256);
    STACK_OF(X509) *subs = sk_X509_new_null();
    sk_X509_push(subs, sub);
    ds_err e = DS_ERR_INIT;
    if (ds_chain_verify(device, subs, root, NOW, &e))
        fail_msg("%s", e.text);
    assert_int_equal(ds_chain_verify(device, NULL, root, NOW, &e), DS_INPUT);
    assert_int_equal(ds_chain_verify(device, subs, root, NOW - 1000, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "not yet valid"));
    X509 *below = make(DS_CERT_DEVICE, "CN=below", leaf_key, device, leaf_key, NULL, 0, NULL); // a device plays CA
    sk_X509_push(subs, device);
    assert_int_equal(ds_chain_verify(below, subs, root, NOW, &e), DS_INPUT);
    X509 *deeper = make(DS_CERT_SUB_CA, "CN=deeper", leaf_key, sub, sub_key, NULL, 0, NULL); // beyond the path length
    X509 *lost = make(DS_CERT_DEVICE, "CN=lost", root_key, deeper, leaf_key, NULL, 0, NULL);
    sk_X509_push(subs, deeper);
    assert_int_equal(ds_chain_verify(lost, subs, root, NOW, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "path length"));
    X509_free(lost);
    X509_free(deeper);
    X509_free(below);
    sk_X509_free(subs);
    X509_free(device);
}

static void test_server_names(void **state)
{
    (void)state;
    const ds_san names[] = {{DS_SAN_DNS, "mqtt.example"}, {DS_SAN_IP, "127.0.0.1"}, {DS_SAN_IP, "::1"}};
    X509 *server = make(DS_CERT_SERVER, "CN=mqtt.example", leaf_key, root, root_key, names, 3, NULL);
    assert_non_null(server);
    assert_int_equal(X509_check_host(server, "mqtt.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(server, "other.example", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(server, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(server, "::1", 0), 1);
    ds_cert_info info;
    assert_int_equal(ds_cert_describe(server, &info, NULL), DS_OK);
    assert_true(info.server_auth && !info.client_auth && !info.ca);
    X509_free(server);
}

static void test_make_refuses_bad_parts(void **state)
{
    (void)state;
    const ds_san bad[] = {{DS_SAN_IP, "127.0.0.256"}, {DS_SAN_DNS, ""}, {DS_SAN_URI, "a b"}, {DS_SAN_URI, "\xc3\xbc"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ds_err e = DS_ERR_INIT;
        assert_null(make(DS_CERT_SERVER, "CN=x", leaf_key, root, root_key, &bad[i], 1, &e));
        assert_int_equal(e.cls, DS_INPUT);
    }
    static const uint8_t zero[16] = {0x80};
    static const uint8_t one[16] = {1};
    ds_cert_spec spec = {DS_CERT_DEVICE, X509_get_subject_name(sub), leaf_key, zero, 10, 20, NULL, 0, NULL, 0};
    X509 *cert = NULL;
    assert_int_equal(ds_cert_make(&spec, sub, sub_key, sub_key, &cert, NULL), DS_INPUT);
    spec.serial = one;
    spec.not_after_utc = 10;
    assert_int_equal(ds_cert_make(&spec, sub, sub_key, sub_key, &cert, NULL), DS_INPUT);
    spec.not_after_utc = DS_NO_EXPIRY + 1;
    assert_int_equal(ds_cert_make(&spec, sub, sub_key, sub_key, &cert, NULL), DS_INPUT);
    spec.not_after_utc = 20; // a key that does not fit its public half: the signature is checked before it leaves
    assert_int_equal(ds_cert_make(&spec, sub, leaf_key, sub_key, &cert, NULL), DS_TOKEN);
    assert_null(cert);
}

static void test_parse_takes_der_and_pem_and_nothing_else(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf der = {0};
    DS_CLEANUP_BUF ds_buf pem = {0};
    X509 *cert = NULL;
    assert_int_equal(ds_cert_der(sub, &der, NULL), DS_OK);
    assert_int_equal(ds_cert_pem(sub, &pem, NULL), DS_OK);
    assert_int_equal(ds_cert_parse(ds_buf_view(&der), &cert, NULL), DS_OK);
    assert_int_equal(X509_cmp(cert, sub), 0);
    X509_free(cert);
    assert_int_equal(ds_cert_parse(ds_buf_view(&pem), &cert, NULL), DS_OK);
    assert_int_equal(X509_cmp(cert, sub), 0);
    X509_free(cert);
    for (size_t len = 0; len < der.len; len++)
        assert_int_equal(ds_cert_parse((ds_view){der.ptr, len}, &cert, NULL), DS_INPUT);
    ds_buf_add_u8(&der, 0);
    assert_int_equal(ds_cert_parse(ds_buf_view(&der), &cert, NULL), DS_INPUT);
}

static X509 *make_below(X509 *ca, const char *subject, const ds_san *san, size_t sans, ds_err *e)
{
    *e = DS_ERR_INIT;
    return make(DS_CERT_DEVICE, subject, leaf_key, ca, sub_key, san, sans, e);
}

static void test_make_outside_the_name_constraints_is_refused(void **state)
{
    static const uint8_t serial[16] = {7};
    static const ds_constraint list[] = {{false, DS_CONSTRAINT_DN, "O=Acme"},
                                         {true, DS_CONSTRAINT_DNS, "evil.example"},
                                         {false, DS_CONSTRAINT_URI, ".acme.example"}};
    static const ds_san evil = {DS_SAN_DNS, "a.evil.example"}, good = {DS_SAN_URI, "https://x.acme.example/1"};
    X509 *ca = NULL, *cert;
    ds_err e = DS_ERR_INIT;
    (void)state;
    const ds_cert_spec spec = {
        DS_CERT_SUB_CA, X509_get_subject_name(sub), sub_key, serial, NOW - 100, DS_NO_EXPIRY, NULL, 0, list, 3};
    assert_int_equal(ds_cert_make(&spec, root, root_key, root_key, &ca, &e), DS_OK);
    assert_true(critical(ca, NID_name_constraints));
    assert_null(make_below(ca, "CN=SN1,O=Acme", NULL, 0, &e));
    assert_int_equal(e.cls, DS_POLICY);
    assert_non_null(strstr(e.text, "name constraints"));
    assert_null(make_below(ca, "O=Acme,CN=SN1", &evil, 1, &e));
    assert_int_equal(e.cls, DS_POLICY);
    cert = make_below(ca, "O=Acme,CN=SN1", &good, 1, &e);
    assert_non_null(cert);
    X509_free(cert);
    X509_free(ca);
}

static void test_make_what_the_lint_refuses_is_not_returned(void **state)
{
    static const ds_san bad[] = {{DS_SAN_DNS, "a..b"}, {DS_SAN_URI, "no-scheme"}, {DS_SAN_DNS, "under_score"}};
    ds_err e = DS_ERR_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(make_below(sub, "CN=SN1", &bad[i], 1, &e));
        assert_int_equal(e.cls, DS_POLICY);
        assert_non_null(strstr(e.text, "RFC"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ca_profiles),
        cmocka_unit_test(test_device_profile_and_chain),
        cmocka_unit_test(test_server_names),
        cmocka_unit_test(test_make_refuses_bad_parts),
        cmocka_unit_test(test_make_outside_the_name_constraints_is_refused),
        cmocka_unit_test(test_make_what_the_lint_refuses_is_not_returned),
        cmocka_unit_test(test_parse_takes_der_and_pem_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
