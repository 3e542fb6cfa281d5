// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One message to the endpoint: MQTT 3.1.1 over mutual TLS by esp-mqtt, QoS 1, acknowledged. A server that cannot be
// verified is never spoken to.
//
// The agent's task must not stand still for the seconds that a handshake takes, or for good where an endpoint does not
// answer: the station would take the device for dead, and the task watchdog restart it. So a call starts the talk and
// says NETWORK; esp-mqtt goes on in its own task; a later call says how it went, or starts again. The app side asks
// again after 1, 2 and 4 seconds, then each minute (agent/app).
// An app that has a client of its own speaks with the same name, and two clients of one name throw each other out: then
// the message goes by the app's client (ds_esp_publish_by). esp-mqtt holds a client's lock for all of a handshake, so
// that a message handed over meanwhile would wait for its end; it is left for the client's own task to take once it is
// connected.
#include "agent/port/esp-idf/credentials.h"
#include "agent/port/esp-idf/mqtt_life.h"

#include "esp_netif.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 10000, // of each step on the network
    KEEPALIVE_S = 15,
    STACK = 8192,    // a handshake with RSA
    AGAIN_S = 45,    // a message that the app's client has lost meanwhile
    NO_MESSAGE = -1, // ids of esp-mqtt are not negative
    IDLE_MS = 200,   // a client that has failed looks this often whether it is stopped
};

typedef struct message {
    char *topic, *payload;
} message;

static struct talk {
    esp_mqtt_client_handle_t client; // own.client or the app's; NULL: none is going on
    ds_esp_mqtt_life own;
    ds_esp_credentials credentials;
    int64_t since;
    atomic_int message, last_acknowledged;
    atomic_bool over, acknowledged;
} now;

static _Atomic(message *) wanted;              // taken by whoever sends it
static _Atomic(esp_mqtt_client_handle_t) apps; // the app's own client
static atomic_bool apps_connected;
static SemaphoreHandle_t lock; // over client, own, credentials and changes of apps; no event handler takes it

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

static void free_message(message *m)
{
    if (m == NULL)
        return;
    free(m->topic);
    free(m->payload);
    free(m);
}

static message *copy_message(const ds_publish *from)
{
    message *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->topic = strdup(from->topic);
    m->payload = strdup(from->payload);
    if (m->topic != NULL && m->payload != NULL)
        return m;
    free_message(m);
    return NULL;
}

// Into the client's outbox, from where its task sends it.
static void send_wanted(esp_mqtt_client_handle_t client)
{
    message *m = atomic_exchange(&wanted, NULL);
    if (m == NULL)
        return;
    sent_as(esp_mqtt_client_enqueue(client, m->topic, m->payload, 0, 1, 0, true));
    free_message(m);
}

static void on_own_event(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    const esp_mqtt_event_t *event = data;
    (void)arg, (void)base;
    if (id == MQTT_EVENT_CONNECTED)
        send_wanted(event->client);
    else if (id == MQTT_EVENT_PUBLISHED)
        on_acknowledged(event->msg_id);
    else if (id == MQTT_EVENT_ERROR || id == MQTT_EVENT_DISCONNECTED)
        atomic_store(&now.over, true);
}

static void on_apps_event(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    const esp_mqtt_event_t *event = data;
    (void)arg, (void)base;
    if (event->client != atomic_load(&apps))
        return; // it was taken back
    if (id == MQTT_EVENT_CONNECTED) {
        atomic_store(&apps_connected, true);
        send_wanted(event->client);
    } else if (id == MQTT_EVENT_DISCONNECTED) {
        atomic_store(&apps_connected, false);
    } else if (id == MQTT_EVENT_PUBLISHED) {
        on_acknowledged(event->msg_id);
    }
}

// Without an address there is nothing to begin. A link alone is not enough: the app that makes its own client when the
// address comes would find ours amid its handshake.
static bool online(void)
{
    esp_netif_t *netif = esp_netif_get_default_netif();
    esp_netif_ip_info_t ip4 = {0};
    if (netif == NULL || !esp_netif_is_netif_up(netif))
        return false;
    if (esp_netif_get_ip_info(netif, &ip4) == ESP_OK && ip4.ip.addr != 0)
        return true;
#if CONFIG_LWIP_IPV6
    esp_ip6_addr_t ip6;
    return esp_netif_get_ip6_global(netif, &ip6) == ESP_OK;
#else
    return false;
#endif
}

static void end(void)
{
    ds_esp_mqtt_destroy(&now.own);
    ds_esp_credentials_free(&now.credentials);
    free_message(atomic_exchange(&wanted, NULL));
    now.client = NULL;
}

static void reset_state(void)
{
    atomic_store(&now.over, false);
    atomic_store(&now.acknowledged, false);
    atomic_store(&now.message, NO_MESSAGE);
    atomic_store(&now.last_acknowledged, NO_MESSAGE);
    now.since = esp_timer_get_time();
}

static ds_status begin_own(esp_mqtt_client_config_t *config)
{
    ds_esp_credentials_apply(&now.credentials, config);
    if (ds_esp_mqtt_take(&now.own, esp_mqtt_client_init(config)) == ESP_OK &&
        esp_mqtt_client_register_event(now.own.client, MQTT_EVENT_ANY, on_own_event, NULL) == ESP_OK &&
        ds_esp_mqtt_start(&now.own) == ESP_OK) {
        now.client = now.own.client;
        return DS_STATUS(ENDPOINT, NETWORK); // not yet
    }
    end();
    return DS_STATUS(ENDPOINT, NO_SPACE);
}

static ds_status begin(ds_esp *p, esp_mqtt_client_config_t *config, const ds_publish *m)
{
    esp_mqtt_client_handle_t client = atomic_load(&apps);
    if (client == NULL && !online())
        return DS_STATUS(ENDPOINT, NETWORK);
    reset_state();
    if (client == NULL) {
        ds_status s = ds_esp_credentials_make(p, m, &now.credentials);
        if (s != DS_STATUS_OK)
            return s;
    }
    message *copy = copy_message(m);
    atomic_store(&wanted, copy);
    if (copy == NULL) {
        end();
        return DS_STATUS(ENDPOINT, NO_SPACE);
    }
    if (client == NULL)
        return begin_own(config);
    now.client = client;
    if (atomic_load(&apps_connected))
        send_wanted(client);
    return DS_STATUS(ENDPOINT, NETWORK);
}

// How the talk that is going on stands; *ret_open where it goes on or was acknowledged.
static ds_status look(bool *ret_open)
{
    bool lost = now.client != now.own.client && esp_timer_get_time() - now.since > (int64_t)AGAIN_S * 1000000;
    *ret_open = now.client != NULL && (atomic_load(&now.acknowledged) || (!atomic_load(&now.over) && !lost));
    if (now.client == NULL || (*ret_open && !atomic_load(&now.acknowledged)))
        return DS_STATUS(ENDPOINT, NETWORK);
    bool acknowledged = atomic_load(&now.acknowledged);
    end();
    return acknowledged ? DS_STATUS_OK : DS_STATUS(ENDPOINT, NETWORK);
}

static bool take_lock(TickType_t most)
{
    return lock != NULL && xSemaphoreTake(lock, most) == pdTRUE;
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
        .network = {.timeout_ms = TIMEOUT_MS, .reconnect_timeout_ms = IDLE_MS, .disable_auto_reconnect = true},
        .task.stack_size = STACK,
    };
    bool open = false;
    if (strncmp(m->endpoint, "mqtts://", 8) != 0)
        return DS_STATUS(ENDPOINT, BAD_REQUEST);
    if (!take_lock(0))
        return DS_STATUS(ENDPOINT, NETWORK); // the app's task is at it, which may wait for a handshake to end
    ds_status s = look(&open);
    if (!open)
        s = begin(ctx, &config, m);
    xSemaphoreGive(lock);
    return s;
}

void ds_esp_publish_by(esp_mqtt_client_handle_t client)
{
    if (client != NULL)
        esp_mqtt_client_register_event(client, MQTT_EVENT_ANY, on_apps_event, NULL);
    if (!take_lock(portMAX_DELAY))
        return;
    end();
    atomic_store(&apps_connected, false);
    atomic_store(&apps, client);
    xSemaphoreGive(lock);
}
