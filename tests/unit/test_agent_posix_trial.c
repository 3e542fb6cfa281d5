// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The end of an update's trial over a fake chip: which state otadata gets, and how far the secure version is raised.
#include "tests/unit/agent_posix_fake.h"

static ds_status end_trial(fake *f, bool good)
{
    return f->port.port.trial_end(f->port.port.ctx, good);
}

static void put_entry(fake *f, unsigned sector, uint32_t seq, enum ds_ota_state state)
{
    uint8_t entry[DS_OTADATA_ENTRY];
    ds_otadata_entry(seq, (uint32_t)state, entry);
    assert_true(fake_erase(f, OTADATA_AT + sector * 0x1000, 0x1000));
    assert_true(fake_program(f, OTADATA_AT + sector * 0x1000, entry, sizeof entry, true));
    f->steps = 0;
}

static int state_of(fake *f, unsigned sector)
{
    uint8_t word[4] = {0};
    assert_true(fake_read(f, OTADATA_AT + sector * 0x1000 + DS_OTADATA_STATE, word, 4, true));
    return (int)ds_le32(word);
}

static unsigned secure_version(fake *f)
{
    ds_security s;
    f->port.port.security(f->port.port.ctx, &s);
    return s.secure_version;
}

static void test_trial_good_is_kept_once(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    encrypt_flash(f);
    put_entry(f, 0, 1, DS_OTA_UNDEFINED);
    put_entry(f, 1, 2, DS_OTA_PENDING_VERIFY);
    assert_int_equal(end_trial(f, true), DS_STATUS_OK);
    assert_int_equal(state_of(f, 1), DS_OTA_VALID);
    unsigned steps = f->steps;
    assert_int_equal(end_trial(f, true), DS_STATUS_OK);
    assert_int_equal(end_trial(f, false), DS_STATUS_OK); // no trial any more
    assert_int_equal(f->steps, steps);
    assert_int_equal(f->restarts, 0);
    fake_free(f);
}

static void test_trial_bad_goes_back_where_it_can(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    put_entry(f, 0, 1, DS_OTA_VALID);
    put_entry(f, 1, 2, DS_OTA_PENDING_VERIFY);
    assert_int_equal(end_trial(f, false), DS_STATUS_OK);
    assert_int_equal(state_of(f, 1), DS_OTA_INVALID);
    assert_int_equal(f->restarts, 1);
    put_entry(f, 0, 1, DS_OTA_ABORTED);
    put_entry(f, 1, 2, DS_OTA_PENDING_VERIFY);
    assert_code(end_trial(f, false), NOT_FOUND);
    assert_int_equal(state_of(f, 1), DS_OTA_PENDING_VERIFY);
    assert_int_equal(f->restarts, 1);
    fake_free(f);
}

static void test_trial_what_the_factory_selected_is_left_alone(void **state)
{
    (void)state;
    fake *f = fake_new("esp32");
    assert_int_equal(end_trial(f, true), DS_STATUS_OK); // blank otadata
    put_entry(f, 0, 1, DS_OTA_UNDEFINED);
    assert_int_equal(end_trial(f, true), DS_STATUS_OK);
    assert_int_equal(end_trial(f, false), DS_STATUS_OK);
    assert_int_equal(state_of(f, 0), DS_OTA_UNDEFINED);
    assert_int_equal(f->steps, 0);
    fake_free(f);
}

static void test_trial_raises_the_secure_version_exactly(void **state)
{
    (void)state;
    static const char *const chips[] = {"esp32", "esp32c3"};
    for (size_t i = 0; i < 2; i++) {
        fake *f = fake_new(chips[i]);
        put_entry(f, 0, 1, DS_OTA_UNDEFINED);
        f->hal.secure_version = 3;
        assert_int_equal(end_trial(f, true), DS_STATUS_OK);
        assert_int_equal(secure_version(f), 0); // without secure boot a version says nothing
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses, i ? "SECURE_BOOT_EN" : "ABS_DONE_1", 1));
        assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "SECURE_VERSION", 4)); // bits need not be in order
        assert_int_equal(end_trial(f, false), DS_STATUS_OK);
        assert_int_equal(secure_version(f), 1);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(end_trial(f, true), DS_STATUS_OK);
            assert_int_equal(secure_version(f), 3);
        }
        f->hal.secure_version = i ? 17 : 33; // more than the field has bits
        assert_code(end_trial(f, true), UNSUPPORTED);
        assert_int_equal(secure_version(f), 3);
        f->hal.secure_version = i ? 16 : 32;
        assert_int_equal(end_trial(f, true), DS_STATUS_OK);
        assert_int_equal(secure_version(f), i ? 16 : 32);
        fake_free(f);
    }
}

static void test_trial_update_is_selected_as_new(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    install(f, OTA0_AT, "2.1.0", NULL);
    assert_int_equal(f->port.port.boot_select(f->port.port.ctx, "ota_0"), DS_STATUS_OK);
    assert_int_equal(state_of(f, 0), DS_OTA_UNDEFINED); // the factory's choice
    install(f, OTA1_AT, "2.2.0", NULL);
    f->port.is_app = true;
    assert_int_equal(f->port.port.boot_select(f->port.port.ctx, "ota_1"), DS_STATUS_OK);
    assert_int_equal(state_of(f, 1), DS_OTA_NEW);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trial_good_is_kept_once),
        cmocka_unit_test(test_trial_bad_goes_back_where_it_can),
        cmocka_unit_test(test_trial_what_the_factory_selected_is_left_alone),
        cmocka_unit_test(test_trial_raises_the_secure_version_exactly),
        cmocka_unit_test(test_trial_update_is_selected_as_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
