// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The places images are written to: the bootloader's, by raw flash, which only a firmware built with
// CONFIG_SPI_FLASH_DANGEROUS_WRITE_ALLOWED may do (the mfg one; in others ESP-IDF would abort); and the OTA slot that
// is not running. Both go through flash encryption where that is on.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_flash.h"
#include "esp_flash_encrypt.h"
#include "esp_ota_ops.h"
#include "sdkconfig.h"

#if CONFIG_SPI_FLASH_DANGEROUS_WRITE_ALLOWED
enum { BOOTLOADER_WRITABLE = 1 };
#else
enum { BOOTLOADER_WRITABLE = 0 };
#endif

static const esp_partition_t *update_slot(void)
{
    const esp_partition_t *part = esp_ota_get_next_update_partition(NULL);
    return part == esp_ota_get_running_partition() ? NULL : part;
}

uint32_t ds_esp_bootloader_capacity(void)
{
    return CONFIG_PARTITION_TABLE_OFFSET - CONFIG_BOOTLOADER_OFFSET_IN_FLASH;
}

uint32_t ds_esp_image_capacity(void *ctx, enum ds_image_place place)
{
    (void)ctx;
    if (place == DS_PLACE_BOOTLOADER)
        return BOOTLOADER_WRITABLE ? ds_esp_bootloader_capacity() : 0;
    const esp_partition_t *part = update_slot();
    return part != NULL ? part->size : 0;
}

static bool inside(enum ds_image_place place, uint32_t offset, size_t len)
{
    uint32_t size = ds_esp_image_capacity(NULL, place);
    return offset <= size && len <= size - offset;
}

static ds_status status_of(esp_err_t e)
{
    return e == ESP_OK ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_esp_image_erase(void *ctx, enum ds_image_place place, uint32_t offset, uint32_t len)
{
    ds_esp *p = ctx;
    if (!inside(place, offset, len) || offset % DS_ESP_SECTOR != 0 || len % DS_ESP_SECTOR != 0)
        return DS_STATUS(PORT, BAD_REQUEST);
    if (place == DS_PLACE_BOOTLOADER)
        return status_of(esp_flash_erase_region(NULL, CONFIG_BOOTLOADER_OFFSET_IN_FLASH + offset, len));
    if (ds_esp_on_trial()) // it would write over the app that it may fall back to
        return DS_STATUS(PORT, NOT_ALLOWED);
    p->app_version_known = false;
    return status_of(esp_partition_erase_range(update_slot(), offset, len));
}

static esp_err_t write_bootloader(uint32_t offset, const void *data, size_t len)
{
    uint32_t at = CONFIG_BOOTLOADER_OFFSET_IN_FLASH + offset;
    return esp_flash_encryption_enabled() ? esp_flash_write_encrypted(NULL, at, data, (uint32_t)len)
                                          : esp_flash_write(NULL, data, at, (uint32_t)len);
}

ds_status ds_esp_image_write(void *ctx, enum ds_image_place place, uint32_t offset, const void *data, size_t len)
{
    ds_esp *p = ctx;
    if (!inside(place, offset, len))
        return DS_STATUS(PORT, BAD_REQUEST);
    if (place == DS_PLACE_BOOTLOADER)
        return status_of(write_bootloader(offset, data, len));
    p->app_version_known = false;
    return status_of(esp_partition_write(update_slot(), offset, data, len));
}

ds_status ds_esp_bootloader_read(uint32_t offset, void *buf, size_t len)
{
    uint32_t at = CONFIG_BOOTLOADER_OFFSET_IN_FLASH + offset;
    return status_of(esp_flash_encryption_enabled() ? esp_flash_read_encrypted(NULL, at, buf, (uint32_t)len)
                                                    : esp_flash_read(NULL, buf, at, (uint32_t)len));
}

ds_status ds_esp_image_read(void *ctx, enum ds_image_place place, uint32_t offset, void *buf, size_t len)
{
    (void)ctx;
    if (!inside(place, offset, len))
        return DS_STATUS(PORT, BAD_REQUEST);
    if (place == DS_PLACE_BOOTLOADER)
        return ds_esp_bootloader_read(offset, buf, len);
    return status_of(esp_partition_read(update_slot(), offset, buf, len));
}
