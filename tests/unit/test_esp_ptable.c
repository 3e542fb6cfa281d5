// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Partition tables: CSV to known bytes, both directions, every check, every truncation and flipped bit.
#include "src/esp/ptable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char two_ota[] = "# Name, Type, SubType, Offset, Size, Flags\n"
                              "nvs,      data, nvs,     ,        0x4000,\n"
                              "otadata,  data, ota,     ,        0x2000,\n"
                              "phy_init, data, phy,     ,        0x1000,\n"
                              "factory,  app,  factory, ,        1M,\n"
                              "ota_0,    app,  ota_0,   ,        1M,\n"
                              "ota_1,    app,  ota_1,   ,        1M,\n";

static void from_csv(const char *csv, ds_ptable *ret)
{
    ds_err e = DS_ERR_INIT;
    enum ds_class cls = ds_ptable_from_csv(csv, 0x8000, ret, &e);
    if (cls)
        print_message("%s\n", e.text);
    assert_int_equal(cls, DS_OK);
}

static void test_ptable_csv_two_ota_gives_expected_bytes(void **state)
{
    (void)state;
    ds_ptable t;
    uint8_t bin[DS_PTABLE_SIZE], want[32];
    ds_err e = DS_ERR_INIT;
    from_csv(two_ota, &t);
    assert_int_equal(ds_ptable_build(&t, bin, &e), DS_OK);
    assert_true(ds_unhex("aa50010200900000004000006e76730000000000000000000000000000000000", want, 32));
    assert_memory_equal(bin, want, 32);
    assert_true(ds_unhex("aa50001100002100000010006f74615f31000000000000000000000000000000", want, 32));
    assert_memory_equal(bin + 5 * 32, want, 32);
    assert_true(ds_unhex("ebebffffffffffffffffffffffffffffbf25822c0fa6d8641bd930251e06b4c4", want, 32));
    assert_memory_equal(bin + 6 * 32, want, 32);
    memset(want, 0xFF, 32);
    assert_memory_equal(bin + 7 * 32, want, 32);
    assert_memory_equal(bin + DS_PTABLE_SIZE - 32, want, 32);
    assert_int_equal(ds_ptable_ota_count(&t), 2);
}

static void test_ptable_build_then_parse_gives_same_table(void **state)
{
    (void)state;
    ds_ptable t, back;
    uint8_t bin[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    from_csv("sixteen_letters_, data, 0x40, 0x9000, 0x1000, encrypted\n"
             "ro, 0x3f, 6, , 4k, readonly:encrypted\n"
             "app, app, test, 0x20000, 64K\n",
             &t);
    assert_int_equal(ds_ptable_build(&t, bin, &e), DS_OK);
    assert_int_equal(ds_ptable_parse((ds_view){bin, sizeof bin}, &back, &e), DS_OK);
    assert_int_equal(back.count, 3);
    assert_string_equal(back.parts[0].label, "sixteen_letters_");
    assert_true(back.parts[0].encrypted && !back.parts[0].readonly);
    assert_true(back.parts[1].encrypted && back.parts[1].readonly);
    assert_int_equal(back.parts[1].type, 0x3F);
    assert_int_equal(back.parts[1].offset, 0xA000);
    assert_int_equal(back.parts[2].subtype, 0x20);
    assert_int_equal(back.parts[2].size, 0x10000);
    assert_memory_equal(&t, &back, sizeof t);
}

static void test_ptable_csv_fills_offsets_and_negative_sizes(void **state)
{
    (void)state;
    ds_ptable t;
    assert_int_equal(setenv("DS_TEST_SIZE", "0x3000", 1), 0);
    from_csv("\r\n"
             " # comment $NOT_A_VARIABLE\r\n"
             "a,data,NVS,,$DS_TEST_SIZE\r\n"
             "b,data,fat,,-0x10000\r\n"
             "c,app,OTA_0,,${DS_TEST_SIZE}\r\n"
             "d,data,,0x30000,0b1000000000000,\r\n"
             "e,0x41,7,,1k,,ignored,more",
             &t);
    assert_int_equal(t.count, 5);
    assert_int_equal(t.parts[0].offset, 0x9000);
    assert_int_equal(t.parts[0].size, 0x3000);
    assert_int_equal(t.parts[1].offset, 0xC000);
    assert_int_equal(t.parts[1].size, 0x4000);
    assert_int_equal(t.parts[2].offset, 0x10000);
    assert_int_equal(t.parts[3].subtype, 0x06);
    assert_int_equal(t.parts[3].size, 0x1000);
    assert_int_equal(t.parts[4].offset, 0x31000);
    assert_int_equal(t.parts[4].size, 1024);
}

static void test_ptable_csv_bad_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *csv, *word;
    } cases[] = {
        {"a,,nvs,,4K", "line 1: the type is missing"},
        {"\na,dta,nvs,,4K", "line 2: type 'dta'"},
        {"a,data,nsv,,4K", "subtype 'nsv'"},
        {"a,data,factory,,4K", "subtype 'factory'"},
        {"a,app,,,64K", "needs a subtype"},
        {"a,data,nvs,,", "size is missing"},
        {"a,data,nvs,,12x", "size '12x'"},
        {"a,data,nvs,,0x100000000", "size '0x100000000'"},
        {"a,data,nvs,,99999999999999999999999", "size '9999"},
        {"a,data,nvs,010,4K", "offset '010'"},
        {"a,data,nvs,-4096,4K", "offset '-4096'"},
        {"a,data,256,,4K", "subtype '256'"},
        {"a,data,nvs,,4K,crypted", "flag 'crypted'"},
        {"a,data,nvs,,$DS_TEST_UNSET_VARIABLE", "DS_TEST_UNSET_VARIABLE"},
        {"a,data,nvs,0x8000,4K", "line 1: offset 0x8000 lies in or below the partition table"},
        {"a,data,nvs,,16K\nb,data,nvs,0x9000,4K", "line 2: offset 0x9000"},
        {"a,data,nvs,0x20000,-0x10000", "no room"},
        {"a,data,nvs,0x9100,4K", "0x9100 is not a multiple"},
        {"a,app,factory,0x11000,64K", "0x11000 is not a multiple"},
        {"a,app,factory,,0x10100", "0x10100 is not a multiple"},
        {"a,data,nvs,,4K\na,data,fat,,4K", "two partitions are named a"},
        {"a,data,ota,,4K", "otadata has 0x1000 bytes"},
        {"a,data,ota,,8K\nb,data,ota,,8K", "both otadata"},
        {"a,data,ota,,8K,readonly", "cannot be read-only"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ds_ptable t;
        ds_err e = DS_ERR_INIT;
        assert_int_equal(ds_ptable_from_csv(cases[i].csv, 0x8000, &t, &e), DS_INPUT);
        if (!strstr(e.text, cases[i].word))
            fail_msg("case %zu: '%s' does not say '%s'", i, e.text, cases[i].word);
    }
}

static void test_ptable_check_sees_overlap_and_flash_end(void **state)
{
    (void)state;
    ds_ptable t;
    ds_err e = DS_ERR_INIT;
    from_csv(two_ota, &t);
    assert_int_equal(ds_ptable_check(&t, 0x8000, 0x400000, &e), DS_OK);
    assert_int_equal(ds_ptable_check(&t, 0x8000, 0x200000, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "ota_0 ends at 0x210000, the flash at 0x200000"));
    assert_int_equal(ds_ptable_check(&t, 0x9000, 0, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "nvs at 0x9000 lies below"));
    t.parts[4].offset = t.parts[3].offset;
    assert_int_equal(ds_ptable_check(&t, 0x8000, 0, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "overlap at 0x10000"));
    t.parts[4].offset = 0x110000;
    t.parts[4].size = 0xFFFFF000;
    assert_int_equal(ds_ptable_check(&t, 0x8000, 0, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "address space"));
}

static void test_ptable_parse_truncated_anywhere_is_refused(void **state)
{
    (void)state;
    ds_ptable t;
    uint8_t bin[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    from_csv(two_ota, &t);
    assert_int_equal(ds_ptable_build(&t, bin, &e), DS_OK);
    for (size_t len = 0; len < 9 * 32; len++) {
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, bin, len);
        bool whole = len % 32 == 0 && len >= 8 * 32; // rows, digest and one end marker
        assert_int_equal(ds_ptable_parse((ds_view){copy, len}, &t, &e), whole ? DS_OK : DS_INPUT);
        free(copy);
    }
}

static void test_ptable_parse_flipped_bit_anywhere_is_refused(void **state)
{
    (void)state;
    ds_ptable t;
    uint8_t bin[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    from_csv(two_ota, &t);
    assert_int_equal(ds_ptable_build(&t, bin, &e), DS_OK);
    for (unsigned bit = 0; bit < 8 * 32 * 8; bit++) {
        unsigned in_row = bit / 8 % 32;
        if (bit / 8 / 32 == 6 && in_row >= 2 && in_row < 16)
            continue; // the filler of the digest's row is read by nobody
        bin[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(ds_ptable_parse((ds_view){bin, sizeof bin}, &t, &e), DS_INPUT);
        bin[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_ptable_encrypted_parts_are_told(void **state)
{
    (void)state;
    ds_ptable t;
    from_csv("nvs,data,nvs,,4K\nkeys,data,nvs_keys,,4K\notadata,data,ota,,8K\nraw,data,fat,,4K,encrypted\n"
             "app,app,factory,,64K\n",
             &t);
    assert_false(ds_part_is_encrypted(ds_ptable_find(&t, "nvs")));
    assert_true(ds_part_is_encrypted(ds_ptable_find(&t, "keys")));
    assert_true(ds_part_is_encrypted(ds_ptable_find(&t, "raw")));
    assert_true(ds_part_is_encrypted(ds_ptable_find_type(&t, DS_PART_DATA, DS_PART_DATA_OTA)));
    assert_true(ds_part_is_encrypted(ds_ptable_find_type(&t, DS_PART_APP, DS_PART_APP_FACTORY)));
    assert_null(ds_ptable_find(&t, "none"));
    assert_null(ds_ptable_find_type(&t, DS_PART_APP, DS_PART_APP_OTA0));
}

static void test_ptable_build_too_many_rows_is_refused(void **state)
{
    (void)state;
    static ds_ptable t;
    uint8_t bin[DS_PTABLE_SIZE];
    ds_err e = DS_ERR_INIT;
    t.count = DS_PTABLE_MAX;
    assert_int_equal(ds_ptable_build(&t, bin, &e), DS_INPUT);
    for (t.count = 0; t.count < DS_PTABLE_MAX - 1; t.count++) {
        ds_part *p = &t.parts[t.count];
        *p = (ds_part){.type = 0x40, .offset = 0x10000 + t.count * 0x1000, .size = 0x1000};
        p->label[0] = (char)('!' + t.count);
    }
    assert_int_equal(ds_ptable_build(&t, bin, &e), DS_OK);
    assert_int_equal(ds_ptable_parse((ds_view){bin, sizeof bin}, &t, &e), DS_OK);
    assert_int_equal(t.count, 94);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ptable_csv_two_ota_gives_expected_bytes),
        cmocka_unit_test(test_ptable_build_then_parse_gives_same_table),
        cmocka_unit_test(test_ptable_csv_fills_offsets_and_negative_sizes),
        cmocka_unit_test(test_ptable_csv_bad_lines_are_named),
        cmocka_unit_test(test_ptable_check_sees_overlap_and_flash_end),
        cmocka_unit_test(test_ptable_parse_truncated_anywhere_is_refused),
        cmocka_unit_test(test_ptable_parse_flipped_bit_anywhere_is_refused),
        cmocka_unit_test(test_ptable_encrypted_parts_are_told),
        cmocka_unit_test(test_ptable_build_too_many_rows_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
