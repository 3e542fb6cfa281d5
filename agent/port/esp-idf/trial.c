// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The end of an update's trial, by ESP-IDF's own means: its bootloader begins the trial and gives up an app that did
// not end it. Needs CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE, else no app is ever on trial, and
// CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK, else images have no secure version.
#include "agent/port/esp-idf/console.h"
#include "agent/port/esp-idf/esp_port.h"

#include "esp_app_desc.h"
#include "esp_efuse.h"
#include "esp_ota_ops.h"

bool ds_esp_on_trial(void)
{
    esp_ota_img_states_t state;
    return esp_ota_get_state_partition(esp_ota_get_running_partition(), &state) == ESP_OK &&
           state == ESP_OTA_IMG_PENDING_VERIFY;
}

static ds_status go_back(void)
{
    ds_esp_console_flush();
    esp_err_t e = esp_ota_mark_app_invalid_rollback_and_reboot(); // returns where it could not
    return e == ESP_ERR_OTA_ROLLBACK_FAILED ? DS_STATUS(PORT, NOT_FOUND) : DS_STATUS(PORT, FLASH);
}

// ESP-IDF does it with the mark; but the mark may have been made before secure boot was on, or by a station.
static ds_status raise_secure_version(void)
{
    ds_security now = {0};
    uint32_t own = esp_app_get_description()->secure_version;
    ds_esp_security(NULL, &now);
    if (!now.secure_boot || own <= now.secure_version)
        return DS_STATUS_OK;
    switch (esp_efuse_update_secure_version(own)) {
    case ESP_OK:
        return DS_STATUS_OK;
    case ESP_ERR_INVALID_ARG: // more than the field has bits
    case ESP_ERR_NOT_SUPPORTED:
        return DS_STATUS(PORT, UNSUPPORTED);
    default:
        return DS_STATUS(PORT, FLASH);
    }
}

ds_status ds_esp_trial_end(void *ctx, bool good)
{
    (void)ctx;
    bool trial = ds_esp_on_trial();
    if (!good)
        return trial ? go_back() : DS_STATUS_OK;
    if (trial && esp_ota_mark_app_valid_cancel_rollback() != ESP_OK)
        return DS_STATUS(PORT, FLASH);
    return raise_secure_version();
}

// Without an image to go back to there is nothing to wait for.
ds_status ds_esp_trial_veto(void *ctx, bool good)
{
    if (good && ds_esp_on_trial() && esp_ota_check_rollback_is_possible())
        return DS_STATUS_OK;
    return ds_esp_trial_end(ctx, good);
}
