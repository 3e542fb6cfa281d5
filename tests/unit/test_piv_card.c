// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual YubiKey's card, spoken to in APDUs, without any reader.
#include "sim/piv/card.h"
#include "sim/piv/fault.h"

#include "src/base/secret.h"

#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct bench {
    char folder[32], card[64], root[64];
    ds_piv_card c;
    ds_buf out; // the last response's data
} bench;

// Send one command and fetch its whole answer; returns the status word.
static int ask(bench *b, const char *hex)
{
    uint8_t command[600];
    size_t len = strlen(hex) / 2;
    DS_CLEANUP_BUF ds_buf response = {0};
    assert_true(ds_unhex(hex, command, len));
    ds_buf_clear(&b->out);
    for (;;) {
        ds_piv_card_run(&b->c, (ds_view){command, len}, &response);
        assert_true(response.len >= 2 && response.len <= 258);
        ds_buf_add(&b->out, response.ptr, response.len - 2);
        int status = response.ptr[response.len - 2] << 8 | response.ptr[response.len - 1];
        if (status >> 8 != 0x61)
            return status;
        memcpy(command, (const uint8_t[]){0, 0xC0, 0, 0, 0}, 5);
        len = 5;
    }
}

#define SELECT "00A4040005A000000308"
#define RIGHT "0020008008313233343536FFFF"
#define WRONG "0020008008393939393939FFFF"
#define TRIES "00200080"

static void reopen(bench *b)
{
    ds_piv_card_close(&b->c);
    assert_int_equal(ds_piv_card_open(b->card, 0, b->root, &b->c, NULL), DS_OK);
    assert_int_equal(ask(b, SELECT), DS_PIV_OK);
}

static int setup(void **state)
{
    bench *b = calloc(1, sizeof *b);
    if (!b)
        return -1;
    snprintf(b->folder, sizeof b->folder, "/tmp/piv.XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->card, sizeof b->card, "%s/card", b->folder);
    snprintf(b->root, sizeof b->root, "%s/root.pem", b->folder);
    assert_int_equal(ds_piv_card_open(b->card, 7654321, b->root, &b->c, NULL), DS_OK);
    assert_int_equal(ask(b, SELECT), DS_PIV_OK);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench *b = *state;
    ds_piv_card_close(&b->c);
    ds_buf_free(&b->out);
    unlink(b->card);
    unlink(b->root);
    rmdir(b->folder);
    free(b);
    return 0;
}

// Mutual authentication with the well-known key.
static void administer(bench *b)
{
    static const uint8_t key[24] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t witness[8];
    char hex[17], command[64];
    int len = 0;
    assert_int_equal(ask(b, "0087039B047C028000"), DS_PIV_OK);
    assert_int_equal(b->out.len, 12);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_DecryptInit_ex(ctx, EVP_des_ede3_ecb(), NULL, key, NULL), 1);
    EVP_CIPHER_CTX_set_padding(ctx, 0);
    assert_int_equal(EVP_DecryptUpdate(ctx, witness, &len, b->out.ptr + 4, 8), 1);
    EVP_CIPHER_CTX_free(ctx);
    ds_hex(witness, 8, hex);
    snprintf(command, sizeof command, "0087039B167C148008%s81080102030405060708", hex);
    assert_int_equal(ask(b, command), DS_PIV_OK);
}

static int sign(bench *b, const char *slot)
{
    char command[128];
    snprintf(command, sizeof command,
             "008711%s267C2482008120000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", slot);
    return ask(b, command);
}

static void test_select_and_version(void **state)
{
    bench *b = *state;
    assert_int_equal(ask(b, "00FD0000"), DS_PIV_OK);
    assert_memory_equal(b->out.ptr, ((const uint8_t[]){5, 4, 3}), 3);
    assert_int_equal(ask(b, "00F80000"), DS_PIV_OK);
    assert_memory_equal(b->out.ptr, ((const uint8_t[]){0, 0x74, 0xCB, 0xB1}), 4);
    assert_int_equal(ask(b, "00A4040008A000000527200101"), DS_PIV_NOT_FOUND);
    assert_int_equal(ask(b, "00A4040008A000000527471117"), DS_PIV_OK);
    assert_int_equal(ask(b, TRIES), DS_PIV_INSTRUCTION);
}

static void test_wrong_pins_lock_and_survive_power_loss(void **state)
{
    bench *b = *state;
    assert_int_equal(ask(b, TRIES), DS_PIV_WRONG | 3);
    assert_int_equal(ask(b, "0020008006393939393939"), DS_PIV_DATA); // not eight bytes: no try
    assert_int_equal(ask(b, WRONG), DS_PIV_WRONG | 2);
    reopen(b);
    assert_int_equal(ask(b, TRIES), DS_PIV_WRONG | 2);
    assert_int_equal(ask(b, RIGHT), DS_PIV_OK);
    assert_int_equal(ask(b, TRIES), DS_PIV_OK);
    ds_piv_card_reset(&b->c);
    assert_int_equal(ask(b, SELECT), DS_PIV_OK);
    assert_int_equal(ask(b, TRIES), DS_PIV_WRONG | 3);
    assert_int_equal(ask(b, WRONG), DS_PIV_WRONG | 2);
    assert_int_equal(ask(b, WRONG), DS_PIV_WRONG | 1);
    assert_int_equal(ask(b, WRONG), DS_PIV_BLOCKED);
    assert_int_equal(ask(b, RIGHT), DS_PIV_BLOCKED);
    reopen(b);
    assert_int_equal(ask(b, RIGHT), DS_PIV_BLOCKED);
    // The PUK: once wrong, then right.
    assert_int_equal(ask(b, "002C0080103132333435363739"
                            "313131313131FFFF"),
                     DS_PIV_WRONG | 2);
    assert_int_equal(ask(b, "002C0080103132333435363738"
                            "313131313131FFFF"),
                     DS_PIV_OK);
    assert_int_equal(ask(b, "0020008008313131313131FFFF"), DS_PIV_OK);
}

// What cannot be written down does not happen: neither a comparison nor a success.
static void test_try_is_on_disk_before_the_comparison(void **state)
{
    bench *b = *state;
    char aside[80];
    snprintf(aside, sizeof aside, "%s.aside", b->folder);
    assert_int_equal(rename(b->folder, aside), 0);
    assert_int_equal(ask(b, RIGHT), DS_PIV_MEMORY);
    assert_false(b->c.session.verified);
    assert_int_equal(rename(aside, b->folder), 0);
    assert_int_equal(ask(b, TRIES), DS_PIV_WRONG | 3);
    assert_int_equal(ask(b, RIGHT), DS_PIV_OK);
}

static void test_policies_of_slots(void **state)
{
    bench *b = *state;
    assert_int_equal(ask(b, "0047009A05AC03800111"), DS_PIV_SECURITY);
    administer(b);
    assert_int_equal(ask(b, "0047009A05AC03800111"), DS_PIV_OK);
    assert_int_equal(ask(b, "0047009C05AC03800111"), DS_PIV_OK);
    assert_int_equal(ask(b, "0047009E05AC03800111"), DS_PIV_OK);
    assert_int_equal(ask(b, "004700F905AC03800111"), DS_PIV_PARAMETER);
    assert_int_equal(ask(b, "0047008205AC03800106"), DS_PIV_DATA); // RSA-1024
    assert_int_equal(sign(b, "9E"), DS_PIV_OK);                    // never
    assert_int_equal(sign(b, "9A"), DS_PIV_SECURITY);              // once
    assert_int_equal(ask(b, RIGHT), DS_PIV_OK);
    assert_int_equal(sign(b, "9A"), DS_PIV_OK);
    assert_int_equal(sign(b, "9A"), DS_PIV_OK);
    assert_int_equal(sign(b, "9C"), DS_PIV_SECURITY); // always: the PIN came earlier
    assert_int_equal(ask(b, RIGHT), DS_PIV_OK);
    assert_int_equal(sign(b, "9C"), DS_PIV_OK);
    assert_int_equal(sign(b, "9C"), DS_PIV_SECURITY);
    assert_int_equal(sign(b, "9D"), DS_PIV_NO_REFERENCE);
    reopen(b); // the keys are still there, the PIN is not
    assert_int_equal(sign(b, "9A"), DS_PIV_SECURITY);
    assert_int_equal(sign(b, "9E"), DS_PIV_OK);
}

static void test_touch_is_waited_for_only_where_it_can_help(void **state)
{
    bench *b = *state;
    const uint8_t command[] = {0, 0x87, 0x11, 0x82, 4, 0x7C, 2, 0x81, 0};
    administer(b);
    assert_int_equal(ask(b, "0047008208AC06800111AB0102"), DS_PIV_OK); // P-256, touch always
    assert_false(ds_piv_card_wants_touch(&b->c, (ds_view){command, sizeof command}));
    assert_int_equal(ask(b, RIGHT), DS_PIV_OK);
    assert_true(ds_piv_card_wants_touch(&b->c, (ds_view){command, sizeof command}));
    assert_int_equal(sign(b, "82"), DS_PIV_SECURITY);
    ds_piv_card_touch(&b->c);
    assert_int_equal(sign(b, "82"), DS_PIV_OK);
    assert_int_equal(sign(b, "82"), DS_PIV_SECURITY);                  // one touch, one signature
    assert_int_equal(ask(b, "0047008308AC06800111AB0103"), DS_PIV_OK); // cached
    ds_piv_card_touch(&b->c);
    assert_int_equal(sign(b, "83"), DS_PIV_OK);
    assert_int_equal(sign(b, "83"), DS_PIV_OK);
}

static void test_attestation_speaks_of_made_keys_alone(void **state)
{
    bench *b = *state;
    administer(b);
    assert_int_equal(ask(b, "00F99A00"), DS_PIV_NO_REFERENCE);
    assert_int_equal(ask(b, "0047009A05AC03800111"), DS_PIV_OK);
    assert_int_equal(ask(b, "00F99A00"), DS_PIV_OK);
    const unsigned char *p = b->out.ptr;
    X509 *cert = d2i_X509(NULL, &p, (long)b->out.len);
    assert_non_null(cert);
    assert_int_equal(X509_get_ext_count(cert), 4);
    X509_free(cert);
    assert_int_equal(ask(b, "00FE119E220620"
                            "1111111111111111111111111111111111111111111111111111111111111111"),
                     DS_PIV_OK);
    assert_int_equal(ask(b, "00F99E00"), DS_PIV_DATA);
    assert_int_equal(ask(b, "00F7009E"), DS_PIV_OK);
    assert_int_equal(sign(b, "9E"), DS_PIV_OK);
}

static void test_objects_go_in_by_parts_and_come_out_by_parts(void **state)
{
    bench *b = *state;
    char *part = ds_alloc(2 * 255 + 1);
    memset(part, 'a', 2 * 255);
    // 5C 03 5FC105 53 82 012C and 300 bytes, in two commands
    char *first = ds_asprintf("10DB3FFFFF5C035FC1055382012C%.*s", 2 * 246, part);
    char *second = ds_asprintf("00DB3FFF36%.*s", 2 * 54, part);
    assert_int_equal(ask(b, first), DS_PIV_OK);
    assert_int_equal(ask(b, second), DS_PIV_SECURITY);
    administer(b);
    assert_int_equal(ask(b, first), DS_PIV_OK);
    assert_int_equal(ask(b, second), DS_PIV_OK);
    reopen(b);
    assert_int_equal(ask(b, "00CB3FFF055C035FC105"), DS_PIV_OK);
    assert_int_equal(b->out.len, 304);
    assert_int_equal(b->out.ptr[303], 0xAA);
    free(first);
    free(second);
    free(part);
}

static void test_reset_needs_both_blocked_and_keeps_the_attestation(void **state)
{
    bench *b = *state;
    administer(b);
    assert_int_equal(ask(b, "0047009A05AC03800111"), DS_PIV_OK);
    assert_int_equal(ask(b, "00FB0000"), DS_PIV_CONDITION);
    for (int i = 0; i < 3; i++) {
        (void)ask(b, WRONG);
        (void)ask(b, "002C0080103939393939393939"
                     "313131313131FFFF");
    }
    assert_int_equal(ask(b, "00FB0000"), DS_PIV_OK);
    reopen(b);
    assert_int_equal(ask(b, TRIES), DS_PIV_WRONG | 3);
    assert_int_equal(ask(b, "00F7009A"), DS_PIV_NO_REFERENCE);
    assert_int_equal(ask(b, "00F700F9"), DS_PIV_OK);
    assert_int_equal(ask(b, "00F80000"), DS_PIV_OK);
}

static void test_rubbish_gets_a_status_word(void **state)
{
    bench *b = *state;
    static const uint8_t known[] = {0x20, 0x24, 0x2C, 0x47, 0x87, 0xA4, 0xC0, 0xCB, 0xDB, 0xF7, 0xF9, 0xFE, 0xFF};
    DS_CLEANUP_BUF ds_buf response = {0};
    uint8_t command[64];
    administer(b);
    b->c.state.pin.tries = b->c.state.pin.left = 255;
    for (unsigned i = 0; i < 3000; i++) {
        ds_random(command, sizeof command);
        command[0] &= 0x10;
        command[1] = known[command[1] % sizeof known];
        size_t len = command[2] % sizeof command;
        if (i % 2 && len > 5)
            command[4] = (uint8_t)(len - 5);
        if (i % 3 == 0)
            command[5] = 0x7C;
        ds_piv_card_run(&b->c, (ds_view){command, len}, &response);
        assert_true(response.len >= 2);
        b->c.session.application = DS_PIV_PIV;
        b->c.session.administrator = true;
    }
}

static void test_damaged_file_is_refused(void **state)
{
    bench *b = *state;
    static const char *const texts[] = {"",
                                        "piv 2\n",
                                        "rubbish\n",
                                        "piv 1\npin 3 4 313233343536ffff\n",
                                        "piv 1\nkey 154 17 2 1 1 00\n",
                                        "piv 1\nobject 1 zz\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        FILE *f = fopen(b->card, "w");
        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
        ds_piv_card c;
        assert_int_equal(ds_piv_card_open(b->card, 0, b->root, &c, NULL), DS_INPUT);
    }
}

static void test_fault_plans(void **state)
{
    (void)state;
    ds_piv_fault f;
    const uint8_t sign[] = {0, 0x87, 0x11, 0x9C, 0}, other[] = {0, 0x20, 0, 0x80};
    uint8_t bytes[16] = {0};
    ds_buf answer = {bytes, sizeof bytes, sizeof bytes};
    assert_int_equal(ds_piv_fault_parse("slow=5,wrong@2,gone@3", &f, NULL), DS_OK);
    assert_int_equal(ds_piv_fault_answer(&f, (ds_view){other, sizeof other}, &answer), DS_PIV_ANSWERS);
    assert_int_equal(ds_piv_fault_answer(&f, (ds_view){sign, sizeof sign}, &answer), DS_PIV_ANSWERS);
    assert_int_equal(bytes[10], 0);
    assert_int_equal(ds_piv_fault_answer(&f, (ds_view){sign, sizeof sign}, &answer), DS_PIV_ANSWERS);
    assert_int_equal(bytes[10], 0x10);
    assert_int_equal(ds_piv_fault_answer(&f, (ds_view){sign, sizeof sign}, &answer), DS_PIV_IS_GONE);
    assert_int_equal(ds_piv_fault_parse("hang@1", &f, NULL), DS_OK);
    assert_int_equal(ds_piv_fault_answer(&f, (ds_view){sign, sizeof sign}, &answer), DS_PIV_HANGS);
    assert_int_equal(ds_piv_fault_answer(&f, (ds_view){other, sizeof other}, &answer), DS_PIV_HANGS);
    static const char *const bad[] = {"hang", "hang@", "hang@0", "slow=x", "slow=1;", "slow=600001", "gone@-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_piv_fault_parse(bad[i], &f, &e), DS_USAGE);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_select_and_version),
        T(test_wrong_pins_lock_and_survive_power_loss),
        T(test_try_is_on_disk_before_the_comparison),
        T(test_policies_of_slots),
        T(test_touch_is_waited_for_only_where_it_can_help),
        T(test_attestation_speaks_of_made_keys_alone),
        T(test_objects_go_in_by_parts_and_come_out_by_parts),
        T(test_reset_needs_both_blocked_and_keeps_the_attestation),
        T(test_rubbish_gets_a_status_word),
        T(test_damaged_file_is_refused),
        cmocka_unit_test(test_fault_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
