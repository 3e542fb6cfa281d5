// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How a chip with key blocks is locked: every chip of the family but the ESP32. Read from eFuse fields, not from
// esp_secure_boot_enabled() and the like alone: a mfg firmware is built without these features and must still see them.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_efuse.h"
#include "esp_efuse_table.h"
#include "esp_flash_encrypt.h"
#include "soc/soc_caps.h"

enum { DIGESTS = 3 };

static bool jtag_disabled(void)
{
#if CONFIG_IDF_TARGET_ESP32S2
    return esp_efuse_read_field_bit(ESP_EFUSE_HARD_DIS_JTAG);
#elif SOC_USB_SERIAL_JTAG_SUPPORTED
    return esp_efuse_read_field_bit(ESP_EFUSE_DIS_PAD_JTAG) && esp_efuse_read_field_bit(ESP_EFUSE_DIS_USB_JTAG);
#else
    return esp_efuse_read_field_bit(ESP_EFUSE_DIS_PAD_JTAG);
#endif
}

static uint8_t download_mode(void)
{
    if (esp_efuse_read_field_bit(ESP_EFUSE_DIS_DOWNLOAD_MODE))
        return DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED;
    return esp_efuse_read_field_bit(ESP_EFUSE_ENABLE_SECURITY_DOWNLOAD) ? DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_SECURE
                                                                        : DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_OPEN;
}

// Trusted key digests that are not revoked.
static void read_digests(ds_security *ret)
{
    static const esp_efuse_purpose_t purposes[DIGESTS] = {ESP_EFUSE_KEY_PURPOSE_SECURE_BOOT_DIGEST0,
                                                          ESP_EFUSE_KEY_PURPOSE_SECURE_BOOT_DIGEST1,
                                                          ESP_EFUSE_KEY_PURPOSE_SECURE_BOOT_DIGEST2};
    esp_efuse_block_t block;
    for (unsigned i = 0; i < DIGESTS; i++)
        if (!esp_efuse_get_digest_revoke(i) && esp_efuse_find_purpose(purposes[i], &block) &&
            esp_efuse_read_block(block, ret->digests[ret->digest_count], 0, 256) == ESP_OK)
            ret->digest_count++;
}

void ds_esp_security(void *ctx, ds_security *ret)
{
    (void)ctx;
    *ret = (ds_security){
        .secure_boot = esp_efuse_read_field_bit(ESP_EFUSE_SECURE_BOOT_EN),
        .flash_encryption = esp_flash_encryption_enabled(),
        .release_mode = esp_get_flash_encryption_mode() == ESP_FLASH_ENC_MODE_RELEASE,
        .jtag_disabled = jtag_disabled(),
        .download = download_mode(),
    };
    size_t version = 0;
    if (esp_efuse_read_field_cnt(ESP_EFUSE_SECURE_VERSION, &version) == ESP_OK)
        ret->secure_version = (uint32_t)version;
    read_digests(ret);
}

ds_status ds_esp_download_close(void *ctx)
{
    (void)ctx;
    if (esp_efuse_read_field_bit(ESP_EFUSE_DIS_DOWNLOAD_MODE))
        return DS_STATUS_OK;
    if (esp_efuse_disable_rom_download_mode() != ESP_OK)
        return DS_STATUS(PORT, FLASH);
    return esp_efuse_read_field_bit(ESP_EFUSE_DIS_DOWNLOAD_MODE) ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}
