// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A product's app in the small: a locked device that shows the station who it is, keeps a connection to its endpoint
// (AWS IoT Core or devstamp's own) with the key it was born with, and updates itself.
//
// It publishes to devstamp/<serial>/state and listens on devstamp/<serial>/update for the URL of a new image. What may
// boot is not the endpoint's to say: an image must be signed with the product's key and may not be older than the
// eFuses allow.
#include "devstamp_app.h"
#include "example.h"

#include "esp_app_desc.h"
#include "esp_event.h"
#include "esp_log.h"
#include "esp_netif.h"

#include <stdio.h>
#include <string.h>

enum { TOPIC_MAX = DS_AGENT_SERIAL_MAX + 32, STATE_MAX = 96, MQTT_STACK = 8192 };

static const char *const tag = "example";
static devstamp_mqtt *mqtt;

static void topic_of(char *to, const char *name)
{
    snprintf(to, TOPIC_MAX, "devstamp/%s/%s", mqtt->serial, name);
}

static void on_connected(void)
{
    char topic[TOPIC_MAX], state[STATE_MAX];
    topic_of(topic, "update");
    esp_mqtt_client_subscribe(mqtt->client, topic, 1);
    snprintf(state, sizeof state, "{\"version\":\"%s\"}", esp_app_get_description()->version);
    topic_of(topic, "state");
    esp_mqtt_client_publish(mqtt->client, topic, state, 0, 1, 0);
    ESP_LOGI(tag, "connected to %s as %s", mqtt->endpoint, mqtt->serial);
    example_self_check_passed();
}

static void on_data(const esp_mqtt_event_t *event)
{
    char topic[TOPIC_MAX];
    topic_of(topic, "update");
    bool whole = event->data_len == event->total_data_len && event->topic_len == (int)strlen(topic);
    if (whole && memcmp(event->topic, topic, strlen(topic)) == 0)
        example_ota_start(event->data, (unsigned)event->data_len, mqtt->ca);
}

static void on_mqtt(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg, (void)base;
    if (id == MQTT_EVENT_CONNECTED)
        on_connected();
    else if (id == MQTT_EVENT_DATA)
        on_data(data);
}

// The first address is the time to connect; from then on esp-mqtt connects again by itself.
static void on_address(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg, (void)base, (void)id, (void)data;
    if (mqtt != NULL)
        return;
    esp_mqtt_client_config_t config = {.task.stack_size = MQTT_STACK};
    mqtt = devstamp_mqtt_new(&config);
    if (mqtt == NULL) {
        ESP_LOGW(tag, "no stamp in encrypted storage: not connecting");
        return;
    }
    esp_mqtt_client_register_event(mqtt->client, MQTT_EVENT_ANY, on_mqtt, NULL);
    devstamp_mqtt_start(mqtt);
}

void app_main(void); // no header of ESP-IDF declares it

void app_main(void)
{
    ESP_ERROR_CHECK(devstamp_app_start()); // before radio and ADC; opens encrypted NVS, as nvs_flash_init() would
    example_self_check_start();
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    ESP_ERROR_CHECK(esp_event_handler_register(IP_EVENT, IP_EVENT_STA_GOT_IP, on_address, NULL));
    ESP_ERROR_CHECK(esp_event_handler_register(IP_EVENT, IP_EVENT_ETH_GOT_IP, on_address, NULL));
    example_network_start();
}
