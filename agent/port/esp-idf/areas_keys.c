// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The encrypted area with keys from the HMAC peripheral where a key block is for that, else
// from the nvs_keys partition (ESP-IDF, "NVS Encryption", flash encryption-based scheme),
// where the firmware is built with CONFIG_NVS_ENCRYPTION. nvs_flash_generate_keys() writes a pattern to the partition
// as raw flash and takes for keys what flash encryption reads there: they follow from this chip's flash key and are no
// better hidden than it is.
#include "agent/port/esp-idf/esp_port.h"

#include "nvs.h"
#include "nvs_flash.h"

#include <mbedtls/platform_util.h>

// Keys that were cut off while they were written are made again as long as nothing was encrypted with them.
static ds_status load_keys(const esp_partition_t *area, bool make_keys, nvs_sec_cfg_t *ret)
{
    const esp_partition_t *part =
        esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_NVS_KEYS, NULL);
    if (part == NULL || !part->encrypted)
        return DS_STATUS(PORT, UNSUPPORTED); // unflagged they would be stored readable
    esp_err_t e = nvs_flash_read_security_cfg(part, ret);
    if (e == ESP_OK)
        return DS_STATUS_OK;
    bool cut_off = e == ESP_ERR_NVS_CORRUPT_KEY_PART && ds_esp_part_is_blank(area);
    if (e != ESP_ERR_NVS_KEYS_NOT_INITIALIZED && !cut_off)
        return DS_STATUS(PORT, FLASH);
    if (!make_keys)
        return DS_STATUS(PORT, NOT_FOUND);
    e = nvs_flash_generate_keys(part, ret);
    if (e == ESP_OK)
        e = nvs_flash_read_security_cfg(part, ret); // what later boots will find
    return e == ESP_OK ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}

// As ESP-IDF's nvs_sec_provider makes them (its HMAC scheme, 5.2 and later), so that either can read the other's.
static ds_status keys_by_hmac(nvs_sec_cfg_t *ret)
{
    static const uint8_t seeds[2][4] = {{0x5A, 0x5A, 0xBE, 0xAE}, {0xA5, 0xA5, 0xDE, 0xCE}};
    uint8_t *halves[2] = {ret->eky, ret->tky};
    ds_status s = DS_STATUS_OK;
    for (size_t half = 0; s == DS_STATUS_OK && half < 2; half++) {
        uint8_t seed[32];
        for (size_t i = 0; i < sizeof seed; i++)
            seed[i] = seeds[half][i % 4];
        s = ds_esp_hmac(NULL, seed, sizeof seed, halves[half]);
    }
    return s;
}

ds_status ds_esp_area_mount_encrypted(const esp_partition_t *part, bool make_keys)
{
    nvs_sec_cfg_t keys;
    ds_status s = keys_by_hmac(&keys);
    if (DS_ESP_STATUS_IS(s, NOT_FOUND)) // the eFuses decide: no key block is for it
        s = load_keys(part, make_keys, &keys);
    if (s == DS_STATUS_OK && nvs_flash_secure_init_partition(part->label, &keys) != ESP_OK)
        s = DS_STATUS(PORT, FLASH);
    mbedtls_platform_zeroize(&keys, sizeof keys);
    return s;
}
