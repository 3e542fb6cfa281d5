// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The first message to the endpoint: "devstamp/<serial>/hello" with a JSON object (RFC 8259) of the serial number and
// the running firmware. An endpoint that registers just in time may drop the first connection, so there are a few
// tries.
#include "agent/app/internal.h"

#include <stdio.h>
#include <string.h>

enum { TRIES = 4, PAUSE_POLLS = 2, POLL_MS = 500, TEXT_MAX = 32 };

// Who says hello, and to whom.
typedef struct greeting {
    char serial[DS_AGENT_SERIAL_MAX + 1], endpoint[DS_AGENT_ENDPOINT_MAX + 1];
    char topic[DS_AGENT_SERIAL_MAX + 20];
    char payload[DS_AGENT_SERIAL_MAX + 12 * TEXT_MAX + 48];
} greeting;

// Text for a JSON string; what a firmware calls itself is free to hold anything.
void ds_app_json_text(char *to, const char *from)
{
    static const char hex[] = "0123456789abcdef";
    for (; *from != 0; from++) {
        unsigned char c = (unsigned char)*from;
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            *to++ = (char)c;
            continue;
        }
        memcpy(to, "\\u00", 4);
        to[4] = hex[c >> 4];
        to[5] = hex[c & 15];
        to += 6;
    }
    *to = 0;
}

static ds_status compose(ds_agent *a, greeting *g)
{
    ds_status s = ds_store_text(a, "serial", g->serial, sizeof g->serial);
    if (s == DS_STATUS_OK)
        s = ds_store_text(a, "endpoint", g->endpoint, sizeof g->endpoint);
    if (s != DS_STATUS_OK)
        return s;
    if (g->serial[0] == 0 || g->endpoint[0] == 0)
        return DS_STATUS(ENDPOINT, NOT_FOUND);
    ds_identity identity = {0};
    a->port->identity(a->port->ctx, &identity);
    identity.project[TEXT_MAX] = identity.version[TEXT_MAX] = 0;
    char project[6 * TEXT_MAX + 1], version[6 * TEXT_MAX + 1];
    ds_app_json_text(project, identity.project);
    ds_app_json_text(version, identity.version);
    snprintf(g->topic, sizeof g->topic, "devstamp/%s/hello", g->serial);
    snprintf(g->payload, sizeof g->payload, "{\"serial\":\"%s\",\"firmware\":\"%s\",\"version\":\"%s\"}", g->serial,
             project, version);
    return DS_STATUS_OK;
}

static ds_status publish(ds_agent *a, const greeting *g)
{
    uint8_t *key = a->scratch, *chain = a->scratch + DS_AGENT_KEY_MAX;
    ds_publish p = {.endpoint = g->endpoint,
                    .client_id = g->serial,
                    .topic = g->topic,
                    .payload = g->payload,
                    .key = key,
                    .chain = chain};
    ds_status s = ds_store_get(a, DS_VALUE_KEY, key, DS_AGENT_KEY_MAX, &p.key_len);
    if (DS_STATUS_IS(s, NOT_FOUND)) {
        p.key_in_dsig = true;
        s = ds_store_get(a, DS_VALUE_DSIG, key, DS_AGENT_KEY_MAX, &p.key_len);
    }
    if (s == DS_STATUS_OK)
        s = ds_store_get(a, DS_VALUE_CHAIN, chain, DS_AGENT_CHAIN_MAX, &p.chain_len);
    if (s == DS_STATUS_OK)
        s = a->port->publish(a->port->ctx, &p);
    mbedtls_platform_zeroize(a->scratch, DS_AGENT_WORK);
    return s;
}

ds_status ds_app_hello_once(ds_agent *a)
{
    greeting g;
    memset(&g, 0, sizeof g);
    ds_status s = a->port->publish != NULL ? compose(a, &g) : DS_STATUS(ENDPOINT, UNSUPPORTED);
    if (s == DS_STATUS_OK)
        s = publish(a, &g);
    a->last_status = s;
    if (s == DS_STATUS_OK) {
        a->endpoint_reached = true;
        a->port->log(a->port->ctx, "app: endpoint reached");
    }
    return s;
}

ds_status ds_app_hello(ds_agent *a)
{
    ds_status s = ds_app_hello_once(a);
    for (int tries = 1; tries < TRIES && s != DS_STATUS_OK; tries++) {
        for (int i = 0; i < PAUSE_POLLS << tries; i++)
            if (!ds_agent_poll(a, POLL_MS))
                return s;
        s = ds_app_hello_once(a);
    }
    return s;
}
