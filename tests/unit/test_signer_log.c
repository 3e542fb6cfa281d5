// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log: its bytes, what a crash leaves at every length, and damage at every byte.
#include "src/base/file.h"
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

enum { HEADER = 48, HEAD = 104, HASH = 32, CERT = 300, ENTRY = HEAD + CERT + HASH };

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
    return ds_log_append(l, serial, key, fake_cert(n), e);
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
    assert_memory_equal(b.ptr, "DSLOG1\r\n", 8);
    assert_memory_equal(b.ptr + 8, ca, 32);
    uint8_t hash[32];
    EVP_Digest(b.ptr, HEADER, hash, NULL, EVP_sha256(), NULL);
    for (unsigned i = 1; i <= 2; i++) {
        const uint8_t *p = b.ptr + HEADER + (i - 1) * ENTRY;
        assert_memory_equal(p, "ENTR", 4);
        assert_int_equal(ds_le32(p + 4), CERT);
        assert_int_equal(ds_le32(p + 8), i);
        assert_int_equal(ds_le32(p + 12), 0);
        assert_memory_equal(p + 24, hash, 32);
        assert_int_equal(p[56], 1);
        assert_int_equal(p[57], i);
        assert_int_equal(p[72], 2);
        assert_memory_equal(p + HEAD, fake_cert((uint8_t)i).ptr, CERT);
        EVP_Digest(p, HEAD + CERT, hash, NULL, EVP_sha256(), NULL);
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

// Every byte of a whole log but for when it was begun: header and entries are all held by a hash or a rule.
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
    assert_int_equal(append(l, 3, &e), DS_OK);
    ds_log_close(l);
    assert_int_equal(ds_log_open(path, ca, &l, &e), DS_OK);
    assert_int_equal(ds_log_entries(l), 3);
    ds_log_close(l);
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
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
