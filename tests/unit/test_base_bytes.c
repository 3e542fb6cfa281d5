// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Bytes, checksums and SLIP of the base room.
#include "src/base/crc.h"
#include "src/base/slip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void test_crc32_known_values(void **state)
{
    (void)state;
    assert_int_equal(ds_crc32("123456789", 9), 0xCBF43926);
    assert_int_equal(ds_crc32_esp(0xFFFFFFFF, "123456789", 9), 0xD202D277);
    assert_int_equal(ds_crc32_esp(0xFFFFFFFF, "", 0), 0xFFFFFFFF);
    assert_int_equal(ds_crc32_esp(0xFFFFFFFF, "\x00", 1), 0xFFFFFFFF);
    assert_int_equal(ds_crc32_esp(0xFFFFFFFF, "\xFF", 1), 0xD2FD1072);
    uint32_t first = ds_crc32_esp(0xFFFFFFFF, "12345", 5);
    assert_int_equal(ds_crc32_esp(first, "6789", 4), 0xD202D277); // chained
}

static void test_xor8_and_mac_crc(void **state)
{
    (void)state;
    assert_int_equal(ds_xor8(DS_XOR8_SEED, "\x01\x02", 2), 0xEF ^ 1 ^ 2);
    // CRC-8/MAXIM-DOW of these bytes, computed independently.
    const uint8_t mac[6] = {0x24, 0x0a, 0xc4, 0x00, 0x00, 0x01}, zero[6] = {0};
    assert_int_equal(ds_crc8_mac(zero), 0);
    assert_int_equal(ds_crc8_mac(mac), 0xbe);
}

static void test_slice_bounds(void **state)
{
    (void)state;
    const uint8_t bytes[4] = {1, 2, 3, 4};
    ds_view v = {bytes, sizeof bytes}, part;
    assert_true(ds_view_slice(v, 1, 3, &part));
    assert_int_equal(part.ptr[0], 2);
    assert_true(ds_view_slice(v, 4, 0, &part));
    assert_false(ds_view_slice(v, 5, 0, &part));
    assert_false(ds_view_slice(v, 1, SIZE_MAX, &part));
    assert_int_equal(part.len, 0);
}

static void test_hex_both_ways(void **state)
{
    (void)state;
    const uint8_t bytes[3] = {0x00, 0xAF, 0x10};
    char text[7];
    uint8_t back[3];
    ds_hex(bytes, 3, text);
    assert_string_equal(text, "00af10");
    assert_true(ds_unhex("00AF10", back, 3));
    assert_memory_equal(back, bytes, 3);
    assert_false(ds_unhex("00af1", back, 3));
    assert_false(ds_unhex("00af1g", back, 3));
    assert_false(ds_unhex("00af1000", back, 3));
}

static unsigned feed(ds_slip *s, const ds_buf *bytes, ds_buf *frames, ds_buf *text, unsigned *bad)
{
    unsigned count = 0;
    for (size_t i = 0; i < bytes->len; i++) {
        switch (ds_slip_push(s, bytes->ptr[i])) {
        case DS_SLIP_FRAME:
            ds_buf_add(frames, s->frame.ptr, s->frame.len);
            count++;
            break;
        case DS_SLIP_TEXT:
            ds_buf_add_u8(text, bytes->ptr[i]);
            break;
        case DS_SLIP_BAD:
            (*bad)++;
            break;
        case DS_SLIP_MORE:
            break;
        }
    }
    return count;
}

static void test_slip_frames_between_text(void **state)
{
    (void)state;
    const uint8_t payload[] = {0xC0, 0xDB, 0x00, 0xDC, 0xDD, 0xFF};
    DS_CLEANUP_BUF ds_buf wire = {0};
    DS_CLEANUP_BUF ds_buf frames = {0};
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_buf_add(&wire, "boot\n", 5);
    ds_slip_encode(&wire, (ds_view){payload, sizeof payload});
    ds_slip_encode(&wire, (ds_view){payload, sizeof payload});
    ds_buf_add(&wire, "ok", 2);
    ds_slip s;
    ds_slip_init(&s, 64);
    unsigned bad = 0;
    assert_int_equal(feed(&s, &wire, &frames, &text, &bad), 2);
    assert_int_equal(bad, 0);
    assert_int_equal(frames.len, 2 * sizeof payload);
    assert_memory_equal(frames.ptr, payload, sizeof payload);
    assert_int_equal(text.len, 7);
    ds_slip_deinit(&s);
}

static void test_slip_oversized_and_broken_dropped(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf wire = {0};
    DS_CLEANUP_BUF ds_buf frames = {0};
    DS_CLEANUP_BUF ds_buf text = {0};
    ds_buf_add_u8(&wire, 0xC0);
    ds_buf_add_fill(&wire, 'x', 1000);
    ds_buf_add_u8(&wire, 0xC0);
    ds_buf_add(&wire, "\xC0\xDB\x01\xC0", 4); // a bad escape
    ds_slip_encode(&wire, (ds_view){(const uint8_t *)"fine", 4});
    ds_slip s;
    ds_slip_init(&s, 16);
    unsigned bad = 0;
    assert_int_equal(feed(&s, &wire, &frames, &text, &bad), 1);
    assert_int_equal(bad, 2);
    assert_memory_equal(frames.ptr, "fine", 4);
    assert_true(s.frame.cap <= 128); // what was claimed was never stored
    ds_slip_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32_known_values),
        cmocka_unit_test(test_xor8_and_mac_crc),
        cmocka_unit_test(test_slice_bounds),
        cmocka_unit_test(test_hex_both_ways),
        cmocka_unit_test(test_slip_frames_between_text),
        cmocka_unit_test(test_slip_oversized_and_broken_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
