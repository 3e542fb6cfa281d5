// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner handshake, both halves: a genuine device is found genuine and takes credentials; whatever is changed,
// replayed, cut off or made up on the way, and whoever else sits at either end, gets neither a proof nor credentials.
#include "tests/unit/handshake_common.h"
#include "tests/unit/owner_vectors.h"

static void test_genuine_with_keys_of_every_kind(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_RSA_gen(2048), EVP_RSA_gen(3072)};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bench_init(&b, &ca, keys[i]);
        assert_works();
        const ds_companion_device *d = ds_companion_get_device(c);
        assert_string_equal(d->serial, BENCH_SERIAL);
        assert_string_equal(d->issuer, "O=Example,CN=Product Sub CA");
        assert_string_equal(d->root, "O=Example,CN=Product Root");
        assert_string_equal(d->not_after, "2030-01-01");
        assert_int_equal(b.extra_len, 0);
        assert_int_equal(b.exchanges, 3);
        EVP_PKEY_free(keys[i]);
    }
}

static void test_nothing_readable_goes_over_the_wire(void **state)
{
    (void)state;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    // Both ephemeral secrets are gone as soon as they were used.
    static const uint8_t wiped[32];
    assert_memory_equal(b.owner.secret, wiped, sizeof wiped);
    assert_null(c->ephemeral);
    assert_false(fake_contains(b.reply, b.reply_len, BENCH_SERIAL, strlen(BENCH_SERIAL)));
    assert_false(fake_contains(b.reply, b.reply_len, "Product", 7));
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, &e), DS_OK);
    assert_false(fake_contains(b.last, b.last_len, "home", 4));
    assert_false(fake_contains(b.last, b.last_len, "correct", 7));
    // And nothing stays in the device's memory but what it was to keep.
    assert_false(fake_contains(b.port.scratch, sizeof b.port.scratch, BENCH_POP, 8));
    assert_false(fake_contains(b.reply, sizeof b.reply, "correct", 7));
    uint8_t scalar[32];
    memcpy(scalar, fake_find(&b.port, DS_AREA_ENCRYPTED, "stamp", "key")->data + 7, 32);
    assert_false(fake_contains(b.port.scratch, sizeof b.port.scratch, scalar, 8));
    assert_false(fake_contains(&b.owner, sizeof b.owner, scalar, 8));
    ds_owner_close(&b.owner);
    const ds_owner closed = {.a = b.owner.a, .take = b.owner.take, .take_arg = b.owner.take_arg};
    assert_memory_equal(b.owner.secret, closed.secret, sizeof closed - offsetof(ds_owner, secret));
}

static void test_proof_in_pieces(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {37, 400, 100000};
    for (size_t i = 0; i < 3; i++) {
        b.exchanges = 0;
        c->piece = pieces[i];
        assert_works();
        assert_true(b.exchanges >= (i == 0 ? 20 : i == 1 ? 4 : 3));
    }
    // A piece beyond the end is none.
    uint8_t reply[DS_OWNER_REPLY_MAX];
    static const uint8_t far[] = {0x1A, 3, 0x08, 0xFF, 0x7F};
    assert_int_equal(bench_status(reply, ds_owner_handle(&b.owner, far, sizeof far, reply, sizeof reply)),
                     STATUS(BAD_MESSAGE));
}

static void test_wrong_secret_is_refused_and_counted(void **state)
{
    (void)state;
    replace_owner(BENCH_SERIAL, "H7KQ2MXW9RT4ZB6E", &ca, 0);
    for (unsigned i = 0; i < DS_OWNER_TRIES; i++) {
        assert_refused(DS_INPUT, DS_COMPANION_WRONG_SECRET);
        assert_true(b.reply_len < 8); // a status alone
    }
    assert_refused(DS_DEVICE, DS_COMPANION_LOCKED_OUT);
    // Now the right one is not taken either, until the device restarts.
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 0);
    assert_refused(DS_DEVICE, DS_COMPANION_LOCKED_OUT);
    ds_owner_close(&b.owner);
    assert_refused(DS_DEVICE, DS_COMPANION_LOCKED_OUT);
    ds_owner_init(&b.owner, &b.port.agent, bench_take, &b);
    assert_works();
}

// A session ends ten minutes after it was opened, however much is said in it; wrong secrets stay counted.
static void test_session_ends_in_time(void **state)
{
    (void)state;
    static const uint8_t more[] = {0x1A, 0};
    uint8_t reply[DS_OWNER_REPLY_MAX], none[sizeof b.owner.proof_key] = {0};
    uint32_t start = UINT32_MAX - 1000; // the clock wraps
    assert_false(ds_owner_tick(&b.owner, start));
    replace_owner(BENCH_SERIAL, "H7KQ2MXW9RT4ZB6", &ca, 0);
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_INPUT);
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 0);
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    assert_true(ds_owner_tick(&b.owner, start));
    for (uint32_t ms = 60000; ms < DS_OWNER_SESSION_MS; ms += 60000) {
        assert_int_equal(bench_status(reply, ds_owner_handle(&b.owner, more, sizeof more, reply, sizeof reply)),
                         STATUS(OK));
        assert_true(ds_owner_tick(&b.owner, start + ms));
    }
    assert_false(ds_owner_tick(&b.owner, start + DS_OWNER_SESSION_MS));
    assert_memory_equal(b.owner.proof_key, none, sizeof none);
    assert_int_equal(bench_status(reply, ds_owner_handle(&b.owner, more, sizeof more, reply, sizeof reply)),
                     STATUS(NO_SESSION));
    assert_int_equal(b.owner.wrong, 0);
    // The next one has its own ten minutes.
    replace_owner(BENCH_SERIAL, "H7KQ2MXW9RT4ZB6", &ca, 0);
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_INPUT);
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 0);
    ds_owner_close(&b.owner);
    assert_int_equal(b.owner.wrong, 1);
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    assert_true(ds_owner_tick(&b.owner, start + DS_OWNER_SESSION_MS + 1));
}

static void test_right_secret_forgives_the_wrong_ones(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        replace_owner(BENCH_SERIAL, "H7KQ2MXW9RT4ZB6", &ca, 0);
        for (unsigned i = 0; i < DS_OWNER_TRIES - 1; i++)
            assert_int_equal(ds_companion_verify(c, &wire, &e), DS_INPUT);
        replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 0);
        assert_works();
    }
}

static void test_wrong_root_name_or_time(void **state)
{
    (void)state;
    replace_owner(BENCH_SERIAL, BENCH_POP, &other_ca, 0);
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    replace_owner("SN0043", BENCH_POP, &ca, 0);
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    replace_owner("SN004", BENCH_POP, &ca, 0);
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 1900000000); // 2030-03-17
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    assert_non_null(strstr(e.text, "as today is taken to be 2030-03-17"));
    assert_non_null(strstr(e.hint, "set the clock"));
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 1500000000); // 2017
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    assert_non_null(strstr(e.hint, "set the clock"));
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 0); // no clock
    assert_works();
}

// A device, whole and sealed, that shows this chain.
static void show(EVP_PKEY *k, X509 *own, X509 *sub)
{
    uint8_t chain[DS_AGENT_CHAIN_MAX];
    size_t len = bench_chain((X509 *const[]){own, sub}, sub ? 2 : 1, chain);
    bench_stamped(&b, k, chain, len);
    assert_int_equal(ds_app_migrate(&b.port.agent), 0);
}

static void test_certificates_that_are_no_devices(void **state)
{
    (void)state;
    static const struct {
        const char *name, *usage;
        bool sub, genuine;
    } cases[] = {
        {BENCH_SERIAL, "clientAuth", true, true},      {BENCH_SERIAL, "serverAuth", true, false}, // an endpoint's
        {BENCH_SERIAL, "clientAuth", false, false},                                               // chain cut off
        {BENCH_SERIAL " ", "clientAuth", true, false}, {"", "clientAuth", true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        X509 *own = bench_cert(key, cases[i].name, ca.sub_key, ca.sub, cases[i].usage);
        show(key, own, cases[i].sub ? ca.sub : NULL);
        X509_free(own);
        if (cases[i].genuine)
            assert_works();
        else
            assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    }
}

static void test_proof_without_certificates_or_signature(void **state)
{
    (void)state;
    static const uint8_t junk[] = {0x30, 0x03, 1, 2, 3};
    assert_int_equal(ds_companion_check(c, NULL, 0, NULL, 0, &e), DS_POLICY);
    assert_int_equal(ds_companion_check(c, junk, sizeof junk, junk, sizeof junk, &e), DS_POLICY);
    uint8_t chain[DS_AGENT_CHAIN_MAX];
    X509 *own = bench_cert(key, BENCH_SERIAL, ca.sub_key, ca.sub, "clientAuth");
    size_t len = bench_chain((X509 *const[]){own, ca.sub}, 2, chain);
    X509_free(own);
    assert_int_equal(ds_companion_check(c, chain, len, NULL, 0, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "does not hold the key"));
    assert_int_equal(ds_companion_check(c, chain, len - 1, junk, 1, &e), DS_POLICY);
    chain[len] = 0;
    assert_int_equal(ds_companion_check(c, chain, len + 1, junk, 1, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "no certificates"));
}

static void test_counterfeit_with_its_own_certificate(void **state)
{
    (void)state;
    // Signed by an authority that calls itself as the real one does, and by itself.
    bench_ca false_ca;
    bench_ca_init(&false_ca, "Product");
    X509 *own = bench_cert(other_key, BENCH_SERIAL, false_ca.sub_key, false_ca.sub, "clientAuth");
    show(other_key, own, false_ca.sub);
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    show(other_key, own, ca.sub);
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    X509_free(own);
    bench_ca_free(&false_ca);
}

static void test_counterfeit_with_a_genuine_chain_and_another_key(void **state)
{
    (void)state;
    uint8_t *der = NULL;
    int len = i2d_PrivateKey(other_key, &der);
    // Its firmware is the counterfeiter's: it would not care that key and certificate differ.
    put(&b.port, DS_AREA_ENCRYPTED, "stamp", "key", DS_VALUE_BLOB, der, (size_t)len);
    OPENSSL_free(der);
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    assert_non_null(strstr(e.text, "does not hold the key"));
}

static void test_device_that_is_not_sealed_shows_nothing(void **state)
{
    (void)state;
    uint8_t chain[DS_AGENT_CHAIN_MAX];
    X509 *own = bench_cert(key, BENCH_SERIAL, ca.sub_key, ca.sub, "clientAuth");
    size_t len = bench_chain((X509 *const[]){own, ca.sub}, 2, chain);
    X509_free(own);
    bench_stamped(&b, key, chain, len);
    assert_refused(DS_POLICY, DS_COMPANION_NOT_SEALED);
    assert_int_equal(ds_app_migrate(&b.port.agent), 0);
    static const char *const pops[] = {"", "short77"};
    for (size_t i = 0; i < 2; i++) {
        put(&b.port, DS_AREA_ENCRYPTED, "stamp", "pop", DS_VALUE_STRING, pops[i], strlen(pops[i]));
        assert_refused(DS_POLICY, DS_COMPANION_NOT_SEALED);
    }
}

// ---- Credentials

static enum ds_class hand(size_t ssid, size_t passphrase, size_t extra, bool unchecked)
{
    static const uint8_t a[600] = {'a'};
    const ds_companion_credentials k = {
        .ssid = a, .ssid_len = ssid, .passphrase = a, .passphrase_len = passphrase, .extra = a, .extra_len = extra};
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    if (!unchecked)
        return ds_companion_hand_over(c, &wire, &k, &e);
    // An app that does not look at them.
    uint8_t fields[1000] = {0}, sealed[1100], message[1200], reply[DS_OWNER_REPLY_MAX];
    Devstamp__Owner__Credentials m = DEVSTAMP__OWNER__CREDENTIALS__INIT;
    m.ssid = (ProtobufCBinaryData){.data = fields, .len = ssid};
    m.passphrase = (ProtobufCBinaryData){.data = fields, .len = passphrase};
    m.extra = (ProtobufCBinaryData){.data = fields, .len = extra};
    size_t len = devstamp__owner__credentials__pack(&m, sealed);
    assert_true(ds_companion_seal(c->keys.parcel, sealed, len));
    Devstamp__Owner__Parcel parcel = DEVSTAMP__OWNER__PARCEL__INIT;
    Devstamp__Owner__Request q = DEVSTAMP__OWNER__REQUEST__INIT;
    parcel.sealed = (ProtobufCBinaryData){.data = sealed, .len = len + DS_COMPANION_SEAL};
    q.body_case = DEVSTAMP__OWNER__REQUEST__BODY_PARCEL;
    q.parcel = &parcel;
    c->stage = DS_COMPANION_HANDING;
    len = devstamp__owner__request__pack(&q, message);
    len = ds_owner_handle(&b.owner, message, len, reply, sizeof reply);
    ds_companion_message none;
    return ds_companion_feed(c, reply, len, &none, &e);
}

static void test_credentials_within_their_bounds(void **state)
{
    (void)state;
    static const size_t good[][3] = {{1, 0, 0}, {32, 8, 0}, {32, 64, 512}};
    static const size_t bad[][3] = {{0, 8, 0}, {33, 8, 0}, {4, 7, 0}, {4, 65, 0}, {4, 8, 513}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(hand(good[i][0], good[i][1], good[i][2], false), DS_OK);
        assert_int_equal(b.extra_len, good[i][2]);
    }
    assert_int_equal(b.taken, 3);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(hand(bad[i][0], bad[i][1], bad[i][2], false), DS_INPUT);
        assert_int_equal(hand(bad[i][0], bad[i][1], bad[i][2], true), DS_INPUT);
        assert_int_equal(e.code, DS_COMPANION_NOT_TAKEN);
    }
    assert_int_equal(b.taken, 3);
}

static void test_credentials_the_firmware_cannot_take(void **state)
{
    (void)state;
    b.take_status = DS_STATUS(OWNER, BAD_REQUEST);
    assert_int_equal(hand(4, 8, 0, false), DS_INPUT);
    assert_int_equal(e.code, DS_COMPANION_NOT_TAKEN);
    b.take_status = DS_STATUS(OWNER, FLASH);
    assert_int_equal(hand(4, 8, 0, false), DS_DEVICE);
    assert_int_equal(e.code, DS_COMPANION_DEVICE_FAILED);
    b.take_status = DS_STATUS_OK;
    assert_works();
    ds_owner_init(&b.owner, &b.port.agent, NULL, NULL);
    assert_int_equal(hand(4, 8, 0, false), DS_INPUT);
    assert_int_equal(e.code, DS_COMPANION_NOT_TAKEN);
}

static void test_default_keeps_credentials_in_encrypted_storage(void **state)
{
    (void)state;
    ds_owner_init(&b.owner, &b.port.agent, ds_owner_store_wifi, &b.port.agent);
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, &e), DS_OK);
    const fake_value *ssid = fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", "ssid");
    const fake_value *pass = fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", "pass");
    assert_non_null(ssid);
    assert_non_null(pass);
    assert_memory_equal(ssid->data, "home", 4);
    assert_int_equal(pass->len, 13);
    assert_null(fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", "extra"));
    assert_false(b.port.areas[DS_AREA_PLAIN].touched);
    // A name with a NUL in it is no string.
    const ds_companion_credentials k = {.ssid = (const uint8_t *)"a\0b", .ssid_len = 3};
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    assert_int_equal(ds_companion_hand_over(c, &wire, &k, &e), DS_INPUT);
    // Storage that fails is said so.
    b.port.lose_set = b.port.sets + 1;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    const ds_companion_credentials open = {.ssid = (const uint8_t *)"cafe", .ssid_len = 4};
    assert_int_equal(ds_companion_hand_over(c, &wire, &open, &e), DS_DEVICE);
    b.port.lose_set = 0;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    assert_int_equal(ds_companion_hand_over(c, &wire, &open, &e), DS_OK);
    assert_int_equal(fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", "pass")->len, 0);
}

static bool has_wifi(const char *which, const char *text)
{
    const fake_value *v = fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", which);
    return v && v->len == strlen(text) && memcmp(v->data, text, v->len) == 0;
}

// A new owner's credentials replace all of the one's before. Power may go at any write: a name is there only with the
// passphrase that belongs to it.
static void test_default_never_mixes_two_owners(void **state)
{
    (void)state;
    const ds_owner_credentials first = {.ssid = (const uint8_t *)"one",
                                        .ssid_len = 3,
                                        .passphrase = (const uint8_t *)"passphrase 1",
                                        .passphrase_len = 12,
                                        .extra = (const uint8_t *)"claim",
                                        .extra_len = 5},
                               second = {.ssid = (const uint8_t *)"two",
                                         .ssid_len = 3,
                                         .passphrase = (const uint8_t *)"passphrase 2",
                                         .passphrase_len = 12};
    ds_agent *a = &b.port.agent;
    for (long cut = 1, done = 0; !done; cut++) {
        assert_int_equal(ds_owner_store_wifi(a, &first), DS_STATUS_OK);
        b.port.power_write = b.port.writes + cut;
        done = ds_owner_store_wifi(a, &second) == DS_STATUS_OK;
        fake_power_on(&b.port, DS_AGENT_APP);
        if (fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", "ssid"))
            assert_true((!done && has_wifi("ssid", "one") && has_wifi("pass", "passphrase 1")) ||
                        (has_wifi("ssid", "two") && has_wifi("pass", "passphrase 2")));
        else
            assert_false(done);
    }
    assert_null(fake_find(&b.port, DS_AREA_ENCRYPTED, "wifi", "extra"));
}

// ---- Vectors

static void test_vectors_of_the_document(void **state)
{
    (void)state;
    uint8_t points[130], z[32], prk[32], k[32];
    ds_rng rng = {.a = &b.port.agent};
    memcpy(points, vector_point_x, 65);
    memcpy(points + 65, vector_point_y, 65);
    assert_int_equal(ds_owner_ecdh(&rng, vector_secret_y, vector_point_x, z), 0);
    assert_memory_equal(z, vector_z, 32);
    assert_true(ds_owner_extract(points, z, vector_pop, sizeof vector_pop, prk));
    assert_memory_equal(prk, vector_prk, 32);
    static const struct {
        const char *name;
        const uint8_t *key;
    } keys[] = {{"owner tag", vector_owner_tag},
                {"proof key", vector_proof_key},
                {"parcel key", vector_parcel_key},
                {"receipt key", vector_receipt_key}};
    for (size_t i = 0; i < 4; i++) {
        assert_true(ds_owner_expand(prk, keys[i].name, k));
        assert_memory_equal(k, keys[i].key, 32);
    }
    ds_companion_keys host;
    uint8_t transcript[sizeof DS_COMPANION_TAG + 130];
    memcpy(transcript, DS_COMPANION_TAG, sizeof DS_COMPANION_TAG);
    memcpy(transcript + sizeof DS_COMPANION_TAG, points, 130);
    assert_true(ds_companion_derive(transcript, sizeof transcript, z, vector_pop, sizeof vector_pop, &host));
    assert_memory_equal(host.tag, vector_owner_tag, 32);
    assert_memory_equal(host.proof, vector_proof_key, 32);
    assert_memory_equal(host.parcel, vector_parcel_key, 32);
    assert_memory_equal(host.receipt, vector_receipt_key, 32);
    uint8_t sealed[sizeof vector_sealed_credentials];
    memcpy(sealed, vector_credentials, sizeof vector_credentials);
    assert_true(ds_companion_seal(host.parcel, sealed, sizeof vector_credentials));
    assert_memory_equal(sealed, vector_sealed_credentials, sizeof sealed);
    size_t len;
    assert_true(ds_owner_unseal(vector_parcel_key, sealed, sizeof sealed, &len));
    assert_int_equal(len, sizeof vector_credentials);
    assert_memory_equal(sealed, vector_credentials, len);
}

// The device's half with the ephemeral key of the vectors: whole messages, byte by byte.
static void test_vectors_as_messages(void **state)
{
    (void)state;
    uint8_t reply[DS_OWNER_REPLY_MAX];
    memcpy(b.owner.secret, vector_secret_y, 32);
    memcpy(b.owner.points + 65, vector_point_y, 65);
    b.owner.stage = DS_OWNER_OPENED;
    size_t len = ds_owner_handle(&b.owner, vector_challenge, sizeof vector_challenge, reply, sizeof reply);
    assert_int_equal(bench_status(reply, len), STATUS(OK));
    len = ds_owner_handle(&b.owner, vector_parcel, sizeof vector_parcel, reply, sizeof reply);
    assert_int_equal(len, sizeof vector_receipt);
    assert_memory_equal(reply, vector_receipt, len);
    assert_string_equal(b.passphrase, "correct horse");
}

static void test_configuration_is_checked(void **state)
{
    (void)state;
    ds_companion *none = NULL;
    const ds_companion_config good = {.roots = ca.pem,
                                      .roots_len = ca.pem_len,
                                      .name = BENCH_SERIAL,
                                      .pop = (const uint8_t *)BENCH_POP,
                                      .pop_len = strlen(BENCH_POP)};
    char name[70];
    memset(name, 'n', sizeof name);
    name[64] = 0;
    ds_companion_config bad[6];
    for (size_t i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].roots_len = 40;
    bad[1].roots = NULL;
    bad[2].name = "";
    bad[3].name = name;
    bad[4].pop_len = 7;
    bad[5].pop_len = 65;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(ds_companion_new(&bad[i], &none, &e), DS_INPUT);
        assert_null(none);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_genuine_with_keys_of_every_kind),
        TEST(test_nothing_readable_goes_over_the_wire),
        TEST(test_proof_in_pieces),
        TEST(test_wrong_secret_is_refused_and_counted),
        TEST(test_session_ends_in_time),
        TEST(test_right_secret_forgives_the_wrong_ones),
        TEST(test_wrong_root_name_or_time),
        TEST(test_certificates_that_are_no_devices),
        TEST(test_proof_without_certificates_or_signature),
        TEST(test_counterfeit_with_its_own_certificate),
        TEST(test_counterfeit_with_a_genuine_chain_and_another_key),
        TEST(test_device_that_is_not_sealed_shows_nothing),
        TEST(test_credentials_within_their_bounds),
        TEST(test_credentials_the_firmware_cannot_take),
        TEST(test_default_keeps_credentials_in_encrypted_storage),
        TEST(test_default_never_mixes_two_owners),
        TEST(test_vectors_of_the_document),
        TEST(test_vectors_as_messages),
        TEST(test_configuration_is_checked),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
