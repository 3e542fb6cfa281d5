// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The plan of burns; see burns.h. tests/e2e/test_bundle.py compares it with what virtual devices burned.
#include "src/esp/burns.h"

#include "src/esp/efuse.h"

#include <stdio.h>
#include <string.h>

#define KEY0_BLOCK 4u
#define ANCHOR_KEY 5u // of the chips that give each key block a purpose
#define TOP_CHIP_KEY 4u

typedef struct plan {
    const ds_burn_wish *w;
    ds_burns *ret;
    uint32_t wr_dis, rd_dis; // of what is burned at this time
    enum ds_burn_when when;
    unsigned next_key; // key block that the bootloader takes next
} plan;

const char *ds_burn_when_name(enum ds_burn_when when)
{
    static const char *const names[DS_BURN_WHENS] = {"stamp", "first-boot", "app"};
    return (unsigned)when < DS_BURN_WHENS ? names[when] : "";
}

static void add(plan *p, const char *field, const char *value)
{
    if (p->ret->count == DS_BURNS_MAX)
        return; // no plan is nearly as long
    ds_burn *b = &p->ret->list[p->ret->count++];
    b->when = p->when;
    snprintf(b->field, sizeof b->field, "%s", field);
    snprintf(b->value, sizeof b->value, "%s", value);
}

// Names that a chip does not have are passed over.
static void add_bits(plan *p, const char *field, uint32_t bits)
{
    char text[12];
    if (!bits || !ds_efuse_field_find(p->w->chip, field))
        return;
    snprintf(text, sizeof text, "0x%x", bits);
    add(p, field, text);
}

static void lock_field(plan *p, const char *field)
{
    const ds_efuse_field *f = ds_efuse_field_find(p->w->chip, field);
    if (f && f->wr_dis_bit >= 0)
        p->wr_dis |= 1u << f->wr_dis_bit;
}

static void add_block(plan *p, unsigned block, const char *value, bool hidden)
{
    const ds_efuse_block *b = ds_efuse_block_at(p->w->chip, block);
    add(p, b->name, value);
    p->wr_dis |= 1u << b->wr_dis_bit;
    p->rd_dis |= hidden ? 1u << b->rd_dis_bit : 0;
}

static void add_key(plan *p, unsigned key, uint32_t purpose, const char *value, bool hidden)
{
    char field[16];
    snprintf(field, sizeof field, "KEY_PURPOSE_%u", key);
    add_block(p, KEY0_BLOCK + key, value, hidden);
    add_bits(p, field, purpose);
    lock_field(p, field);
}

// The protections of a time, after its fields.
static void end_time(plan *p)
{
    add_bits(p, "RD_DIS", p->rd_dis);
    add_bits(p, "WR_DIS", p->wr_dis);
    p->rd_dis = p->wr_dis = 0;
}

static void plan_stamp(plan *p)
{
    unsigned key = TOP_CHIP_KEY;
    p->when = DS_BURN_STAMP;
    if (p->w->key_in_ds)
        add_key(p, key--, DS_EFUSE_PURPOSE_HMAC_DOWN_DS, "secret", true);
    if (p->w->nvs_by_hmac)
        add_key(p, key, DS_EFUSE_PURPOSE_HMAC_UP, "secret", true);
    end_time(p);
}

static void hex(const uint8_t digest[32], char ret[65])
{
    for (unsigned i = 0; i < 32; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static void plan_secure_boot(plan *p)
{
    static const char *const revoke[3] = {"SECURE_BOOT_KEY_REVOKE0", "SECURE_BOOT_KEY_REVOKE1",
                                          "SECURE_BOOT_KEY_REVOKE2"};
    static const char *const bits[] = {"SECURE_BOOT_EN", "ABS_DONE_1"};
    char text[65];
    for (unsigned i = 0; i < p->w->digest_count; i++) {
        hex(p->w->digests[i], text);
        if (p->w->chip->id == DS_CHIP_ESP32)
            add_block(p, 2, text, false);
        else
            add_key(p, p->next_key++, DS_EFUSE_PURPOSE_SB_DIGEST0 + i, text, false);
    }
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        add_bits(p, bits[i], 1);
    for (unsigned i = p->w->digest_count; i < 3; i++)
        add_bits(p, revoke[i], 1);
}

static void plan_flash_encryption(plan *p)
{
    bool esp32 = p->w->chip->id == DS_CHIP_ESP32;
    const char *count = esp32 ? "FLASH_CRYPT_CNT" : "SPI_BOOT_CRYPT_CNT";
    const ds_efuse_field *f = ds_efuse_field_find(p->w->chip, count);
    if (esp32)
        add_block(p, 1, "secret", true);
    else
        add_key(p, p->next_key++, DS_EFUSE_PURPOSE_XTS_AES_128, "secret", true);
    add_bits(p, "FLASH_CRYPT_CONFIG", 0xF);
    add_bits(p, count, p->w->release ? (1u << f->bits) - 1 : 1);
}

// Doors of the chip, in both parts of the first boot.
static void plan_doors(plan *p)
{
    static const char *const always[] = {"DIS_DIRECT_BOOT",       "DIS_PAD_JTAG",        "DIS_USB_JTAG",
                                         "JTAG_DISABLE",          "DIS_DOWNLOAD_ICACHE", "DISABLE_DL_DECRYPT",
                                         "CONSOLE_DEBUG_DISABLE", "DISABLE_DL_CACHE"};
    static const char *const release[] = {"ENABLE_SECURITY_DOWNLOAD", "DIS_DOWNLOAD_MANUAL_ENCRYPT",
                                          "DISABLE_DL_ENCRYPT"};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        add_bits(p, always[i], 1);
    add_bits(p, "SOFT_DIS_JTAG", 7);
    for (size_t i = 0; p->w->release && i < sizeof release / sizeof *release; i++)
        add_bits(p, release[i], 1);
}

static void plan_first_boot(plan *p)
{
    p->when = DS_BURN_FIRSTBOOT;
    plan_secure_boot(p);
    plan_flash_encryption(p);
    plan_doors(p);
    lock_field(p, "RD_DIS");
    lock_field(p, "DIS_CACHE");
    lock_field(p, "DIS_ICACHE");
    end_time(p);
}

static void plan_app(plan *p)
{
    p->when = DS_BURN_APP;
    if (p->w->chip->id == DS_CHIP_ESP32)
        add(p, "BLOCK3", "certificate"); // two words of it; the block stays open for SECURE_VERSION
    else
        add_key(p, ANCHOR_KEY, DS_EFUSE_PURPOSE_USER, "certificate", false);
    if (p->w->secure_version)
        add_bits(p, "SECURE_VERSION", (uint32_t)((UINT64_C(1) << p->w->secure_version) - 1));
    if (p->w->close_download) {
        add_bits(p, "DIS_DOWNLOAD_MODE", 1);
        add_bits(p, "UART_DOWNLOAD_DIS", 1);
    }
    end_time(p);
}

enum ds_class ds_burns_plan(const ds_burn_wish *w, ds_burns *ret, ds_err *e)
{
    *ret = (ds_burns){.count = 0};
    if (!ds_chip_can_lock(w->chip))
        return DS_OK;
    const ds_efuse_field *version = ds_efuse_field_find(w->chip, "SECURE_VERSION");
    if (w->digest_count > w->chip->digests)
        return ds_fail(e, DS_INPUT, "an %s trusts %u secure boot key%s at most, not %u", w->chip->title,
                       w->chip->digests, w->chip->digests == 1 ? "" : "s", w->digest_count);
    if (!version || w->secure_version > version->bits)
        return ds_fail(e, DS_INPUT, "an %s counts secure versions to %d, not %u", w->chip->title,
                       version ? version->bits : 0, w->secure_version);
    plan p = {.w = w, .ret = ret};
    plan_stamp(&p);
    plan_first_boot(&p);
    plan_app(&p);
    return DS_OK;
}

// What a key block is for, by its KEY_PURPOSE: "0x9".
static const char *words_of_purpose(const char *value)
{
    static const struct {
        uint32_t purpose;
        const char *words;
    } known[] = {
        {DS_EFUSE_PURPOSE_XTS_AES_128, "that block holds the flash key (XTS-AES-128)"},
        {DS_EFUSE_PURPOSE_HMAC_DOWN_DS, "that block holds the key of the digital-signature peripheral"},
        {DS_EFUSE_PURPOSE_HMAC_UP, "that block holds the HMAC peripheral's key, for encrypted NVS"},
        {DS_EFUSE_PURPOSE_SB_DIGEST0, "that block holds the digest of a signing key (secure boot digest 0)"},
        {DS_EFUSE_PURPOSE_SB_DIGEST0 + 1, "that block holds the digest of a signing key (secure boot digest 1)"},
        {DS_EFUSE_PURPOSE_SB_DIGEST0 + 2, "that block holds the digest of a signing key (secure boot digest 2)"},
    };
    char text[12];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        snprintf(text, sizeof text, "0x%x", known[i].purpose);
        if (strcmp(value, text) == 0)
            return known[i].words;
    }
    return "what that key block is for: nothing that is known here";
}

const char *ds_burn_words(const ds_burn *b)
{
    static const struct {
        const char *field, *words;
    } known[] = {
        {"SECURE_BOOT_EN", "from now on only firmware signed with a key named above starts"},
        {"ABS_DONE_1", "from now on only firmware signed with the key named above starts"},
        {"SECURE_BOOT_KEY_REVOKE", "no other signing key can be added in this place"},
        {"SPI_BOOT_CRYPT_CNT", "flash is encrypted"},
        {"FLASH_CRYPT_CNT", "flash is encrypted"},
        {"FLASH_CRYPT_CONFIG", "how the flash key varies with the address"},
        {"DIS_DIRECT_BOOT", "no start of code that is no image"},
        {"DIS_PAD_JTAG", "no debugger at the JTAG pins"},
        {"DIS_USB_JTAG", "no debugger by USB"},
        {"SOFT_DIS_JTAG", "no debugger that software could let in"},
        {"JTAG_DISABLE", "no debugger"},
        {"CONSOLE_DEBUG_DISABLE", "no BASIC console of the ROM"},
        {"DIS_DOWNLOAD_ICACHE", "download mode cannot read decrypted flash"},
        {"DISABLE_DL_DECRYPT", "download mode cannot read decrypted flash"},
        {"DISABLE_DL_CACHE", "download mode cannot read decrypted flash"},
        {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "download mode cannot write encrypted flash"},
        {"DISABLE_DL_ENCRYPT", "download mode cannot write encrypted flash"},
        {"ENABLE_SECURITY_DOWNLOAD", "download mode can do little but write flash"},
        {"DIS_DOWNLOAD_MODE", "no download mode: the device cannot be flashed by wire any more, not by you either"},
        {"UART_DOWNLOAD_DIS", "no download mode: the device cannot be flashed by wire any more, not by you either"},
        {"SECURE_VERSION", "no app with a lower secure version starts"},
        {"RD_DIS", "these blocks can never be read again"},
        {"WR_DIS", "these fields can never change again"},
    };
    if (strcmp(b->value, "secret") == 0)
        return b->when == DS_BURN_STAMP ? "a key made on the device, for its own peripheral; nobody ever sees it"
                                        : "the flash key, made on the device; nobody ever sees it";
    if (strcmp(b->value, "certificate") == 0)
        return "the digest of the device's own certificate: it takes no other identity";
    if (strncmp(b->field, "KEY_PURPOSE_", 12) == 0)
        return words_of_purpose(b->value);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(b->field, known[i].field, strlen(known[i].field)) == 0)
            return known[i].words;
    return "the signing key that is trusted for ever, by its digest";
}
