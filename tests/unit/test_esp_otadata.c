// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// otadata: known CRCs, which entry is active, and switching between any slots.
#include "src/esp/otadata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void put(uint8_t *data, unsigned sector, uint32_t seq, uint32_t state, uint32_t crc)
{
    uint8_t *entry = data + sector * DS_OTADATA_SECTOR;
    memset(entry, 0xFF, DS_OTADATA_ENTRY);
    ds_put_le32(entry, seq);
    ds_put_le32(entry + 24, state);
    ds_put_le32(entry + 28, crc);
}

static void test_otadata_parse_blank_has_no_slot(void **state)
{
    (void)state;
    static uint8_t data[DS_OTADATA_SIZE];
    memset(data, 0xFF, sizeof data);
    ds_otadata o;
    ds_otadata_parse(data, &o);
    assert_int_equal(o.active, -1);
    assert_int_equal(ds_otadata_slot(&o, 2), -1);
}

static void test_otadata_parse_larger_valid_sequence_is_active(void **state)
{
    (void)state;
    static uint8_t data[DS_OTADATA_SIZE];
    memset(data, 0xFF, sizeof data);
    ds_otadata o;
    put(data, 0, 1, 0xFFFFFFFF, 0x4743989A);
    put(data, 1, 2, 0xFFFFFFFF, 0x55F63774);
    ds_otadata_parse(data, &o);
    assert_int_equal(o.active, 1);
    assert_int_equal(ds_otadata_slot(&o, 2), 1);
    put(data, 0, 3, DS_OTA_VALID, 0xED4A5011);
    ds_otadata_parse(data, &o);
    assert_int_equal(o.active, 0);
    assert_int_equal(ds_otadata_slot(&o, 2), 0);
    assert_int_equal(ds_otadata_slot(&o, 4), 2);
    put(data, 0, 3, DS_OTA_ABORTED, 0xED4A5011);
    ds_otadata_parse(data, &o);
    assert_int_equal(o.active, 1);
    put(data, 1, 2, DS_OTA_INVALID, 0x55F63774);
    ds_otadata_parse(data, &o);
    assert_int_equal(o.active, -1);
}

static void test_otadata_parse_flipped_bit_makes_entry_invalid(void **state)
{
    (void)state;
    static uint8_t data[DS_OTADATA_SIZE];
    memset(data, 0xFF, sizeof data);
    put(data, 0, 1, 0xFFFFFFFF, 0x4743989A);
    for (unsigned bit = 0; bit < 32; bit++) {
        ds_otadata o;
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ds_otadata_parse(data, &o);
        assert_int_equal(o.active, -1);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        data[28 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        ds_otadata_parse(data, &o);
        assert_int_equal(o.active, -1);
        data[28 + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_otadata_select_from_blank_gives_expected_bytes(void **state)
{
    (void)state;
    uint8_t entry[DS_OTADATA_ENTRY], want[DS_OTADATA_ENTRY];
    unsigned sector;
    ds_otadata o = {.active = -1};
    ds_otadata_select(&o, 1, 2, entry, &sector);
    assert_true(ds_unhex("02000000ffffffffffffffffffffffffffffffffffffffffffffffff7437f655", want, sizeof want));
    assert_memory_equal(entry, want, sizeof want);
    assert_int_equal(sector, 0);
}

static void test_otadata_select_any_sequence_of_slots_boots_them(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 16; n++) {
        static uint8_t data[DS_OTADATA_SIZE];
        memset(data, 0xFF, sizeof data);
        for (unsigned step = 0; step < 40; step++) {
            uint8_t entry[DS_OTADATA_ENTRY];
            unsigned slot = step * 7 % n, sector;
            ds_otadata o;
            ds_otadata_parse(data, &o);
            int before = o.active;
            ds_otadata_select(&o, slot, n, entry, &sector);
            if (before >= 0)
                assert_int_not_equal((int)sector, before);
            memcpy(data + sector * DS_OTADATA_SECTOR, entry, sizeof entry);
            ds_otadata_parse(data, &o);
            assert_int_equal(ds_otadata_slot(&o, n), (int)slot);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_otadata_parse_blank_has_no_slot),
        cmocka_unit_test(test_otadata_parse_larger_valid_sequence_is_active),
        cmocka_unit_test(test_otadata_parse_flipped_bit_makes_entry_invalid),
        cmocka_unit_test(test_otadata_select_from_blank_gives_expected_bytes),
        cmocka_unit_test(test_otadata_select_any_sequence_of_slots_boots_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
