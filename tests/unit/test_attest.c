// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Attestations, as the virtual YubiKey's card makes them and as forgers would. Both sides meet in this test alone.
#include "sim/piv/card.h"

#include "src/base/clock.h"
#include "src/pki/attest_file.h"
#include "src/pki/cert.h"
#include "src/pki/key.h"

#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct bench {
    char folder[32], card[64], root[64];
    ds_piv_card c;
    X509 *leaf, *f9;
    STACK_OF(X509) * chain, *maker;
} bench;

// One command with the officer's rights; the whole answer.
static void ask(bench *b, const char *hex, ds_buf *ret)
{
    uint8_t command[64];
    size_t len = strlen(hex) / 2;
    DS_CLEANUP_BUF ds_buf part = {0};
    assert_true(ds_unhex(hex, command, len));
    b->c.session.administrator = true;
    for (int more = 1; more;) {
        ds_piv_card_run(&b->c, (ds_view){command, len}, &part);
        assert_true(part.len >= 2);
        more = part.ptr[part.len - 2] == 0x61;
        if (!more && part.ptr[part.len - 2] != 0x90)
            fail_msg("%s: %02x%02x", hex, part.ptr[part.len - 2], part.ptr[part.len - 1]);
        ds_buf_add(ret, part.ptr, part.len - 2);
        memcpy(command, (const uint8_t[]){0, 0xC0, 0, 0, 0}, len = 5);
    }
}

static X509 *attest(bench *b, const char *hex)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    X509 *cert = NULL;
    ask(b, hex, &out);
    assert_int_equal(ds_cert_parse(ds_buf_view(&out), &cert, NULL), DS_OK);
    return cert;
}

static int setup(void **state)
{
    bench *b = calloc(1, sizeof *b);
    DS_CLEANUP_BUF ds_buf out = {0};
    if (!b)
        return -1;
    snprintf(b->folder, sizeof b->folder, "/tmp/piv.XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->card, sizeof b->card, "%s/card", b->folder);
    snprintf(b->root, sizeof b->root, "%s/root.pem", b->folder);
    assert_int_equal(ds_piv_card_open(b->card, 7654321, b->root, &b->c, NULL), DS_OK);
    ask(b, "00A4040005A000000308", &out);
    ask(b, "0047009C05AC03800111", &out);
    ask(b, "004700820BAC09800111AA0103AB0102", &out);
    b->leaf = attest(b, "00F99C0000");
    // The certificate of the attestation key, in its object: 53 len 70 len certificate …
    ds_buf_clear(&out);
    ask(b, "00CB3FFF055C035FFF0100", &out);
    const uint8_t *p = memmem(out.ptr, out.len, "\x30\x82", 2);
    assert_non_null(p);
    b->f9 = d2i_X509(NULL, &p, (long)(out.len - (size_t)(p - out.ptr)));
    b->chain = sk_X509_new_null();
    assert_non_null(b->f9);
    assert_true(sk_X509_push(b->chain, b->f9) > 0);
    assert_int_equal(ds_cert_read_all(b->root, &b->maker, NULL), DS_OK);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench *b = *state;
    X509_free(b->leaf);
    sk_X509_pop_free(b->chain, X509_free);
    sk_X509_pop_free(b->maker, X509_free);
    ds_piv_card_close(&b->c);
    unlink(b->card);
    unlink(b->root);
    rmdir(b->folder);
    free(b);
    return 0;
}

static ds_attestation_check check_of(bench *b)
{
    return (ds_attestation_check){b->leaf, b->chain, b->maker, X509_get0_pubkey(b->leaf), ds_utc_now()};
}

static void refuse(const ds_attestation_check *c, enum ds_class cls, const char *words)
{
    ds_attestation a;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_attestation_verify(c, &a, &e), cls);
    if (!strstr(e.text, words))
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void test_attestation_of_the_card_tells_all(void **state)
{
    bench *b = *state;
    ds_attestation_check c = check_of(b);
    ds_attestation a;
    assert_int_equal(ds_attestation_verify(&c, &a, NULL), DS_OK);
    assert_true(a.has_serial);
    assert_int_equal(a.serial, 7654321);
    assert_memory_equal(a.firmware, ((const uint8_t[]){5, 4, 3}), 3);
    assert_int_equal(a.slot, 0x9C);
    assert_int_equal(a.pin_policy, DS_PIN_POLICY_ALWAYS);
    assert_int_equal(a.touch_policy, DS_TOUCH_POLICY_NEVER);
    assert_int_equal(a.key_type, DS_KEY_ECDSA_P256);
    assert_non_null(strstr(a.maker, "test only"));
    X509 *other = attest(b, "00F9820000");
    assert_int_equal(ds_attestation_read(other, &a, NULL), DS_OK);
    assert_int_equal(a.slot, 0x82);
    assert_int_equal(a.touch_policy, DS_TOUCH_POLICY_ALWAYS);
    X509_free(other);
}

static void test_attestation_of_another_key_or_time_is_refused(void **state)
{
    bench *b = *state;
    X509 *other = attest(b, "00F9820000");
    ds_attestation_check c = check_of(b);
    c.key = X509_get0_pubkey(other);
    refuse(&c, DS_POLICY, "of another key");
    c = check_of(b);
    c.at_utc += INT64_C(40) * 365 * 86400;
    refuse(&c, DS_POLICY, "expired");
    c = check_of(b);
    c.chain = NULL;
    refuse(&c, DS_POLICY, "does not lead to the maker's root");
    c = check_of(b);
    c.leaf = b->f9;
    c.key = X509_get0_pubkey(b->f9);
    refuse(&c, DS_INPUT, "no attestation");
    X509_free(other);
}

static void test_root_of_another_maker_is_refused_by_whatever_name(void **state)
{
    bench *b = *state;
    char card[80], root[80];
    ds_piv_card other;
    snprintf(card, sizeof card, "%s/other", b->folder);
    snprintf(root, sizeof root, "%s/other.pem", b->folder);
    assert_int_equal(ds_piv_card_open(card, 1, root, &other, NULL), DS_OK); // its root has the same name
    ds_attestation_files f = {b->leaf, b->chain};
    ds_attestation a;
    ds_err e = DS_ERR_INIT;
    EVP_PKEY *key = X509_get0_pubkey(b->leaf);
    assert_int_equal(ds_attestation_verify_files(&f, root, key, ds_utc_now(), &a, &e), DS_POLICY);
    assert_non_null(strstr(e.text, "does not lead to the maker's root"));
    assert_int_equal(ds_attestation_verify_files(&f, b->root, key, ds_utc_now(), &a, &e), DS_OK);
    // What lies between is no root, and a root among what was shown is not trusted.
    ds_attestation_check c = check_of(b);
    c.maker = b->chain;
    refuse(&c, DS_INPUT, "none of the maker's certificates is a root");
    STACK_OF(X509) *theirs = NULL, *shown = sk_X509_dup(b->chain);
    assert_int_equal(ds_cert_read_all(root, &theirs, NULL), DS_OK);
    assert_true(sk_X509_push(shown, sk_X509_value(b->maker, 0)) > 0);
    c = check_of(b);
    c.chain = shown;
    c.maker = theirs;
    refuse(&c, DS_POLICY, "does not lead");
    sk_X509_free(shown);
    sk_X509_pop_free(theirs, X509_free);
    ds_piv_card_close(&other);
    unlink(card);
    unlink(root);
}

// A copy of the leaf over the forger's key, signed by whom he likes.
static X509 *forge(bench *b, X509 *issuer, EVP_PKEY *signer, EVP_PKEY *key)
{
    X509 *cert = X509_dup(b->leaf);
    assert_non_null(cert);
    assert_int_equal(X509_set_issuer_name(cert, X509_get_subject_name(issuer)), 1);
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, signer, EVP_sha256()) > 0);
    return cert;
}

static void test_forged_chains_are_refused(void **state)
{
    bench *b = *state;
    EVP_PKEY *mine = NULL;
    assert_int_equal(ds_key_make(DS_KEY_ECDSA_P256, &mine, NULL), DS_OK);
    ds_attestation_check c = check_of(b);
    c.key = mine;
    // By a key of his own, under the attestation key's name.
    X509 *forged = c.leaf = forge(b, b->f9, mine, mine);
    refuse(&c, DS_POLICY, "does not lead");
    X509_free(forged);
    // By the key in the slot, which is attested but is no authority.
    ds_piv_key *slot = NULL;
    for (size_t i = 0; i < DS_PIV_KEYS; i++)
        if (b->c.state.keys[i].slot == 0x9C)
            slot = &b->c.state.keys[i];
    assert_non_null(slot);
    STACK_OF(X509) *chain = sk_X509_dup(b->chain);
    assert_true(sk_X509_push(chain, b->leaf) > 0);
    c.chain = chain;
    forged = c.leaf = forge(b, b->leaf, slot->key, mine);
    refuse(&c, DS_POLICY, "does not lead");
    X509_free(forged);
    sk_X509_free(chain);
    // Signed by itself.
    c.chain = b->chain;
    forged = c.leaf = forge(b, b->leaf, mine, mine);
    refuse(&c, DS_POLICY, "does not lead");
    X509_free(forged);
    EVP_PKEY_free(mine);
}

// Any damage: refused, or another reading of the same; never a crash.
static void test_every_damaged_byte_is_refused(void **state)
{
    bench *b = *state;
    DS_CLEANUP_BUF ds_buf der = {0};
    assert_int_equal(ds_cert_der(b->leaf, &der, NULL), DS_OK);
    ds_attestation_check c = check_of(b);
    for (size_t i = 0; i < der.len; i++) {
        X509 *cert = NULL;
        ds_attestation a;
        der.ptr[i] ^= 0x41;
        if (ds_cert_parse(ds_buf_view(&der), &cert, NULL) == DS_OK) {
            c.leaf = cert;
            assert_int_not_equal(ds_attestation_verify(&c, &a, NULL), DS_OK);
            X509_free(cert);
        }
        der.ptr[i] ^= 0x41;
    }
}

static void test_extensions_that_are_damaged_are_refused(void **state)
{
    bench *b = *state;
    static const char *const oids[] = {"1.3.6.1.4.1.41482.3.3", "1.3.6.1.4.1.41482.3.7", "1.3.6.1.4.1.41482.3.8",
                                       "1.3.6.1.4.1.41482.3.9"};
    for (size_t i = 0; i < sizeof oids / sizeof *oids; i++) {
        for (int twice = 0; twice < 2; twice++) {
            X509 *cert = X509_dup(b->leaf);
            ASN1_OBJECT *oid = OBJ_txt2obj(oids[i], 1);
            ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
            int at = X509_get_ext_by_OBJ(cert, oid, -1);
            assert_true(at >= 0);
            if (!twice)
                X509_EXTENSION_free(X509_delete_ext(cert, at));
            assert_int_equal(ASN1_OCTET_STRING_set(value, (const uint8_t *)"\x02\x01", 2), 1);
            X509_EXTENSION *ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
            assert_int_equal(X509_add_ext(cert, ext, -1), 1);
            ds_attestation a;
            bool good = i == 2 && !twice; // two bytes are what policies have
            // A second serial number or form factor makes both worthless, no more.
            if (!twice || i == 0 || i == 2)
                assert_int_equal(ds_attestation_read(cert, &a, NULL), good ? DS_OK : DS_INPUT);
            else if (ds_attestation_read(cert, &a, NULL) == DS_OK)
                assert_true(i == 1 ? !a.has_serial : a.form_factor == 0);
            X509_EXTENSION_free(ext);
            ASN1_OCTET_STRING_free(value);
            ASN1_OBJECT_free(oid);
            X509_free(cert);
        }
    }
}

static void test_files_hold_what_openssl_reads(void **state)
{
    bench *b = *state;
    ds_attestation_files f = {b->leaf, b->chain}, read = {0};
    ds_attestation a;
    DS_CLEANUP_FREE char *leaf = ds_asprintf("%s/attestation.pem", b->folder);
    DS_CLEANUP_FREE char *chain = ds_asprintf("%s/attestation-chain.pem", b->folder);
    DS_CLEANUP_FREE char *command =
        ds_asprintf("openssl verify -CAfile %s -untrusted %s %s >/dev/null", b->root, chain, leaf);
    assert_int_equal(ds_attestation_files_write(&f, b->folder, NULL), DS_OK);
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_attestation_files_write(&f, b->folder, &e), DS_POLICY);
    assert_int_equal(system(command), 0);
    assert_int_equal(ds_attestation_files_read(leaf, &read, NULL), DS_OK);
    assert_int_equal(ds_attestation_verify_files(&read, b->root, X509_get0_pubkey(b->leaf), ds_utc_now(), &a, NULL),
                     DS_OK);
    ds_attestation_files_free(&read);
    unlink(leaf);
    unlink(chain);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_attestation_of_the_card_tells_all),
        T(test_attestation_of_another_key_or_time_is_refused),
        T(test_root_of_another_maker_is_refused_by_whatever_name),
        T(test_forged_chains_are_refused),
        T(test_every_damaged_byte_is_refused),
        T(test_extensions_that_are_damaged_are_refused),
        T(test_files_hold_what_openssl_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
