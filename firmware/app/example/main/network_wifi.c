// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Wi-Fi as a station, with the credentials that the owner handed over: strings "ssid" and "pass" in namespace "wifi" of
// encrypted NVS. Without them it waits for the owner: owner_softap.c.
#include "example.h"

#include "esp_event.h"
#include "esp_netif.h"
#include "esp_wifi.h"
#include "nvs.h"

#include <string.h>

static bool read_credentials(wifi_config_t *ret)
{
    nvs_handle_t nvs;
    char ssid[sizeof ret->sta.ssid + 1] = "", pass[sizeof ret->sta.password + 1] = "";
    size_t ssid_size = sizeof ssid, pass_size = sizeof pass;
    if (nvs_open("wifi", NVS_READONLY, &nvs) != ESP_OK)
        return false;
    bool ok =
        nvs_get_str(nvs, "ssid", ssid, &ssid_size) == ESP_OK && nvs_get_str(nvs, "pass", pass, &pass_size) == ESP_OK;
    nvs_close(nvs);
    if (ok) {
        memcpy(ret->sta.ssid, ssid, sizeof ret->sta.ssid);
        memcpy(ret->sta.password, pass, sizeof ret->sta.password);
    }
    return ok;
}

static void on_wifi(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg, (void)base, (void)data;
    if (id == WIFI_EVENT_STA_START || id == WIFI_EVENT_STA_DISCONNECTED)
        esp_wifi_connect();
}

void example_network_start(void)
{
    wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    wifi_config_t config = {0};
    init.nvs_enable = 0; // the credentials are kept by this app; and NVS is closed on a board that is not locked
    ESP_ERROR_CHECK(esp_wifi_init(&init));
    if (!read_credentials(&config)) {
        example_owner_start();
        return;
    }
    esp_netif_create_default_wifi_sta();
    ESP_ERROR_CHECK(esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_wifi, NULL));
    ESP_ERROR_CHECK(esp_wifi_set_storage(WIFI_STORAGE_RAM));
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_STA, &config));
    ESP_ERROR_CHECK(esp_wifi_start());
}
