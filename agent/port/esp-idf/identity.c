// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who the device is, and its self-test.
#include "agent/port/esp-idf/image_scan.h"

#include "esp_app_desc.h"
#include "esp_chip_info.h"
#include "esp_flash.h"
#include "esp_heap_caps.h"
#include "esp_mac.h"
#include "esp_ota_ops.h"
#include "sdkconfig.h"

#include <string.h>

enum {
    TEST_FLASH = 1u << 0,
    TEST_RANDOM = 1u << 1,
    TEST_RAM = 1u << 2,
    RAM_TEST_MAX = 32768,
    RANDOM_LEN = 64,
    RANDOM_REPEATS = 5, // equal bytes in a row: once in 2^32 draws of a sound source
};

// The app's version, where a whole image of one is in ota_0. What runs is whole.
static void find_app_version(ds_esp *p)
{
    const esp_partition_t *part =
        esp_partition_find_first(ESP_PARTITION_TYPE_APP, ESP_PARTITION_SUBTYPE_APP_OTA_0, NULL);
    ds_esp_image image;
    p->app_version_known = true;
    p->app_version[0] = 0;
    if (part == NULL)
        return;
    if (part == esp_ota_get_running_partition()) {
        strlcpy(p->app_version, esp_app_get_description()->version, sizeof p->app_version);
        return;
    }
    ds_esp_source from = ds_esp_source_of(p, part);
    if (ds_esp_image_scan(&from, &image) == DS_STATUS_OK && image.is_app)
        memcpy(p->app_version, image.version, sizeof p->app_version);
}

void ds_esp_identity(void *ctx, ds_identity *ret)
{
    ds_esp *p = ctx;
    const esp_app_desc_t *app = esp_app_get_description();
    const esp_partition_t *boot = esp_ota_get_boot_partition();
    esp_chip_info_t chip;
    esp_chip_info(&chip);
    memset(ret, 0, sizeof *ret);
    ret->chip_id = CONFIG_IDF_FIRMWARE_CHIP_ID;
    ret->chip_revision = chip.revision;
    esp_efuse_mac_get_default(ret->mac);
    if (esp_flash_get_physical_size(NULL, &ret->flash_size) != ESP_OK)
        ret->flash_size = 0;
    strlcpy(ret->project, app->project_name, sizeof ret->project);
    strlcpy(ret->version, app->version, sizeof ret->version);
    if (!p->app_version_known)
        find_app_version(p);
    memcpy(ret->app_version, p->app_version, sizeof ret->app_version);
    if (boot != NULL)
        strlcpy(ret->boot_partition, boot->label, sizeof ret->boot_partition);
}

// The running image starts with its magic, and the area that counts can be mounted.
static bool flash_works(ds_esp *p)
{
    uint8_t first[16];
    bool ok = esp_partition_read(esp_ota_get_running_partition(), 0, first, sizeof first) == ESP_OK;
    return ok && first[0] == 0xE9 && ds_esp_area_open(p, DS_AREA_PLAIN, false) == DS_STATUS_OK;
}

// The repetition count test of NIST SP 800-90B section 4.4.1, over a short draw.
static bool random_works(void)
{
    uint8_t draw[RANDOM_LEN];
    bool ok = ds_esp_random(NULL, draw, sizeof draw) == 0;
    for (size_t i = 1, same = 1; ok && i < sizeof draw; i++) {
        same = draw[i] == draw[i - 1] ? same + 1 : 1;
        ok = same < RANDOM_REPEATS;
    }
    memset(draw, 0, sizeof draw);
    return ok;
}

static bool block_works(volatile uint8_t *ram, size_t len)
{
    static const uint8_t patterns[] = {0x00, 0xFF, 0x55, 0xAA};
    for (size_t k = 0; k < sizeof patterns; k++) {
        for (size_t i = 0; i < len; i++)
            ram[i] = (uint8_t)(patterns[k] ^ i);
        for (size_t i = 0; i < len; i++)
            if (ram[i] != (uint8_t)(patterns[k] ^ i))
                return false;
    }
    return true;
}

// The largest block of RAM that is free, as far as it matters here.
static bool ram_works(void)
{
    size_t len = heap_caps_get_largest_free_block(MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT) / 2;
    len = len < RAM_TEST_MAX ? len : RAM_TEST_MAX;
    uint8_t *block = heap_caps_malloc(len, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
    if (block == NULL)
        return false;
    bool ok = block_works(block, len);
    heap_caps_free(block);
    return ok;
}

// Flash and RAM once a boot, as a station asks often and waits for the answer; randomness each time.
uint32_t ds_esp_self_test(void *ctx)
{
    ds_esp *p = ctx;
    if (!p->tested)
        p->test_failures = (flash_works(p) ? 0 : (uint32_t)TEST_FLASH) | (ram_works() ? 0 : (uint32_t)TEST_RAM);
    p->tested = true;
    return p->test_failures | (random_works() ? 0 : (uint32_t)TEST_RANDOM);
}
