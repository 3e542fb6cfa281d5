// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Wi-Fi as a station, with the credentials that the owner handed over: strings "ssid" and "pass" in namespace "wifi" of
// encrypted NVS. Without them it waits for the owner: owner_softap.c. Credentials that do not lead to an address within
// some tries after a start (a wrong passphrase, a network that is gone) are tried on every now and then, while the
// owner is waited for as well. Once there was an address, a connection that is lost is only made anew.
#include "example.h"

#include "esp_event.h"
#include "esp_log.h"
#include "esp_netif.h"
#include "esp_timer.h"
#include "esp_wifi.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "nvs.h"

#include <string.h>

// AGAIN: the station's search takes the radio from the owner's network, so it is seldom.
enum { TRIES = 5, AGAIN_US = 60000000, OWNER_STACK = 4096, OWNER_PRIORITY = 3 };

static const char *const tag = "wifi";
static bool was_online, waits_for_owner;
static unsigned failures;
static esp_timer_handle_t again;

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

static void on_again(void *arg)
{
    (void)arg;
    esp_wifi_connect();
}

// Not in the event task, whose stack is small.
static void owner_task(void *arg)
{
    (void)arg;
    example_owner_start(true);
    vTaskDelete(NULL);
}

static void on_disconnected(const wifi_event_sta_disconnected_t *event)
{
    if (!was_online && !waits_for_owner && ++failures >= TRIES) {
        ESP_LOGW(tag, "no connection with the credentials there are (reason %d)", event->reason);
        waits_for_owner = xTaskCreate(owner_task, "owner", OWNER_STACK, NULL, OWNER_PRIORITY, NULL) == pdPASS;
    }
    if (waits_for_owner)
        esp_timer_start_once(again, AGAIN_US);
    else
        esp_wifi_connect();
}

static void on_wifi(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg, (void)base;
    if (id == WIFI_EVENT_STA_START && !waits_for_owner)
        esp_wifi_connect();
    else if (id == WIFI_EVENT_STA_DISCONNECTED)
        on_disconnected(data);
}

// The credentials work after all: the open network goes.
static void on_address(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg, (void)base, (void)id, (void)data;
    was_online = true;
    if (waits_for_owner)
        esp_wifi_set_mode(WIFI_MODE_STA);
    waits_for_owner = false;
}

void example_network_start(void)
{
    wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    wifi_config_t config = {0};
    esp_timer_create_args_t timer = {.callback = on_again, .name = "wifi"};
    init.nvs_enable = 0; // the credentials are kept by this app; and NVS is closed on a board that is not locked
    ESP_ERROR_CHECK(esp_wifi_init(&init));
    if (!read_credentials(&config)) {
        example_owner_start(false);
        return;
    }
    ESP_ERROR_CHECK(esp_timer_create(&timer, &again));
    esp_netif_create_default_wifi_sta();
    ESP_ERROR_CHECK(esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_wifi, NULL));
    ESP_ERROR_CHECK(esp_event_handler_register(IP_EVENT, IP_EVENT_STA_GOT_IP, on_address, NULL));
    ESP_ERROR_CHECK(esp_wifi_set_storage(WIFI_STORAGE_RAM));
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_STA, &config));
    ESP_ERROR_CHECK(esp_wifi_start());
}
