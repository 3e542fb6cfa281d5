// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A secure first boot on both chips: what it demands, what it burns and encrypts, and what the locked device refuses.
#include "sim_boot_bench.h"

static void app_signed_by(const set *s, EVP_PKEY *key, ds_buf *ret)
{
    ds_sim_image_spec spec = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_APP, .project = "demo", .version = "2.0.0", .body = 6000};
    ds_buf_clear(ret);
    make(&spec, key, ret);
}

static void test_first_boot_without_proof_burns_nothing(void **state)
{
    const set *s = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    fresh(s, &s->secure_boot, 0);
    app_signed_by(s, NULL, &image);
    ds_buf_add_fill(&image, 0xFF, 2 * 4096); // over the signature that was there
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "Secure Boot V2 verification failed: not signed");
    assert_true(nothing_burned(s->chip));
    app_signed_by(s, wrong_key, &image);
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "No application key digest matches the bootloader key digest.");
    assert_true(nothing_burned(s->chip));
    app_signed_by(s, right_key, &image);
    image.ptr[image.len - 4096 + 900] ^= 1; // within the signature
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "Secure Boot V2 verification failed");
    assert_true(nothing_burned(s->chip));
    // The bootloader itself is not signed.
    flash_plain(s, &s->secure_boot, 0);
    ds_buf_clear(&image);
    ds_buf_add(&image, s->secure_boot.ptr, s->secure_boot.len - 4096);
    ds_buf_add_fill(&image, 0xFF, 4096);
    write_flash(s->chip, s->chip->bootloader_offset, ds_buf_view(&image));
    boot_says(s->chip, "No valid bootloader signature blocks found: not signed.");
    assert_true(nothing_burned(s->chip));
    assert_null(strstr(shared->console, "RUN"));
}

static void test_first_boot_without_room_for_a_flash_key_burns_nothing(void **state)
{
    const set *s = *state;
    fresh(s, &s->secure_boot, 0);
    burn(s->chip, "WR_DIS", 1); // RD_DIS: no key could be read-protected any more
    boot_says(s->chip, "Not enough free efuse key blocks");
    assert_true(nothing_burned(s->chip));
}

static void test_first_boot_ecdsa_signature_is_not_taken_by_these_chips(void **state)
{
    const set *s = *state;
    DS_CLEANUP_BUF ds_buf image = {0};
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    fresh(s, &s->secure_boot, 0);
    app_signed_by(s, ec, &image);
    EVP_PKEY_free(ec);
    write_flash(s->chip, OTA_0, ds_buf_view(&image));
    boot_says(s->chip, "Secure Boot V2 verification failed: not signed");
    assert_true(nothing_burned(s->chip));
}

static void check_efuses(const set *s, bool release)
{
    ds_efuse_words w;
    ds_efuse_security sec;
    read_efuses(s->chip, &w, &sec);
    assert_true(sec.secure_boot && sec.flash_encryption && sec.jtag_disabled && sec.flash_key_protected);
    assert_int_equal(sec.release, release);
    assert_false(sec.download_disabled);
    assert_int_equal(sec.secure_download, release && s->chip->has_secure_download);
    assert_int_equal(sec.digest_count, 1);
    assert_memory_equal(sec.digests[0], right_digest, 32);
    assert_true(ds_efuse_get(s->chip, &w, "WR_DIS") & 1); // RD_DIS is locked
    if (s->chip->id == DS_CHIP_ESP32) {
        assert_int_equal(ds_efuse_get(s->chip, &w, "FLASH_CRYPT_CNT"), release ? 0x7F : 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "FLASH_CRYPT_CONFIG"), 0xF);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DISABLE_DL_DECRYPT"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DISABLE_DL_CACHE"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "CONSOLE_DEBUG_DISABLE"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "UART_DOWNLOAD_DIS"), 0);
        // Not protected, as the app may yet close download mode: ESP-IDF fills the count instead (flash_encrypt.c).
        assert_int_equal(ds_efuse_get(s->chip, &w, "WR_DIS") >> 2 & 1, 0);
    } else {
        assert_int_equal(ds_efuse_get(s->chip, &w, "SPI_BOOT_CRYPT_CNT"), release ? 7 : 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "KEY_PURPOSE_0"), 9);
        assert_int_equal(ds_efuse_get(s->chip, &w, "KEY_PURPOSE_1"), 4);
        assert_int_equal(ds_efuse_get(s->chip, &w, "SECURE_BOOT_KEY_REVOKE0"), 0);
        assert_int_equal(ds_efuse_get(s->chip, &w, "SECURE_BOOT_KEY_REVOKE1"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "SECURE_BOOT_KEY_REVOKE2"), 1);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DIS_DOWNLOAD_MANUAL_ENCRYPT"), release);
        assert_int_equal(ds_efuse_get(s->chip, &w, "DIS_DOWNLOAD_MODE"), 0);
    }
}

static void first_boot(const set *s, const ds_buf *boot, bool release)
{
    fresh(s, boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    static const char *const order[] = {"enabling secure boot v2",
                                        "Secure boot permanently enabled",
                                        "Generating new flash encryption key",
                                        "bootloader encrypted successfully",
                                        "partition table encrypted",
                                        "Encrypting partition 1 at offset 0xb000",
                                        "Encrypting partition 2 at",
                                        "Encrypting partition 3 at",
                                        "Encrypting partition 4 at offset 0x10000",
                                        "Flash encryption completed",
                                        "Resetting with flash encryption enabled",
                                        "flash encryption is enabled",
                                        "RUN demo"};
    const char *at = shared->console;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        at = strstr(at, order[i]);
        if (!at)
            fail_msg("'%s' is not in its place in:\n%s", order[i], shared->console);
    }
    assert_null(strstr(shared->console, "Encrypting partition 5")); // the unsigned mfg app
    check_efuses(s, release);
    check_locked_flash(s, boot);
    // And again, from power-up.
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    assert_non_null(strstr(shared->console, "secure boot v2 is already enabled"));
}

static void test_first_boot_development_locks_and_boots_again(void **state)
{
    const set *s = *state;
    first_boot(s, &s->secure_boot, false);
    assert_non_null(strstr(shared->console, s->chip->id == DS_CHIP_ESP32 ? "(3 plaintext" : "(1 plaintext"));
}

static void test_first_boot_release_locks_for_good(void **state)
{
    const set *s = *state;
    first_boot(s, &s->release_boot, true);
    assert_non_null(strstr(shared->console, "(0 plaintext"));
}

static void flip(const ds_chip *chip, uint32_t addr)
{
    static uint8_t flash[FLASH_SIZE];
    read_flash(chip, flash);
    flash[addr] ^= 1;
    uint32_t sector = addr / 4096 * 4096;
    write_flash(chip, sector, (ds_view){flash + sector, 4096});
}

static void test_locked_device_refuses_what_was_changed(void **state)
{
    const set *s = *state;
    fresh(s, &s->release_boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    // mfg is not signed and was not encrypted: it is no way out of a damaged app.
    flip(s->chip, OTA_0 + 0x800);
    boot_says(s->chip, "No bootable app partitions");
    flip(s->chip, OTA_0 + 0x800);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
    flip(s->chip, s->chip->bootloader_offset + 0x800);
    boot_says(s->chip, "SHA-256 simple hash comparison failed.\r\nsecure boot verification failed\r\nets_main.c 333");
    // Plain images on a chip that decrypts.
    flash_plain(s, &s->release_boot, 0);
    boot_says(s->chip, "invalid header: 0x");
    assert_null(strstr(shared->console, "RUN"));
}

static void test_rom_refuses_bootloader_of_another_key(void **state)
{
    const set *s = *state;
    DS_CLEANUP_BUF ds_buf other = {0};
    int code;
    fresh(s, &s->secure_boot, 0);
    // Cut while the first sector is encrypted: secure boot is on, encryption is not.
    (void)power_up(s->chip, 20, &code);
    assert_int_equal(code, DS_SIM_EXIT_POWER_CUT);
    ds_sim_image_spec spec = {
        .chip = s->chip, .kind = DS_SIM_IMAGE_SECURE_BOOTLOADER, .table_offset = TABLE, .body = 4000};
    make(&spec, wrong_key, &other);
    flash_plain(s, &other, 0);
    boot_says(s->chip, "Sig block 0 signed with untrusted key\r\nsecure boot verification failed");
    ds_buf_clear(&other);
    make(&spec, NULL, &other);
    flash_plain(s, &other, 0);
    boot_says(s->chip, "secure boot verification failed");
    assert_null(strstr(shared->console, "RUN"));
    flash_plain(s, &s->secure_boot, 0);
    boot_says(s->chip, "RUN demo 2.0.0 from ota_0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_first_boot_without_proof_burns_nothing),
        BOTH(test_first_boot_without_room_for_a_flash_key_burns_nothing),
        BOTH(test_first_boot_ecdsa_signature_is_not_taken_by_these_chips),
        BOTH(test_first_boot_development_locks_and_boots_again),
        BOTH(test_first_boot_release_locks_for_good),
        BOTH(test_locked_device_refuses_what_was_changed),
        BOTH(test_rom_refuses_bootloader_of_another_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
