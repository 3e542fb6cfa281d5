// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// An esp-mqtt client with the device's identity; see devstamp_app.h.
#include "internal.h"

#include "agent/core/internal.h"
#include "agent/port/esp-idf/credentials.h"

#include <mbedtls/platform_util.h>

#include <stdlib.h>
#include <string.h>

typedef struct client {
    devstamp_mqtt public;
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

devstamp_mqtt *devstamp_mqtt_new(esp_mqtt_client_config_t *config)
{
    client *c = load_client();
    if (c == NULL)
        return NULL;
    config->broker.address.uri = c->endpoint;
    config->credentials.client_id = c->serial;
    ds_esp_credentials_apply(&c->credentials, config);
    c->public = (devstamp_mqtt){esp_mqtt_client_init(config), c->serial, c->endpoint, c->credentials.ca, c};
    if (c->public.client == NULL) {
        devstamp_mqtt_free(&c->public);
        return NULL;
    }
    ds_esp_publish_by(c->public.client); // one name, one client
    return &c->public;
}

void devstamp_mqtt_free(devstamp_mqtt *m)
{
    if (m == NULL)
        return;
    client *c = m->own;
    ds_esp_publish_by(NULL);
    if (m->client != NULL)
        esp_mqtt_client_destroy(m->client);
    ds_esp_credentials_free(&c->credentials);
    free(c);
}
