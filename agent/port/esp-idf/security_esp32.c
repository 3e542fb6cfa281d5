// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How an ESP32 (revision 3.0 and later: Secure Boot V2) is locked. Closing download mode: only as long as nobody has
// write-protected FLASH_CRYPT_CNT, whose protection covers UART_DOWNLOAD_DIS too. ESP-IDF's release mode does not: it
// fills the count; see docs/firmware.md.
#include "agent/port/esp-idf/esp_port.h"

#include "esp_efuse.h"
#include "esp_efuse_table.h"
#include "esp_flash_encrypt.h"

#include <string.h>

void ds_esp_security(void *ctx, ds_security *ret)
{
    (void)ctx;
    static const uint8_t blank[32];
    *ret = (ds_security){
        .secure_boot = esp_efuse_read_field_bit(ESP_EFUSE_ABS_DONE_1),
        .flash_encryption = esp_flash_encryption_enabled(),
        .release_mode = esp_get_flash_encryption_mode() == ESP_FLASH_ENC_MODE_RELEASE,
        .jtag_disabled = esp_efuse_read_field_bit(ESP_EFUSE_JTAG_DISABLE),
        .download = esp_efuse_read_field_bit(ESP_EFUSE_UART_DOWNLOAD_DIS) ? DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_CLOSED
                                                                          : DEVSTAMP__DOWNLOAD_MODE__DOWNLOAD_OPEN,
    };
    size_t version = 0;
    if (esp_efuse_read_field_cnt(ESP_EFUSE_SECURE_VERSION, &version) == ESP_OK)
        ret->secure_version = (uint32_t)version;
    if (esp_efuse_read_block(EFUSE_BLK2, ret->digests[0], 0, 256) == ESP_OK &&
        memcmp(ret->digests[0], blank, sizeof blank) != 0)
        ret->digest_count = 1;
}

ds_status ds_esp_download_close(void *ctx)
{
    (void)ctx;
    if (esp_efuse_read_field_bit(ESP_EFUSE_UART_DOWNLOAD_DIS))
        return DS_STATUS_OK;
    switch (esp_efuse_disable_rom_download_mode()) {
    case ESP_OK:
        break;
    case ESP_ERR_NOT_SUPPORTED: // a revision before 3.0
    case ESP_ERR_INVALID_STATE: // protected already
        return DS_STATUS(PORT, UNSUPPORTED);
    default:
        return DS_STATUS(PORT, FLASH);
    }
    return esp_efuse_read_field_bit(ESP_EFUSE_UART_DOWNLOAD_DIS) ? DS_STATUS_OK : DS_STATUS(PORT, FLASH);
}
