// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// eFuses on paper: tables that agree with themselves, known register values, and what they say of a chip's security.
#include "src/esp/efuse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const ds_chip *esp32, *c3;

static int set_up(void **state)
{
    (void)state;
    esp32 = ds_chip_by_name("esp32");
    c3 = ds_chip_by_name("esp32c3");
    return 0;
}

static void test_efuse_rs_encode_matches_vector(void **state)
{
    (void)state;
    uint8_t data[32], check[12], want[12];
    for (unsigned i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    assert_true(ds_unhex("a04c470d3ffcb203dae9f413", want, 12));
    ds_efuse_rs_encode(data, check);
    assert_memory_equal(check, want, 12);
    memset(data, 0, 32);
    memset(want, 0, 12);
    ds_efuse_rs_encode(data, check);
    assert_memory_equal(check, want, 12);
}

static void test_efuse_tables_fit_their_blocks_without_overlap(void **state)
{
    (void)state;
    for (unsigned c = 0; ds_chip_at(c); c++) {
        const ds_chip *chip = ds_chip_at(c);
        uint8_t used[DS_EFUSE_BLOCKS][256] = {{0}};
        const ds_efuse_field *f;
        assert_true(ds_efuse_block_count(chip) <= DS_EFUSE_BLOCKS);
        assert_null(ds_efuse_block_at(chip, ds_efuse_block_count(chip)));
        for (unsigned i = 0; (f = ds_efuse_field_at(chip, i)); i++) {
            const ds_efuse_block *b = ds_efuse_block_at(chip, f->block);
            assert_non_null(b);
            assert_true(f->bits > 0 && f->first_bit + f->bits <= b->words * 32);
            assert_true(b->read_off + 4u * b->words <= chip->efuse_window);
            assert_ptr_equal(ds_efuse_field_find(chip, f->name), f);
            if (chip == esp32 && f->block == 3)
                continue; // custom MAC, ADC and version share it by design, with gaps
            for (unsigned bit = 0; bit < f->bits; bit++)
                assert_int_equal(used[f->block][f->first_bit + bit]++, 0);
        }
    }
}

static void test_efuse_fields_lie_where_the_chip_has_them(void **state)
{
    (void)state;
    ds_efuse_words e = {0};
    assert_true(ds_efuse_set(esp32, &e, "FLASH_CRYPT_CNT", 0x7F));
    assert_int_equal(e.w[0][0], 0x07F00000);
    assert_true(ds_efuse_set(esp32, &e, "FLASH_CRYPT_CONFIG", 0xF));
    assert_int_equal(e.w[0][5], 0xF0000000);
    assert_true(ds_efuse_set(esp32, &e, "ABS_DONE_1", 1));
    assert_int_equal(e.w[0][6], 0x20);
    assert_false(ds_efuse_set(esp32, &e, "SECURE_BOOT_EN", 1));
    assert_int_equal(ds_efuse_get(esp32, &e, "SECURE_BOOT_EN"), 0);
    memset(&e, 0, sizeof e);
    assert_true(ds_efuse_set(c3, &e, "SPI_BOOT_CRYPT_CNT", 5));
    assert_int_equal(e.w[0][2], 5u << 18);
    assert_true(ds_efuse_set(c3, &e, "KEY_PURPOSE_1", 9));
    assert_int_equal(e.w[0][2] >> 28, 9);
    assert_true(ds_efuse_set(c3, &e, "SECURE_BOOT_EN", 1));
    assert_int_equal(e.w[0][3], 1u << 20);
    assert_true(ds_efuse_set(c3, &e, "SECURE_VERSION", 0x8001));
    assert_int_equal(e.w[0][4], 0x8001u << 14);
    assert_int_equal(ds_efuse_get(c3, &e, "SECURE_VERSION"), 0x8001);
    assert_int_equal(ds_efuse_field_find(c3, "KEY_PURPOSE_5")->wr_dis_bit, 13);
    assert_int_equal(ds_efuse_field_find(c3, "BLOCK_KEY5")->rd_dis_bit, 5);
    assert_int_equal(ds_efuse_block_at(c3, 9)->read_off, 0x13C);
    assert_int_equal(ds_efuse_block_at(esp32, 3)->write_off, 0xD8);
}

static void test_efuse_value_wider_than_field_is_cut(void **state)
{
    (void)state;
    ds_efuse_words e = {0};
    assert_true(ds_efuse_set(c3, &e, "KEY_PURPOSE_0", 0xFFFFFFFF));
    assert_int_equal(e.w[0][2], 0x0F000000);
    assert_int_equal(e.w[0][3], 0);
}

static void test_efuse_mac_and_revision_both_ways(void **state)
{
    (void)state;
    static const uint8_t mac[6] = {0x24, 0x0A, 0xC4, 0x01, 0x02, 0x03};
    uint8_t back[6];
    ds_efuse_words e = {0};
    ds_efuse_set_mac(esp32, &e, mac);
    assert_int_equal(e.w[0][1], 0xC4010203);
    assert_int_equal(e.w[0][2] & 0xFFFF, 0x240A);
    assert_int_equal(e.w[0][2] >> 16, 0x38); // CRC-8 of these six bytes
    ds_efuse_get_mac(esp32, &e, back);
    assert_memory_equal(back, mac, 6);
    ds_efuse_set_revision(esp32, &e, 301);
    assert_int_equal(ds_efuse_revision(esp32, &e), 301);
    memset(&e, 0, sizeof e);
    ds_efuse_set_mac(c3, &e, mac);
    assert_int_equal(e.w[1][0], 0xC4010203);
    assert_int_equal(e.w[1][1], 0x240A);
    ds_efuse_get_mac(c3, &e, back);
    assert_memory_equal(back, mac, 6);
    ds_efuse_set_revision(c3, &e, 112);
    assert_int_equal(ds_efuse_revision(c3, &e), 112);
    assert_int_equal(ds_efuse_get(c3, &e, "WAFER_VERSION_MINOR_LO"), 4);
    assert_int_equal(ds_efuse_get(c3, &e, "WAFER_VERSION_MINOR_HI"), 1);
}

static void test_efuse_block_bytes_both_ways(void **state)
{
    (void)state;
    uint8_t data[32], back[32];
    ds_efuse_words e = {0};
    for (unsigned i = 0; i < 32; i++)
        data[i] = (uint8_t)(0xA0 + i);
    ds_efuse_set_block(&e, 4, data);
    assert_int_equal(e.w[4][0], 0xA3A2A1A0);
    ds_efuse_get_block(&e, 4, back);
    assert_memory_equal(back, data, 32);
}

static void test_efuse_security_fresh_chip_has_none(void **state)
{
    (void)state;
    for (unsigned c = 0; ds_chip_at(c); c++) {
        ds_efuse_words e = {0};
        ds_efuse_security s;
        ds_efuse_security_get(ds_chip_at(c), &e, &s);
        assert_false(s.secure_boot || s.flash_encryption || s.release || s.download_disabled || s.secure_download ||
                     s.jtag_disabled || s.flash_key_protected);
        assert_int_equal(s.digest_count, 0);
        assert_int_equal(s.flash_key_block, -1);
        assert_int_equal(s.secure_version, 0);
    }
}

static void test_efuse_security_esp32_release(void **state)
{
    (void)state;
    static const char *const bits[] = {"ABS_DONE_1", "JTAG_DISABLE", "DISABLE_DL_ENCRYPT", "DISABLE_DL_DECRYPT",
                                       "DISABLE_DL_CACHE"};
    ds_efuse_words e = {0};
    ds_efuse_security s;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        assert_true(ds_efuse_set(esp32, &e, bits[i], 1));
    e.w[2][7] = 0x12345678; // digest
    ds_efuse_set(esp32, &e, "WR_DIS", 1u << 7);
    ds_efuse_set(esp32, &e, "RD_DIS", 1);
    ds_efuse_set(esp32, &e, "FLASH_CRYPT_CNT", 1);
    ds_efuse_set(esp32, &e, "SECURE_VERSION", 7);
    ds_efuse_security_get(esp32, &e, &s);
    assert_true(s.secure_boot && s.flash_encryption && s.jtag_disabled && s.flash_key_protected);
    assert_false(s.release || s.download_disabled);
    assert_int_equal(s.flash_key_block, 1);
    assert_int_equal(s.digest_count, 1);
    assert_int_equal(s.digests[0][28], 0x78);
    assert_int_equal(s.secure_version, 3);
    ds_efuse_words full = e, locked = e, even = e;
    ds_efuse_set(esp32, &full, "FLASH_CRYPT_CNT", 0x7F);
    ds_efuse_security_get(esp32, &full, &s);
    assert_true(s.release);
    ds_efuse_set(esp32, &locked, "WR_DIS", 1u << 2);
    ds_efuse_security_get(esp32, &locked, &s);
    assert_true(s.release);
    ds_efuse_set(esp32, &even, "FLASH_CRYPT_CNT", 3);
    ds_efuse_set(esp32, &even, "WR_DIS", 1u << 2);
    ds_efuse_security_get(esp32, &even, &s);
    assert_false(s.flash_encryption || s.release);
}

static void test_efuse_security_c3_release(void **state)
{
    (void)state;
    ds_efuse_words e = {0};
    ds_efuse_security s;
    e.w[4][0] = 0x11111111;
    e.w[6][0] = 0x22222222;
    ds_efuse_set(c3, &e, "KEY_PURPOSE_0", 9);
    ds_efuse_set(c3, &e, "KEY_PURPOSE_1", 4);
    ds_efuse_set(c3, &e, "KEY_PURPOSE_2", 10);
    ds_efuse_set(c3, &e, "SECURE_BOOT_EN", 1);
    ds_efuse_set(c3, &e, "DIS_PAD_JTAG", 1);
    ds_efuse_set(c3, &e, "SPI_BOOT_CRYPT_CNT", 7);
    ds_efuse_set(c3, &e, "RD_DIS", 1 << 1);
    ds_efuse_security_get(c3, &e, &s);
    assert_true(s.secure_boot && s.flash_encryption);
    assert_false(s.release || s.flash_key_protected || s.jtag_disabled);
    assert_int_equal(s.flash_key_block, 5);
    assert_int_equal(s.digest_count, 2);
    assert_int_equal(s.digests[1][0], 0x22);
    ds_efuse_set(c3, &e, "SECURE_BOOT_KEY_REVOKE0", 1);
    ds_efuse_set(c3, &e, "WR_DIS", 1u << 24);
    ds_efuse_set(c3, &e, "DIS_DOWNLOAD_MANUAL_ENCRYPT", 1);
    ds_efuse_set(c3, &e, "DIS_DOWNLOAD_ICACHE", 1);
    ds_efuse_set(c3, &e, "DIS_USB_JTAG", 1);
    ds_efuse_set(c3, &e, "ENABLE_SECURITY_DOWNLOAD", 1);
    ds_efuse_security_get(c3, &e, &s);
    assert_true(s.release && s.flash_key_protected && s.jtag_disabled && s.secure_download);
    assert_int_equal(s.digest_count, 1);
    assert_int_equal(s.digests[0][0], 0x22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_efuse_rs_encode_matches_vector),
        cmocka_unit_test(test_efuse_tables_fit_their_blocks_without_overlap),
        cmocka_unit_test(test_efuse_fields_lie_where_the_chip_has_them),
        cmocka_unit_test(test_efuse_value_wider_than_field_is_cut),
        cmocka_unit_test(test_efuse_mac_and_revision_both_ways),
        cmocka_unit_test(test_efuse_block_bytes_both_ways),
        cmocka_unit_test(test_efuse_security_fresh_chip_has_none),
        cmocka_unit_test(test_efuse_security_esp32_release),
        cmocka_unit_test(test_efuse_security_c3_release),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
