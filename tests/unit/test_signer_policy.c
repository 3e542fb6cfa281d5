// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the signer process does not sign, whoever asks: each with a real request.
#include "signer_support.h"

#include "src/signer/profile.h"

static void test_signer_refuses_what_is_not_demanded(void **state)
{
    (void)state;
    ds_signer *s = started();
    uint64_t before = ds_signer_get_status(s)->log_entries;
    device d;
    make_device(&d);
    ds_sign_request req = d.req;
    req.subject = "CN=SN0043,O=Acme Devices,serialNumber=SN0043";
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req.subject = "CN=sn0042,O=Acme Devices,serialNumber=SN0042"; // OpenSSL's own comparison would let this through
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req.subject = "O=Acme Devices,CN=SN0042,serialNumber=SN0042";
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req = d.req;
    req.key_type = DS_KEY_RSA_2048;
    expect_refusal(s, &req, DS_POLICY, "key is ECDSA P-256, but RSA-2048");
    req.key_type = 77;
    expect_refusal(s, &req, DS_INPUT, "key type 77");
    req = d.req;
    req.not_after_utc = now + 11 * 86400;
    expect_refusal(s, &req, DS_POLICY, "not within the Sub CA's");
    req = d.req;
    req.not_before_utc = now - 7200;
    expect_refusal(s, &req, DS_POLICY, "not within the Sub CA's");
    static const int64_t no_span[][2] = {{5, 5}, {INT64_MAX, 5}, {-1, 5}, {0, DS_NO_EXPIRY + 1}, {0, INT64_MIN}};
    for (size_t i = 0; i < sizeof no_span / sizeof *no_span; i++) {
        req.not_before_utc = no_span[i][0];
        req.not_after_utc = no_span[i][1];
        expect_refusal(s, &req, DS_POLICY, "not a span of time between 1970 and 9999");
    }
    req = d.req;
    req.subject_alt_uri = "urn:dev:SN0042";
    expect_refusal(s, &req, DS_POLICY, "alternative name");
    d.csr.ptr[d.csr.len - 1] ^= 1;
    expect_refusal(s, &d.req, DS_INPUT, "");
    req = d.req;
    req.csr.len = 0;
    expect_refusal(s, &req, DS_INPUT, "no certificate request");
    uint8_t *huge = calloc(1, 60000);
    req.csr = (ds_view){huge, 60000};
    expect_refusal(s, &req, DS_INPUT, "no certificate request");
    free(huge);
    free_device(&d);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), before);
}

// What the recipe's profile does not name, one thing at a time.
static void test_signer_refuses_what_no_profile_names(void **state)
{
    (void)state;
    ds_signer *s = started();
    uint64_t before = ds_signer_get_status(s)->log_entries;
    device d, rsa;
    make_device(&d);
    ds_sign_request req = d.req;
    req.recipe = "lamps";
    expect_refusal(s, &req, DS_POLICY, "knows no recipe lamps");
    req.recipe = "other";
    expect_refusal(s, &req, DS_POLICY, "but recipe other names \"CN=SN0042,O=Other Devices\"");
    req.recipe = "ever";
    expect_refusal(s, &req, DS_POLICY, "key is ECDSA P-256, but recipe ever names ECDSA P-384");
    req = d.req;
    req.device_serial = "SN0043"; // another device's request
    expect_refusal(s, &req, DS_POLICY, "names \"CN=SN0043,O=Acme Devices");
    static const char *const serials[] = {"SN042", "SN00042", "SN004x", "XX0042", "SN0042x", "SN"};
    for (size_t i = 0; i < sizeof serials / sizeof *serials; i++) {
        req.device_serial = serials[i];
        expect_refusal(s, &req, DS_POLICY, "is not of recipe lamp, which names SN{counter:4}");
    }
    req.device_serial = "SN0042,O=x";
    expect_refusal(s, &req, DS_INPUT, "names no device");
    req = d.req;
    req.mac = "01234567";
    expect_refusal(s, &req, DS_INPUT, "names no device");
    req = d.req;
    req.not_after_utc += 86400;
    expect_refusal(s, &req, DS_POLICY, "validity demanded is not the 1 days of recipe lamp");
    req.not_after_utc = d.req.not_after_utc - 1;
    expect_refusal(s, &req, DS_POLICY, "validity demanded is not the 1 days of recipe lamp");
    make_device_of(&rsa, DS_KEY_RSA_2048, SUBJECT);
    expect_refusal(s, &rsa.req, DS_POLICY, ""); // the alternative name is missing
    free_device(&rsa);
    free_device(&d);
    ds_signer_stop(s);
    ds_signer_config cfg = config();
    cfg.profile_count = 0;
    assert_int_equal(ds_signer_start(&cfg, &s, NULL), DS_OK);
    make_device(&d);
    expect_refusal(s, &d.req, DS_POLICY, "knows no recipe lamp");
    free_device(&d);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), before);
}

static void add_extension(STACK_OF(X509_EXTENSION) * list, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(ext);
    sk_X509_EXTENSION_push(list, ext);
}

static void request_with(EVP_PKEY *key, const EVP_MD *md, int nid, const char *value, device *d)
{
    X509_REQ *csr = X509_REQ_new();
    X509_NAME *name = NULL;
    assert_int_equal(ds_dn_parse(SUBJECT, &name, NULL), DS_OK);
    X509_REQ_set_subject_name(csr, name);
    X509_REQ_set_pubkey(csr, key);
    if (value) {
        STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
        add_extension(list, nid, value);
        assert_int_equal(X509_REQ_add_extensions(csr, list), 1);
        sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    }
    assert_true(X509_REQ_sign(csr, key, md) > 0);
    uint8_t *der = NULL;
    int len = i2d_X509_REQ(csr, &der);
    make_device(d);
    ds_buf_clear(&d->csr);
    ds_buf_add(&d->csr, der, (size_t)len);
    d->req.csr = ds_buf_view(&d->csr);
    OPENSSL_free(der);
    X509_NAME_free(name);
    X509_REQ_free(csr);
}

static void test_signer_refuses_wishes_and_weak_digests(void **state)
{
    (void)state;
    static const struct {
        int nid;
        const char *value, *words; // NULL: fine
    } cases[] = {
        {NID_basic_constraints, "CA:TRUE", "certificate authority"},
        {NID_basic_constraints, "CA:FALSE", NULL},
        {NID_key_usage, "keyCertSign", "asks for X509v3 Key Usage"},
        {NID_key_usage, "digitalSignature,keyEncipherment", "asks for X509v3 Key Usage"},
        {NID_key_usage, "digitalSignature", NULL},
        {NID_ext_key_usage, "serverAuth", "asks for X509v3 Extended Key Usage"},
        {NID_ext_key_usage, "clientAuth,serverAuth", "asks for X509v3 Extended Key Usage"},
        {NID_ext_key_usage, "clientAuth", NULL},
        {NID_subject_alt_name, "DNS:example.org", "asks for X509v3 Subject Alternative Name"},
        {NID_subject_alt_name, "URI:urn:dev:SN0042", "asks for X509v3 Subject Alternative Name"},
        {NID_netscape_comment, "hello", "asks for Netscape Comment"},
    };
    ds_signer *s = started();
    device d;
    ds_err e = DS_ERR_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        DS_CLEANUP_BUF ds_buf der = {0};
        request_with(key, EVP_sha256(), cases[i].nid, cases[i].value, &d);
        if (!cases[i].words && ds_signer_sign(s, &d.req, &der, &e))
            fail_msg("%s: %s", cases[i].value, e.text);
        if (cases[i].words)
            expect_refusal(s, &d.req, cases[i].nid == NID_basic_constraints ? DS_INPUT : DS_POLICY, cases[i].words);
        free_device(&d);
        EVP_PKEY_free(key);
    }
    EVP_PKEY *ec = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048), *p192 = EVP_EC_gen("prime192v1");
    EVP_PKEY *small = EVP_RSA_gen(1024);
    request_with(ec, EVP_sha1(), 0, NULL, &d);
    expect_refusal(s, &d.req, DS_INPUT, "ecdsa-with-SHA1");
    free_device(&d);
    request_with(rsa, EVP_md5(), 0, NULL, &d);
    expect_refusal(s, &d.req, DS_INPUT, "md5WithRSAEncryption");
    free_device(&d);
    request_with(p192, EVP_sha256(), 0, NULL, &d);
    expect_refusal(s, &d.req, DS_INPUT, "key of 192 bits is not accepted");
    free_device(&d);
    request_with(small, EVP_sha256(), 0, NULL, &d);
    expect_refusal(s, &d.req, DS_INPUT, "key of 1024 bits is not accepted");
    free_device(&d);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(p192);
    EVP_PKEY_free(small);
    ds_signer_stop(s);
}

// A request that was on the wire once is given to the station again, as another device's.
static void test_signer_refuses_a_request_replayed_for_another_device(void **state)
{
    (void)state;
    ds_signer *s = started();
    uint64_t before = ds_signer_get_status(s)->log_entries;
    device d;
    DS_CLEANUP_BUF ds_buf der = {0};
    make_device(&d);
    assert_int_equal(ds_signer_sign(s, &d.req, &der, NULL), DS_OK);
    static const uint8_t other_serial[16] = {9, 9};
    ds_sign_request req = d.req;
    req.device_serial = "SN0043"; // under its own name: the subject of the request is not that device's
    req.serial = other_serial;
    req.subject = "CN=SN0043,O=Acme Devices,serialNumber=SN0043";
    expect_refusal(s, &req, DS_POLICY, "is demanded");
    req = d.req; // under the same name, as a second certificate
    req.serial = other_serial;
    expect_refusal(s, &req, DS_POLICY, "certified before");
    free_device(&d);
    ds_signer_stop(s);
    assert_int_equal(entries_of_log(), before + 1);
}

// An RSA key of these two primes.
static EVP_PKEY *rsa_of(const BIGNUM *p, const BIGNUM *q)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *n = BN_new(), *e = BN_new(), *d = BN_new(), *a = BN_dup(p), *b = BN_dup(q), *phi = BN_new();
    BN_set_word(e, 65537);
    BN_sub_word(a, 1);
    BN_sub_word(b, 1);
    BN_mul(phi, a, b, ctx);
    BN_mul(n, p, q, ctx);
    assert_non_null(BN_mod_inverse(d, e, phi, ctx));
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_D, d);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(pctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(pctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(pctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(n), BN_free(e), BN_free(d), BN_free(a), BN_free(b), BN_free(phi);
    BN_CTX_free(ctx);
    return key;
}

// A prime of 1024 bits with both top bits set, so that two make 2048; of the weak library's kind: k*M + 65537^a mod M,
// M the product of the primes up to 167.
static BIGNUM *prime(bool roca)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *p = BN_new(), *m = BN_new(), *a = BN_new(), *g = BN_new(), *r = BN_new();
    if (!roca)
        assert_int_equal(BN_generate_prime_ex(p, 1024, 0, NULL, NULL, NULL), 1);
    BN_one(m);
    for (unsigned i = 2; roca && i <= 167; i++) {
        bool is_prime = true;
        for (unsigned k = 2; k * k <= i; k++)
            is_prime = is_prime && i % k != 0;
        if (is_prime)
            BN_mul_word(m, i);
    }
    BN_set_word(g, 65537);
    while (roca) {
        BN_rand(a, 64, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY);
        BN_mod_exp(r, g, a, m, ctx);
        BN_rand(p, 1024, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY);
        BN_mod(a, p, m, ctx);
        BN_sub(p, p, a);
        BN_add(p, p, r);
        if (BN_num_bits(p) == 1024 && BN_is_bit_set(p, 1022) && BN_check_prime(p, ctx, NULL) == 1)
            break;
    }
    BN_free(m), BN_free(a), BN_free(g), BN_free(r);
    BN_CTX_free(ctx);
    return p;
}

static void rsa_device(device *d, const BIGNUM *p, const BIGNUM *q)
{
    EVP_PKEY *key = rsa_of(p, q);
    make_device_with(d, key, DS_KEY_RSA_2048, SUBJECT);
    d->req.subject_alt_uri = "urn:dev:SN0042";
    EVP_PKEY_free(key);
}

static void test_signer_refuses_rsa_keys_that_can_be_broken(void **state)
{
    (void)state;
    BIGNUM *p = prime(false), *q = prime(false), *r = prime(false), *u = prime(true), *v = prime(true);
    ds_signer *s = started();
    device first, second, apart, roca;
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf der = {0};
    rsa_device(&first, p, q);
    rsa_device(&second, p, r);
    rsa_device(&apart, u, r); // one weak prime alone is not what the fingerprint tells
    rsa_device(&roca, u, v);
    if (ds_signer_sign(s, &first.req, &der, &e))
        fail_msg("%s", e.text);
    expect_refusal(s, &second.req, DS_POLICY, "shares a prime with another device's");
    expect_refusal(s, &roca.req, DS_INPUT, "ROCA");
    ds_signer_stop(s);
    s = started(); // what the log holds is known after a start too
    expect_refusal(s, &second.req, DS_POLICY, "shares a prime with another device's");
    if (ds_signer_sign(s, &apart.req, &der, &e))
        fail_msg("%s", e.text);
    assert_int_equal(ds_signer_sign(s, &first.req, &der, &e), DS_OK); // it shares its own, and is from the log
    ds_signer_stop(s);
    free_device(&first);
    free_device(&second);
    free_device(&apart);
    free_device(&roca);
    BN_free(p), BN_free(q), BN_free(r), BN_free(u), BN_free(v);
}

static void test_profile_serial_format_takes_its_own_alone(void **state)
{
    (void)state;
    static const struct {
        const char *format, *serial;
        bool fits;
    } cases[] = {
        {"SN-{mac}", "SN-0123456789AB", true},
        {"SN-{mac}", "SN-0123456789AC", false},
        {"SN-{mac}", "SN-0123456789ABx", false},
        {"{mac}-{counter:2}", "0123456789AB-07", true},
        {"L{counter}", "L1", true},
        {"L{counter}", "L01", false},
        {"L{counter}", "L", false},
        {"L{counter}9", "L199", true},
        {"L{counter}9", "L9", false},
        {"L{counter:3}9", "L0079", true},
        {"L{counter:3}9", "L079", false},
        {"L{what}", "L{what}", false},
        {"L{counter:0}", "L1", false},
        {"", "L", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ds_profile_serial_fits(cases[i].format, cases[i].serial, "0123456789ab") != cases[i].fits)
            fail_msg("%s %s", cases[i].format, cases[i].serial);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "signer") == 0)
        ds_signer_run(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signer_refuses_what_is_not_demanded),
        cmocka_unit_test(test_signer_refuses_what_no_profile_names),
        cmocka_unit_test(test_signer_refuses_wishes_and_weak_digests),
        cmocka_unit_test(test_signer_refuses_a_request_replayed_for_another_device),
        cmocka_unit_test(test_profile_serial_format_takes_its_own_alone),
        cmocka_unit_test(test_signer_refuses_rsa_keys_that_can_be_broken),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
