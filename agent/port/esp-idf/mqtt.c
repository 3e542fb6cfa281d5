// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One message to the endpoint: MQTT 3.1.1 over mutual TLS by esp-mqtt, QoS 1, acknowledged. A server that cannot be
// verified is never spoken to.
#include "agent/port/esp-idf/credentials.h"

#include "esp_netif.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"

#include <string.h>

enum {
    DEADLINE_MS = 10000,
    WAIT_MS = 100,
    KEEPALIVE_S = 15,
    STACK = 8192, // a handshake with RSA
};

typedef struct session {
    SemaphoreHandle_t over;
    const char *topic, *payload;
    int message;
    bool acknowledged;
} session;

static void on_event(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    session *s = arg;
    const esp_mqtt_event_t *event = data;
    (void)base;
    switch ((esp_mqtt_event_id_t)id) {
    case MQTT_EVENT_CONNECTED:
        s->message = esp_mqtt_client_publish(event->client, s->topic, s->payload, 0, 1, 0);
        if (s->message < 0)
            xSemaphoreGive(s->over);
        break;
    case MQTT_EVENT_PUBLISHED:
        s->acknowledged = event->msg_id == s->message;
        if (s->acknowledged)
            xSemaphoreGive(s->over);
        break;
    case MQTT_EVENT_ERROR:
    case MQTT_EVENT_DISCONNECTED:
        xSemaphoreGive(s->over);
        break;
    default:
        break;
    }
}

// Without an address there is nothing to wait for.
static bool online(void)
{
    esp_netif_t *netif = esp_netif_get_default_netif();
    return netif != NULL && esp_netif_is_netif_up(netif);
}

static void wait_until_over(ds_esp *p, session *s)
{
    for (int waited = 0; waited < DEADLINE_MS; waited += WAIT_MS) {
        if (xSemaphoreTake(s->over, pdMS_TO_TICKS(WAIT_MS)) == pdTRUE)
            return;
        p->port.alive(p);
    }
}

static ds_status talk(ds_esp *p, session *s, const esp_mqtt_client_config_t *config)
{
    esp_mqtt_client_handle_t client = esp_mqtt_client_init(config);
    if (client == NULL)
        return DS_STATUS(ENDPOINT, NO_SPACE);
    if (esp_mqtt_client_register_event(client, MQTT_EVENT_ANY, on_event, s) == ESP_OK &&
        esp_mqtt_client_start(client) == ESP_OK)
        wait_until_over(p, s);
    if (s->acknowledged)
        esp_mqtt_client_disconnect(client);
    esp_mqtt_client_destroy(client); // ends its task: no event comes after this
    return s->acknowledged ? DS_STATUS_OK : DS_STATUS(ENDPOINT, NETWORK);
}

ds_status ds_esp_publish(void *ctx, const char *endpoint, const char *client_id, const uint8_t *key, size_t key_len,
                         const uint8_t *chain, size_t chain_len, const char *topic, const char *payload)
{
    ds_esp *p = ctx;
    ds_esp_credentials c;
    esp_mqtt_client_config_t config = {
        .broker.address.uri = endpoint,
        .credentials.client_id = client_id,
        .session = {.keepalive = KEEPALIVE_S, .protocol_ver = MQTT_PROTOCOL_V_3_1_1},
        .network = {.timeout_ms = DEADLINE_MS, .disable_auto_reconnect = true},
        .task.stack_size = STACK,
    };
    if (strncmp(endpoint, "mqtts://", 8) != 0)
        return DS_STATUS(ENDPOINT, BAD_REQUEST);
    if (!online())
        return DS_STATUS(ENDPOINT, NETWORK);
    session s = {.over = xSemaphoreCreateBinary(), .topic = topic, .payload = payload, .message = -1};
    if (s.over == NULL)
        return DS_STATUS(ENDPOINT, NO_SPACE);
    ds_status status = ds_esp_credentials_make(p, key, key_len, chain, chain_len, &c);
    if (status == DS_STATUS_OK) {
        ds_esp_credentials_apply(&c, &config);
        status = talk(p, &s, &config);
        ds_esp_credentials_free(&c);
    }
    vSemaphoreDelete(s.over);
    return status;
}
