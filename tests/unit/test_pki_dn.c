// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Distinguished names as text.
#include "src/pki/dn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_dn_parse_gives_the_expected_der(void **state)
{
    (void)state;
    // C and serialNumber are PrintableString (13), others UTF8String (0c); CN comes first, as in the text
    static const uint8_t expected[] = {0x30, 0x25, 0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01,
                                       'x',  0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02, 'C',
                                       'H',  0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x05, 0x13, 0x01, '7'};
    X509_NAME *name = NULL;
    uint8_t *der = NULL;
    assert_int_equal(ds_dn_parse("CN=x,C=CH,serialNumber=7", &name, NULL), DS_OK);
    assert_int_equal(i2d_X509_NAME(name, &der), sizeof expected);
    assert_memory_equal(der, expected, sizeof expected);
    OPENSSL_free(der);
    X509_NAME_free(name);
}

static void test_dn_text_and_back_is_the_same(void **state)
{
    (void)state;
    static const char *const names[] = {
        "CN=SN0042,O=Acme Devices,serialNumber=SN0042",
        "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h\\=i",
        "CN=\\ edge \\ ,O=\\#hash",
        "O=B\xc3\xbcro,CN=\xe8\xa3\x85\xe7\xbd\xae",
        "CN=x,DC=example,DC=com,emailAddress=a@example.com",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        X509_NAME *name = NULL, *again = NULL;
        char text[256];
        ds_err e = DS_ERR_INIT;
        if (ds_dn_parse(names[i], &name, &e))
            fail_msg("%s", e.text);
        assert_int_equal(ds_dn_text(name, text, sizeof text, &e), DS_OK);
        assert_int_equal(ds_dn_parse(text, &again, &e), DS_OK);
        assert_true(ds_dn_equal(name, again));
        if (i != 2) // spaces inside need no escape, so that spelling is not kept
            assert_string_equal(text, names[i]);
        X509_NAME_free(name);
        X509_NAME_free(again);
    }
}

static void test_dn_parse_refuses_what_it_cannot_keep(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "CN",
        "CN=",
        "=x",
        "CN=a,",
        "CN=a,,O=b",
        "XX=a",
        "CN=a+O=b",
        "CN=#0403",
        "CN=a\\",
        "CN=a\\zz",
        "CN=a\\00",
        "CN=a;b",
        "CN=\"a\"",
        "CN=a\nb",
        "CN=a\\0ab",
        "C=CHE",
        "C=1",
        "CN=\xff\xfe",
        "CN=12345678901234567890123456789012345678901234567890123456789012345", // 65 characters
        "serialNumber=B\xc3\xbcro",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        X509_NAME *name = NULL;
        ds_err e = DS_ERR_INIT;
        if (ds_dn_parse(bad[i], &name, &e) != DS_INPUT)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_null(name);
        assert_true(e.text[0]);
    }
    char longest[300];
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "CN=", 3);
    longest[299] = '\0';
    X509_NAME *name = NULL;
    assert_int_equal(ds_dn_parse(longest, &name, NULL), DS_INPUT);
}

static bool same(const char *a, const char *b)
{
    X509_NAME *x = NULL, *y = NULL;
    assert_int_equal(ds_dn_parse(a, &x, NULL), DS_OK);
    assert_int_equal(ds_dn_parse(b, &y, NULL), DS_OK);
    bool result = ds_dn_equal(x, y);
    X509_NAME_free(x);
    X509_NAME_free(y);
    return result;
}

static void test_dn_equal_is_exact(void **state)
{
    (void)state;
    assert_true(same("CN=a,O=b", "CN=a,O=b"));
    assert_true(same("CN=a , O=b", "cn=a,o=b")); // attribute names and outer spaces are spelling
    assert_true(same("CN=a\\2cb", "CN=a\\,b"));
    assert_false(same("CN=a,O=b", "CN=A,O=b"));
    assert_false(same("CN=a b", "CN=a  b"));
    assert_false(same("CN=a,O=b", "O=b,CN=a"));
    assert_false(same("CN=a", "CN=a,O=b"));
    assert_false(same("CN=a", "O=a"));
}

static void test_dn_text_refuses_a_hidden_end(void **state)
{
    (void)state;
    X509_NAME *name = X509_NAME_new();
    static const unsigned char value[] = "good\0bad";
    assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING, value, 8, -1, 0), 1);
    char text[256];
    assert_int_equal(ds_dn_text(name, text, sizeof text, NULL), DS_INPUT);
    X509_NAME_free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dn_parse_gives_the_expected_der),
        cmocka_unit_test(test_dn_text_and_back_is_the_same),
        cmocka_unit_test(test_dn_parse_refuses_what_it_cannot_keep),
        cmocka_unit_test(test_dn_equal_is_exact),
        cmocka_unit_test(test_dn_text_refuses_a_hidden_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
