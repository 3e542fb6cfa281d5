// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log: its bytes, what a crash leaves at every length, and damage at every byte.
#include "src/base/file.h"
#include "src/pki/keytype.h"
#include "src/signer/log.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEADER = 80, HEAD = 136, HASH = 32, CERT = 300, ENTRY = HEAD + CERT + HASH };

static char path[64];
static const uint8_t ca[32] = {0xca, 1, 2, 3};

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/ds-log.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

// A SEQUENCE of CERT bytes: all the log demands of a certificate.
static ds_view fake_cert(uint8_t n)
{
    static uint8_t der[CERT];
    memset(der, n, sizeof der);
    der[0] = 0x30;
    der[1] = 0x82;
    der[2] = (CERT - 4) >> 8;
    der[3] = (CERT - 4) & 0xff;
    return (ds_view){der, sizeof der};
}

static enum ds_class append(ds_log_file *l, uint8_t n, ds_err *e)
{
    const uint8_t serial[16] = {1, n}, key[32] = {2, n};
    return ds_log_append(l, &(ds_log_certificate){serial, key, "lamp", fake_cert(n)}, e);
}

static void make_log(unsigned entries)
{
    ds_log_file *l = NULL;
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(ds_log_open(path, ca, &l, NULL), DS_OK);
    for (unsigned i = 1; i <= entries; i++)
        assert_int_equal(append(l, (uint8_t)i, NULL), DS_OK);
    assert_int_equal(ds_log_entries(l), entries);
    ds_log_close(l);
}

static void read_log(ds_buf *ret)
{
    ds_buf_clear(ret);
    assert_int_equal(ds_file_read(path, 1 << 20, ret, NULL), DS_OK);
}

static void test_log_append_writes_the_documented_bytes(void **state)
{
    (void)state;
    make_log(2);
    DS_CLEANUP_BUF ds_buf b = {0};
    read_log(&b);
    assert_int_equal(b.len, HEADER + 2 * ENTRY);
    assert_memory_equal(b.ptr, "DSLOG2\r\n", 8);
    assert_memory_equal(b.ptr + 8, ca, 32);
    uint8_t hash[32];
    EVP_Digest(b.ptr, 48, hash, NULL, EVP_sha256(), NULL);
    assert_memory_equal(b.ptr + 48, hash, 32);
    for (unsigned i = 1; i <= 2; i++) {
        const uint8_t *p = b.ptr + HEADER + (i - 1) * ENTRY;
        assert_memory_equal(p, "ENTR", 4);
        assert_int_equal(ds_le32(p + 4), CERT);
        assert_int_equal(ds_le32(p + 8), i);
        assert_int_equal(ds_le32(p + 12), 0);
        assert_int_equal(p[24], 1);
        assert_int_equal(p[25], i);
        assert_int_equal(p[40], 2);
        assert_string_equal((const char *)p + 72, "lamp");
        assert_memory_equal(p + HEAD, fake_cert((uint8_t)i).ptr, CERT);
        uint8_t leaf[1 + HEAD + CERT] = {0};
        memcpy(leaf + 1, p, HEAD + CERT);
        EVP_Digest(leaf, sizeof leaf, hash, NULL, EVP_sha256(), NULL);
        assert_memory_equal(p + HEAD + CERT, hash, 32);
    }
}

static void test_log_finds_by_key_and_serial_after_reopening(void **state)
{
    (void)state;
    make_log(5);
    ds_log_file *l = NULL;
    assert_int_equal(ds_log_open(path, ca, &l, NULL), DS_OK);
    const uint8_t serial[16] = {1, 4}, key[32] = {2, 4}, none[32] = {9};
    const ds_log_entry *entry = ds_log_by_key(l, key);
    assert_non_null(entry);
    assert_ptr_equal(entry, ds_log_by_serial(l, serial));
    assert_int_equal(entry->number, 4);
    assert_null(ds_log_by_key(l, none));
    assert_null(ds_log_by_serial(l, none));
    DS_CLEANUP_BUF ds_buf der = {0};
    assert_int_equal(ds_log_read(l, entry, &der, NULL), DS_OK);
    assert_int_equal(der.len, CERT);
    assert_memory_equal(der.ptr, fake_cert(4).ptr, CERT);
    assert_int_equal(append(l, 4, NULL), DS_POLICY);
    assert_int_equal(ds_log_entries(l), 5);
    ds_log_close(l);
}

static void test_log_torn_at_every_byte_keeps_the_entries_before(void **state)
{
    (void)state;
    make_log(3);
    DS_CLEANUP_BUF ds_buf b = {0};
    read_log(&b);
    const size_t two = HEADER + 2 * ENTRY;
    for (size_t len = 0; len < b.len; len++) {
        ds_log_file *l = NULL;
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_file_write(path, (ds_view){b.ptr, len}, 0600, NULL), DS_OK);
        if (ds_log_open(path, ca, &l, &e))
            fail_msg("cut at %zu: %s", len, e.text);
        assert_int_equal(ds_log_entries(l), len >= two ? 2 : len >= HEADER + ENTRY ? 1 : 0);
        assert_int_equal(append(l, 9, NULL), DS_OK); // and goes on from there
        ds_log_close(l);
        assert_int_equal(ds_log_open(path, ca, &l, &e), DS_OK);
        assert_int_equal(ds_log_entries(l), len >= two ? 3 : len >= HEADER + ENTRY ? 2 : 1);
        ds_log_close(l);
    }
}

static void test_log_zeros_after_a_torn_write_are_cut_off(void **state)
{
    (void)state;
    make_log(2);
    DS_CLEANUP_BUF ds_buf b = {0};
    read_log(&b);
    ds_buf_add_fill(&b, 0, 5000);
    assert_int_equal(ds_file_write(path, ds_buf_view(&b), 0600, NULL), DS_OK);
    ds_log_file *l = NULL;
    assert_int_equal(ds_log_open(path, ca, &l, NULL), DS_OK);
    assert_int_equal(ds_log_entries(l), 2);
    ds_log_close(l);
    DS_CLEANUP_BUF ds_buf after = {0};
    read_log(&after);
    assert_int_equal(after.len, HEADER + 2 * ENTRY);
}

// Every byte of a whole log: header and entries are all held by a hash or a rule.
static void test_log_damage_at_every_byte_is_refused_and_left_alone(void **state)
{
    (void)state;
    make_log(3);
    DS_CLEANUP_BUF ds_buf b = {0};
    DS_CLEANUP_BUF ds_buf after = {0};
    read_log(&b);
    for (size_t i = 0; i < b.len; i++) {
        ds_log_file *l = NULL;
        ds_err e = DS_ERR_INIT;
        b.ptr[i] ^= 0x41;
        assert_int_equal(ds_file_write(path, ds_buf_view(&b), 0600, NULL), DS_OK);
        if (ds_log_open(path, ca, &l, &e) != DS_STORE)
            fail_msg("byte %zu", i);
        assert_null(l);
        read_log(&after);
        assert_int_equal(after.len, b.len);
        assert_memory_equal(after.ptr, b.ptr, b.len);
        b.ptr[i] ^= 0x41;
    }
}

static void test_log_of_another_ca_or_held_by_another_is_refused(void **state)
{
    (void)state;
    make_log(1);
    const uint8_t other[32] = {7};
    ds_log_file *l = NULL, *second = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_log_open(path, other, &l, &e), DS_STORE);
    assert_non_null(strstr(e.text, "another CA"));
    assert_int_equal(ds_log_open(path, ca, &l, &e), DS_OK);
    assert_int_equal(ds_log_open(path, ca, &second, &e), DS_STORE);
    assert_non_null(strstr(e.text, "held by another signer"));
    ds_log_close(l);
}

static void test_log_full_disk_leaves_whole_entries_only(void **state)
{
    (void)state;
    make_log(2);
    ds_log_file *l = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_log_open(path, ca, &l, &e), DS_OK);
    struct rlimit old, tight;
    getrlimit(RLIMIT_FSIZE, &old);
    tight = old;
    tight.rlim_cur = HEADER + 2 * ENTRY + 100; // the write goes through in part
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum ds_class rc = append(l, 3, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, DS_STORE);
    DS_CLEANUP_BUF ds_buf b = {0};
    read_log(&b);
    assert_int_equal(b.len, HEADER + 2 * ENTRY);
    assert_int_equal(ds_log_count(l, "lamp"), 2);
    assert_int_equal(append(l, 3, &e), DS_OK);
    ds_log_close(l);
    assert_int_equal(ds_log_open(path, ca, &l, &e), DS_OK);
    assert_int_equal(ds_log_entries(l), 3);
    ds_log_close(l);
}

// The log's proofs hold against its own roots, for every pair of sizes across the kept subtrees' size.
static void test_log_proves_what_it_was(void **state)
{
    (void)state;
    enum { N = 600 };
    static uint8_t roots[N + 1][32];
    static uint8_t der[CERT];
    ds_log_file *l = NULL;
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(ds_log_open(path, ca, &l, NULL), DS_OK);
    memcpy(der, fake_cert(1).ptr, CERT);
    memcpy(roots[0], ds_log_root(l), 32);
    for (unsigned i = 1; i <= N; i++) { // committed in groups, as a busy line does
        const uint8_t serial[16] = {1, (uint8_t)i, (uint8_t)(i >> 8)}, key[32] = {2, (uint8_t)i, (uint8_t)(i >> 8)};
        assert_int_equal(ds_log_add(l, &(ds_log_certificate){serial, key, i % 2 ? "lamp" : "", {der, CERT}}, NULL),
                         DS_OK);
        assert_int_equal(ds_log_count(l, "lamp"), (i + 1) / 2);
        assert_non_null(ds_log_by_key(l, key));
        if (i % 3 == 0)
            assert_int_equal(ds_log_commit(l, NULL), DS_OK);
        assert_int_equal(ds_log_entries(l), i / 3 * 3);
        memcpy(roots[ds_log_entries(l)], ds_log_root(l), 32);
    }
    ds_hasher *h = ds_hasher_new();
    for (int again = 0; again < 2; again++) {
        for (uint64_t from = 0; from <= N; from += 3) {
            ds_merkle_proof p;
            assert_int_equal(ds_log_prove(l, from, &p, NULL), DS_OK);
            ds_merkle_claim c = {from, roots[from], N, roots[N], p.hash, p.count};
            assert_true(ds_merkle_consistent(&c, h));
            c.from_hash = roots[from == 3 ? 6 : 3];
            assert_int_equal(ds_merkle_consistent(&c, h), from == 0);
        }
        ds_merkle_proof p;
        assert_int_equal(ds_log_prove(l, N + 1, &p, NULL), DS_INPUT);
        ds_log_close(l); // and again from what opening builds
        assert_int_equal(ds_log_open(path, ca, &l, NULL), DS_OK);
        assert_memory_equal(ds_log_root(l), roots[N], 32);
        assert_int_equal(ds_log_count(l, "lamp"), N / 2);
        assert_int_equal(ds_log_count(l, "plug"), 0);
    }
    ds_hasher_free(h);
    ds_log_close(l);
}

static void expect_open(enum ds_class cls, const char *words)
{
    ds_log_file *l = NULL;
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = ds_log_open(path, ca, &l, &e);
    ds_log_close(l);
    if (rc != cls || (rc && !strstr(e.text, words)))
        fail_msg("class %s, text \"%s\"; expected %s, \"%s\"", ds_class_name(rc), e.text, ds_class_name(cls), words);
}

static void put_head(const ds_log_key *key)
{
    ds_log_file *l = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_log_open(path, ca, &l, &e), DS_OK);
    if (ds_log_put_head(l, key, &e))
        fail_msg("%s", e.text);
    ds_log_close(l);
}

static void test_log_that_does_not_go_on_from_its_head_is_refused(void **state)
{
    (void)state;
    DS_CLEANUP_FREE char *head = ds_asprintf("%s.head", path);
    DS_CLEANUP_BUF ds_buf three = {0};
    DS_CLEANUP_BUF ds_buf other = {0};
    DS_CLEANUP_BUF ds_buf after = {0};
    make_log(3);
    read_log(&three);
    put_head(NULL);
    expect_open(DS_OK, "");
    static const size_t cuts[] = {0, 10, HEADER, HEADER + ENTRY, HEADER + 2 * ENTRY, HEADER + 2 * ENTRY + 50};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(ds_file_write(path, (ds_view){three.ptr, cuts[i]}, 0600, NULL), DS_OK);
        expect_open(DS_POLICY, i < 3 ? "has 0 entries, and had 3: its end was cut off" : "and had 3");
        read_log(&after); // and nothing was done to it
        assert_int_equal(after.len, cuts[i]);
    }
    assert_int_equal(unlink(head), 0);
    assert_int_equal(ds_file_write(path, (ds_view){three.ptr, HEADER + 2 * ENTRY}, 0600, NULL), DS_OK);
    ds_log_file *l = NULL;
    assert_int_equal(ds_log_open(path, ca, &l, NULL), DS_OK);
    assert_int_equal(append(l, 7, NULL), DS_OK); // another third entry, and then longer than before
    assert_int_equal(append(l, 8, NULL), DS_OK);
    ds_log_close(l);
    read_log(&other);
    assert_int_equal(ds_file_write(path, ds_buf_view(&three), 0600, NULL), DS_OK);
    put_head(NULL);
    assert_int_equal(ds_file_write(path, ds_buf_view(&other), 0600, NULL), DS_OK);
    expect_open(DS_POLICY, "its first 3 entries are not those its head was made of");
    assert_int_equal(ds_file_write(path, ds_buf_view(&three), 0600, NULL), DS_OK);
    expect_open(DS_OK, "");
    assert_int_equal(unlink(head), 0);
}

static void test_log_head_is_signed_and_held_by_its_signature(void **state)
{
    (void)state;
    DS_CLEANUP_FREE char *head_path = ds_asprintf("%s.head", path);
    // several of one kind, since ECDSA signatures differ in length and so in how their base64 ends
    static const enum ds_key_type types[] = {DS_KEY_ECDSA_P256, DS_KEY_ECDSA_P256, DS_KEY_ECDSA_P256,
                                             DS_KEY_ECDSA_P256, DS_KEY_ECDSA_P384, DS_KEY_RSA_2048};
    make_log(2);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        EVP_PKEY *pair = NULL;
        DS_CLEANUP_BUF ds_buf text = {0};
        ds_log_head head;
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_key_make(types[i], &pair, NULL), DS_OK);
        const ds_log_key key = {pair, pair};
        put_head(&key); // the one before was signed by another: it is made anew
        assert_int_equal(ds_file_read(head_path, 4096, &text, NULL), DS_OK);
        if (ds_log_head_parse(ds_buf_view(&text), &head, &e))
            fail_msg("%s", e.text);
        assert_int_equal(head.size, 2);
        assert_true(head.is_signed);
        for (size_t at = 0; at < text.len; at++) {
            text.ptr[at] ^= 0x01;
            if (ds_log_head_parse(ds_buf_view(&text), &head, &e) == DS_OK)
                fail_msg("byte %zu", at);
            text.ptr[at] ^= 0x01;
        }
        for (size_t len = 0; len < text.len; len++) // cut anywhere; without key and signature it is an unsigned one
            if (ds_log_head_parse((ds_view){text.ptr, len}, &head, &e) == DS_OK && head.is_signed)
                fail_msg("length %zu", len);
        EVP_PKEY_free(pair);
    }
    assert_int_equal(ds_file_write(head_path, (ds_view){(const uint8_t *)"nonsense", 8}, 0600, NULL), DS_OK);
    expect_open(DS_INPUT, "not a head of an issuance log");
    assert_int_equal(unlink(head_path), 0);
}

// A log of the first format, by its documented bytes.
static void old_log(unsigned entries, ds_buf *ret, uint8_t ret_chain[32])
{
    uint8_t header[48] = "DSLOG1\r\n", head[104] = "ENTR";
    memcpy(header + 8, ca, 32);
    ds_put_le32(header + 40, 1700000000);
    ds_buf_add(ret, header, sizeof header);
    EVP_Digest(header, sizeof header, ret_chain, NULL, EVP_sha256(), NULL);
    for (unsigned i = 1; i <= entries; i++) {
        size_t begin = ret->len;
        ds_put_le32(head + 4, CERT);
        ds_put_le32(head + 8, i);
        ds_put_le32(head + 16, 1700000000 + i);
        memcpy(head + 24, ret_chain, 32);
        head[56] = 1, head[57] = (uint8_t)i;
        head[72] = 2, head[73] = (uint8_t)i;
        ds_buf_add(ret, head, sizeof head);
        ds_buf_add(ret, fake_cert((uint8_t)i).ptr, CERT);
        EVP_Digest(ret->ptr + begin, ret->len - begin, ret_chain, NULL, EVP_sha256(), NULL);
        ds_buf_add(ret, ret_chain, 32);
    }
}

static void test_log_of_the_first_format_is_refused_and_converted(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf old = {0};
    DS_CLEANUP_FREE char *made = ds_asprintf("%s.new", path);
    uint8_t chain[32], ended[32];
    uint64_t entries = 0;
    ds_err e = DS_ERR_INIT;
    old_log(3, &old, chain);
    assert_int_equal(ds_file_write(path, ds_buf_view(&old), 0600, NULL), DS_OK);
    expect_open(DS_STORE, "is of the first format");
    if (ds_log_convert(path, made, &entries, ended, &e))
        fail_msg("%s", e.text);
    assert_int_equal(entries, 3);
    assert_memory_equal(ended, chain, 32);
    assert_int_equal(ds_log_convert(path, made, &entries, ended, &e), DS_POLICY); // never over something
    ds_log_file *l = NULL;
    assert_int_equal(ds_log_open(made, ca, &l, &e), DS_OK);
    assert_int_equal(ds_log_entries(l), 3);
    const uint8_t key[32] = {2, 2};
    DS_CLEANUP_BUF ds_buf der = {0};
    assert_int_equal(ds_log_read(l, ds_log_by_key(l, key), &der, &e), DS_OK);
    assert_memory_equal(der.ptr, fake_cert(2).ptr, CERT);
    ds_log_close(l);
    unlink(made);
    for (size_t i = 8; i < old.len; i += 7) { // a chain that does not hold is not converted
        old.ptr[i] ^= 4;
        assert_int_equal(ds_file_write(path, ds_buf_view(&old), 0600, NULL), DS_OK);
        if (ds_log_convert(path, made, &entries, ended, &e) != DS_STORE)
            fail_msg("byte %zu", i);
        assert_int_equal(access(made, F_OK), -1);
        old.ptr[i] ^= 4;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_append_writes_the_documented_bytes),
        cmocka_unit_test(test_log_finds_by_key_and_serial_after_reopening),
        cmocka_unit_test(test_log_torn_at_every_byte_keeps_the_entries_before),
        cmocka_unit_test(test_log_zeros_after_a_torn_write_are_cut_off),
        cmocka_unit_test(test_log_damage_at_every_byte_is_refused_and_left_alone),
        cmocka_unit_test(test_log_of_another_ca_or_held_by_another_is_refused),
        cmocka_unit_test(test_log_full_disk_leaves_whole_entries_only),
        cmocka_unit_test(test_log_proves_what_it_was),
        cmocka_unit_test(test_log_that_does_not_go_on_from_its_head_is_refused),
        cmocka_unit_test(test_log_head_is_signed_and_held_by_its_signature),
        cmocka_unit_test(test_log_of_the_first_format_is_refused_and_converted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
