// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Device descriptions, a device's files, and the flash written from outside.
#include "sim/device_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void parse(const char *text, unsigned index, ds_sim_device_spec *ret)
{
    ds_err e = DS_ERR_INIT;
    if (ds_sim_device_spec_parse(text, index, ret, &e))
        fail_msg("%s: %s", text, e.text);
}

static void test_spec_parse_takes_every_key(void **state)
{
    (void)state;
    ds_sim_device_spec s;
    parse("chip=esp32,mac=24:0a:c4:aB:Cd:02,rev=v3.1,flash=16MB,image=a "
          "b.bin,fault=cut@7+seed=3,timing=on,seed=0x10,power=off",
          5, &s);
    assert_string_equal(s.chip->name, "esp32");
    assert_memory_equal(s.mac, "\x24\x0a\xc4\xab\xcd\x02", 6);
    assert_int_equal(s.revision, 301);
    assert_int_equal(s.flash_size, 16 << 20);
    assert_string_equal(s.image, "a b.bin");
    assert_string_equal(s.fault, "cut@7,seed=3");
    assert_true(s.timing);
    assert_true(s.off);
    assert_int_equal(s.seed, 16);
    ds_sim_device_spec_free(&s);
}

static void test_spec_defaults_are_distinct_devices(void **state)
{
    (void)state;
    ds_sim_device_spec a, b, c, again;
    parse("chip=esp32c3", 0, &a);
    parse("chip=esp32c3", 1, &b);
    parse("chip=esp32c3,seed=2", 0, &c);
    parse("chip=esp32c3", 0, &again);
    assert_memory_equal(a.mac, "\x24\x0a\xc4", 3);
    assert_memory_not_equal(a.mac, b.mac, 6);
    assert_memory_not_equal(a.mac, c.mac, 6);
    assert_memory_equal(a.mac, again.mac, 6);
    assert_int_equal(a.revision, 4);
    assert_int_equal(a.flash_size, 4 << 20);
    assert_false(a.timing);
    assert_null(a.fault);
}

static void test_spec_text_describes_the_same_device(void **state)
{
    (void)state;
    ds_sim_device_spec a, b;
    parse("chip=esp32,rev=3.1,flash=2MB,seed=77,timing=on,image=x,fault=drop=5", 3, &a);
    char *text = ds_sim_device_spec_text(&a);
    parse(text, 0, &b);
    assert_ptr_equal(a.chip, b.chip);
    assert_memory_equal(a.mac, b.mac, 6);
    assert_int_equal(a.revision, b.revision);
    assert_int_equal(a.flash_size, b.flash_size);
    assert_int_equal(a.seed, b.seed);
    assert_true(b.timing);
    assert_null(b.image);
    assert_null(b.fault);
    free(text);
    ds_sim_device_spec_free(&a);
}

static void test_spec_bad_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "chip",
        "chip=",
        "chip=esp32,",
        "chip=esp32,mac=",
        "chip=esp32,mac=24:0a:c4:00:00:0g",
        "chip=esp32,mac=24:0a:c4:00:00:012",
        "chip=esp32,mac=01:00:00:00:00:00",
        "chip=esp32,rev=",
        "chip=esp32,rev=3.",
        "chip=esp32,rev=3.1x",
        "chip=esp32,rev=99",
        "chip=esp32,rev=-1",
        "chip=esp32,flash=MB",
        "chip=esp32,flash=0MB",
        "chip=esp32,flash=5MB",
        "chip=esp32,flash=4",
        "chip=esp32,seed=-1",
        "chip=esp32,seed=18446744073709551616",
        "chip=esp32,timing=maybe",
        "chip=esp32,power=low",
        "chip=esp32,image=",
        "chip=esp32,fault=cut",
        "chip=esp32,averyveryverylongkey=1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ds_sim_device_spec s;
        ds_err e = DS_ERR_INIT;
        if (ds_sim_device_spec_parse(bad[i], 0, &s, &e) != DS_USAGE)
            fail_msg("accepted: %s", bad[i]);
        ds_sim_device_spec_free(&s);
    }
}

static char folder[] = "/tmp/devstamp-test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    ds_sim_device_files f;
    ds_sim_device_files_init(&f, folder, 0);
    unlink(f.spec);
    unlink(f.flash);
    unlink(f.efuse);
    rmdir(f.dir);
    ds_sim_device_files_free(&f);
    return rmdir(folder);
}

static enum ds_class prepare(const char *text, ds_err *e)
{
    ds_sim_device_spec s;
    ds_sim_device_files f;
    parse(text, 0, &s);
    ds_sim_device_files_init(&f, folder, 0);
    enum ds_class rc = ds_sim_device_files_prepare(&f, &s, e);
    ds_sim_device_files_free(&f);
    ds_sim_device_spec_free(&s);
    return rc;
}

static void test_files_prepare_keeps_a_device_and_refuses_another(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(prepare("chip=esp32c3,flash=1MB", &e), DS_OK);
    assert_int_equal(prepare("chip=esp32c3,flash=1MB", &e), DS_OK);
    assert_int_equal(prepare("chip=esp32,flash=1MB", &e), DS_INPUT);
    assert_int_equal(prepare("chip=esp32c3,flash=2MB", &e), DS_INPUT);
    assert_int_equal(prepare("chip=esp32c3,flash=1MB,seed=2", &e), DS_INPUT); // another address
}

static void test_offline_write_keeps_what_shares_its_sectors(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_sim_offline o;
    uint8_t back[0x3000];
    assert_int_equal(prepare("chip=esp32c3,flash=1MB", &e), DS_OK);
    assert_int_equal(ds_sim_offline_open(&o, folder, 0, &e), DS_OK);
    ds_view first = {(const uint8_t *)"first", 5}, second = {(const uint8_t *)"second", 6};
    assert_int_equal(ds_sim_offline_write(&o, 0x10FFD, first, false, &e), DS_OK);
    assert_int_equal(ds_sim_offline_write(&o, 0x10FF0, second, false, &e), DS_OK);
    assert_int_equal(ds_sim_offline_write(&o, 0x10FFD, second, false, &e), DS_OK); // bits back to 1 as well
    assert_true(ds_sim_flash_read(o.chip.flash, 0x10000, back, sizeof back));
    assert_memory_equal(back + 0xFF0, "second\xff\xff\xff\xff\xff\xff\xffsecond\xff", 20);
    assert_int_equal(ds_sim_offline_write(&o, (1u << 20) - 5, second, false, &e), DS_INPUT);
    assert_int_equal(ds_sim_offline_write(&o, (1u << 20) - 6, second, false, &e), DS_OK);
    ds_sim_offline_close(&o);
    assert_int_equal(ds_sim_offline_open(&o, folder, 1, &e), DS_INPUT); // there is no device 1
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_parse_takes_every_key),
        cmocka_unit_test(test_spec_defaults_are_distinct_devices),
        cmocka_unit_test(test_spec_text_describes_the_same_device),
        cmocka_unit_test(test_spec_bad_text_is_refused),
        cmocka_unit_test(test_files_prepare_keeps_a_device_and_refuses_another),
        cmocka_unit_test(test_offline_write_keeps_what_shares_its_sectors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
