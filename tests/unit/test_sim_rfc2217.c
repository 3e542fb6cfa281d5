// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The RFC 2217 server over hand-written wire bytes of RFC 854 and RFC 2217, and the control lines' circuit.
#include "sim/device_lines.h"
#include "sim/rfc2217.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// What the server told the device, as one text: "d<hex>" data, "l<dtr><rts>" lines, "b<rate>", "p<to_client><to_chip>".
static char seen[1024];
static ds_sim_rfc2217 server;
static ds_buf reply;

static void note(const char *fmt, ...) DS_PRINTF(1, 2);
static void note(const char *fmt, ...)
{
    size_t len = strlen(seen);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(seen + len, sizeof seen - len, fmt, ap);
    va_end(ap);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    char hex[257];
    assert_ptr_equal(ctx, &server);
    assert_true(len <= 128);
    ds_hex(data, len, hex);
    note("d%s ", hex);
}

static void on_lines(void *ctx, bool dtr, bool rts)
{
    (void)ctx;
    note("l%d%d ", dtr, rts);
}

static void on_baud(void *ctx, uint32_t baud)
{
    (void)ctx;
    note("b%u ", baud);
}

static void on_purge(void *ctx, bool to_client, bool to_chip)
{
    (void)ctx;
    note("p%d%d ", to_client, to_chip);
}

static const ds_sim_rfc2217_ops ops = {on_data, on_lines, on_baud, on_purge};

static int fresh(void **state)
{
    (void)state;
    seen[0] = '\0';
    ds_buf_free(&reply);
    ds_sim_rfc2217_init(&server, &ops, &server);
    return 0;
}

static int done(void **state)
{
    (void)state;
    ds_buf_free(&reply);
    return 0;
}

static void feed(const char *hex)
{
    uint8_t bytes[256];
    size_t len = strlen(hex) / 2;
    assert_true(len <= sizeof bytes && ds_unhex(hex, bytes, len));
    ds_sim_rfc2217_input(&server, bytes, len, &reply);
}

static void expect_reply(const char *hex)
{
    char got[1024];
    assert_true(reply.len < sizeof got / 2);
    ds_hex(reply.ptr, reply.len, got);
    assert_string_equal(got, hex);
    ds_buf_clear(&reply);
}

static void test_input_plain_bytes_are_data(void **state)
{
    (void)state;
    feed("c00008c00d0a00");
    assert_string_equal(seen, "dc00008c00d0a00 ");
    expect_reply("");
}

static void test_input_doubled_iac_is_one_byte(void **state)
{
    (void)state;
    feed("41ffff42");
    assert_string_equal(seen, "d41 dff d42 ");
}

static void test_input_split_at_every_byte_means_the_same(void **state)
{
    (void)state;
    // IAC SB COM-PORT SET-BAUDRATE 921600 IAC SE, then a data byte
    const char *const bytes[] = {"ff", "fa", "2c", "01", "00", "0e", "10", "00", "ff", "f0", "5a"};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        feed(bytes[i]);
    assert_string_equal(seen, "b921600 d5a ");
    expect_reply("fffa2c65000e1000fff0");
}

static void test_option_offer_is_accepted_once(void **state)
{
    (void)state;
    feed("fffb2c");                       // WILL COM-PORT
    expect_reply("fffd2cfffa2c6b30fff0"); // DO, and the modem state
    feed("fffb2c");
    expect_reply("");
    feed("fffd00fffb00"); // DO and WILL BINARY
    expect_reply("fffb00fffd00");
    feed("fffe00"); // DONT BINARY
    expect_reply("fffc00");
}

static void test_option_unknown_is_refused(void **state)
{
    (void)state;
    feed("fffd01"); // DO ECHO
    expect_reply("fffc01");
    feed("fffbc8"); // WILL 200
    expect_reply("fffec8");
    feed("fffec8fffcc8"); // DONT, WONT of what is off: silence
    expect_reply("");
}

static void test_control_lines_are_driven_and_echoed(void **state)
{
    (void)state;
    feed("fffa2c050bfff0"); // RTS on
    feed("fffa2c0508fff0"); // DTR on
    feed("fffa2c050cfff0"); // RTS off
    feed("fffa2c0507fff0"); // DTR?
    feed("fffa2c050afff0"); // RTS?
    feed("fffa2c0509fff0"); // DTR off
    assert_string_equal(seen, "l01 l11 l10 l00 ");
    expect_reply("fffa2c690bfff0fffa2c6908fff0fffa2c690cfff0fffa2c6908fff0fffa2c690cfff0fffa2c6909fff0");
}

static void test_settings_queries_and_nonsense_answer_what_holds(void **state)
{
    (void)state;
    feed("fffa2c0100000000fff0"); // baud?
    expect_reply("fffa2c650001c200fff0");
    feed("fffa2c01ffffffffffffffff" // 0xFFFFFFFF baud, IACs doubled
         "fff0");
    expect_reply("fffa2c650001c200fff0");
    feed("fffa2c0207fff0fffa2c0263fff0"); // 7 bits; 99 bits
    expect_reply("fffa2c6607fff0fffa2c6607fff0");
    feed("fffa2c0300fff0fffa2c0402fff0fffa2c0501fff0");
    expect_reply("fffa2c6701fff0fffa2c6802fff0fffa2c6901fff0");
    assert_string_equal(seen, "");
}

static void test_baud_with_iac_byte_is_unescaped_and_escaped(void **state)
{
    (void)state;
    feed("fffa2c010000ffff00fff0"); // 65280
    assert_string_equal(seen, "b65280 ");
    expect_reply("fffa2c650000ffff00fff0");
}

static void test_purge_names_the_side(void **state)
{
    (void)state;
    feed("fffa2c0c01fff0fffa2c0c02fff0fffa2c0c03fff0fffa2c0c09fff0");
    assert_string_equal(seen, "p10 p01 p11 ");
    expect_reply("fffa2c7001fff0fffa2c7002fff0fffa2c7003fff0fffa2c7009fff0");
}

static void test_subnegotiation_short_long_and_foreign_are_harmless(void **state)
{
    (void)state;
    feed("fffafff0fffa2cfff0fffa2c05fff0fffa2c010001fff0fffa18010203fff0");
    expect_reply("");
    feed("fffa2c0d");
    for (int i = 0; i < 1000; i++)
        feed("00");
    feed("fff041");
    expect_reply("");
    assert_string_equal(seen, "d41 ");
}

static void test_signature_is_told_when_asked(void **state)
{
    (void)state;
    feed("fffa2c00fff0");
    expect_reply("fffa2c64646576737461"
                 "6d702d73696dfff0");
    feed("fffa2c006162fff0");
    expect_reply("");
}

static void test_escape_doubles_every_iac(void **state)
{
    (void)state;
    ds_sim_rfc2217_escape((const uint8_t *)"\xff\x01\xff\xff", 4, &reply);
    expect_reply("ffff01ffffffff");
}

static void test_lines_classic_sequence_samples_strap_low(void **state)
{
    (void)state;
    ds_sim_lines l = {0};
    assert_int_equal(ds_sim_lines_set(&l, false, true, 0), DS_SIM_LINES_HOLD);
    assert_int_equal(ds_sim_lines_set(&l, true, true, 100), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_tick(&l, 200), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_set(&l, true, false, 200), DS_SIM_LINES_RELEASE);
    assert_true(ds_sim_lines_strap_low(&l));
    assert_int_equal(ds_sim_lines_set(&l, false, false, 250), DS_SIM_LINES_NOTHING);
    assert_false(ds_sim_lines_strap_low(&l));
}

static void test_lines_hard_reset_samples_strap_high(void **state)
{
    (void)state;
    ds_sim_lines l = {0};
    assert_int_equal(ds_sim_lines_set(&l, false, true, 0), DS_SIM_LINES_HOLD);
    assert_int_equal(ds_sim_lines_set(&l, false, true, 5), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_set(&l, false, false, 100), DS_SIM_LINES_RELEASE);
    assert_false(ds_sim_lines_strap_low(&l));
}

static void test_lines_both_asserted_do_nothing_to_a_running_chip(void **state)
{
    (void)state;
    ds_sim_lines l = {0};
    assert_int_equal(ds_sim_lines_set(&l, true, false, 0), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_set(&l, true, true, 0), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_tick(&l, 10000), DS_SIM_LINES_NOTHING);
    assert_false(l.held);
}

static void test_lines_both_asserted_end_a_reset_when_the_capacitor_is_full(void **state)
{
    (void)state;
    ds_sim_lines l = {0};
    assert_int_equal(ds_sim_lines_set(&l, false, true, 0), DS_SIM_LINES_HOLD);
    assert_int_equal(ds_sim_lines_set(&l, true, true, 100), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_tick(&l, 100 + DS_SIM_EN_RISE_MS - 1), DS_SIM_LINES_NOTHING);
    assert_int_equal(ds_sim_lines_tick(&l, 100 + DS_SIM_EN_RISE_MS), DS_SIM_LINES_RELEASE);
    assert_false(ds_sim_lines_strap_low(&l));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
    const struct CMUnitTest tests[] = {
        T(test_input_plain_bytes_are_data),
        T(test_input_doubled_iac_is_one_byte),
        T(test_input_split_at_every_byte_means_the_same),
        T(test_option_offer_is_accepted_once),
        T(test_option_unknown_is_refused),
        T(test_control_lines_are_driven_and_echoed),
        T(test_settings_queries_and_nonsense_answer_what_holds),
        T(test_baud_with_iac_byte_is_unescaped_and_escaped),
        T(test_purge_names_the_side),
        T(test_subnegotiation_short_long_and_foreign_are_harmless),
        T(test_signature_is_told_when_asked),
        T(test_escape_doubles_every_iac),
        T(test_lines_classic_sequence_samples_strap_low),
        T(test_lines_hard_reset_samples_strap_high),
        T(test_lines_both_asserted_do_nothing_to_a_running_chip),
        T(test_lines_both_asserted_end_a_reset_when_the_capacitor_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
