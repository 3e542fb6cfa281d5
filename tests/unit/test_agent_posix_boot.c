// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Boot selection over a fake chip: only what the bootloader will accept, and one whole choice whatever the cut.
#include "tests/unit/agent_posix_fake.h"

#include "src/esp/otadata.h"

#include <openssl/ec.h>

static ds_status boot(fake *f, const char *label)
{
    return f->port.port.boot_select(f->port.port.ctx, label);
}

static void expect_boots(fake *f, const char *label)
{
    ds_identity id;
    f->port.port.identity(f->port.port.ctx, &id);
    assert_string_equal(id.boot_partition, label);
}

static void test_boot_select_plain_image_writes_otadata_once(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    install(f, OTA0_AT, "1.0.0", NULL);
    install(f, OTA1_AT, "2.0.0", NULL);
    expect_boots(f, "ota_0");
    assert_int_equal(boot(f, "ota_1"), DS_STATUS_OK);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT), 2);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT + 28), 0x55F63774);
    expect_boots(f, "ota_1");
    unsigned steps = f->steps;
    assert_int_equal(boot(f, "ota_1"), DS_STATUS_OK);
    assert_int_equal(f->steps, steps);
    assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT + 0x1000), 3);
    expect_boots(f, "ota_0");
    assert_code(boot(f, "ota_2"), NOT_FOUND);
    assert_code(boot(f, "stamp"), NOT_FOUND);
    fake_free(f);
}

static void test_boot_select_bad_images_change_nothing(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    ds_buf image = make_image(ds_chip_by_name("esp32"), "1.0.0", 0, NULL);
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // blank
    put_image(f, OTA0_AT, &image);
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // another chip's
    ds_buf_free(&image);
    install(f, OTA0_AT, "1.0.0", NULL);
    f->flash[OTA0_AT + 1000] ^= 0x10;
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // damaged
    install(f, OTA0_AT, "1.0.0", NULL);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "SECURE_VERSION", 1));
    assert_code(boot(f, "ota_0"), BAD_IMAGE); // rolled back
    assert_int_equal(f->steps, 0);
    assert_int_equal(ds_le32(f->flash + OTADATA_AT), 0xFFFFFFFF);
    fake_free(f);
}

static void test_boot_select_signed_bootloader_demands_its_key(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    install(f, f->hal.chip->bootloader_offset, "boot", key);
    install(f, OTA0_AT, "1.0.0", NULL);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    install(f, OTA0_AT, "1.0.0", other);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    assert_int_equal(f->steps, 0);
    install(f, OTA0_AT, "1.0.0", key);
    assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    f->flash[f->hal.chip->bootloader_offset + 0x2000 - 1] = 0; // padding that was signed: the bootloader will not boot
    assert_code(boot(f, "ota_1"), BAD_SIGNATURE);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    fake_free(f);
}

static void test_boot_select_secure_boot_trusts_the_efuse_digest(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    uint8_t digest[32];
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_sbv2_key_digest(key, digest, &e), DS_OK);
    ds_efuse_set_block(&f->efuses, 4, digest);
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "KEY_PURPOSE_0", DS_EFUSE_PURPOSE_SB_DIGEST0));
    assert_true(ds_efuse_set(f->hal.chip, &f->efuses, "SECURE_BOOT_EN", 1));
    encrypt_flash(f);
    install(f, OTA0_AT, "1.0.0", NULL);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    install(f, OTA0_AT, "1.0.0", other);
    assert_code(boot(f, "ota_0"), BAD_SIGNATURE);
    install(f, OTA0_AT, "1.0.0", key);
    assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    expect_boots(f, "ota_0");
    assert_int_not_equal(ds_le32(f->flash + OTADATA_AT), 1); // ciphertext
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    fake_free(f);
}

static void test_boot_select_app_refuses_older_versions(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        bool boots;
    } cases[] = {{"2.0.9", false}, {"1.99.0", false}, {"2.1.0", true}, {"2.1.0-dirty", true}, {"2.10.0", true}};
    fake *f = fake_new("esp32c3"); // its running image is 2.1.0
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    install(f, f->hal.chip->bootloader_offset, "boot", key);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        install(f, OTA0_AT, cases[i].version, key);
        f->port.is_app = true;
        if (cases[i].boots)
            assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
        else
            assert_code(boot(f, "ota_0"), BAD_IMAGE);
        install(f, OTA0_AT, cases[i].version, other);
        assert_code(boot(f, "ota_0"), BAD_SIGNATURE); // judged first
        install(f, OTA0_AT, cases[i].version, key);
        f->port.is_app = false; // the mfg firmware selects what the recipe says
        assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
    }
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    fake_free(f);
}

static void test_boot_select_power_cut_boots_old_or_new(void **state)
{
    (void)state;
    fake *f = fake_new("esp32c3");
    install(f, f->hal.chip->bootloader_offset, "boot", NULL);
    install(f, OTA0_AT, "1.0.0", NULL);
    install(f, OTA1_AT, "2.0.0", NULL);
    assert_int_equal(boot(f, "ota_1"), DS_STATUS_OK);
    bool done = false;
    for (unsigned cut = 1; !done; cut++) {
        uint8_t before[DS_OTADATA_SIZE];
        ds_identity id;
        memcpy(before, f->flash + OTADATA_AT, sizeof before);
        restart(f);
        f->cut = cut;
        done = boot(f, "ota_0") == DS_STATUS_OK;
        restart(f);
        f->port.port.identity(f->port.port.ctx, &id);
        assert_true(!strcmp(id.boot_partition, "ota_0") || (!done && !strcmp(id.boot_partition, "ota_1")));
        assert_int_equal(boot(f, "ota_0"), DS_STATUS_OK);
        expect_boots(f, "ota_0");
        if (!done)
            memcpy(f->flash + OTADATA_AT, before, sizeof before);
        assert_true(cut < 20);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boot_select_plain_image_writes_otadata_once),
        cmocka_unit_test(test_boot_select_bad_images_change_nothing),
        cmocka_unit_test(test_boot_select_signed_bootloader_demands_its_key),
        cmocka_unit_test(test_boot_select_secure_boot_trusts_the_efuse_digest),
        cmocka_unit_test(test_boot_select_app_refuses_older_versions),
        cmocka_unit_test(test_boot_select_power_cut_boots_old_or_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
