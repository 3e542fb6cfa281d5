// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner handshake, both halves: a genuine device is found genuine and takes credentials; whatever is changed,
// replayed, cut off or made up on the way, and whoever else sits at either end, gets neither a proof nor credentials.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/owner_bench.h"
#include "tests/unit/owner_vectors.h"

#define STATUS(x) DEVSTAMP__OWNER__STATUS__STATUS_##x

static bench_ca ca, other_ca;
static EVP_PKEY *key, *other_key;
static bench b;
static ds_companion *c;
static ds_companion_transport wire;
static ds_err e;

static int setup(void **state)
{
    (void)state;
    bench_init(&b, &ca, key);
    c = bench_owner(&ca);
    wire = bench_wire(&b);
    e = DS_ERR_INIT;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ds_companion_free(c);
    return 0;
}

static void replace_owner(const char *name, const char *pop, const bench_ca *root, int64_t now_utc)
{
    const ds_companion_config g = {.roots = root->pem,
                                   .roots_len = root->pem_len,
                                   .name = name,
                                   .pop = (const uint8_t *)pop,
                                   .pop_len = strlen(pop),
                                   .now_utc = now_utc};
    ds_companion_free(c);
    assert_int_equal(ds_companion_new(&g, &c, &e), DS_OK);
}

// Nothing of the device's identity went over the wire or stayed with the owner, and nothing was taken.
static void assert_refused(enum ds_class cls, enum ds_companion_code code)
{
    assert_int_equal(ds_companion_verify(c, &wire, &e), cls);
    assert_int_equal(e.code, code);
    assert_null(ds_companion_get_device(c));
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, NULL), DS_POLICY);
    assert_int_equal(b.taken, 0);
}

static void assert_works(void)
{
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    int taken = b.taken;
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, &e), DS_OK);
    assert_int_equal(b.taken, taken + 1);
    assert_string_equal(b.ssid, "home");
    assert_string_equal(b.passphrase, "correct horse");
}

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
    replace_owner(BENCH_SERIAL, BENCH_POP, &ca, 1500000000); // 2017
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
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

// ---- Who sits in the middle

static uint8_t foreign_point[DS_COMPANION_POINT];
static bool swap_reply;

static void swap_point(bench *w, bool reply, uint8_t *data, size_t *len)
{
    (void)w;
    // The first point of a message lies behind four bytes of headers, five in a challenge (docs/owner.md).
    size_t at = reply ? 4 : 5;
    if (reply == swap_reply && *len >= at + DS_COMPANION_POINT && data[at - 1] == DS_COMPANION_POINT && data[at] == 4)
        memcpy(data + at, foreign_point, sizeof foreign_point);
}

static void test_relay_that_swaps_a_point_gets_nothing(void **state)
{
    (void)state;
    EVP_PKEY_free(ds_companion_keypair(foreign_point));
    b.meddle = swap_point;
    swap_reply = true;
    assert_refused(DS_DEVICE, DS_COMPANION_LOST_SESSION);
    assert_int_equal(b.owner.wrong, 0);
    swap_reply = false;
    assert_refused(DS_INPUT, DS_COMPANION_WRONG_SECRET);
    assert_int_equal(b.owner.wrong, 1);
}

// Who knows the label's secret, but has no device key: talks to the genuine device as an owner, and to the owner as the
// device, with the genuine proof for its own session.
static EVP_PKEY *middle_key;
static uint8_t middle_point[DS_COMPANION_POINT], stolen[DS_OWNER_REPLY_MAX];
static size_t stolen_len;

static void steal_identity(void)
{
    ds_companion *thief = bench_owner(&ca);
    assert_int_equal(ds_companion_verify(thief, &wire, &e), DS_OK);
    stolen_len = thief->proof_len - DS_COMPANION_SEAL; // proof was decrypted in place
    memcpy(stolen, thief->proof, stolen_len);
    ds_companion_free(thief);
}

static void answer_with(bench *w, Devstamp__Owner__Reply *r)
{
    w->reply_len = devstamp__owner__reply__pack(r, w->reply);
}

static void stand_in(bench *w, bool reply, uint8_t *data, size_t *len)
{
    (void)data, (void)len;
    if (!reply)
        return;
    Devstamp__Owner__Reply r = DEVSTAMP__OWNER__REPLY__INIT;
    Devstamp__Owner__Opened opened = DEVSTAMP__OWNER__OPENED__INIT;
    Devstamp__Owner__Proof proof = DEVSTAMP__OWNER__PROOF__INIT;
    Devstamp__Owner__Request *q = devstamp__owner__request__unpack(NULL, w->last_len, w->last);
    if (q->body_case == DEVSTAMP__OWNER__REQUEST__BODY_OPEN) {
        opened.device_point = (ProtobufCBinaryData){.data = middle_point, .len = sizeof middle_point};
        r.body_case = DEVSTAMP__OWNER__REPLY__BODY_OPENED;
        r.opened = &opened;
        answer_with(w, &r);
    } else {
        uint8_t transcript[sizeof DS_COMPANION_TAG + 2 * DS_COMPANION_POINT], z[32],
            sealed[DS_OWNER_REPLY_MAX + DS_COMPANION_SEAL];
        ds_companion_keys keys;
        memcpy(transcript, DS_COMPANION_TAG, sizeof DS_COMPANION_TAG);
        memcpy(transcript + sizeof DS_COMPANION_TAG, q->challenge->owner_point.data, DS_COMPANION_POINT);
        memcpy(transcript + sizeof DS_COMPANION_TAG + DS_COMPANION_POINT, middle_point, DS_COMPANION_POINT);
        assert_true(ds_companion_ecdh(middle_key, q->challenge->owner_point.data, z));
        assert_true(ds_companion_derive(transcript, sizeof transcript, z, (const uint8_t *)BENCH_POP, strlen(BENCH_POP),
                                        &keys));
        assert_memory_equal(keys.tag, q->challenge->tag.data, 32); // it does know the secret
        memcpy(sealed, stolen, stolen_len);
        assert_true(ds_companion_seal(keys.proof, sealed, stolen_len));
        proof.sealed = (ProtobufCBinaryData){.data = sealed, .len = stolen_len + DS_COMPANION_SEAL};
        proof.total = (uint32_t)proof.sealed.len;
        r.body_case = DEVSTAMP__OWNER__REPLY__BODY_PROOF;
        r.proof = &proof;
        answer_with(w, &r);
    }
    devstamp__owner__request__free_unpacked(q, NULL);
}

static void test_middle_that_knows_the_secret_is_no_device(void **state)
{
    (void)state;
    steal_identity();
    middle_key = ds_companion_keypair(middle_point);
    b.meddle = stand_in;
    assert_refused(DS_POLICY, DS_COMPANION_COUNTERFEIT);
    assert_non_null(strstr(e.text, "does not hold the key"));
    EVP_PKEY_free(middle_key);
}

// ---- Bytes that are changed, cut off, or sent again

// Which exchange, whose bytes, and what is done to them.
static int hit_exchange;
static bool hit_reply;
static size_t hit_at;
static uint8_t hit_mask; // 0: cut off there
static bool hit_done;

static void hit(bench *w, bool reply, uint8_t *data, size_t *len)
{
    if (w->exchanges != hit_exchange || reply != hit_reply)
        return;
    hit_done = hit_at < *len;
    if (!hit_done)
        return;
    if (hit_mask)
        data[hit_at] ^= hit_mask;
    else
        *len = hit_at;
}

// As ds_companion_verify, without beginning anew.
static bool verify_once(void)
{
    uint8_t reply[DS_COMPANION_REPLY_MAX];
    ds_companion_message m;
    size_t len = 0;
    bool ok = ds_companion_begin(c, &m, &e) == DS_OK;
    while (ok && m.len)
        ok = bench_exchange(&b, m.ptr, m.len, reply, sizeof reply, &len, &e) == DS_OK &&
             ds_companion_feed(c, reply, len, &m, &e) == DS_OK;
    return ok;
}

// The whole way with one thing wrong; true where all the same everything came to its right end.
static bool whole_way(void)
{
    b.exchanges = b.taken = 0;
    ds_owner_init(&b.owner, &b.port.agent, bench_take, &b);
    bool ok = verify_once() && ds_companion_hand_over(c, &wire, &bench_wifi, &e) == DS_OK;
    if (b.taken) {
        // Whatever the owner saw of it: only a device that was found genuine has the credentials, and the right ones.
        assert_string_equal(b.ssid, "home");
        assert_string_equal(b.passphrase, "correct horse");
        assert_int_equal(b.taken, 1);
    }
    assert_true(b.taken || !ok);
    return ok;
}

static void hit_every(uint8_t mask, size_t step)
{
    size_t passed = 0, failed = 0;
    b.meddle = hit;
    hit_mask = mask;
    for (hit_exchange = 1; hit_exchange <= 3; hit_exchange++) {
        for (int reply = 0; reply < 2; reply++) {
            hit_reply = reply != 0;
            hit_done = true;
            for (hit_at = 0; hit_done; hit_at += hit_at > 150 ? step : 1) {
                hit_done = false;
                bool ok = whole_way();
                if (hit_done)
                    *(ok ? &passed : &failed) += 1;
            }
        }
    }
    // What may be changed without harm is next to nothing: how large a piece is asked for, and fields nobody knows.
    assert_true(failed > 300);
    assert_true(passed < failed / 20);
}

static void test_every_byte_changed(void **state)
{
    (void)state;
    hit_every(0x01, 31);
}

static void test_every_byte_changed_high(void **state)
{
    (void)state;
    hit_every(0x80, 31);
}

static void test_every_message_cut_off(void **state)
{
    (void)state;
    hit_every(0, 31);
}

static uint8_t sent[4][DS_OWNER_MESSAGE_MAX];
static size_t sent_len[4];

static void record(bench *w, bool reply, uint8_t *data, size_t *len)
{
    if (!reply && w->exchanges < 4) {
        memcpy(sent[w->exchanges], data, *len);
        sent_len[w->exchanges] = *len;
    }
}

static int say(int which, uint8_t *reply, size_t *ret_len)
{
    *ret_len = ds_owner_handle(&b.owner, sent[which], sent_len[which], reply, DS_OWNER_REPLY_MAX);
    return bench_status(reply, *ret_len);
}

static void test_recorded_messages_are_worth_nothing_later(void **state)
{
    (void)state;
    uint8_t reply[DS_OWNER_REPLY_MAX];
    size_t len;
    b.meddle = record;
    assert_works();
    assert_int_equal(say(1, reply, &len), STATUS(OK)); // anybody may begin
    assert_int_equal(say(3, reply, &len), STATUS(NO_SESSION));
    assert_int_equal(say(2, reply, &len), STATUS(NO_SESSION)); // it answers another point
    assert_int_equal(b.owner.wrong, 0);
    memcpy(sent[2] + 5 + DS_OWNER_POINT + 2, b.owner.points + DS_OWNER_POINT, DS_OWNER_POINT);
    assert_int_equal(say(2, reply, &len), STATUS(REFUSED));    // a tag is for one point alone
    assert_int_equal(say(2, reply, &len), STATUS(NO_SESSION)); // a try costs a session
    assert_int_equal(b.owner.wrong, 1);
    // In the middle of a session that is another's.
    b.meddle = NULL;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    assert_int_equal(say(2, reply, &len), STATUS(NO_SESSION));
    assert_int_equal(say(3, reply, &len), STATUS(BAD_MESSAGE));
    assert_int_equal(b.taken, 1);
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, &e), DS_OK);
    assert_int_equal(b.taken, 2);
}

static void test_same_message_gets_the_same_reply(void **state)
{
    (void)state;
    uint8_t first[DS_OWNER_REPLY_MAX], again[DS_OWNER_REPLY_MAX];
    size_t first_len, again_len;
    b.meddle = record;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_OK);
    memcpy(first, b.reply, b.reply_len);
    first_len = b.reply_len;
    assert_int_equal(say(2, again, &again_len), STATUS(OK));
    assert_int_equal(again_len, first_len);
    assert_memory_equal(again, first, first_len);
    assert_int_equal(ds_companion_hand_over(c, &wire, &bench_wifi, &e), DS_OK);
    assert_int_equal(say(3, again, &again_len), STATUS(OK));
    assert_int_equal(again_len, b.reply_len);
    assert_memory_equal(again, b.reply, again_len);
    assert_int_equal(b.taken, 1);
    // Another parcel in this session is not taken.
    sent[3][sent_len[3] - 1] ^= 1;
    assert_int_equal(say(3, again, &again_len), STATUS(NO_SESSION));
    assert_int_equal(b.taken, 1);
}

static int disturbances;

static void disturb(bench *w, bool reply, uint8_t *data, size_t *len)
{
    (void)data, (void)len;
    static const uint8_t open[] = {0x0A, 2, 0x08, 1};
    uint8_t thrown[DS_OWNER_REPLY_MAX];
    // Just before a challenge arrives, somebody else takes the session, and may drop it.
    if (reply || disturbances == 0 || w->last[0] != 0x12)
        return;
    ds_owner_handle(&w->owner, open, sizeof open, thrown, sizeof thrown);
    if (disturbances-- % 2 == 0)
        ds_owner_close(&w->owner);
}

static void test_disturbed_session_begins_anew(void **state)
{
    (void)state;
    b.meddle = disturb;
    disturbances = 2;
    assert_works();
    disturbances = 3;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_DEVICE);
    assert_int_equal(e.code, DS_COMPANION_LOST_SESSION);
    assert_int_equal(b.owner.wrong, 0);
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

// ---- Faults, order, vectors

static void test_every_port_call_fails_once(void **state)
{
    (void)state;
    bool reached = true;
    int failures = 0;
    for (long n = 1; reached; n++) {
        b.port.fail_call = b.port.calls + n;
        long last = b.port.fail_call;
        bool ok = whole_way();
        reached = b.port.calls >= last;
        failures += !ok;
        b.port.fail_call = 0;
        assert_true(whole_way());
    }
    assert_true(failures > 5);
    b.port.stuck_random = true;
    assert_int_equal(ds_companion_verify(c, &wire, &e), DS_DEVICE);
}

static void test_messages_out_of_order(void **state)
{
    (void)state;
    uint8_t reply[DS_OWNER_REPLY_MAX];
    size_t len;
    b.meddle = record;
    assert_works();
    b.meddle = NULL;
    ds_owner_init(&b.owner, &b.port.agent, bench_take, &b);
    assert_int_equal(say(2, reply, &len), STATUS(NO_SESSION));
    assert_int_equal(say(3, reply, &len), STATUS(NO_SESSION));
    static const uint8_t more[] = {0x1A, 0}, none[] = {0}, version[] = {0x0A, 2, 0x08, 2};
    assert_int_equal(bench_status(reply, ds_owner_handle(&b.owner, more, 2, reply, sizeof reply)), STATUS(NO_SESSION));
    assert_int_equal(bench_status(reply, ds_owner_handle(&b.owner, none, 0, reply, sizeof reply)), STATUS(BAD_MESSAGE));
    assert_int_equal(bench_status(reply, ds_owner_handle(&b.owner, version, 4, reply, sizeof reply)),
                     STATUS(BAD_MESSAGE));
    assert_int_equal(ds_owner_handle(&b.owner, more, 2, reply, sizeof reply - 1), 0);
    // The owner's side takes no reply that it does not wait for.
    ds_companion_message m;
    uint8_t opened[DS_OWNER_REPLY_MAX];
    size_t opened_len = ds_owner_handle(&b.owner, sent[1], sent_len[1], opened, sizeof opened);
    assert_int_equal(ds_companion_feed(c, opened, opened_len, &m, &e), DS_DEVICE);
    assert_int_equal(ds_companion_begin(c, &m, &e), DS_OK);
    assert_int_equal(ds_companion_feed(c, b.reply, b.reply_len, &m, &e), DS_DEVICE);
    assert_int_equal(e.code, DS_COMPANION_BAD_REPLY);
    assert_null(ds_companion_get_device(c));
}

static void test_points_that_are_none(void **state)
{
    (void)state;
    uint8_t secret[32], point[65], z[32];
    ds_rng rng = {.a = &b.port.agent};
    assert_int_equal(ds_owner_keypair(&rng, secret, point), 0);
    EVP_PKEY *own = ds_companion_keypair(foreign_point);
    assert_int_equal(ds_owner_ecdh(&rng, secret, foreign_point, z), 0);
    uint8_t same[32];
    assert_true(ds_companion_ecdh(own, point, same));
    assert_memory_equal(z, same, 32);
    static const uint8_t zero[65] = {4};
    uint8_t off[65], hybrid[65];
    memcpy(off, foreign_point, 65);
    off[64] ^= 1;
    memcpy(hybrid, foreign_point, 65);
    hybrid[0] = (uint8_t)(6 | (hybrid[64] & 1));
    const uint8_t *bad[] = {zero, off, hybrid};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(DS_STATUS_CODE(ds_owner_ecdh(&rng, secret, bad[i], z)),
                         DEVSTAMP__STATUS_CODE__CODE_BAD_REQUEST);
        assert_false(ds_companion_ecdh(own, bad[i], z));
    }
    EVP_PKEY_free(own);
}

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

static int group_setup(void **state)
{
    (void)state;
    bench_ca_init(&ca, "Product");
    bench_ca_init(&other_ca, "Another");
    key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    bench_ca_free(&ca);
    bench_ca_free(&other_ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_genuine_with_keys_of_every_kind),
        TEST(test_nothing_readable_goes_over_the_wire),
        TEST(test_proof_in_pieces),
        TEST(test_wrong_secret_is_refused_and_counted),
        TEST(test_right_secret_forgives_the_wrong_ones),
        TEST(test_wrong_root_name_or_time),
        TEST(test_certificates_that_are_no_devices),
        TEST(test_proof_without_certificates_or_signature),
        TEST(test_counterfeit_with_its_own_certificate),
        TEST(test_counterfeit_with_a_genuine_chain_and_another_key),
        TEST(test_device_that_is_not_sealed_shows_nothing),
        TEST(test_relay_that_swaps_a_point_gets_nothing),
        TEST(test_middle_that_knows_the_secret_is_no_device),
        TEST(test_every_byte_changed),
        TEST(test_every_byte_changed_high),
        TEST(test_every_message_cut_off),
        TEST(test_recorded_messages_are_worth_nothing_later),
        TEST(test_same_message_gets_the_same_reply),
        TEST(test_disturbed_session_begins_anew),
        TEST(test_credentials_within_their_bounds),
        TEST(test_credentials_the_firmware_cannot_take),
        TEST(test_default_keeps_credentials_in_encrypted_storage),
        TEST(test_every_port_call_fails_once),
        TEST(test_messages_out_of_order),
        TEST(test_points_that_are_none),
        TEST(test_vectors_of_the_document),
        TEST(test_vectors_as_messages),
        TEST(test_configuration_is_checked),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
