// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lint where a signer asks it: of a certificate, and of what is about to be signed. Its rules are tested one by one
// in tests/e2e/test_ca_lint.py.
#include "src/pki/cert.h"
#include "src/pki/dn.h"
#include "src/pki/lint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static X509 *make(void)
{
    static const uint8_t serial[16] = {0x11, 2, 3};
    X509_NAME *name = NULL;
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    assert_int_equal(ds_dn_parse("CN=Root,O=Acme", &name, NULL), DS_OK);
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &key, NULL), DS_OK);
    const ds_cert_spec spec = {
        .kind = DS_CERT_ROOT, .subject = name, .public_key = key, .serial = serial, .not_after_utc = DS_NO_EXPIRY};
    assert_int_equal(ds_cert_make(&spec, NULL, key, key, &cert, NULL), DS_OK);
    EVP_PKEY_free(key);
    X509_NAME_free(name);
    return cert;
}

// TBSCertificate: what the outermost SEQUENCE (82 LL LL) of a certificate holds first.
static ds_view tbs_of(const ds_buf *der)
{
    size_t len = 4u + (size_t)der->ptr[6] * 256 + der->ptr[7];
    assert_int_equal(der->ptr[5], 0x82);
    return (ds_view){der->ptr + 4, len};
}

static void test_demand_takes_ours_and_its_tbs(void **state)
{
    X509 *cert = make();
    DS_CLEANUP_BUF ds_buf der = {0};
    (void)state;
    assert_int_equal(ds_lint_demand(cert, NULL), DS_OK);
    assert_int_equal(ds_cert_der(cert, &der, NULL), DS_OK);
    assert_int_equal(ds_lint_demand_tbs(tbs_of(&der), NULL), DS_OK);
    X509_free(cert);
}

static void test_demand_tbs_names_the_rule_that_a_changed_byte_breaks(void **state)
{
    X509 *cert = make();
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_err e = DS_ERR_INIT;
    (void)state;
    assert_int_equal(ds_cert_der(cert, &der, NULL), DS_OK);
    ds_view tbs = tbs_of(&der);
    der.ptr[4 + 4 + 4] ^= 1; // version
    assert_int_equal(ds_lint_demand_tbs(tbs, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "4.1.2.1)"));
    der.ptr[4 + 4 + 4] ^= 1;
    der.ptr[4 + 4 + 7] ^= 0x80; // the serial number's sign
    assert_int_equal(ds_lint_demand_tbs(tbs, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "negative"));
    der.ptr[4 + 4 + 7] ^= 0x80;
    assert_int_equal(ds_lint_demand_tbs((ds_view){tbs.ptr, tbs.len - 1}, &e), DS_POLICY);
    assert_int_equal(ds_lint_demand_tbs((ds_view){tbs.ptr, 0}, &e), DS_POLICY);
    assert_int_equal(ds_lint_demand_tbs(ds_buf_view(&der), &e), DS_POLICY); // a certificate is no TBSCertificate
    X509_free(cert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_demand_takes_ours_and_its_tbs),
        cmocka_unit_test(test_demand_tbs_names_the_rule_that_a_changed_byte_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
