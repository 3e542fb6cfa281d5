// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual eFuses: one-way bits, protection, coded blocks, the controllers' registers, and a power cut or kill while
// burning. Expected check bytes of 00..1F are reedsolo's (RSCodec(12)).
#include "sim/chip.h"
#include "src/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define C3_CONF 0x1CCu
#define C3_CMD 0x1D4u
#define C3_CHECK 0x20u
#define C3_RS_ERR 0x1C0u
#define ESP32_CONF 0xFCu
#define ESP32_CMD 0x104u
#define WRITE_CODE 0x5A5Au
#define READ_CODE 0x5AA5u
#define KEY0 4u // block number
#define WINDOW_C3 512u

static const uint8_t mac[6] = {0x7C, 0xDF, 0xA1, 0x11, 0x22, 0x33};
static const uint8_t parity[12] = {0xA0, 0x4C, 0x47, 0x0D, 0x3F, 0xFC, 0xB2, 0x03, 0xDA, 0xE9, 0xF4, 0x13};
static char folder[] = "/tmp/ds-efuse-XXXXXX";
static char path[64];

static int setup(void **state)
{
    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/efuse", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    return 0;
}

static const ds_chip *c3(void)
{
    return ds_chip_by_name("esp32c3");
}

static const ds_chip *esp32(void)
{
    return ds_chip_by_name("esp32");
}

static ds_sim_efuse *open_with(const ds_chip *chip, uint16_t revision, ds_sim_fault *fault)
{
    ds_sim_efuse *f = NULL;
    ds_err e = DS_ERR_INIT;
    if (ds_sim_efuse_open(path, chip, mac, revision, fault, &f, &e))
        fail_msg("%s", e.text);
    return f;
}

static ds_sim_efuse *open_chip(const ds_chip *chip, uint16_t revision)
{
    static ds_sim_fault none;
    return open_with(chip, revision, &none);
}

static void counting_key(uint8_t key[32])
{
    for (unsigned i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
}

static bool burn_field(ds_sim_efuse *f, const ds_chip *chip, const char *name, uint32_t value)
{
    ds_efuse_words bits = {0};
    assert_true(ds_efuse_set(chip, &bits, name, value));
    return ds_sim_efuse_burn(f, ds_efuse_field_find(chip, name)->block, &bits);
}

static uint32_t field(ds_sim_efuse *f, const ds_chip *chip, const char *name)
{
    ds_efuse_words w;
    ds_sim_efuse_read(f, &w);
    return ds_efuse_get(chip, &w, name);
}

static void test_efuse_fresh_esp32_has_mac_crc_and_revision(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(esp32(), 301);
    ds_efuse_words w;
    uint8_t got[6];
    ds_sim_efuse_read(f, &w);
    ds_efuse_get_mac(esp32(), &w, got);
    assert_memory_equal(got, mac, 6);
    // CRC-8 of this MAC as espefuse calculates it.
    assert_int_equal(ds_efuse_get(esp32(), &w, "MAC_CRC"), 0x1F);
    assert_int_equal(ds_efuse_revision(esp32(), &w), 301);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x04), 0xA1112233);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x08), 0x001F7CDF);
    ds_sim_efuse_close(f);
}

static void test_efuse_fresh_c3_has_mac_revision_and_clean_blocks(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x44), 0xA1112233);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x48) & 0xFFFF, 0x7CDF);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x50) >> 18 & 7, 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR + 4), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    ds_sim_efuse_close(f);
}

static void test_efuse_bits_only_go_up_and_stay(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    assert_true(burn_field(f, c3(), "SECURE_VERSION", 0x0001));
    assert_true(burn_field(f, c3(), "SECURE_VERSION", 0x0100));
    assert_true(burn_field(f, c3(), "SECURE_VERSION", 0));
    assert_int_equal(field(f, c3(), "SECURE_VERSION"), 0x0101);
    ds_sim_efuse_close(f);
    // Another MAC and revision do not matter to a chip that has its own.
    f = open_chip(c3(), 101);
    assert_int_equal(field(f, c3(), "SECURE_VERSION"), 0x0101);
    assert_int_equal(field(f, c3(), "WAFER_VERSION_MINOR_LO"), 4);
    ds_sim_efuse_close(f);
}

static void test_efuse_coded_block_is_written_once(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    ds_efuse_words bits = {0}, seen;
    uint8_t key[32], got[32];
    counting_key(key);
    ds_efuse_set_block(&bits, KEY0, key);
    assert_true(ds_sim_efuse_burn(f, KEY0, &bits));
    assert_true(ds_sim_efuse_burn(f, KEY0, &bits));
    bits.w[KEY0][7] |= 0x80000000;
    assert_false(ds_sim_efuse_burn(f, KEY0, &bits));
    memset(bits.w[KEY0], 0, sizeof bits.w[KEY0]);
    bits.w[KEY0][0] = 0x100; // a part of what is there is not what is there
    assert_false(ds_sim_efuse_burn(f, KEY0, &bits));
    ds_sim_efuse_read(f, &seen);
    ds_efuse_get_block(&seen, KEY0, got);
    assert_memory_equal(got, key, 32);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    assert_false(ds_sim_efuse_burn(f, 11, &bits));
    ds_sim_efuse_close(f);
}

static void test_efuse_write_protection_refuses_all_of_it(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    ds_efuse_words bits = {0};
    assert_true(burn_field(f, c3(), "WR_DIS", 1u << 23 | 1u << 18 | 1u << 4));
    bits.w[KEY0][0] = 1;
    assert_false(ds_sim_efuse_burn(f, KEY0, &bits));
    assert_false(burn_field(f, c3(), "SPI_BOOT_CRYPT_CNT", 1));
    memset(&bits, 0, sizeof bits);
    ds_efuse_set(c3(), &bits, "SECURE_BOOT_EN", 1);           // wr 15: free
    ds_efuse_set(c3(), &bits, "ENABLE_SECURITY_DOWNLOAD", 1); // wr 18: protected
    assert_false(ds_sim_efuse_burn(f, 0, &bits));
    assert_int_equal(field(f, c3(), "SECURE_BOOT_EN"), 0);
    assert_true(burn_field(f, c3(), "SECURE_BOOT_EN", 1));
    assert_int_equal(field(f, c3(), "BLOCK_KEY0"), 0);
    ds_sim_efuse_close(f);
}

// True where the whole of needle is found in the first len bytes of the file, forwards or backwards.
static bool file_holds(size_t from, size_t len, const uint8_t *needle, size_t n)
{
    ds_buf b = {0};
    bool found = false;
    assert_int_equal(ds_file_read(path, 1 << 16, &b, NULL), 0);
    assert_true(from + len <= b.len);
    for (size_t i = from; i + n <= from + len; i++) {
        bool back = true;
        for (size_t k = 0; k < n; k++)
            back = back && b.ptr[i + k] == needle[n - 1 - k];
        found = found || back || !memcmp(b.ptr + i, needle, n);
    }
    ds_buf_free(&b);
    return found;
}

static void test_efuse_read_protection_hides_from_software_alone(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    ds_efuse_words bits = {0}, seen, hw;
    uint8_t key[32], got[32];
    counting_key(key);
    key[0] = 0xC5;
    ds_efuse_set_block(&bits, KEY0, key);
    assert_true(ds_sim_efuse_burn(f, KEY0, &bits));
    assert_true(file_holds(0, WINDOW_C3, key, 32));
    assert_true(burn_field(f, c3(), "RD_DIS", 1));
    ds_sim_efuse_read(f, &seen);
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++) {
        assert_int_equal(seen.w[KEY0][i], 0);
        assert_int_equal(ds_sim_efuse_reg_read(f, 0x9C + 4 * i), 0);
    }
    ds_sim_efuse_close(f);
    f = open_chip(c3(), 4);
    ds_sim_efuse_read_hw(f, &hw);
    ds_efuse_get_block(&hw, KEY0, got);
    assert_memory_equal(got, key, 32);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    ds_sim_efuse_close(f);
    assert_false(file_holds(0, WINDOW_C3, key, 32));
}

static void test_efuse_esp32_read_protection_covers_fields(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(esp32(), 300);
    ds_efuse_words hw;
    assert_true(burn_field(f, esp32(), "FLASH_CRYPT_CONFIG", 0xF));
    assert_int_equal(field(f, esp32(), "FLASH_CRYPT_CONFIG"), 0xF);
    assert_true(burn_field(f, esp32(), "RD_DIS", 8));
    assert_int_equal(field(f, esp32(), "FLASH_CRYPT_CONFIG"), 0);
    assert_int_equal(field(f, esp32(), "CHIP_VER_REV2"), 1); // same word, not protected
    ds_sim_efuse_read_hw(f, &hw);
    assert_int_equal(ds_efuse_get(esp32(), &hw, "FLASH_CRYPT_CONFIG"), 0xF);
    ds_sim_efuse_close(f);
}

static void pgm(ds_sim_efuse *f, const uint8_t data[32], const uint8_t check[12], unsigned block)
{
    for (unsigned i = 0; i < 8; i++)
        ds_sim_efuse_reg_write(f, 4 * i, ds_le32(data + 4 * i));
    for (unsigned i = 0; i < 3; i++)
        ds_sim_efuse_reg_write(f, C3_CHECK + 4 * i, ds_le32(check + 4 * i));
    ds_sim_efuse_reg_write(f, C3_CONF, WRITE_CODE);
    ds_sim_efuse_reg_write(f, C3_CMD, 2u | block << 2);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_CMD) & 3, 0);
}

static void reload(ds_sim_efuse *f)
{
    ds_sim_efuse_reg_write(f, C3_CONF, READ_CODE);
    ds_sim_efuse_reg_write(f, C3_CMD, 1);
}

static void test_efuse_c3_registers_burn_a_coded_block(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    uint8_t key[32];
    counting_key(key);
    pgm(f, key, parity, KEY0);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x9C), 0); // not read yet
    reload(f);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(ds_sim_efuse_reg_read(f, 0x9C + 4 * i), ds_le32(key + 4 * i));
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    ds_sim_efuse_close(f);
}

static void test_efuse_c3_wrong_check_bytes_read_with_errors(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    uint8_t key[32], check[12];
    counting_key(key);
    memcpy(check, parity, sizeof check);
    check[3] |= 0xF0;
    check[7] |= 0x10;
    pgm(f, key, check, KEY0);
    // Two bytes the decoder mends: count 2 at bits 12..14, no fail bit.
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 2u << 12);
    // Another codeword over it is beyond repair, and stays so.
    memset(key, 0xA5, sizeof key);
    pgm(f, key, parity, KEY0);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 7u << 12 | 1u << 19);
    ds_sim_efuse_close(f);
    f = open_chip(c3(), 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 7u << 12 | 1u << 19);
    // The last key blocks report in the second register: count of KEY5 at bit 0, fail at bit 7.
    pgm(f, key, parity, 9);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR + 4), 7u | 1u << 7);
    ds_sim_efuse_close(f);
}

static void test_efuse_c3_registers_obey_protection_and_codes(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(c3(), 4);
    uint8_t key[32];
    counting_key(key);
    assert_true(burn_field(f, c3(), "WR_DIS", 1u << 23));
    pgm(f, key, parity, KEY0);
    reload(f);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0xA0), 0);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    // Without the write code in CONF nothing is burned.
    for (unsigned i = 0; i < 8; i++)
        ds_sim_efuse_reg_write(f, 4 * i, ds_le32(key + 4 * i));
    ds_sim_efuse_reg_write(f, C3_CONF, READ_CODE);
    ds_sim_efuse_reg_write(f, C3_CMD, 2u | 5u << 2);
    reload(f);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0xC0), 0);
    // Read registers cannot be written; nothing outside the window answers.
    ds_sim_efuse_reg_write(f, 0x9C, 0xFFFFFFFF);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x9C), 0);
    ds_sim_efuse_reg_write(f, 0x200, 1);
    ds_sim_efuse_reg_write(f, 0xFFFFFFFC, 1);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x200), 0);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x9D), 0);
    ds_sim_efuse_reg_write(f, C3_CONF, WRITE_CODE);
    ds_sim_efuse_reg_write(f, C3_CMD, 2u | 15u << 2);
    ds_sim_efuse_close(f);
}

static void test_efuse_esp32_registers_burn_all_blocks_at_once(void **state)
{
    (void)state;
    ds_sim_efuse *f = open_chip(esp32(), 300);
    ds_sim_efuse_reg_write(f, 0x98, 0xDEADBEEF);         // BLOCK1 word 0
    ds_sim_efuse_reg_write(f, 0x1C, 1u << 7 | 1u << 16); // BLOCK0: BLOCK1 write- and read-protected
    ds_sim_efuse_reg_write(f, ESP32_CONF, WRITE_CODE);
    ds_sim_efuse_reg_write(f, ESP32_CMD, 2);
    ds_sim_efuse_reg_write(f, ESP32_CONF, READ_CODE);
    ds_sim_efuse_reg_write(f, ESP32_CMD, 1);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x38), 0);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x00) & 0x10080, 0x10080);
    ds_efuse_words hw;
    ds_sim_efuse_read_hw(f, &hw);
    assert_int_equal(hw.w[1][0], 0xDEADBEEF);
    // Protected from now on.
    ds_sim_efuse_reg_write(f, 0x98, 0xFFFFFFFF);
    ds_sim_efuse_reg_write(f, ESP32_CONF, WRITE_CODE);
    ds_sim_efuse_reg_write(f, ESP32_CMD, 2);
    ds_sim_efuse_read_hw(f, &hw);
    assert_int_equal(hw.w[1][0], 0xDEADBEEF);
    ds_sim_efuse_close(f);
}

static void test_efuse_power_cut_burns_a_block_whole_or_not(void **state)
{
    (void)state;
    ds_sim_efuse_close(open_chip(c3(), 4));
    for (uint64_t n = 1; n <= 3; n++) {
        pid_t pid = fork();
        if (pid == 0) {
            uint64_t ops = 0;
            ds_sim_fault fault = {.cut_at = n, .flash_ops = &ops};
            ds_sim_efuse *f = NULL;
            ds_efuse_words bits;
            memset(&bits, 0xFF, sizeof bits);
            if (ds_sim_efuse_open(path, c3(), mac, 4, &fault, &f, NULL))
                _exit(1);
            (void)ds_sim_efuse_burn(f, KEY0, &bits);
            (void)ds_sim_efuse_burn(f, KEY0 + 1, &bits);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        // After KEY0 is burned a second burn of it is no operation.
        assert_int_equal(WEXITSTATUS(status), n == 3 ? 0 : DS_SIM_EXIT_POWER_CUT);
        ds_sim_efuse *f = open_chip(c3(), 4);
        ds_efuse_words w;
        ds_sim_efuse_read(f, &w);
        assert_int_equal(w.w[KEY0][7], n == 1 ? 0 : 0xFFFFFFFF);
        assert_int_equal(w.w[KEY0 + 1][0], n == 3 ? 0xFFFFFFFF : 0);
        ds_sim_efuse_close(f);
    }
}

static void test_efuse_kill_inside_a_burn_is_finished_from_the_journal(void **state)
{
    (void)state;
    ds_sim_efuse_close(open_chip(c3(), 4));
    ds_buf b = {0};
    assert_int_equal(ds_file_read(path, 1 << 16, &b, NULL), 0);
    uint8_t *fuses = b.ptr + WINDOW_C3;
    assert_memory_equal(fuses, "DSFUSE1", 8);
    uint8_t key[32];
    counting_key(key);
    memcpy(fuses + 12, key, 32);
    memcpy(fuses + 12 + 32, parity, 12);
    // The row is there, the mark is not: nothing was burned.
    assert_int_equal(ds_file_write(path, ds_buf_view(&b), 0600, NULL), 0);
    ds_sim_efuse *f = open_chip(c3(), 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0xA0), 0);
    ds_sim_efuse_close(f);
    fuses[8] = KEY0 + 1;
    assert_int_equal(ds_file_write(path, ds_buf_view(&b), 0600, NULL), 0);
    f = open_chip(c3(), 4);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(ds_sim_efuse_reg_read(f, 0x9C + 4 * i), ds_le32(key + 4 * i));
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    ds_sim_efuse_close(f);
    // A mark that names no block is not followed.
    fuses[8] = 0xFF;
    assert_int_equal(ds_file_write(path, ds_buf_view(&b), 0600, NULL), 0);
    f = open_chip(c3(), 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0xA0), 0);
    ds_sim_efuse_close(f);
    ds_buf_free(&b);
}

static void test_efuse_window_alone_is_taken_over(void **state)
{
    (void)state;
    // As espefuse --virt keeps it: the last word of the file is the register at offset 0, big-endian.
    uint8_t window[WINDOW_C3] = {0};
    memcpy(window + WINDOW_C3 - 4 - 0x44, (const uint8_t[]){0xA1, 0x11, 0x22, 0x44}, 4);
    memcpy(window + WINDOW_C3 - 4 - 0x48, (const uint8_t[]){0x00, 0x00, 0x7C, 0xDF}, 4);
    memcpy(window + WINDOW_C3 - 4 - 0x9C, (const uint8_t[]){0x03, 0x02, 0x01, 0x00}, 4);
    assert_int_equal(ds_file_write(path, (ds_view){window, sizeof window}, 0644, NULL), 0);
    ds_sim_efuse *f = open_chip(c3(), 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x44), 0xA1112244);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x9C), 0x03020100);
    assert_int_equal(ds_sim_efuse_reg_read(f, C3_RS_ERR), 0);
    ds_sim_efuse_close(f);
    // A blank one becomes a fresh chip.
    memset(window, 0, sizeof window);
    assert_int_equal(ds_file_write(path, (ds_view){window, sizeof window}, 0644, NULL), 0);
    f = open_chip(c3(), 4);
    assert_int_equal(ds_sim_efuse_reg_read(f, 0x44), 0xA1112233);
    ds_sim_efuse_close(f);
}

static void test_efuse_strange_files_are_refused(void **state)
{
    (void)state;
    uint8_t junk[1100];
    ds_sim_fault none = {0};
    ds_sim_efuse *f = NULL;
    ds_err e = DS_ERR_INIT;
    memset(junk, 0x55, sizeof junk);
    assert_int_equal(ds_file_write(path, (ds_view){junk, 100}, 0600, NULL), 0);
    assert_int_equal(ds_sim_efuse_open(path, c3(), mac, 4, &none, &f, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "ESP32-C3"));
    unlink(path);
    ds_sim_efuse_close(open_chip(esp32(), 300));
    assert_int_equal(ds_sim_efuse_open(path, c3(), mac, 4, &none, &f, &e), DS_INPUT);
    unlink(path);
    ds_sim_efuse_close(open_chip(c3(), 4));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true((size_t)st.st_size <= sizeof junk);
    assert_int_equal(ds_file_write(path, (ds_view){junk, (size_t)st.st_size}, 0600, NULL), 0);
    assert_int_equal(ds_sim_efuse_open(path, c3(), mac, 4, &none, &f, &e), DS_INPUT);
    assert_int_equal(ds_sim_efuse_open(folder, c3(), mac, 4, &none, &f, &e), DS_INPUT);
    assert_null(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_efuse_fresh_esp32_has_mac_crc_and_revision),
        T(test_efuse_fresh_c3_has_mac_revision_and_clean_blocks),
        T(test_efuse_bits_only_go_up_and_stay),
        T(test_efuse_coded_block_is_written_once),
        T(test_efuse_write_protection_refuses_all_of_it),
        T(test_efuse_read_protection_hides_from_software_alone),
        T(test_efuse_esp32_read_protection_covers_fields),
        T(test_efuse_c3_registers_burn_a_coded_block),
        T(test_efuse_c3_wrong_check_bytes_read_with_errors),
        T(test_efuse_c3_registers_obey_protection_and_codes),
        T(test_efuse_esp32_registers_burn_all_blocks_at_once),
        T(test_efuse_power_cut_burns_a_block_whole_or_not),
        T(test_efuse_kill_inside_a_burn_is_finished_from_the_journal),
        T(test_efuse_window_alone_is_taken_over),
        T(test_efuse_strange_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
