// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A key that the signer makes and seals, and the agent that takes it: whole, refused, and with power lost at every
// write or any call to the platform failing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "src/signer/keymaker.h"

#include <openssl/bn.h>

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
static EVP_PKEY *keys[5]; // by type

static int setup(void **state)
{
    (void)state;
    fake_init(&f, 3);
    fake_station_init(&st);
    return 0;
}

static int make_keys(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_keymaker_guard(&e), DS_OK);
    for (int type = 1; type <= 4; type++)
        assert_int_equal(ds_key_make((enum ds_key_type)type, &keys[type], &e), DS_OK);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    for (int type = 1; type <= 4; type++)
        EVP_PKEY_free(keys[type]);
    return 0;
}

static int open_import(uint8_t ret[65])
{
    Devstamp__OpenImport m = DEVSTAMP__OPEN_IMPORT__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_OPEN_IMPORT;
    q.open_import = &m;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    if (r == NULL)
        return -1;
    int code = (int)DS_STATUS_CODE(r->status);
    if (code == 0) {
        assert_int_equal(r->import_offer->transport_key.len, 65);
        memcpy(ret, r->import_offer->transport_key.data, 65);
    }
    fake_free(r);
    return code;
}

// A key on its way.
typedef struct parcel {
    ds_made_key made;
    uint8_t digest[32];
    int type;
    bool replace, was_made;
} parcel;

static parcel seal(int type, const uint8_t to[65])
{
    parcel p = {.type = type};
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_keymaker_seal(keys[type], (ds_view){to, 65}, &p.made, &e), DS_OK);
    assert_int_equal(ds_public_key_digest(keys[type], p.digest, &e), DS_OK);
    return p;
}

static int import_key(parcel *p)
{
    Devstamp__ImportKey m = DEVSTAMP__IMPORT_KEY__INIT;
    m.type = (Devstamp__KeyType)p->type;
    m.public_key_digest = (ProtobufCBinaryData){sizeof p->digest, p->digest};
    m.encapsulated = (ProtobufCBinaryData){sizeof p->made.encapsulated, p->made.encapsulated};
    m.sealed = (ProtobufCBinaryData){p->made.sealed.len, p->made.sealed.ptr};
    m.replace = p->replace;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_IMPORT_KEY;
    q.import_key = &m;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    if (r == NULL)
        return -1;
    int code = (int)DS_STATUS_CODE(r->status);
    if (code == 0) {
        p->was_made = r->key->made;
        assert_int_equal(r->key->type, p->type);
        assert_int_equal(r->key->public_key.len, p->made.spki.len);
        assert_memory_equal(r->key->public_key.data, p->made.spki.ptr, p->made.spki.len);
        memcpy(st.public_key, r->key->public_key.data, r->key->public_key.len);
        st.public_key_len = r->key->public_key.len;
    }
    fake_free(r);
    return code;
}

static bool hello_says_imported(void)
{
    Devstamp__Hello m = DEVSTAMP__HELLO__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    q.hello = &m;
    Devstamp__Response *r = fake_call(&f, &st, &q);
    assert_non_null(r);
    assert_int_equal(r->status, 0);
    assert_true(r->hello->imports_keys);
    bool imported = r->hello->key_imported;
    fake_free(r);
    return imported;
}

static void assert_secret_is_in_storage_alone(int type)
{
    BIGNUM *n = NULL;
    uint8_t secret[512];
    assert_int_equal(EVP_PKEY_get_bn_param(keys[type], type <= RSA3072 ? "rsa-factor1" : "priv", &n), 1);
    int len = BN_bn2bin(n, secret);
    BN_clear_free(n);
    assert_true(len >= 30);
    assert_true(fake_contains(f.areas, sizeof f.areas, secret, 16));
    assert_false(fake_leaks(&f, secret, 16));
    assert_false(fake_contains(f.frame, sizeof f.frame, secret, 16));
    assert_false(fake_contains(f.scratch, sizeof f.scratch, secret, 16));
    static const uint8_t zeros[32];
    assert_memory_equal(f.agent.transport, zeros, 32);
}

static void whole(int type)
{
    uint8_t to[65], again[65];
    assert_false(hello_says_imported());
    assert_int_equal(open_import(to), 0);
    assert_int_equal(open_import(again), 0);
    assert_memory_equal(to, again, 65); // kept while the transfer is open
    parcel p = seal(type, to);
    assert_int_equal(import_key(&p), 0);
    assert_true(p.was_made);
    assert_secret_is_in_storage_alone(type);
    assert_int_equal(import_key(&p), 0); // the answer was lost
    assert_false(p.was_made);
    fake_power_on(&f, DS_AGENT_MFG);
    assert_int_equal(import_key(&p), 0);
    assert_false(p.was_made);
    assert_true(hello_says_imported());
    assert_int_equal(open_import(again), 0);
    assert_memory_not_equal(to, again, 65); // one transfer, one key
    // The key is the device's as any other: it makes no new one, asks with it, and is certified.
    bool made = true;
    assert_int_equal(fake_make_key(&f, &st, type, false, &made), 0);
    assert_false(made);
    fake_issue(&st, st.public_key, st.public_key_len, &st.device);
    assert_int_equal(fake_write_chain(&f, &st, &st.device), 0);
    assert_int_equal(import_key(&p), 0);
    int other = type == P256 ? P384 : P256;
    parcel q = seal(other, again);
    q.replace = true;
    assert_int_equal(import_key(&q), CODE(EXISTS)); // certified
    ds_made_key_free(&q.made);
    ds_made_key_free(&p.made);
}

static void test_p256_whole(void **state)
{
    (void)state;
    whole(P256);
}

static void test_p384_whole(void **state)
{
    (void)state;
    whole(P384);
}

static void test_rsa2048_whole(void **state)
{
    (void)state;
    whole(RSA2048);
}

static void test_rsa3072_whole(void **state)
{
    (void)state;
    whole(RSA3072);
}

static void test_import_refusals(void **state)
{
    (void)state;
    uint8_t to[65], stale[65];
    assert_int_equal(open_import(stale), 0);
    parcel p = seal(P256, stale), q;
    fake_power_on(&f, DS_AGENT_MFG);
    assert_int_equal(import_key(&p), CODE(NOT_FOUND)); // its transport key went with the power
    assert_int_equal(open_import(to), 0);
    assert_int_equal(import_key(&p), CODE(MISMATCH)); // sealed to the key before
    ds_made_key_free(&p.made);
    p = seal(P256, to);
    for (size_t i = 0; i < p.made.sealed.len; i += 13) {
        p.made.sealed.ptr[i] ^= 1;
        assert_int_equal(import_key(&p), CODE(MISMATCH));
        p.made.sealed.ptr[i] ^= 1;
    }
    for (size_t i = 0; i < 65; i += 7) { // mostly no point of the curve
        p.made.encapsulated[i] ^= 1;
        assert_int_equal(import_key(&p), CODE(MISMATCH));
        p.made.encapsulated[i] ^= 1;
    }
    q = p;
    q.digest[0] ^= 1;
    assert_int_equal(import_key(&q), CODE(MISMATCH));
    q = p;
    q.type = P384;
    assert_int_equal(import_key(&q), CODE(MISMATCH));
    q.type = 0;
    assert_int_equal(import_key(&q), CODE(BAD_REQUEST));
    q = p;
    q.made.sealed.len = 16;
    assert_int_equal(import_key(&q), CODE(BAD_REQUEST));
    assert_int_equal(f.sets, 0); // nothing was written
    // A key of the device's own is replaced only where that is asked for, and the mark tells them apart.
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
    assert_false(hello_says_imported());
    assert_int_equal(import_key(&p), CODE(EXISTS));
    p.replace = true;
    assert_int_equal(import_key(&p), 0);
    assert_true(hello_says_imported());
    assert_int_equal(fake_make_key(&f, &st, P256, true, NULL), 0);
    assert_false(hello_says_imported());
    ds_made_key_free(&p.made);
}

static void test_import_of_a_moved_identity_or_in_the_app_is_refused(void **state)
{
    (void)state;
    uint8_t to[65];
    assert_int_equal(open_import(to), 0);
    parcel p = seal(P256, to);
    f.security.flash_encryption = true;
    assert_true(put(&f, DS_AREA_ENCRYPTED, "stamp", "moved", DS_VALUE_U8, "\1", 1));
    p.replace = true;
    assert_int_equal(import_key(&p), CODE(EXISTS));
    fake_power_on(&f, DS_AGENT_APP);
    assert_int_equal(open_import(to), CODE(NOT_ALLOWED));
    assert_int_equal(import_key(&p), CODE(NOT_ALLOWED));
    ds_made_key_free(&p.made);
}

// What the station does, until it holds. Over a key of the device's own, which the import replaces.
static int transfer(void)
{
    uint8_t to[65];
    int code = open_import(to);
    if (code != 0)
        return code;
    parcel p = seal(P256, to);
    p.replace = true;
    code = import_key(&p);
    ds_made_key_free(&p.made);
    return code;
}

static void assert_key_is_whole(bool imported)
{
    uint8_t digest[32], ours[32];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
    assert_true(ds_sha256(st.public_key, st.public_key_len, digest));
    assert_int_equal(ds_public_key_digest(keys[P256], ours, &e), DS_OK);
    bool is_ours = memcmp(digest, ours, 32) == 0;
    if (imported)
        assert_true(is_ours);
    if (is_ours)
        assert_true(hello_says_imported()); // a key from elsewhere never passes for the device's own
}

static void test_power_lost_at_every_write(void **state)
{
    (void)state;
    long writes = 0;
    for (long n = 1; n == 1 || n <= writes; n++) {
        for (int after = 0; after < 2; after++) {
            setup(NULL);
            assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
            long before = f.writes;
            f.power_write = before + n;
            f.power_after = after;
            assert_int_equal(transfer(), -1);
            fake_power_on(&f, DS_AGENT_MFG);
            assert_key_is_whole(false);
            assert_int_equal(transfer(), 0);
            assert_key_is_whole(true);
            if (n == 1 && after == 0) {
                setup(NULL);
                assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
                before = f.writes;
                assert_int_equal(transfer(), 0);
                writes = f.writes - before;
                assert_true(writes >= 2); // mark and key
            }
        }
    }
}

static void test_every_call_of_the_platform_fails_once(void **state)
{
    (void)state;
    for (long n = 1;; n++) {
        setup(NULL);
        assert_int_equal(fake_make_key(&f, &st, P256, false, NULL), 0);
        long before = f.calls;
        f.fail_call = before + n;
        bool failed = transfer() != 0;
        bool over = f.calls < f.fail_call;
        f.fail_call = 0;
        assert_key_is_whole(!failed);
        assert_int_equal(transfer(), 0);
        assert_key_is_whole(true);
        if (over)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_p256_whole, setup),
        cmocka_unit_test_setup(test_p384_whole, setup),
        cmocka_unit_test_setup(test_rsa2048_whole, setup),
        cmocka_unit_test_setup(test_rsa3072_whole, setup),
        cmocka_unit_test_setup(test_import_refusals, setup),
        cmocka_unit_test_setup(test_import_of_a_moved_identity_or_in_the_app_is_refused, setup),
        cmocka_unit_test_setup(test_power_lost_at_every_write, setup),
        cmocka_unit_test_setup(test_every_call_of_the_platform_fails_once, setup),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
