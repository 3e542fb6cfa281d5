// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who the device is and how it is locked, from eFuses and flash; its self-test; and closing download mode for good.
#include "agent/port/posix/posix.h"
#include "src/base/secret.h"
#include "src/esp/image.h"

#include <mbedtls/entropy.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define IMAGE_MAGIC 0xE9
#define RAM_TEST_WORDS 4096u // 16 KiB: as much as an agent works in
#define RANDOM_REPEATS 5     // equal bytes in a row: once in 2^32 draws of a sound source

enum { TEST_FLASH = 1u << 0, TEST_RANDOM = 1u << 1, TEST_RAM = 1u << 2 };

// The app's version, where a whole image of one is in ota_0.
static void find_app_version(ds_posix *p)
{
    const ds_part *part = ds_ptable_find_type(p->hal->table, DS_PART_APP, DS_PART_APP_OTA0);
    ds_image_info info;
    p->app_version_known = true;
    p->app_version[0] = '\0';
    if (!part)
        return;
    DS_CLEANUP_BUF ds_buf image = {0};
    if (!ds_posix_image_load(p, part->offset, part->size, &image) &&
        !ds_image_parse(ds_buf_view(&image), &info, NULL) && info.has_app_desc)
        memcpy(p->app_version, info.app.version, sizeof p->app_version);
}

void ds_posix_identity(void *ctx, ds_identity *ret)
{
    ds_posix *p = ctx;
    const ds_hal *h = p->hal;
    ds_efuse_words words;
    *ret = (ds_identity){.chip_id = h->chip->id, .flash_size = h->flash_size};
    h->efuses(h->ctx, &words);
    ret->chip_revision = ds_efuse_revision(h->chip, &words);
    ds_efuse_get_mac(h->chip, &words, ret->mac);
    memcpy(ret->project, h->project, sizeof ret->project);
    memcpy(ret->version, h->version, sizeof ret->version);
    if (!p->app_version_known)
        find_app_version(p);
    memcpy(ret->app_version, p->app_version, sizeof ret->app_version);
    const ds_part *boot = ds_posix_boot_part(p);
    if (boot)
        memcpy(ret->boot_partition, boot->label, sizeof ret->boot_partition);
}

static void read_security(const ds_hal *h, ds_efuse_security *ret)
{
    ds_efuse_words words;
    h->efuses(h->ctx, &words);
    ds_efuse_security_get(h->chip, &words, ret);
}

void ds_posix_security(void *ctx, ds_security *ret)
{
    const ds_posix *p = ctx;
    ds_efuse_security e;
    read_security(p->hal, &e);
    *ret = (ds_security){.secure_boot = e.secure_boot,
                         .flash_encryption = e.flash_encryption,
                         .release_mode = e.flash_encryption && e.release,
                         .jtag_disabled = e.jtag_disabled,
                         .digest_count = (uint8_t)e.digest_count,
                         .secure_version = e.secure_version};
    ret->download = (uint8_t)(e.download_disabled ? DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED
                              : e.secure_download ? DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_SECURE
                                                  : DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_OPEN);
    memcpy(ret->digests, e.digests, sizeof ret->digests);
}

int ds_posix_random(void *ctx, unsigned char *buf, size_t len)
{
    (void)ctx;
    while (len) {
        ssize_t n = getrandom(buf, len, 0);
        if (n < 0 && errno != EINTR)
            return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

// The repetition count test of NIST SP 800-90B section 4.4.1, over a short draw.
static bool random_works(void)
{
    uint8_t draw[64];
    bool ok = ds_posix_random(NULL, draw, sizeof draw) == 0;
    for (unsigned i = 1, same = 1; ok && i < sizeof draw; i++) {
        same = draw[i] == draw[i - 1] ? same + 1 : 1;
        ok = same < RANDOM_REPEATS;
    }
    ds_wipe(draw, sizeof draw);
    return ok;
}

// The running image starts with its magic, and the stamp's partition can be mounted.
static bool flash_works(ds_posix *p)
{
    uint8_t first[16];
    ds_nvs_flash *n;
    const ds_hal *h = p->hal;
    return h->flash_read(h->ctx, h->running->offset, first, sizeof first, true) && first[0] == IMAGE_MAGIC &&
           ds_posix_area_open(p, DS_AREA_PLAIN, false, &n) == DS_STATUS_OK;
}

static bool ram_works(void)
{
    static const uint32_t patterns[] = {0x00000000, 0xFFFFFFFF, 0x55555555, 0xAAAAAAAA};
    uint32_t *block = ds_alloc(RAM_TEST_WORDS * sizeof *block);
    volatile uint32_t *ram = block;
    bool ok = true;
    for (size_t k = 0; ok && k < sizeof patterns / sizeof *patterns; k++) {
        for (uint32_t i = 0; i < RAM_TEST_WORDS; i++)
            ram[i] = patterns[k] ^ i;
        for (uint32_t i = 0; ok && i < RAM_TEST_WORDS; i++)
            ok = ram[i] == (patterns[k] ^ i);
    }
    free(block);
    return ok;
}

uint32_t ds_posix_self_test(void *ctx)
{
    return (flash_works(ctx) ? 0 : (uint32_t)TEST_FLASH) | (random_works() ? 0 : (uint32_t)TEST_RANDOM) |
           (ram_works() ? 0 : (uint32_t)TEST_RAM);
}

ds_status ds_posix_download_close(void *ctx)
{
    const ds_posix *p = ctx;
    const ds_hal *h = p->hal;
    const char *name = h->chip->id == DS_CHIP_ESP32 ? "UART_DOWNLOAD_DIS" : "DIS_DOWNLOAD_MODE";
    const ds_efuse_field *field = ds_efuse_field_find(h->chip, name);
    ds_efuse_words bits = {0}, now;
    ds_efuse_security security;
    read_security(h, &security);
    if (security.download_disabled)
        return DS_STATUS_OK;
    // As on a chip whose bootloader wrote for good that it may not be closed: an ESP32's bit shares its protection with
    // FLASH_CRYPT_CNT.
    h->efuses(h->ctx, &now);
    if (!field || ds_efuse_get(h->chip, &now, "WR_DIS") >> field->wr_dis_bit & 1 ||
        !ds_efuse_set(h->chip, &bits, name, 1))
        return DS_STATUS(PORT, UNSUPPORTED);
    if (!h->efuse_burn(h->ctx, field->block, &bits))
        return DS_STATUS(PORT, FLASH);
    read_security(h, &security);
    return security.download_disabled ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}
