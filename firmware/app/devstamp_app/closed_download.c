// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where the recipe wants it, the app closes the ROM's download mode for good once all is done. ESP-IDF's startup code
// of an app with CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE switches download mode to secure at every boot and asserts
// that it could, which it cannot where the mode is closed: the device would never boot again (startup.c,
// esp_efuse_fields.c, v5.1 to v5.5). So the linker puts this before the function (--wrap): closed is more than secure,
// and therefore fine.
#include "esp_efuse.h"
#include "esp_efuse_table.h"

esp_err_t __real_esp_efuse_enable_rom_secure_download_mode(void);
esp_err_t __wrap_esp_efuse_enable_rom_secure_download_mode(void);

esp_err_t __wrap_esp_efuse_enable_rom_secure_download_mode(void)
{
    if (esp_efuse_read_field_bit(ESP_EFUSE_DIS_DOWNLOAD_MODE))
        return ESP_OK;
    return __real_esp_efuse_enable_rom_secure_download_mode();
}
