// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What an EST server answers: read within bounds whatever it is, and taken where it is what was asked.
#include "src/signer/est_answer.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/cert.h"
#include "src/pki/dn.h"
#include "src/pki/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAY = 86400 };

#define SUBJECT "CN=SN1,O=Acme"

#define assert_has(haystack, needle)                               \
    do {                                                           \
        if (!strstr((haystack), (needle)))                         \
            fail_msg("'%s' is not in '%s'", (needle), (haystack)); \
    } while (0)

// A root, a Sub CA and a device with its request.
typedef struct world {
    char path[64];
    EVP_PKEY *root_key, *sub_key, *device_key;
    X509 *root, *sub;
    ds_buf csr;
    ds_est_trust *trust;
    ds_err e;
} world;

typedef struct made {
    enum ds_cert_kind kind;
    const char *subject;
    EVP_PKEY *key;
    int64_t begin, end; // from now
    const char *uri;
} made;

static X509 *make(const made *m, X509 *issuer, EVP_PKEY *issuer_key)
{
    static uint8_t serial[16] = {0x11};
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    X509 *cert = NULL;
    const ds_san san = {DS_SAN_URI, m->uri};
    serial[15]++;
    if (ds_dn_parse(m->subject, &name, &e))
        fail_msg("%s", e.text);
    const ds_cert_spec spec = {.kind = m->kind,
                               .subject = name,
                               .public_key = m->key,
                               .serial = serial,
                               .not_before_utc = ds_utc_now() + m->begin,
                               .not_after_utc = m->end == DS_NO_EXPIRY ? DS_NO_EXPIRY : ds_utc_now() + m->end,
                               .san = &san,
                               .san_count = m->uri ? 1 : 0};
    if (ds_cert_make(&spec, issuer, issuer_key, issuer_key, &cert, &e))
        fail_msg("%s", e.text);
    return cert;
}

static EVP_PKEY *new_key(void)
{
    EVP_PKEY *key = NULL;
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &key, NULL), DS_OK);
    return key;
}

static int setup(void **state)
{
    world *w = ds_alloc(sizeof *w);
    DS_CLEANUP_BUF ds_buf pem = {0};
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    X509 *ca = NULL;
    w->root_key = new_key();
    w->sub_key = new_key();
    w->device_key = new_key();
    w->root = make(&(made){DS_CERT_ROOT, "CN=Root", w->root_key, -DAY, 100 * DAY, NULL}, NULL, w->root_key);
    w->sub = make(&(made){DS_CERT_SUB_CA, "CN=Sub", w->sub_key, -DAY, 100 * DAY, NULL}, w->root, w->root_key);
    assert_int_equal(ds_dn_parse(SUBJECT, &name, &w->e), DS_OK);
    assert_int_equal(ds_request_make(name, w->device_key, &w->csr, &w->e), DS_OK);
    snprintf(w->path, sizeof w->path, "/tmp/ds-est-%ld.pem", (long)getpid());
    assert_int_equal(ds_cert_pem(w->root, &pem, &w->e), DS_OK);
    assert_int_equal(ds_file_write(w->path, ds_buf_view(&pem), 0600, &w->e), DS_OK);
    assert_int_equal(ds_est_trust_new(w->path, &w->trust, &w->e), DS_OK);
    STACK_OF(X509) *shown = sk_X509_new_null();
    sk_X509_push(shown, w->root);
    sk_X509_push(shown, w->sub);
    assert_int_equal(ds_est_trust_learn(w->trust, shown, &ca, &w->e), DS_OK);
    assert_int_equal(X509_cmp(ca, w->sub), 0); // the lowest
    sk_X509_free(shown);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    unlink(w->path);
    ds_est_trust_free(w->trust);
    X509_free(w->root);
    X509_free(w->sub);
    EVP_PKEY_free(w->root_key);
    EVP_PKEY_free(w->sub_key);
    EVP_PKEY_free(w->device_key);
    ds_buf_free(&w->csr);
    free(w);
    return 0;
}

static ds_sign_request asked(const world *w, int64_t days, const char *uri)
{
    return (ds_sign_request){.csr = ds_buf_view(&w->csr),
                             .subject = SUBJECT,
                             .not_before_utc = ds_utc_now(),
                             .not_after_utc = days ? ds_utc_now() + days * DAY : DS_NO_EXPIRY,
                             .subject_alt_uri = uri};
}

// Make, judge, and demand the class and the words; NULL: it is taken.
static void judge(world *w, const made *m, X509 *issuer, EVP_PKEY *issuer_key, const ds_sign_request *req,
                  const char *words)
{
    DS_CLEANUP_X509 X509 *cert = make(m, issuer, issuer_key);
    w->e = DS_ERR_INIT;
    enum ds_class rc = ds_est_judge(w->trust, cert, req, &w->e);
    if (!words && rc)
        fail_msg("%s", w->e.text);
    if (!words)
        return;
    assert_int_equal(rc, DS_POLICY);
    assert_has(w->e.text, words);
    assert_has(w->e.text, "serial number 11");
}

static void test_est_judge_takes_what_was_asked(void **state)
{
    world *w = *state;
    const ds_sign_request for_ever = asked(w, 0, NULL), month = asked(w, 30, NULL), named = asked(w, 0, "urn:x:1");
    const made device = {DS_CERT_DEVICE, SUBJECT, w->device_key, -60, DS_NO_EXPIRY, NULL};
    made m = device;
    judge(w, &m, w->sub, w->sub_key, &for_ever, NULL);
    judge(w, &m, w->sub, w->sub_key, &month, NULL); // longer is the server's choice
    m.end = 30 * DAY - DAY / 2;                     // a day is let pass
    judge(w, &m, w->sub, w->sub_key, &month, NULL);
    m = device;
    m.begin = 120; // a server whose clock is ahead
    judge(w, &m, w->sub, w->sub_key, &for_ever, NULL);
    m = device;
    m.uri = "urn:x:1";
    judge(w, &m, w->sub, w->sub_key, &named, NULL);
}

static void test_est_judge_refuses_what_was_not_asked(void **state)
{
    world *w = *state;
    const ds_sign_request req = asked(w, 0, NULL), month = asked(w, 30, NULL), named = asked(w, 0, "urn:x:1");
    const made device = {DS_CERT_DEVICE, SUBJECT, w->device_key, -60, DS_NO_EXPIRY, NULL};
    EVP_PKEY *other = new_key();
    made m = device;
    m.key = other;
    judge(w, &m, w->sub, w->sub_key, &req, "another key");
    static const char *const subjects[] = {"CN=SN2,O=Acme", "O=Acme,CN=SN1", "CN=SN1", "CN=SN1,O=Acme,OU=x",
                                           "CN=sn1,O=Acme"};
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        m = device;
        m.subject = subjects[i];
        judge(w, &m, w->sub, w->sub_key, &req, "asked was CN=SN1,O=Acme");
    }
    m = device;
    m.kind = DS_CERT_SUB_CA;
    judge(w, &m, w->sub, w->sub_key, &req, "it is a CA's");
    m = device;
    m.kind = DS_CERT_SERVER;
    judge(w, &m, w->sub, w->sub_key, &req, "purpose");
    m = device;
    m.uri = "urn:x:2";
    judge(w, &m, w->sub, w->sub_key, &req, "alternative name");
    judge(w, &m, w->sub, w->sub_key, &named, "alternative name");
    judge(w, &device, w->sub, w->sub_key, &named, "alternative name");
    m = device;
    m.begin = 3600;
    judge(w, &m, w->sub, w->sub_key, &req, "not valid yet");
    m = (made){DS_CERT_DEVICE, SUBJECT, w->device_key, -2 * DAY, -60, NULL};
    judge(w, &m, w->sub, w->sub_key, &month, "it ended on");
    m.end = 28 * DAY;
    judge(w, &m, w->sub, w->sub_key, &month, "the recipe demands");
    m.end = 10000 * (int64_t)DAY;
    judge(w, &m, w->sub, w->sub_key, &req, "the recipe demands one without end");
    judge(w, &device, w->sub, other, &req, "not by device_ca"); // says that it is by the Sub CA
    DS_CLEANUP_X509 X509 *stranger = make(&(made){DS_CERT_ROOT, "CN=Root", other, -DAY, DAY, NULL}, NULL, other);
    judge(w, &device, stranger, other, &req, "not by device_ca");
    EVP_PKEY_free(other);
}

static void enlarge(const world *w, X509 *cert, size_t bytes)
{
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    DS_CLEANUP_BUF ds_buf comment = {0};
    ds_buf_resize(&comment, bytes, 'x');
    assert_int_equal(ASN1_STRING_set(text, comment.ptr, (int)bytes), 1);
    assert_int_equal(X509_add1_ext_i2d(cert, NID_netscape_comment, text, 0, X509V3_ADD_REPLACE), 1);
    assert_true(X509_sign(cert, w->sub_key, EVP_sha256()) > 0);
    ASN1_IA5STRING_free(text);
}

// A device has no room for it: that is found before the ledger has it.
static void test_est_judge_refuses_what_no_device_holds(void **state)
{
    world *w = *state;
    const ds_sign_request req = asked(w, 0, NULL);
    DS_CLEANUP_X509 X509 *cert =
        make(&(made){DS_CERT_DEVICE, SUBJECT, w->device_key, -60, DS_NO_EXPIRY, NULL}, w->sub, w->sub_key);
    enlarge(w, cert, 2000);
    assert_int_equal(ds_est_judge(w->trust, cert, &req, &w->e), DS_OK);
    enlarge(w, cert, 3500);
    assert_int_equal(ds_est_judge(w->trust, cert, &req, &w->e), DS_POLICY);
    assert_has(w->e.text, "a device holds 4096");
    assert_has(w->e.text, "serial number 11");
}

static void test_est_trust_learns_no_strangers(void **state)
{
    world *w = *state;
    ds_est_trust *t = NULL;
    X509 *ca = NULL;
    EVP_PKEY *key = new_key();
    DS_CLEANUP_X509 X509 *stranger = make(&(made){DS_CERT_ROOT, "CN=Root", key, -DAY, DAY, NULL}, NULL, key);
    DS_CLEANUP_X509 X509 *device =
        make(&(made){DS_CERT_DEVICE, SUBJECT, w->device_key, -60, DS_NO_EXPIRY, NULL}, w->sub, w->sub_key);
    STACK_OF(X509) *shown = sk_X509_new_null();
    sk_X509_push(shown, stranger);
    sk_X509_push(shown, device);
    assert_int_equal(ds_est_trust_new(w->path, &t, &w->e), DS_OK);
    assert_int_equal(ds_est_trust_learn(t, shown, &ca, &w->e), DS_POLICY);
    assert_has(w->e.text, "no CA that it shows is by device_ca");
    ds_est_trust_free(t);
    sk_X509_free(shown);
    EVP_PKEY_free(key);
}

static void test_est_chain_is_without_its_root(void **state)
{
    world *w = *state;
    ds_signer_chain chain = {.count = 0};
    DS_CLEANUP_BUF ds_buf sub = {0};
    DS_CLEANUP_X509 X509 *device =
        make(&(made){DS_CERT_DEVICE, SUBJECT, w->device_key, -60, DS_NO_EXPIRY, NULL}, w->sub, w->sub_key);
    assert_int_equal(ds_est_trust_chain(w->trust, device, &chain, &w->e), DS_OK);
    assert_int_equal(ds_cert_der(w->sub, &sub, &w->e), DS_OK);
    assert_int_equal(chain.count, 1);
    assert_int_equal(chain.der[0].len, sub.len);
    assert_memory_equal(chain.der[0].ptr, sub.ptr, sub.len);
    ds_signer_chain_free(&chain);
    DS_CLEANUP_X509 X509 *by_root =
        make(&(made){DS_CERT_DEVICE, SUBJECT, w->device_key, -60, DS_NO_EXPIRY, NULL}, w->root, w->root_key);
    chain = (ds_signer_chain){.count = 0};
    assert_int_equal(ds_est_trust_chain(w->trust, by_root, &chain, &w->e), DS_OK);
    assert_int_equal(chain.count, 1); // an issuer there is always
    ds_signer_chain_free(&chain);
}

static ds_buf message_of(const world *w, int copies)
{
    ds_buf text = {0};
    unsigned char *der = NULL;
    PKCS7 *p7 = PKCS7_new();
    assert_int_equal(PKCS7_set_type(p7, NID_pkcs7_signed), 1);
    assert_int_equal(PKCS7_content_new(p7, NID_pkcs7_data), 1);
    for (int i = 0; i < copies; i++)
        assert_int_equal(PKCS7_add_certificate(p7, w->sub), 1);
    int len = i2d_PKCS7(p7, &der);
    ds_buf_resize(&text, 4 * (((size_t)len + 2) / 3) + 1, 0);
    text.len = (size_t)EVP_EncodeBlock(text.ptr, der, len);
    OPENSSL_free(der);
    PKCS7_free(p7);
    return text;
}

static enum ds_class read_message(ds_view text, int *ret_count)
{
    ds_err e = DS_ERR_INIT;
    STACK_OF(X509) *all = NULL;
    enum ds_class rc = ds_est_read(text, &all, &e);
    *ret_count = all ? sk_X509_num(all) : 0;
    sk_X509_pop_free(all, X509_free);
    return rc;
}

static void test_est_answer_damaged_anywhere_is_read_within_bounds(void **state)
{
    world *w = *state;
    int count = 0;
    DS_CLEANUP_BUF ds_buf text = message_of(w, 1), none = message_of(w, 0), many = message_of(w, 17), lines = {0};
    assert_int_equal(read_message(ds_buf_view(&text), &count), DS_OK);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < text.len; i++) {
        ds_buf_add_u8(&lines, text.ptr[i]);
        if (i % 64 == 63)
            ds_buf_add(&lines, "\r\n", 2);
    }
    assert_int_equal(read_message(ds_buf_view(&lines), &count), DS_OK);
    assert_int_equal(read_message(ds_buf_view(&none), &count), DS_NETWORK);
    assert_int_equal(read_message(ds_buf_view(&many), &count), DS_NETWORK);
    assert_int_equal(read_message((ds_view){NULL, 0}, &count), DS_NETWORK);
    for (size_t i = 0; i < text.len; i++) {
        DS_CLEANUP_BUF ds_buf cut = {0}; // of exactly that size: reading on is seen
        ds_buf_add(&cut, text.ptr, i);
        assert_int_equal(read_message(ds_buf_view(&cut), &count), DS_NETWORK);
        uint8_t was = text.ptr[i];
        text.ptr[i] = was == 'A' ? 'z' : 'A';
        (void)!read_message(ds_buf_view(&text), &count);
        text.ptr[i] = was;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_est_judge_takes_what_was_asked),
        cmocka_unit_test(test_est_judge_refuses_what_was_not_asked),
        cmocka_unit_test(test_est_judge_refuses_what_no_device_holds),
        cmocka_unit_test(test_est_trust_learns_no_strangers),
        cmocka_unit_test(test_est_chain_is_without_its_root),
        cmocka_unit_test(test_est_answer_damaged_anywhere_is_read_within_bounds),
    };
    return cmocka_run_group_tests_name("signer: answers of an EST server", tests, setup, teardown);
}
