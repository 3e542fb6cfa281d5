// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Key pair, request and chain: what a device makes, keeps, and refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/internal.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

#define P256 DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256
#define P384 DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384
#define RSA2048 DEVSTAMP__KEY_TYPE__KEY_RSA_2048
#define RSA3072 DEVSTAMP__KEY_TYPE__KEY_RSA_3072
#define CODE(x) DEVSTAMP__STATUS_CODE__CODE_##x

static fake_port f;
static fake_station st;

static int setup(void **state)
{
    (void)state;
    fake_init(&f, 2);
    fake_station_init(&st);
    return 0;
}

// The stored key's private numbers must not be in anything the device said.
static void assert_key_secret(void)
{
    const fake_value *v = fake_find(&f, DS_AREA_PLAIN, "stamp", "key");
    assert_non_null(v);
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    assert_int_equal(DS_PK_PARSE_KEY(&pk, v->data, v->len, NULL, NULL), 0);
    uint8_t secret[384];
    size_t len;
    if (mbedtls_pk_get_type(&pk) == MBEDTLS_PK_RSA) {
        len = mbedtls_pk_get_len(&pk) / 2;
        assert_int_equal(mbedtls_rsa_export_raw(mbedtls_pk_rsa(pk), NULL, 0, secret, len, NULL, 0, NULL, 0, NULL, 0),
                         0);
    } else {
        len = (mbedtls_pk_get_bitlen(&pk) + 7) / 8;
        assert_int_equal(mbedtls_mpi_write_binary(&mbedtls_pk_ec(pk)->d, secret, len), 0);
    }
    mbedtls_pk_free(&pk);
    assert_true(fake_contains(f.areas, sizeof f.areas, secret, 16)); // the search finds it where it is
    assert_false(fake_leaks(&f, secret, 16));
    assert_false(fake_contains(f.frame, sizeof f.frame, secret, 16));
    assert_false(fake_contains(f.scratch, sizeof f.scratch, secret, 16));
}

static Devstamp__Response *make_csr_for(char *subject)
{
    Devstamp__MakeCsr m;
    devstamp__make_csr__init(&m);
    m.subject = subject;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_MAKE_CSR;
    q.make_csr = &m;
    return fake_call(&f, &st, &q);
}

static int csr_code(const char *subject)
{
    char copy[700];
    snprintf(copy, sizeof copy, "%s", subject);
    Devstamp__Response *r = make_csr_for(copy);
    int code = (int)DS_STATUS_CODE(r->status);
    fake_free(r);
    return code;
}

// Parses the request, checks subject and signature with the key reported.
static void check_csr(const ProtobufCBinaryData *der, const char *subject, mbedtls_md_type_t md)
{
    mbedtls_x509_csr csr;
    mbedtls_x509_csr_init(&csr);
    assert_int_equal(mbedtls_x509_csr_parse_der(&csr, der->data, der->len), 0);
    char text[300];
    assert_true(mbedtls_x509_dn_gets(text, sizeof text, &csr.subject) > 0);
    assert_string_equal(text, subject);
    assert_int_equal(csr.sig_md, md);
    uint8_t hash[64];
    const mbedtls_md_info_t *info = mbedtls_md_info_from_type(md);
    assert_int_equal(mbedtls_md(info, csr.cri.p, csr.cri.len, hash), 0);
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    assert_int_equal(mbedtls_pk_parse_public_key(&pk, st.public_key, st.public_key_len), 0);
    assert_int_equal(mbedtls_pk_verify(&pk, md, hash, mbedtls_md_get_size(info), csr.sig.p, csr.sig.len), 0);
    mbedtls_pk_free(&pk);
    mbedtls_x509_csr_free(&csr);
}

static void whole_key(int type, mbedtls_md_type_t md)
{
    bool made = false;
    assert_int_equal(fake_make_key(&f, &st, type, false, &made), 0);
    assert_true(made);
    assert_true(st.progress >= 1);
    assert_int_equal(f.key_delays, 1);
    uint8_t first[512];
    size_t first_len = st.public_key_len;
    memcpy(first, st.public_key, first_len);
    fake_power_on(&f, DS_AGENT_MFG);
    assert_int_equal(fake_make_key(&f, &st, type, false, &made), 0);
    assert_false(made);
    assert_int_equal(st.public_key_len, first_len);
    assert_memory_equal(st.public_key, first, first_len);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_KEYED);

    char subject[] = "CN=SN0042,O=Example\\, Ltd,serialNumber=42";
    Devstamp__Response *r = make_csr_for(subject);
    assert_int_equal(r->status, 0);
    check_csr(&r->csr->csr, "CN=SN0042, O=Example\\, Ltd, serialNumber=42", md);
    fake_free(r);
    fake_issue(&st, st.public_key, st.public_key_len, &st.device);
    assert_int_equal(fake_write_chain(&f, &st, &st.device), 0);
    assert_key_secret();
}

static void test_p256_whole(void **state)
{
    (void)state;
    whole_key(P256, MBEDTLS_MD_SHA256);
}

static void test_p384_whole(void **state)
{
    (void)state;
    whole_key(P384, MBEDTLS_MD_SHA384);
}

static void test_rsa2048_whole(void **state)
{
    (void)state;
    whole_key(RSA2048, MBEDTLS_MD_SHA256);
    assert_true(f.alives > 32);
}

static void test_rsa3072_whole(void **state)
{
    (void)state;
    whole_key(RSA3072, MBEDTLS_MD_SHA256);
}

static void test_make_key_rules(void **state)
{
    (void)state;
    bool made;
    assert_int_equal(fake_make_key(&f, &st, 0, false, NULL), CODE(BAD_REQUEST));
    assert_int_equal(fake_make_key(&f, &st, 5, false, NULL), CODE(BAD_REQUEST));
    assert_int_equal(csr_code("CN=x"), CODE(NOT_FOUND));
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
    assert_int_equal(fake_make_key(&f, &st, P384, false, NULL), CODE(EXISTS));
    uint8_t first[512];
    memcpy(first, st.public_key, sizeof first);
    assert_int_equal(fake_make_key(&f, &st, P384, true, &made), 0);
    assert_true(made);
    assert_memory_not_equal(first, st.public_key, 60);
    assert_int_equal(f.key_sets, 2);
    st.id--; // the same request again, as after a lost answer
    assert_int_equal(fake_make_key(&f, &st, P384, true, &made), 0);
    assert_false(made);
    assert_int_equal(f.key_sets, 2);
    fake_issue(&st, st.public_key, st.public_key_len, &st.device);
    assert_int_equal(fake_write_chain(&f, &st, &st.device), 0);
    assert_int_equal(fake_make_key(&f, &st, P384, true, NULL), CODE(EXISTS));
    assert_int_equal(fake_make_key(&f, &st, P256, true, NULL), CODE(EXISTS));
    assert_int_equal(fake_make_key(&f, &st, P384, false, &made), 0);
    assert_false(made);
    assert_int_equal(f.key_sets, 2);
}

static void test_make_key_moved_identity_refused(void **state)
{
    (void)state;
    f.security.flash_encryption = true;
    assert_true(put(&f, DS_AREA_ENCRYPTED, "stamp", "moved", DS_VALUE_U8, "\1", 1));
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), CODE(EXISTS));
    assert_int_equal(f.key_sets, 0);
}

static void test_make_key_stuck_random_refused(void **state)
{
    (void)state;
    f.stuck_random = true;
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), CODE(RANDOM));
    assert_int_equal(f.key_sets, 0);
    assert_int_equal(fake_make_key(&f, &st, RSA2048, false, NULL), CODE(RANDOM));
    Devstamp__Hello h = DEVSTAMP__HELLO__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    q.hello = &h;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    assert_int_equal(r->hello->self_test, 2);
    fake_free(r);
}

static void test_damaged_key_is_not_replaced_silently(void **state)
{
    (void)state;
    assert_true(put(&f, DS_AREA_PLAIN, "stamp", "key", DS_VALUE_BLOB, "\x30\x03\x02\x01\x00", 5));
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), CODE(CRYPTO));
    assert_int_equal(fake_make_key(&f, &st, P256, true, NULL), 0);
}

static void test_csr_bad_subjects_refused(void **state)
{
    (void)state;
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
    static const char *const bad[] = {
        "",        "CN",        "CN=",     "CN=a,",     "CN=a,,O=b", "=a",         "XY=a",      "CN=a\\",
        "CN=a\\b", "CN=a\nO=b", "CN=a,O=", "CN=a,CN=b", "C\\N=",     "CN=a,O=b,2", "CN=a,CN=a", "CN=a,commonName=b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(csr_code(bad[i]), CODE(BAD_REQUEST));
    char longest[600];
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "CN=", 3);
    longest[599] = 0;
    assert_int_equal(csr_code(longest), CODE(BAD_REQUEST));
    assert_int_equal(csr_code("CN=a,O=b,OU=c,L=d,ST=e,C=DE,serialNumber=1"), 0);
}

static int write_chain_of(size_t n, ProtobufCBinaryData *list)
{
    Devstamp__WriteChain w = DEVSTAMP__WRITE_CHAIN__INIT;
    w.certificate = list;
    w.n_certificate = n;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_WRITE_CHAIN;
    q.write_chain = &w;
    return fake_status(&f, &st, &q);
}

static void test_chain_refusals(void **state)
{
    (void)state;
    assert_int_equal(fake_write_chain(&f, &st, &st.sub), CODE(NOT_FOUND)); // no key yet
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
    fake_issue(&st, st.public_key, st.public_key_len, &st.device);
    assert_int_equal(fake_write_chain(&f, &st, &st.sub), CODE(MISMATCH)); // another key's certificate
    ProtobufCBinaryData dev = {st.device.len, st.device.der}, sub = {st.sub.len, st.sub.der},
                        root = {st.root.len, st.root.der};
    assert_int_equal(write_chain_of(0, NULL), CODE(BAD_REQUEST));
    assert_int_equal(write_chain_of(2, (ProtobufCBinaryData[]){dev, root}), CODE(BAD_SIGNATURE));
    assert_int_equal(write_chain_of(3, (ProtobufCBinaryData[]){dev, sub, sub}), CODE(BAD_SIGNATURE));
    assert_int_equal(write_chain_of(2, (ProtobufCBinaryData[]){sub, dev}), CODE(MISMATCH));
    ProtobufCBinaryData cut = {dev.len - 1, dev.data}, empty = {0, NULL};
    assert_int_equal(write_chain_of(2, (ProtobufCBinaryData[]){cut, sub}), CODE(BAD_REQUEST));
    assert_int_equal(write_chain_of(2, (ProtobufCBinaryData[]){dev, empty}), CODE(BAD_REQUEST));
    ProtobufCBinaryData nine[9] = {dev, sub, sub, sub, sub, sub, sub, sub, sub};
    assert_int_equal(write_chain_of(9, nine), CODE(BAD_REQUEST));
    static uint8_t big[4200];
    assert_int_equal(write_chain_of(2, (ProtobufCBinaryData[]){dev, {4000, big}}), CODE(NO_SPACE));
    // A changed byte in the Sub CA's name or the signature.
    static uint8_t bad[1500];
    memcpy(bad, dev.data, dev.len);
    bad[dev.len - 1] ^= 1;
    assert_int_equal(write_chain_of(2, (ProtobufCBinaryData[]){{dev.len, bad}, sub}), CODE(BAD_SIGNATURE));
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_KEYED);
    assert_int_equal(write_chain_of(1, &dev), 0);
    assert_int_equal(write_chain_of(3, (ProtobufCBinaryData[]){dev, sub, root}), 0);
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
}

static void test_chain_read_back(void **state)
{
    (void)state;
    Devstamp__ReadChain m = DEVSTAMP__READ_CHAIN__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_READ_CHAIN;
    q.read_chain = &m;
    assert_int_equal(fake_status(&f, &st, &q), CODE(NOT_FOUND));
    assert_int_equal(fake_provision(&f, &st), 0);
    Devstamp__Response *r = fake_call(&f, &st, &q);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->chain->n_certificate, 2);
    assert_int_equal(r->chain->certificate[0].len, st.device.len);
    assert_memory_equal(r->chain->certificate[0].data, st.device.der, st.device.len);
    assert_int_equal(r->chain->certificate[1].len, st.sub.len);
    assert_memory_equal(r->chain->certificate[1].data, st.sub.der, st.sub.len);
    uint8_t digest[32];
    assert_true(ds_sha256(st.device.der, st.device.len, digest));
    assert_memory_equal(r->chain->digest.data, digest, 32);
    fake_free(r);
    // Once stamped: the same again, nothing else.
    assert_int_equal(fake_write_chain(&f, &st, &st.device), 0);
    ProtobufCBinaryData dev = {st.device.len, st.device.der};
    assert_int_equal(write_chain_of(1, &dev), CODE(EXISTS));
}

static void test_damaged_chain_in_storage_is_told(void **state)
{
    (void)state;
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
    static const char *const damaged[] = {
        "", "\x30", "\x31\x01\x00", "\x30\x05\x00", "\x30\x83\x00\x00\x01\x00", "\x30\x82\x01", "\x30\x01\x00\x30\x7F"};
    static const size_t lens[] = {0, 1, 3, 3, 6, 3, 5};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        assert_true(put(&f, DS_AREA_PLAIN, "stamp", "chain", DS_VALUE_BLOB, damaged[i], lens[i]));
        Devstamp__ReadChain m = DEVSTAMP__READ_CHAIN__INIT;
        Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
        q.body_case = DEVSTAMP__REQUEST__BODY_READ_CHAIN;
        q.read_chain = &m;
        assert_int_equal(fake_status(&f, &st, &q), CODE(FLASH));
        assert_int_equal(fake_make_key(&f, &st, P256, true, NULL), CODE(EXISTS));
    }
    assert_int_equal(fake_stage(&f, &st), DEVSTAMP__STAGE__STAGE_CERTIFIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_p256_whole, setup),
        cmocka_unit_test_setup(test_p384_whole, setup),
        cmocka_unit_test_setup(test_rsa2048_whole, setup),
        cmocka_unit_test_setup(test_rsa3072_whole, setup),
        cmocka_unit_test_setup(test_make_key_rules, setup),
        cmocka_unit_test_setup(test_make_key_moved_identity_refused, setup),
        cmocka_unit_test_setup(test_make_key_stuck_random_refused, setup),
        cmocka_unit_test_setup(test_damaged_key_is_not_replaced_silently, setup),
        cmocka_unit_test_setup(test_csr_bad_subjects_refused, setup),
        cmocka_unit_test_setup(test_damaged_chain_in_storage_is_told, setup),
        cmocka_unit_test_setup(test_chain_refusals, setup),
        cmocka_unit_test_setup(test_chain_read_back, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
