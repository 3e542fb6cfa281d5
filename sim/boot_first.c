// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// First boot of a secure bootloader, in the order of ESP-IDF v5.4 (bootloader_utility.c, secure_boot_v2/secure_boot.c,
// flash_encryption/flash_encrypt.c): secure boot's key digest and enable bit, then the flash encryption key, then
// encryption in place, then the crypt count and a reset. Nothing is burned before bootloader, app, their signatures and
// key digests were verified together and the chip was seen to have room for both keys. Each step that is done already
// is passed over, so that a device cut off on the way goes on from there once plain images are back in its flash.
#include "sim/boot_burn.h"

#include "src/base/secret.h"

#define SB "secure_boot_v2"
#define FE "flash_encrypt"

static const char *crypt_count_field(const ds_sim_stage *b)
{
    return b->c->chip->id == DS_CHIP_ESP32 ? "FLASH_CRYPT_CNT" : "SPI_BOOT_CRYPT_CNT";
}

static uint32_t crypt_count(const ds_sim_stage *b)
{
    return ds_efuse_get(b->c->chip, &b->efuses, crypt_count_field(b));
}

static bool field_locked(const ds_sim_stage *b, const char *field)
{
    const ds_efuse_field *f = ds_efuse_field_find(b->c->chip, field);
    return ds_efuse_get(b->c->chip, &b->efuses, "WR_DIS") >> f->wr_dis_bit & 1;
}

static bool refuse(ds_sim_stage *b, const char *tag, const char *why)
{
    ds_sim_boot_log(b, 'E', tag, "%s", why);
    return false;
}

// Keys that the bootloader's own signatures hold under: those in eFuse, where there are any, are the only ones.
static bool bootloader_keys(ds_sim_stage *b, ds_sim_digests *ret)
{
    ds_sim_loaded boot;
    ds_sim_digests in_efuse;
    ds_err e = DS_ERR_INIT;
    uint32_t at = b->c->chip->bootloader_offset;
    ds_sim_boot_trusted(b, &in_efuse);
    if (ds_sim_boot_load(b, at, b->kind.table_offset - at, &boot, &e)) {
        ds_sim_boot_log(b, 'E', SB, "bootloader image appears invalid! %s", e.text);
        return false;
    }
    enum ds_sbv2_verdict v = ds_sim_boot_verify(b, &boot, &in_efuse, ret);
    ds_sim_loaded_free(&boot);
    if (v != DS_SBV2_OK) {
        ds_sim_boot_log(b, 'E', SB, "No valid bootloader signature blocks found: %s.", ds_sbv2_verdict_text(v));
        return false;
    }
    ds_sim_boot_log(b, 'I', SB, "%u signature block(s) found appended to the bootloader.", ret->count);
    return true;
}

// Does a key block have this purpose, now or once the batch is burned?
static bool has_purpose(const ds_sim_stage *b, const ds_sim_burn *burn, uint32_t purpose)
{
    static const char *const fields[] = {"KEY_PURPOSE_0", "KEY_PURPOSE_1", "KEY_PURPOSE_2",
                                         "KEY_PURPOSE_3", "KEY_PURPOSE_4", "KEY_PURPOSE_5"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((ds_efuse_get(b->c->chip, &b->efuses, fields[i]) | ds_efuse_get(b->c->chip, &burn->bits, fields[i])) ==
            purpose)
            return true;
    return false;
}

// One list for all chips: names a chip does not have are passed over. Digest slots that stay empty are revoked.
static void plan_secure_boot(const ds_sim_stage *b, ds_sim_burn *burn)
{
    static const char *const revoke[3] = {"SECURE_BOOT_KEY_REVOKE0", "SECURE_BOOT_KEY_REVOKE1",
                                          "SECURE_BOOT_KEY_REVOKE2"};
    static const char *const bits[] = {"DIS_DIRECT_BOOT",       "DIS_PAD_JTAG",   "DIS_USB_JTAG", "JTAG_DISABLE",
                                       "CONSOLE_DEBUG_DISABLE", "SECURE_BOOT_EN", "ABS_DONE_1"};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        ds_sim_burn_set(b, burn, bits[i], 1);
    ds_sim_burn_set(b, burn, "SOFT_DIS_JTAG", 7);
    if (b->kind.release)
        ds_sim_burn_set(b, burn, "ENABLE_SECURITY_DOWNLOAD", 1);
    for (unsigned i = 0; i < 3; i++)
        if (!has_purpose(b, burn, DS_EFUSE_PURPOSE_SB_DIGEST0 + i))
            ds_sim_burn_set(b, burn, revoke[i], 1);
}

static void plan_flash_encryption(const ds_sim_stage *b, ds_sim_burn *burn)
{
    static const char *const bits[] = {"DISABLE_DL_DECRYPT",    "DISABLE_DL_CACHE", "JTAG_DISABLE",
                                       "CONSOLE_DEBUG_DISABLE", "DIS_PAD_JTAG",     "DIS_USB_JTAG",
                                       "DIS_DOWNLOAD_ICACHE",   "DIS_DIRECT_BOOT"};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        ds_sim_burn_set(b, burn, bits[i], 1);
    ds_sim_burn_set(b, burn, "FLASH_CRYPT_CONFIG", 0xF);
    if (b->kind.release) {
        ds_sim_burn_set(b, burn, "DISABLE_DL_ENCRYPT", 1);
        ds_sim_burn_set(b, burn, "DIS_DOWNLOAD_MANUAL_ENCRYPT", 1);
    }
    ds_sim_burn_lock(b, burn, "RD_DIS"); // no key digest can be read-protected any more
    ds_sim_burn_lock(b, burn, "DIS_CACHE");
    ds_sim_burn_lock(b, burn, "DIS_ICACHE");
}

// Add a fresh flash encryption key to a batch, or complete the protection of one whose burn was cut off on an ESP32
// (its only block has no purpose field to tell a whole key from a half-done burn).
static bool plan_flash_key(ds_sim_stage *b, ds_sim_burn *burn)
{
    int block = b->security.flash_key_block;
    if (block >= 0 && b->security.flash_key_protected)
        return true;
    if (block >= 0) {
        const ds_efuse_block *def = ds_efuse_block_at(b->c->chip, (unsigned)block);
        ds_sim_burn_set(b, burn, "WR_DIS", 1u << def->wr_dis_bit);
        ds_sim_burn_set(b, burn, "RD_DIS", 1u << def->rd_dis_bit);
        return b->c->chip->id == DS_CHIP_ESP32 && !field_locked(b, "RD_DIS");
    }
    uint8_t key[32];
    ds_random(key, sizeof key);
    bool ok = !field_locked(b, "RD_DIS") && ds_sim_burn_key(b, burn, key, DS_EFUSE_PURPOSE_XTS_AES_128, true);
    ds_wipe(key, sizeof key);
    return ok;
}

// Can flash encryption be enabled at all, with these blocks about to be taken?
static bool flash_encryption_possible(ds_sim_stage *b, const ds_sim_burn *taken)
{
    if (b->security.flash_encryption)
        return true;
    if (field_locked(b, crypt_count_field(b)))
        return refuse(b, FE, "Flash Encryption cannot be enabled (CRYPT_CNT is write protected)");
    ds_sim_burn trial = *taken;
    bool ok = crypt_count(b) != 0 || plan_flash_key(b, &trial);
    ds_wipe(&trial, sizeof trial);
    return ok || refuse(b, FE, "Not enough free efuse key blocks (need 1) to continue");
}

static bool plan_digests(ds_sim_stage *b, ds_sim_burn *burn, const ds_sim_digests *keys)
{
    if (b->security.digest_count) {
        ds_sim_boot_log(b, 'W', SB, "Using pre-loaded public key digest in eFuse");
        ds_sim_burn_lock(b, burn, "BLOCK2"); // the ESP32's; other chips protect a digest when it is burned
        return true;
    }
    for (unsigned i = 0; i < keys->count; i++)
        if (!ds_sim_burn_key(b, burn, keys->digest[i], DS_EFUSE_PURPOSE_SB_DIGEST0 + i, false))
            return refuse(b, SB, "Bootloader signatures more than available key slots.");
    return true;
}

static bool enable_secure_boot(ds_sim_stage *b, const ds_sim_loaded *app)
{
    ds_sim_boot_log(b, 'I', SB, "enabling secure boot v2...");
    if (b->security.secure_boot) {
        ds_sim_boot_log(b, 'I', SB, "secure boot v2 is already enabled, continuing..");
        return true;
    }
    ds_sim_digests keys;
    ds_sim_burn burn = {0};
    if (!bootloader_keys(b, &keys))
        return false;
    if (ds_sim_boot_verify(b, app, &keys, NULL) != DS_SBV2_OK)
        return refuse(b, SB, "No application key digest matches the bootloader key digest.");
    ds_sim_boot_log(b, 'I', SB, "Application key matches with bootloader key.");
    if (!plan_digests(b, &burn, &keys) || !flash_encryption_possible(b, &burn))
        return false;
    ds_sim_boot_log(b, 'I', SB, "blowing secure boot efuse...");
    plan_secure_boot(b, &burn);
    if (!ds_sim_burn_commit(b, &burn) || !b->security.secure_boot)
        return refuse(b, SB, "Error programming security eFuses");
    ds_sim_boot_log(b, 'I', SB, "Secure boot permanently enabled");
    return true;
}

static bool prepare_flash_key(ds_sim_stage *b)
{
    if (crypt_count(b))
        return true; // encrypted once and switched off since: the key is there
    ds_sim_burn burn = {0};
    if (b->security.flash_key_block >= 0)
        ds_sim_boot_log(b, 'I', FE, "Using pre-loaded flash encryption key in efuse");
    else
        ds_sim_boot_log(b, 'I', FE, "Generating new flash encryption key...");
    if (!plan_flash_key(b, &burn))
        return refuse(b, FE, "Invalid key state, check read&write protection for key and keypurpose(if exists)");
    plan_flash_encryption(b, &burn);
    if (!ds_sim_burn_commit(b, &burn) || !b->security.flash_key_protected)
        return refuse(b, FE, "Error programming security eFuses");
    return true;
}

// Development: the lowest bit that is still 0. Release: all of them, for good.
static bool burn_crypt_count(ds_sim_stage *b)
{
    const ds_efuse_field *f = ds_efuse_field_find(b->c->chip, crypt_count_field(b));
    uint32_t all = (1u << f->bits) - 1, now = crypt_count(b);
    ds_sim_burn burn = {0};
    ds_sim_burn_set(b, &burn, f->name, b->kind.release ? all : ~now & (now + 1) & all);
    return ds_sim_burn_commit(b, &burn) && b->security.flash_encryption;
}

static void print_state(ds_sim_stage *b)
{
    const ds_efuse_field *f = ds_efuse_field_find(b->c->chip, crypt_count_field(b));
    int left = (f->bits - __builtin_popcount(crypt_count(b))) / 2;
    ds_sim_boot_log(b, 'I', FE, "flash encryption is enabled (%d plaintext flashes left)",
                    field_locked(b, f->name) ? 0 : left);
}

bool ds_sim_boot_secure(ds_sim_stage *b, const ds_sim_loaded *app)
{
    if (!enable_secure_boot(b, app))
        return false;
    ds_sim_boot_log(b, 'I', "boot", "Checking flash encryption...");
    if (b->security.flash_encryption) {
        print_state(b);
        return true;
    }
    ds_sim_burn none = {0};
    if (!flash_encryption_possible(b, &none) || !prepare_flash_key(b))
        return false;
    if (!ds_sim_boot_encrypt(b))
        return refuse(b, "boot", "Encryption flash contents failed");
    if (!burn_crypt_count(b))
        return refuse(b, "boot", "Enabling of Flash encryption failed");
    ds_sim_boot_log(b, 'I', FE, "Flash encryption completed");
    ds_sim_boot_log(b, 'I', "boot", "Resetting with flash encryption enabled...");
    ds_sim_reset_now(b->c);
}
