// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual flash: NOR rules, persistence, and a power cut at any word or sector.
#include "sim/chip.h"
#include "sim/flash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE (1u << 20)

static char folder[] = "/tmp/ds-flash-XXXXXX";
static char path[64];
static ds_sim_timing no_timing;

static int setup(void **state)
{
    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/flash", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    return 0;
}

static ds_sim_flash *open_with(ds_sim_fault *fault)
{
    ds_sim_flash *f = NULL;
    ds_err e = DS_ERR_INIT;
    if (ds_sim_flash_open(path, SIZE, fault, &no_timing, &f, &e))
        fail_msg("%s", e.text);
    return f;
}

static void test_flash_new_file_is_blank_and_private(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    ds_sim_flash *f = open_with(&none);
    uint8_t buf[64], blank[64];
    struct stat st;
    memset(blank, 0xFF, sizeof blank);
    assert_true(ds_sim_flash_read(f, SIZE - 64, buf, 64));
    assert_memory_equal(buf, blank, 64);
    assert_int_equal(ds_sim_flash_size(f), SIZE);
    // Winbond, capacity code 14 (hex): 1 MiB.
    assert_int_equal(ds_sim_flash_jedec_id(f), 0x1440EF);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_int_equal(st.st_mode & 077, 0);
    ds_sim_flash_close(f);
    ds_sim_flash_close(NULL);
}

static void test_flash_created_with_content_is_that_and_blank_behind(void **state)
{
    (void)state;
    DS_CLEANUP_BUF ds_buf content = {0}, large = {0};
    uint8_t got[8];
    ds_sim_flash *f;
    ds_err e = DS_ERR_INIT;
    ds_buf_add(&content, "image", 5);
    ds_buf_resize(&large, SIZE + 1, 0);
    assert_int_equal(ds_sim_flash_create(path, SIZE, &large, &e), DS_INPUT);
    assert_int_equal(ds_sim_flash_create(path, 3 << 20, &content, &e), DS_USAGE);
    assert_int_equal(ds_sim_flash_create(path, SIZE, &content, &e), DS_OK);
    assert_int_equal(ds_sim_flash_open(path, SIZE, NULL, NULL, &f, &e), DS_OK);
    assert_true(ds_sim_flash_read(f, 0, got, sizeof got));
    assert_memory_equal(got, "image\xFF\xFF\xFF", sizeof got);
    assert_true(ds_sim_flash_read(f, SIZE - 1, got, 1));
    assert_int_equal(got[0], 0xFF);
    ds_sim_flash_close(f);
}

static void test_flash_program_only_clears_bits(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    ds_sim_flash *f = open_with(&none);
    const uint8_t first[7] = {0xF0, 0x0F, 0xAA, 0x55, 0x12, 0x34, 0x56},
                  second[7] = {0x3C, 0xFF, 0xF0, 0, 0xFF, 3, 0x60};
    uint8_t got[9];
    assert_true(ds_sim_flash_program(f, 0x1003, first, sizeof first));
    assert_true(ds_sim_flash_program(f, 0x1003, second, sizeof second));
    assert_true(ds_sim_flash_read(f, 0x1002, got, sizeof got));
    assert_int_equal(got[0], 0xFF);
    assert_int_equal(got[8], 0xFF);
    for (size_t i = 0; i < sizeof first; i++)
        assert_int_equal(got[1 + i], first[i] & second[i]);
    ds_sim_flash_close(f);
}

static void test_flash_erase_takes_whole_sectors(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    ds_sim_flash *f = open_with(&none);
    uint8_t zero[0x3000] = {0}, got[0x3000];
    assert_true(ds_sim_flash_program(f, 0xF000, zero, sizeof zero));
    assert_false(ds_sim_flash_erase(f, 0x10010, 0x1000));
    assert_false(ds_sim_flash_erase(f, 0x10000, 0x800));
    assert_true(ds_sim_flash_erase(f, 0x10000, 0x1000));
    assert_true(ds_sim_flash_read(f, 0xF000, got, sizeof got));
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], i / 0x1000 == 1 ? 0xFF : 0);
    ds_sim_flash_close(f);
}

static void test_flash_outside_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    ds_sim_flash *f = open_with(&none);
    uint8_t buf[8] = {0};
    assert_false(ds_sim_flash_program(f, SIZE - 4, buf, 8));
    assert_false(ds_sim_flash_program(f, UINT32_MAX, buf, 8));
    assert_false(ds_sim_flash_read(f, SIZE - 4, buf, 8));
    assert_false(ds_sim_flash_read(f, 4, buf, UINT32_MAX));
    assert_false(ds_sim_flash_erase(f, SIZE - 0x1000, 0x2000));
    assert_false(ds_sim_flash_erase(f, 0x1000, 0xFFFFF000));
    assert_true(ds_sim_flash_read(f, SIZE - 4, buf, 4));
    assert_int_equal(ds_le32(buf), 0xFFFFFFFF);
    assert_true(ds_sim_flash_read(f, SIZE, buf, 0));
    ds_sim_flash_close(f);
}

static void test_flash_bad_file_or_size_is_named(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    ds_sim_flash *f = open_with(&none), *other = NULL;
    ds_err e = DS_ERR_INIT;
    ds_sim_flash_close(f);
    assert_int_equal(ds_sim_flash_open(path, 2 * SIZE, &none, &no_timing, &other, &e), DS_INPUT);
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "2097152"));
    assert_true(e.hint[0] != '\0');
    assert_int_equal(ds_sim_flash_open(path, 3 << 20, &none, &no_timing, &other, &e), DS_USAGE);
    assert_int_equal(ds_sim_flash_open(path, 1 << 19, &none, &no_timing, &other, &e), DS_USAGE);
    assert_int_equal(ds_sim_flash_open(folder, SIZE, &none, &no_timing, &other, &e), DS_INPUT);
    assert_null(other);
}

// Run act on a fresh process that loses power at operation n; returns how it ended.
static int cut_at(uint64_t n, uint64_t seed, void (*act)(ds_sim_flash *f))
{
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t ops = 0;
        ds_sim_fault fault = {.cut_at = n, .rng = seed, .flash_ops = &ops};
        ds_sim_flash *f = NULL;
        if (ds_sim_flash_open(path, SIZE, &fault, &no_timing, &f, NULL))
            _exit(1);
        act(f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void program_zeros(ds_sim_flash *f)
{
    const uint8_t zero[40] = {0};
    (void)ds_sim_flash_program(f, 0x2000, zero, sizeof zero);
}

static void erase_two(ds_sim_flash *f)
{
    (void)ds_sim_flash_erase(f, 0x2000, 0x2000);
}

static void test_flash_power_cut_keeps_words_before_and_none_after(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    int torn = 0;
    for (unsigned n = 1; n <= 10; n++) {
        uint8_t got[40];
        assert_int_equal(cut_at(n, n, program_zeros), DS_SIM_EXIT_POWER_CUT);
        ds_sim_flash *f = open_with(&none);
        assert_true(ds_sim_flash_read(f, 0x2000, got, sizeof got));
        for (unsigned word = 0; word < 10; word++) {
            uint32_t is = ds_le32(got + 4 * word);
            if (word != n - 1)
                assert_int_equal(is, word < n - 1 ? 0 : 0xFFFFFFFF);
            else
                torn += is != 0 && is != 0xFFFFFFFF;
        }
        assert_true(ds_sim_flash_erase(f, 0x2000, 0x1000));
        ds_sim_flash_close(f);
    }
    assert_true(torn > 0);
    assert_int_equal(cut_at(11, 1, program_zeros), 0);
}

static void test_flash_power_cut_is_repeatable_by_seed(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    uint8_t got[3][4];
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(cut_at(1, i == 2 ? 99 : 7, program_zeros), DS_SIM_EXIT_POWER_CUT);
        ds_sim_flash *f = open_with(&none);
        assert_true(ds_sim_flash_read(f, 0x2000, got[i], 4));
        assert_true(ds_sim_flash_erase(f, 0x2000, 0x1000));
        ds_sim_flash_close(f);
    }
    assert_memory_equal(got[0], got[1], 4);
    assert_memory_not_equal(got[0], got[2], 4);
}

static void test_flash_power_cut_in_erase_leaves_the_next_sector(void **state)
{
    (void)state;
    ds_sim_fault none = {0};
    static uint8_t zero[0x2000], got[0x2000];
    ds_sim_flash *f = open_with(&none);
    assert_true(ds_sim_flash_program(f, 0x2000, zero, sizeof zero));
    assert_int_equal(cut_at(2, 3, erase_two), DS_SIM_EXIT_POWER_CUT);
    assert_true(ds_sim_flash_read(f, 0x2000, got, sizeof got));
    unsigned half = 0;
    for (size_t i = 0; i < sizeof got; i++) {
        if (i < 0x1000)
            assert_int_equal(got[i], 0xFF);
        else
            half += got[i] != 0 && got[i] != 0xFF;
    }
    assert_true(half > 0);
    assert_int_equal(cut_at(3, 3, erase_two), 0);
    ds_sim_flash_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flash_new_file_is_blank_and_private, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_created_with_content_is_that_and_blank_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_program_only_clears_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_erase_takes_whole_sectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_outside_is_refused_and_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_bad_file_or_size_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_power_cut_keeps_words_before_and_none_after, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_power_cut_is_repeatable_by_seed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flash_power_cut_in_erase_leaves_the_next_sector, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
