// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The boot chain of a device without security: images, slots, and what is refused.
#include "sim_boot_bench.h"

// ---- images

static void test_image_make_is_deterministic_and_laid_out_for_the_cache(void **state)
{
    const set *s = *state;
    ds_sim_image_spec spec = {.chip = s->chip,
                              .kind = DS_SIM_IMAGE_APP,
                              .project = "demo",
                              .version = "3.1.4",
                              .secure_version = 2,
                              .body = 200000,
                              .secure_pad = true};
    DS_CLEANUP_BUF ds_buf a = {0}, b = {0};
    make(&spec, NULL, &a);
    make(&spec, NULL, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.ptr, b.ptr, a.len);
    assert_int_equal(a.len % DS_IMAGE_PAGE, 0);
    ds_image_info info;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_parse(ds_buf_view(&a), &info, &e), DS_OK);
    assert_int_equal(info.chip_id, s->chip->id);
    assert_int_equal(info.app.secure_version, 2);
    assert_string_equal(info.app.project, "demo");
    assert_string_equal(info.app.version, "3.1.4");
    for (unsigned i = 0; i < 3; i += 2) // DROM, IROM
        assert_int_equal((size_t)(info.segments[i].data.ptr - a.ptr) % DS_IMAGE_PAGE,
                         info.segments[i].load_addr % DS_IMAGE_PAGE);
    ds_buf_clear(&b);
    spec.version = "3.1.5";
    make(&spec, NULL, &b);
    assert_memory_not_equal(a.ptr + 0x400, b.ptr + 0x400, 256);
}

static void test_image_boot_kind_is_read_back(void **state)
{
    const set *s = *state;
    ds_image_info info;
    ds_sim_boot_kind kind;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_image_parse(ds_buf_view(&s->release_boot), &info, &e), DS_OK);
    assert_true(ds_sim_image_boot_kind(&info, &kind) && kind.secure && kind.release && kind.table_offset == TABLE);
    assert_int_equal(ds_image_parse(ds_buf_view(&s->secure_boot), &info, &e), DS_OK);
    assert_true(ds_sim_image_boot_kind(&info, &kind) && kind.secure && !kind.release);
    assert_int_equal(ds_image_parse(ds_buf_view(&s->plain_boot), &info, &e), DS_OK);
    assert_true(ds_sim_image_boot_kind(&info, &kind) && !kind.secure);
    assert_int_equal(ds_image_parse(ds_buf_view(&s->app), &info, &e), DS_OK);
    assert_false(ds_sim_image_boot_kind(&info, &kind));
    ds_sim_image_spec large = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_SECURE_BOOTLOADER, .table_offset = 0x8000, .body = 0x8000};
    DS_CLEANUP_BUF ds_buf out = {0};
    assert_int_equal(ds_sim_image_make(&large, &out, &e), DS_INPUT);
    assert_non_null(strstr(e.text, "before the partition table"));
}

// ---- without security

static void test_boot_plain_device_runs_what_otadata_names(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 1);
    boot_says(s->chip, "RUN devstamp-mfg 1.0.0 from ota_1");
    assert_non_null(strstr(shared->console, "SPI_FAST_FLASH_BOOT"));
    assert_non_null(strstr(shared->console, "\r\nentry 0x40"));
    select_slot(s->chip, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    assert_true(nothing_burned(s->chip));
}

static void test_boot_blank_flash_repeats_invalid_header(void **state)
{
    const set *s = *state;
    new_device(s->chip);
    boot_says(s->chip, "invalid header: 0xffffffff");
}

static void test_boot_blank_otadata_runs_first_slot_and_notes_it(void **state)
{
    const set *s = *state;
    uint8_t blank[DS_OTADATA_SIZE];
    static uint8_t flash[FLASH_SIZE];
    memset(blank, 0xFF, sizeof blank);
    fresh(s, &s->plain_boot, 1);
    write_flash(s->chip, OTADATA, (ds_view){blank, sizeof blank});
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    ds_otadata o;
    read_flash(s->chip, flash);
    ds_otadata_parse(flash + OTADATA, &o);
    assert_int_equal(ds_otadata_slot(&o, 2), 0);
}

static void test_boot_damaged_app_is_not_run_and_the_other_is(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 0);
    DS_CLEANUP_BUF ds_buf bad = {0};
    ds_buf_add(&bad, s->app.ptr, s->app.len);
    bad.ptr[0x500] ^= 1;
    write_flash(s->chip, OTA_0, ds_buf_view(&bad));
    boot_says(s->chip, "RUN devstamp-mfg 1.0.0 from ota_1");
    assert_non_null(strstr(shared->console, "slot 0 is not bootable"));
    write_flash(s->chip, OTA_1, ds_buf_view(&bad));
    boot_says(s->chip, "No bootable app partitions");
    assert_null(strstr(shared->console, "RUN"));
}

static void test_boot_damaged_table_or_bootloader_runs_nothing(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 0);
    write_flash(s->chip, TABLE, (ds_view){(const uint8_t *)"\xAA\x50", 2});
    boot_says(s->chip, "Failed to verify partition table");
    assert_null(strstr(shared->console, "RUN"));
    DS_CLEANUP_BUF ds_buf bad = {0};
    ds_buf_add(&bad, s->plain_boot.ptr, s->plain_boot.len);
    bad.ptr[0x500] ^= 1;
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(&bad));
    boot_says(s->chip, "csum err");
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(&s->mfg));
    boot_says(s->chip, "no native code for this bootloader");
}

static void test_boot_image_for_another_chip_is_refused(void **state)
{
    const set *s = *state, *other = s == &sets[0] ? &sets[1] : &sets[0];
    fresh(s, &s->plain_boot, 0);
    write_flash(s->chip, OTA_0, ds_buf_view(&other->app));
    boot_says(s->chip, "mismatch chip ID");
    assert_non_null(strstr(shared->console, "RUN devstamp-mfg"));
}

static void test_boot_older_secure_version_is_refused(void **state)
{
    const set *s = *state;
    fresh(s, &s->plain_boot, 0);
    burn(s->chip, "SECURE_VERSION", 1);
    boot_says(s->chip, "secure version 0 of the app is older than the device's 1");
    assert_null(strstr(shared->console, "RUN"));
    ds_sim_image_spec spec = {.chip = s->chip,
                              .kind = DS_SIM_IMAGE_APP,
                              .project = "demo",
                              .version = "2.1",
                              .secure_version = 1,
                              .body = 3000};
    DS_CLEANUP_BUF ds_buf newer = {0};
    make(&spec, NULL, &newer);
    write_flash(s->chip, OTA_1, ds_buf_view(&newer));
    boot_says(s->chip, "RUN demo 2.1 from ota_1");
}

// ---- an update's trial

static void read_otadata(const set *s, ds_otadata *ret)
{
    static uint8_t flash[FLASH_SIZE];
    uint8_t clear[DS_OTADATA_SIZE], key[32];
    ds_err e = DS_ERR_INIT;
    read_flash(s->chip, flash);
    flash_key(s->chip, key);
    assert_int_equal(ds_flashenc_decrypt(s->chip->cipher, (ds_view){key, 32}, 0xF, OTADATA, flash + OTADATA, clear,
                                         sizeof clear, &e),
                     DS_OK);
    ds_otadata_parse(clear, ret);
}

// The second slot's entry in this state, written as the device itself would: encrypted.
static void put_second_entry(const set *s, enum ds_ota_state state)
{
    uint8_t sector[4096], key[32];
    ds_err e = DS_ERR_INIT;
    memset(sector, 0xFF, sizeof sector);
    ds_otadata_entry(2, (uint32_t)state, sector);
    flash_key(s->chip, key);
    assert_int_equal(ds_flashenc_encrypt(s->chip->cipher, (ds_view){key, 32}, 0xF, OTADATA + 0x1000, sector, sector,
                                         sizeof sector, &e),
                     DS_OK);
    write_flash(s->chip, OTADATA + 0x1000, (ds_view){sector, sizeof sector});
}

// A locked device, with a signed update in its second slot.
static void lock_with_update(const set *s)
{
    fresh(s, &s->release_boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    DS_CLEANUP_BUF ds_buf update = {0};
    ds_sim_image_spec spec = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_APP, .project = "demo", .version = "2.1.0", .body = 3000};
    make(&spec, right_key, &update);
    ds_buf_resize(&update, (update.len + 31) / 32 * 32, 0xFF);
    uint8_t key[32];
    ds_err e = DS_ERR_INIT;
    flash_key(s->chip, key);
    assert_int_equal(
        ds_flashenc_encrypt(s->chip->cipher, (ds_view){key, 32}, 0xF, OTA_1, update.ptr, update.ptr, update.len, &e),
        DS_OK);
    write_flash(s->chip, OTA_1, ds_buf_view(&update));
}

static void test_boot_update_that_is_not_confirmed_is_given_up(void **state)
{
    const set *s = *state;
    ds_otadata o;
    lock_with_update(s);
    put_second_entry(s, DS_OTA_NEW);
    boot_says(s->chip, "RUN demo 2.1.0 from ota_1");
    read_otadata(s, &o);
    assert_int_equal(o.entry[1].state, DS_OTA_PENDING_VERIFY);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    read_otadata(s, &o);
    assert_int_equal(o.entry[1].state, DS_OTA_ABORTED);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
}

static void test_boot_update_that_was_confirmed_stays(void **state)
{
    const set *s = *state;
    ds_otadata o;
    lock_with_update(s);
    put_second_entry(s, DS_OTA_VALID);
    for (int i = 0; i < 2; i++)
        boot_says(s->chip, "RUN demo 2.1.0 from ota_1");
    read_otadata(s, &o);
    assert_int_equal(o.entry[1].state, DS_OTA_VALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_image_make_is_deterministic_and_laid_out_for_the_cache),
        BOTH(test_image_boot_kind_is_read_back),
        BOTH(test_boot_plain_device_runs_what_otadata_names),
        BOTH(test_boot_blank_flash_repeats_invalid_header),
        BOTH(test_boot_blank_otadata_runs_first_slot_and_notes_it),
        BOTH(test_boot_damaged_app_is_not_run_and_the_other_is),
        BOTH(test_boot_damaged_table_or_bootloader_runs_nothing),
        BOTH(test_boot_image_for_another_chip_is_refused),
        BOTH(test_boot_older_secure_version_is_refused),
        BOTH(test_boot_update_that_is_not_confirmed_is_given_up),
        BOTH(test_boot_update_that_was_confirmed_stays),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
