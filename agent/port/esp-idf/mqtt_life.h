// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The end of an esp-mqtt client without use of what was freed. esp_mqtt_client_destroy() frees what the client's task
// still uses where that task has not run yet (a caller of higher priority, as ESP-IDF's event task, may be there that
// early), where its farewell could not be sent, and, for one last write, just after it said that it stopped
// (mqtt_client.c: esp_mqtt_task, esp_mqtt_client_stop; ESP-IDF 5.1 to 5.5).
#ifndef DS_AGENT_ESP_IDF_MQTT_LIFE_H
#define DS_AGENT_ESP_IDF_MQTT_LIFE_H

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "mqtt_client.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct ds_esp_mqtt_life {
    esp_mqtt_client_handle_t client;
    bool started;               // by ds_esp_mqtt_start()
    _Atomic(TaskHandle_t) runs; // the client's task, from its first event on
} ds_esp_mqtt_life;

// Take over a client that esp_mqtt_client_init() made and nobody started. life must outlive it. NULL: ESP_ERR_NO_MEM.
esp_err_t ds_esp_mqtt_take(ds_esp_mqtt_life *life, esp_mqtt_client_handle_t client);
esp_err_t ds_esp_mqtt_start(ds_esp_mqtt_life *life);

// Is this the client's own task, as in its event handler? It cannot end itself.
bool ds_esp_mqtt_is_own_task(const ds_esp_mqtt_life *life);

// Stop and destroy the client, whatever state it is in, NULL included; no event comes after that. Waits for a handshake
// that is going on. Not in its own task.
void ds_esp_mqtt_destroy(ds_esp_mqtt_life *life);

#endif
