// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Framing: known bytes, and the receiver's way back into step.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/frame.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

static fake_port f;
static fake_station st;

static int setup(void **state)
{
    (void)state;
    fake_init(&f, 1);
    fake_station_init(&st);
    return 0;
}

// Request {id: 7, hello: {}}: message 08 07 12 00. CRC-32 by Python's zlib.
static const uint8_t hello[] = {0xC0, 'D', 'S', 1, 0x08, 0x07, 0x12, 0x00, 0x44, 0x93, 0x5D, 0x22, 0xC0};

static size_t answers(void)
{
    size_t n = 0;
    for (size_t i = 0; i + 4 < f.out_len; i++)
        n += f.out[i] == 0xC0 && f.out[i + 1] == 'D' && f.out[i + 2] == 'S' && f.out[i + 3] == 1;
    f.out_len = 0;
    return n;
}

static void test_crc_known_vector(void **state)
{
    (void)state;
    assert_int_equal(ds_frame_crc(0, (const uint8_t *)"123456789", 9), 0xCBF43926);
    assert_int_equal(ds_frame_crc(ds_frame_crc(0, (const uint8_t *)"1234", 4), (const uint8_t *)"56789", 5),
                     0xCBF43926);
}

static void test_send_known_bytes_escaped(void **state)
{
    (void)state;
    Devstamp__Response r = DEVSTAMP__RESPONSE__INIT;
    r.id = 0x40;
    r.status = 0x00DB00C0;
    ds_frame_send(&f.agent, &r.base);
    static const uint8_t expect[] = {0xC0, 'D',  'S',  1,    0x08, 0x40, 0x15, 0xDB, 0xDC,
                                     0x00, 0xDB, 0xDD, 0x00, 0xAA, 0x1C, 0x98, 0x73, 0xC0};
    assert_int_equal(f.out_len, sizeof expect);
    assert_memory_equal(f.out, expect, sizeof expect);
}

static void test_receive_known_frame_answers(void **state)
{
    (void)state;
    fake_send_raw(&f, hello, sizeof hello);
    assert_int_equal(answers(), 1);
}

static void test_receive_text_and_odd_ends_recovers(void **state)
{
    (void)state;
    fake_send_raw(&f, (const uint8_t *)"boot: garbage\n", 14);
    fake_send_raw(&f, hello, sizeof hello);
    assert_int_equal(answers(), 1);
    fake_send_raw(&f, hello, sizeof hello - 1); // END behind it lost: the next frame's END completes it
    assert_int_equal(answers(), 0);
    fake_send_raw(&f, hello, sizeof hello);
    assert_int_equal(answers(), 2);
    fake_send_raw(&f, hello + 1, sizeof hello - 1); // END in front of it lost
    assert_int_equal(answers(), 1);
    const uint8_t ends[] = {0xC0, 0xC0, 0xC0};
    fake_send_raw(&f, ends, sizeof ends);
    fake_send_raw(&f, hello, sizeof hello);
    fake_send_raw(&f, ends, 2);
    assert_int_equal(answers(), 1);
}

static void test_receive_damaged_is_silent(void **state)
{
    (void)state;
    for (size_t i = 1; i + 1 < sizeof hello; i++) {
        uint8_t bad[sizeof hello];
        memcpy(bad, hello, sizeof bad);
        bad[i] ^= 0x04;
        fake_send_raw(&f, bad, sizeof bad);
        assert_int_equal(answers(), 0);
    }
    const uint8_t bad_escape[] = {0xC0, 'D', 'S', 1, 0xDB, 0x00, 0xC0}, half_escape[] = {0xC0, 'D', 'S', 1, 0xDB, 0xC0};
    fake_send_raw(&f, bad_escape, sizeof bad_escape);
    fake_send_raw(&f, half_escape, sizeof half_escape);
    assert_int_equal(answers(), 0);
    fake_send_raw(&f, hello, sizeof hello);
    assert_int_equal(answers(), 1);
}

static void test_receive_endless_frame_dropped_at_limit(void **state)
{
    (void)state;
    static uint8_t endless[200000];
    memset(endless, 'D', sizeof endless);
    fake_send_raw(&f, endless, sizeof endless);
    assert_true(f.agent.frame_len <= DS_AGENT_FRAME_MAX + 7);
    fake_send_raw(&f, hello, sizeof hello);
    assert_int_equal(answers(), 1); // its END closed the endless one, then it is a frame of its own
}

// A field that no schema knows, so that the message has exactly the length wanted and decodes.
static size_t padded_hello(size_t len, uint8_t *message)
{
    size_t body = len - 4 - 3; // tag and two bytes of length
    const uint8_t head[] = {0x08, 0x07, 0x12, 0x00, 0x7A, (uint8_t)(body & 0x7F) | 0x80, (uint8_t)(body >> 7)};
    memcpy(message, head, sizeof head);
    memset(message + sizeof head, 0, body);
    return len;
}

static void test_receive_longest_message(void **state)
{
    (void)state;
    static uint8_t message[DS_AGENT_FRAME_MAX + 1], frame[2 * sizeof message + 20];
    size_t len = padded_hello(DS_AGENT_FRAME_MAX, message);
    fake_send_raw(&f, frame, fake_frame(message, len, frame));
    assert_int_equal(answers(), 1);
    len = padded_hello(DS_AGENT_FRAME_MAX + 1, message);
    fake_send_raw(&f, frame, fake_frame(message, len, frame));
    assert_int_equal(answers(), 0);
}

static void test_receive_undecodable_is_bad_request(void **state)
{
    (void)state;
    const uint8_t nonsense[] = {0xFF, 0xFF, 0xFF};
    uint8_t frame[30];
    fake_send_raw(&f, frame, fake_frame(nonsense, sizeof nonsense, frame));
    Devstamp__Response *r = read_answer(&f, &st, 0, 0);
    assert_non_null(r);
    assert_int_equal(DS_STATUS_CODE(r->status), DEVSTAMP__STATUS_CODE__CODE_BAD_REQUEST);
    assert_int_equal(r->status >> 24, DEVSTAMP__STATUS_MODULE__MODULE_FRAME);
    fake_free(r);
    Devstamp__Request empty = DEVSTAMP__REQUEST__INIT;
    assert_int_equal(fake_status(&f, &st, &empty), DEVSTAMP__STATUS_CODE__CODE_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_crc_known_vector, setup),
        cmocka_unit_test_setup(test_send_known_bytes_escaped, setup),
        cmocka_unit_test_setup(test_receive_known_frame_answers, setup),
        cmocka_unit_test_setup(test_receive_text_and_odd_ends_recovers, setup),
        cmocka_unit_test_setup(test_receive_damaged_is_silent, setup),
        cmocka_unit_test_setup(test_receive_endless_frame_dropped_at_limit, setup),
        cmocka_unit_test_setup(test_receive_longest_message, setup),
        cmocka_unit_test_setup(test_receive_undecodable_is_bad_request, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
