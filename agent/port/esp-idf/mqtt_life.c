// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The end of an esp-mqtt client; see mqtt_life.h.
#include "agent/port/esp-idf/mqtt_life.h"

enum {
    FIRST_EVENT_MS = 10000, // of a task that was started; it has no more than this to wait for, but memory may be short
    UNKNOWN_MS = 200,       // of one that may have been started past ds_esp_mqtt_start()
    STOP_TRIES = 5,
    PAUSE_TICKS = 10,
};

static void on_first_event(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    ds_esp_mqtt_life *life = arg;
    (void)base, (void)id, (void)data;
    atomic_store(&life->runs, xTaskGetCurrentTaskHandle());
}

esp_err_t ds_esp_mqtt_take(ds_esp_mqtt_life *life, esp_mqtt_client_handle_t client)
{
    life->client = client;
    life->started = false;
    atomic_store(&life->runs, NULL);
    if (client == NULL)
        return ESP_ERR_NO_MEM;
    return esp_mqtt_client_register_event(client, MQTT_EVENT_BEFORE_CONNECT, on_first_event, life);
}

esp_err_t ds_esp_mqtt_start(ds_esp_mqtt_life *life)
{
    esp_err_t e = esp_mqtt_client_start(life->client);
    life->started = life->started || e == ESP_OK;
    return e;
}

// Let other tasks run, tick by tick: one long wait may be over before they had a turn where the CPU itself stood still.
static void pause_ticks(unsigned ticks)
{
    while (ticks-- > 0)
        vTaskDelay(1);
}

static void await_first_event(ds_esp_mqtt_life *life)
{
    TickType_t since = xTaskGetTickCount(), most = pdMS_TO_TICKS(life->started ? FIRST_EVENT_MS : UNKNOWN_MS);
    while (atomic_load(&life->runs) == NULL && xTaskGetTickCount() - since < most)
        vTaskDelay(1);
}

bool ds_esp_mqtt_is_own_task(const ds_esp_mqtt_life *life)
{
    return atomic_load(&life->runs) == xTaskGetCurrentTaskHandle();
}

void ds_esp_mqtt_destroy(ds_esp_mqtt_life *life)
{
    if (life->client == NULL)
        return;
    await_first_event(life);
    for (int i = 0; atomic_load(&life->runs) != NULL && i < STOP_TRIES; i++) {
        bool stopped = esp_mqtt_client_stop(life->client) == ESP_OK;
        pause_ticks(PAUSE_TICKS);
        if (stopped)
            break;
    }
    esp_mqtt_client_destroy(life->client);
    life->client = NULL;
}
