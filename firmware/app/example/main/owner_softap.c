// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device without Wi-Fi credentials that work opens a network of its own, PROV_ and the end of its address, on which
// owner.c waits for the owner. It is open, as the handshake protects itself: somebody near by can get in the owner's
// way (places on the network are few, and a new handshake ends the one before), and do no more than that.
#include "example.h"

#include "esp_event.h"
#include "esp_log.h"
#include "esp_mac.h"
#include "esp_netif.h"
#include "esp_wifi.h"

#include <stdio.h>
#include <string.h>

enum { CHANNEL = 1, CLIENTS = 4 };

static const char *const tag = "owner";

static void start_network(bool station)
{
    uint8_t mac[6];
    wifi_config_t config = {.ap = {.channel = CHANNEL, .max_connection = CLIENTS, .authmode = WIFI_AUTH_OPEN}};
    esp_read_mac(mac, ESP_MAC_WIFI_SOFTAP);
    int len = snprintf((char *)config.ap.ssid, sizeof config.ap.ssid, "PROV_%02X%02X%02X", mac[3], mac[4], mac[5]);
    config.ap.ssid_len = (uint8_t)len;
    esp_netif_create_default_wifi_ap();
    ESP_ERROR_CHECK(esp_wifi_set_storage(WIFI_STORAGE_RAM));
    ESP_ERROR_CHECK(esp_wifi_set_mode(station ? WIFI_MODE_APSTA : WIFI_MODE_AP));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_AP, &config));
    if (!station)
        ESP_ERROR_CHECK(esp_wifi_start());
    ESP_LOGI(tag, "no Wi-Fi yet: waiting for the owner on %s", (char *)config.ap.ssid);
}

void example_owner_start(bool station)
{
    if (example_owner_listen())
        start_network(station);
}
