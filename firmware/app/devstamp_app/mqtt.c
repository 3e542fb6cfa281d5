// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// An esp-mqtt client with the device's identity; see devstamp_app.h.
#include "internal.h"

#include "agent/core/internal.h"
#include "agent/port/esp-idf/credentials.h"
#include "agent/port/esp-idf/mqtt_life.h"

#include "esp_log.h"

#include <mbedtls/platform_util.h>

#include <stdlib.h>
#include <string.h>

typedef struct client {
    devstamp_mqtt public;
    ds_esp_mqtt_life life;
    ds_esp_credentials credentials;
    char serial[DS_AGENT_SERIAL_MAX + 1], endpoint[DS_AGENT_ENDPOINT_MAX + 1];
} client;

static ds_status load(ds_agent *a, client *c)
{
    uint8_t *key = a->frame, *chain = a->frame + DS_AGENT_KEY_MAX;
    ds_publish m = {.key = key, .chain = chain};
    enum ds_area area;
    ds_status s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK && area != DS_AREA_ENCRYPTED)
        s = DS_STATUS(ENDPOINT, NOT_ALLOWED); // a key in plain flash is not a device's own
    if (s == DS_STATUS_OK)
        s = ds_store_text(a, "serial", c->serial, sizeof c->serial);
    if (s == DS_STATUS_OK)
        s = ds_store_text(a, "endpoint", c->endpoint, sizeof c->endpoint);
    if (s == DS_STATUS_OK)
        s = ds_store_get(a, DS_VALUE_KEY, key, DS_AGENT_KEY_MAX, &m.key_len);
    if (DS_STATUS_IS(s, NOT_FOUND)) {
        m.key_in_dsig = true;
        s = ds_store_get(a, DS_VALUE_DSIG, key, DS_AGENT_KEY_MAX, &m.key_len);
    }
    if (s == DS_STATUS_OK)
        s = ds_store_get(a, DS_VALUE_CHAIN, chain, DS_AGENT_CHAIN_MAX, &m.chain_len);
    if (s == DS_STATUS_OK)
        s = ds_esp_credentials_make(devstamp_port(), &m, &c->credentials);
    mbedtls_platform_zeroize(key, DS_AGENT_KEY_MAX);
    return s;
}

static client *load_client(void)
{
    ds_agent *a = devstamp_agent_new();
    client *c = a != NULL ? calloc(1, sizeof *c) : NULL;
    if (c != NULL && load(a, c) != DS_STATUS_OK) {
        free(c);
        c = NULL;
    }
    devstamp_agent_free(a);
    return c;
}

static void release(client *c)
{
    ds_esp_mqtt_destroy(&c->life);
    ds_esp_credentials_free(&c->credentials);
    free(c);
}

devstamp_mqtt *devstamp_mqtt_new(esp_mqtt_client_config_t *config)
{
    client *c = load_client();
    if (c == NULL)
        return NULL;
    config->broker.address.uri = c->endpoint;
    config->credentials.client_id = c->serial;
    ds_esp_credentials_apply(&c->credentials, config);
    c->public = (devstamp_mqtt){esp_mqtt_client_init(config), c->serial, c->endpoint, c->credentials.ca, c};
    if (ds_esp_mqtt_take(&c->life, c->public.client) != ESP_OK) {
        release(c);
        return NULL;
    }
    ds_esp_publish_by(c->public.client); // one name, one client
    return &c->public;
}

esp_err_t devstamp_mqtt_start(devstamp_mqtt *m)
{
    client *c = m->own;
    return ds_esp_mqtt_start(&c->life);
}

void devstamp_mqtt_free(devstamp_mqtt *m)
{
    if (m == NULL)
        return;
    client *c = m->own;
    if (ds_esp_mqtt_is_own_task(&c->life)) {
        ESP_LOGE("devstamp", "an MQTT client cannot be freed by its own event handler");
        return;
    }
    ds_esp_publish_by(NULL);
    release(c);
}
