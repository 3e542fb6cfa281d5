// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The two areas values live in: the plain NVS partition "stamp" and the encrypted one "nvs", which the app may use too.
// What is blank is judged of raw flash: an NVS partition is never read through flash encryption.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_flash_encrypt.h"
#include "nvs.h"
#include "nvs_flash.h"

#include <stdlib.h>

enum {
    PIECE = 2048,
    ENTRY = 32,           // bytes of an NVS entry
    ENTRIES_OF_PAGE = 126 // one page stays free for moving the others
};

const esp_partition_t *ds_esp_area_part(enum ds_area area)
{
    const char *label = area == DS_AREA_PLAIN ? "stamp" : "nvs";
    return esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_NVS, label);
}

static bool is_blank(const esp_partition_t *part, uint8_t *piece)
{
    for (uint32_t at = 0; at < part->size; at += PIECE) {
        if (esp_partition_read_raw(part, at, piece, PIECE) != ESP_OK)
            return false;
        for (size_t i = 0; i < PIECE; i++)
            if (piece[i] != 0xFF)
                return false;
    }
    return true;
}

bool ds_esp_part_is_blank(const esp_partition_t *part)
{
    uint8_t *piece = malloc(PIECE);
    bool blank = piece != NULL && is_blank(part, piece);
    free(piece);
    return blank;
}

static ds_status mount_plain(const esp_partition_t *part)
{
    esp_err_t e = nvs_flash_init_partition(part->label);
    if (e == ESP_ERR_NOT_FOUND)
        return DS_STATUS(PORT, UNSUPPORTED);
    return e == ESP_OK ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

ds_status ds_esp_area_open(ds_esp *p, enum ds_area area, bool make_keys)
{
    if (p->mounted[area])
        return DS_STATUS_OK;
    const esp_partition_t *part = ds_esp_area_part(area);
    if (part == NULL)
        return DS_STATUS(PORT, UNSUPPORTED);
    ds_status s;
    if (area == DS_AREA_PLAIN)
        s = mount_plain(part);
    else if (!esp_flash_encryption_enabled())
        s = DS_STATUS(PORT, NOT_ALLOWED); // its keys would lie readable
    else
        s = ds_esp_area_mount_encrypted(part, make_keys);
    p->mounted[area] = s == DS_STATUS_OK;
    return s;
}

ds_status ds_esp_area_erase(void *ctx, enum ds_area area)
{
    ds_esp *p = ctx;
    const esp_partition_t *part = ds_esp_area_part(area);
    if (part == NULL)
        return DS_STATUS(PORT, UNSUPPORTED);
    esp_err_t e = nvs_flash_deinit_partition(part->label);
    p->mounted[area] = false;
    if (e != ESP_OK && e != ESP_ERR_NVS_NOT_INITIALIZED)
        return DS_STATUS(PORT, FLASH);
    return esp_partition_erase_range(part, 0, part->size) == ESP_OK ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

bool ds_esp_area_is_blank(void *ctx, enum ds_area area)
{
    (void)ctx;
    const esp_partition_t *part = ds_esp_area_part(area);
    return part != NULL && ds_esp_part_is_blank(part);
}

uint32_t ds_esp_area_free(void *ctx, enum ds_area area)
{
    nvs_stats_t stats;
    const esp_partition_t *part = ds_esp_area_part(area);
    ds_status s = ds_esp_area_open(ctx, area, false);
    if (part != NULL && DS_ESP_STATUS_IS(s, NOT_FOUND)) // nothing in it yet
        return (part->size / DS_ESP_SECTOR - 1) * ENTRIES_OF_PAGE * ENTRY;
    if (s != DS_STATUS_OK || nvs_get_stats(part->label, &stats) != ESP_OK || stats.free_entries < ENTRIES_OF_PAGE)
        return 0;
    return (uint32_t)(stats.free_entries - ENTRIES_OF_PAGE) * ENTRY;
}
