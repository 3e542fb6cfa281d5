// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Updates by HTTPS, with rollback. ESP-IDF verifies the signature before an image is selected and the bootloader again
// before it boots; an image whose secure version is lower than the chip's is refused
// (CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK). A new image is on trial at its first boot: only one that reaches its endpoint
// stays, and only then does the chip's secure version grow.
#include "devstamp_app.h"
#include "example.h"

#include "src/esp/image.h"

#include "esp_app_desc.h"
#include "esp_http_client.h"
#include "esp_https_ota.h"
#include "esp_log.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#include <stdatomic.h>
#include <string.h>

enum { URL_MAX = 256, STACK = 10240, PRIORITY = 3, TIMEOUT_MS = 10000 };

static const char *const tag = "update";
static char url_text[URL_MAX];
static const char *server_ca;
static atomic_int busy; // a word: some compilers call a library for an exchange of bytes on the ESP32-C6 and H2
static esp_timer_handle_t trial;

static void give_up(void *arg)
{
    (void)arg;
    if (!devstamp_on_trial())
        return;
    ESP_LOGE(tag, "self-check failed: back to the app before");
    if (devstamp_trial_end(false) == ESP_ERR_NOT_FOUND)
        ESP_LOGE(tag, "there is none");
}

void example_self_check_start(void)
{
    esp_timer_create_args_t args = {.callback = give_up, .name = "trial"};
    if (!devstamp_on_trial())
        return;
    ESP_LOGI(tag, "first boot of version %s: on trial", esp_app_get_description()->version);
    ESP_ERROR_CHECK(esp_timer_create(&args, &trial));
    ESP_ERROR_CHECK(esp_timer_start_once(trial, (uint64_t)CONFIG_EXAMPLE_SELF_CHECK_S * 1000000));
}

void example_self_check_passed(void)
{
    if (trial == NULL)
        return;
    esp_timer_stop(trial);
    if (devstamp_on_trial() && devstamp_trial_end(true) == ESP_OK)
        ESP_LOGI(tag, "version %s stays", esp_app_get_description()->version);
}

// Newer than this one, as on the console (SelectBoot): whoever may publish to the topic must not take a device back to
// old faults. The secure version, in the eFuses, guards against those that were known when it was raised.
static bool is_wanted(esp_https_ota_handle_t ota)
{
    esp_app_desc_t offered;
    if (esp_https_ota_get_img_desc(ota, &offered) != ESP_OK)
        return false;
    const esp_app_desc_t *own = esp_app_get_description();
    offered.version[sizeof offered.version - 1] = 0;
    return strncmp(offered.project_name, own->project_name, sizeof own->project_name) == 0 &&
           ds_version_compare(offered.version, own->version) > 0;
}

static esp_err_t fetch(void)
{
    esp_http_client_config_t http = {
        .url = url_text, .cert_pem = server_ca, .timeout_ms = TIMEOUT_MS, .keep_alive_enable = true};
    esp_https_ota_config_t config = {.http_config = &http};
    esp_https_ota_handle_t ota = NULL;
    esp_err_t e = esp_https_ota_begin(&config, &ota);
    if (e != ESP_OK)
        return e;
    e = is_wanted(ota) ? ESP_ERR_HTTPS_OTA_IN_PROGRESS : ESP_ERR_INVALID_VERSION;
    while (e == ESP_ERR_HTTPS_OTA_IN_PROGRESS)
        e = esp_https_ota_perform(ota);
    if (e == ESP_OK && esp_https_ota_is_complete_data_received(ota))
        return esp_https_ota_finish(ota); // verifies, then selects
    esp_https_ota_abort(ota);
    return e == ESP_OK ? ESP_FAIL : e;
}

static void update_task(void *arg)
{
    (void)arg;
    esp_err_t e = fetch();
    if (e == ESP_OK) {
        ESP_LOGI(tag, "restarting into the update");
        esp_restart();
    }
    ESP_LOGE(tag, "no update: %s", esp_err_to_name(e));
    atomic_store(&busy, 0);
    vTaskDelete(NULL);
}

void example_ota_start(const char *url, unsigned url_len, const char *ca)
{
    bool https = url_len > 8 && memcmp(url, "https://", 8) == 0;
    if (!https || url_len >= sizeof url_text || atomic_exchange(&busy, 1) != 0)
        return;
    memcpy(url_text, url, url_len);
    url_text[url_len] = 0;
    server_ca = ca;
    if (xTaskCreate(update_task, "update", STACK, NULL, PRIORITY, NULL) != pdPASS)
        atomic_store(&busy, 0);
}
