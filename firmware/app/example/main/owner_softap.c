// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device without Wi-Fi credentials opens a network of its own, PROV_ and the end of its address, and offers the
// endpoint "devstamp-owner" on it by HTTP. Open, as the handshake protects what it carries; `devstamp verify device`
// and companion apps see with it that the device is genuine before they hand anything over.
#include "devstamp_app.h"
#include "example.h"

#include "esp_event.h"
#include "esp_log.h"
#include "esp_mac.h"
#include "esp_netif.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "esp_wifi.h"
#include "protocomm_httpd.h"

#include <stdio.h>
#include <string.h>

enum { RESTART_US = 3000000, CHANNEL = 1, CLIENTS = 1 };

static const char *const tag = "owner";
static esp_timer_handle_t restart;

static void on_restart(void *arg)
{
    (void)arg;
    esp_restart();
}

// Stored; the owner gets the receipt before the device restarts into its network.
static ds_status take(void *arg, const ds_owner_credentials *c)
{
    ds_agent *a = devstamp_agent_new();
    (void)arg;
    if (a == NULL)
        return DS_STATUS(PORT, NO_SPACE);
    ds_status s = ds_owner_store_wifi(a, c);
    devstamp_agent_free(a);
    if (s == DS_STATUS_OK && !esp_timer_is_active(restart))
        esp_timer_start_once(restart, RESTART_US);
    return s;
}

static void start_network(void)
{
    uint8_t mac[6];
    wifi_config_t config = {.ap = {.channel = CHANNEL, .max_connection = CLIENTS, .authmode = WIFI_AUTH_OPEN}};
    esp_read_mac(mac, ESP_MAC_WIFI_SOFTAP);
    int len = snprintf((char *)config.ap.ssid, sizeof config.ap.ssid, "PROV_%02X%02X%02X", mac[3], mac[4], mac[5]);
    config.ap.ssid_len = (uint8_t)len;
    esp_netif_create_default_wifi_ap();
    ESP_ERROR_CHECK(esp_wifi_set_storage(WIFI_STORAGE_RAM));
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_AP));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_AP, &config));
    ESP_ERROR_CHECK(esp_wifi_start());
    ESP_LOGI(tag, "no Wi-Fi credentials yet: waiting for the owner on %s", (char *)config.ap.ssid);
}

void example_owner_start(void)
{
    esp_timer_create_args_t timer = {.callback = on_restart, .name = "restart"};
    protocomm_http_server_config_t server = PROTOCOMM_HTTPD_DEFAULT_CONFIG();
    protocomm_httpd_config_t config = {.data.config = server};
    ESP_ERROR_CHECK(esp_timer_create(&timer, &restart));
    protocomm_t *transport = protocomm_new();
    if (transport == NULL || protocomm_httpd_start(transport, &config) != ESP_OK ||
        devstamp_owner_attach(transport, take, NULL) != ESP_OK) {
        ESP_LOGE(tag, "no way in for the owner");
        return;
    }
    start_network();
}
