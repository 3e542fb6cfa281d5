// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One message to the endpoint: MQTT 3.1.1 over mutual TLS by esp-mqtt, QoS 1, acknowledged. A server that cannot be
// verified is never spoken to.
//
// The agent's task must not stand still for the seconds that a handshake takes, or for good where an endpoint does not
// answer: the station would take the device for dead. So a call starts the talk and says NETWORK; esp-mqtt goes on in
// its own task; a later call says how it went, or starts again. The app side asks again after 1, 2 and 4 seconds, then
// each minute (agent/app).
// An app that has a client of its own speaks with the same name, and two clients of one name throw each other out: then
// the message goes by the app's client (ds_esp_publish_by).
#include "agent/port/esp-idf/credentials.h"

#include "esp_netif.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 10000, // of each step on the network
    KEEPALIVE_S = 15,
    STACK = 8192,    // a handshake with RSA
    AGAIN_S = 45,    // a message that the app's client has lost meanwhile
    NO_MESSAGE = -1, // ids of esp-mqtt are not negative
    STOP_TRIES = 10,
    STOP_PAUSE_MS = 100,
};

static struct talk {
    esp_mqtt_client_handle_t client; // NULL: none is going on
    ds_esp_credentials credentials;
    char *topic, *payload;
    int64_t since;
    atomic_int message, last_acknowledged;
    atomic_bool over, acknowledged, task_runs;
    bool started;
} now;

static esp_mqtt_client_handle_t apps; // the app's own client
static SemaphoreHandle_t lock;        // over client, credentials and apps

static void on_acknowledged(int id)
{
    atomic_store(&now.last_acknowledged, id);
    if (id != atomic_load(&now.message))
        return;
    atomic_store(&now.acknowledged, true);
    atomic_store(&now.over, true);
}

// The acknowledgement may overtake the id.
static void sent_as(int id)
{
    atomic_store(&now.message, id);
    if (id < 0)
        atomic_store(&now.over, true);
    else if (atomic_load(&now.last_acknowledged) == id)
        on_acknowledged(id);
}

static void on_own_event(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    const esp_mqtt_event_t *event = data;
    (void)arg, (void)base;
    if (id == MQTT_EVENT_BEFORE_CONNECT)
        atomic_store(&now.task_runs, true);
    else if (id == MQTT_EVENT_CONNECTED)
        sent_as(esp_mqtt_client_publish(event->client, now.topic, now.payload, 0, 1, 0));
    else if (id == MQTT_EVENT_PUBLISHED)
        on_acknowledged(event->msg_id);
    else if (id == MQTT_EVENT_ERROR || id == MQTT_EVENT_DISCONNECTED)
        atomic_store(&now.over, true);
}

static void on_apps_event(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    const esp_mqtt_event_t *event = data;
    (void)arg, (void)base;
    if (id == MQTT_EVENT_PUBLISHED)
        on_acknowledged(event->msg_id);
}

// Without an address there is nothing to begin.
static bool online(void)
{
    esp_netif_t *netif = esp_netif_get_default_netif();
    return netif != NULL && esp_netif_is_netif_up(netif);
}

// esp-mqtt's destroy() frees what its task still uses where that task has not run yet (a caller of higher priority,
// as ESP-IDF's event task, may be here that early), where the farewell could not be sent, and, for one last write,
// just after it said that it stopped. So: wait for its first event, stop it until that worked, and give it a moment.
static void destroy_own(void)
{
    while (now.started && !atomic_load(&now.task_runs))
        vTaskDelay(1);
    for (int i = 0; now.started && i < STOP_TRIES; i++) {
        bool stopped = esp_mqtt_client_stop(now.client) == ESP_OK;
        vTaskDelay(pdMS_TO_TICKS(STOP_PAUSE_MS));
        if (stopped)
            break;
    }
    esp_mqtt_client_destroy(now.client); // no event comes after this
    now.started = false;
}

static void end(void)
{
    if (now.client != NULL && now.client != apps)
        destroy_own();
    ds_esp_credentials_free(&now.credentials);
    free(now.topic);
    free(now.payload);
    now.client = NULL;
    now.topic = now.payload = NULL;
}

static void reset_state(void)
{
    atomic_store(&now.over, false);
    atomic_store(&now.task_runs, false);
    now.started = false;
    atomic_store(&now.acknowledged, false);
    atomic_store(&now.message, NO_MESSAGE);
    atomic_store(&now.last_acknowledged, NO_MESSAGE);
    now.since = esp_timer_get_time();
}

static ds_status begin_own(esp_mqtt_client_config_t *config, const char *topic, const char *payload)
{
    now.topic = strdup(topic);
    now.payload = strdup(payload);
    ds_esp_credentials_apply(&now.credentials, config);
    if (now.topic != NULL && now.payload != NULL)
        now.client = esp_mqtt_client_init(config);
    if (now.client != NULL && esp_mqtt_client_register_event(now.client, MQTT_EVENT_ANY, on_own_event, NULL) == ESP_OK)
        now.started = esp_mqtt_client_start(now.client) == ESP_OK;
    if (now.started)
        return DS_STATUS(ENDPOINT, NETWORK); // not yet
    end();
    return DS_STATUS(ENDPOINT, NO_SPACE);
}

static ds_status begin(ds_esp *p, esp_mqtt_client_config_t *config, const ds_publish *m)
{
    reset_state();
    if (apps != NULL) {
        now.client = apps;
        sent_as(esp_mqtt_client_enqueue(apps, m->topic, m->payload, 0, 1, 0, true));
        return DS_STATUS(ENDPOINT, NETWORK);
    }
    if (!online())
        return DS_STATUS(ENDPOINT, NETWORK);
    ds_status s = ds_esp_credentials_make(p, m, &now.credentials);
    return s == DS_STATUS_OK ? begin_own(config, m->topic, m->payload) : s;
}

// How the talk that is going on stands; *ret_open where it goes on or was acknowledged.
static ds_status look(bool *ret_open)
{
    bool lost = now.client == apps && esp_timer_get_time() - now.since > (int64_t)AGAIN_S * 1000000;
    *ret_open = now.client != NULL && (atomic_load(&now.acknowledged) || (!atomic_load(&now.over) && !lost));
    if (now.client == NULL || (*ret_open && !atomic_load(&now.acknowledged)))
        return DS_STATUS(ENDPOINT, NETWORK);
    bool acknowledged = atomic_load(&now.acknowledged);
    end();
    return acknowledged ? DS_STATUS_OK : DS_STATUS(ENDPOINT, NETWORK);
}

static bool take_lock(void)
{
    return lock != NULL && xSemaphoreTake(lock, portMAX_DELAY) == pdTRUE;
}

bool ds_esp_publish_init(void)
{
    if (lock == NULL)
        lock = xSemaphoreCreateMutex();
    return lock != NULL;
}

ds_status ds_esp_publish(void *ctx, const ds_publish *m)
{
    esp_mqtt_client_config_t config = {
        .broker.address.uri = m->endpoint,
        .credentials.client_id = m->client_id,
        .session = {.keepalive = KEEPALIVE_S, .protocol_ver = MQTT_PROTOCOL_V_3_1_1},
        .network = {.timeout_ms = TIMEOUT_MS, .disable_auto_reconnect = true},
        .task.stack_size = STACK,
    };
    bool open = false;
    if (strncmp(m->endpoint, "mqtts://", 8) != 0)
        return DS_STATUS(ENDPOINT, BAD_REQUEST);
    if (!take_lock())
        return DS_STATUS(ENDPOINT, NO_SPACE);
    ds_status s = look(&open);
    if (!open)
        s = begin(ctx, &config, m);
    xSemaphoreGive(lock);
    return s;
}

void ds_esp_publish_by(esp_mqtt_client_handle_t client)
{
    if (!take_lock())
        return;
    end();
    apps = client;
    if (client != NULL)
        esp_mqtt_client_register_event(client, MQTT_EVENT_ANY, on_apps_event, NULL);
    xSemaphoreGive(lock);
}
