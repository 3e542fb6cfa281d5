// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner handshake with somebody in the middle, with messages that are changed, cut off or sent again, and with
// faults.
#include "tests/unit/handshake_common.h"

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

// ---- Faults and order

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_relay_that_swaps_a_point_gets_nothing),
        TEST(test_middle_that_knows_the_secret_is_no_device),
        TEST(test_every_byte_changed),
        TEST(test_every_byte_changed_high),
        TEST(test_every_message_cut_off),
        TEST(test_recorded_messages_are_worth_nothing_later),
        TEST(test_same_message_gets_the_same_reply),
        TEST(test_disturbed_session_begins_anew),
        TEST(test_every_port_call_fails_once),
        TEST(test_messages_out_of_order),
        TEST(test_points_that_are_none),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
