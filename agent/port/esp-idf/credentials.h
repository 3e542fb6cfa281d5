// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The device's credentials in the form that esp-mqtt and esp-tls take them: the chain as PEM, the key as DER. They want
// bytes and keep pointing at them for as long as a client lives, so the key is on the heap for that long. Bytes of the
// key are for this file and mqtt.c; the app is given a handle (agent/app/stamp.h).
#ifndef DS_AGENT_ESP_IDF_CREDENTIALS_H
#define DS_AGENT_ESP_IDF_CREDENTIALS_H

#include "agent/port/esp-idf/esp_port.h"

#include "mqtt_client.h"

typedef struct ds_esp_credentials {
    char *ca, *chain; // PEM, terminated
    uint8_t *key;     // DER; or data for the digital-signature peripheral
    size_t key_len;
    void *dsig; // esp_ds_data_ctx_t over key where the chip alone can use it, else NULL
} ds_esp_credentials;

// Copy the message's key and chain and read the endpoint's CA from the stamp: NETWORK where there is none, as a server
// that cannot be verified is not spoken to. ret is filled only on success; ds_esp_credentials_free() it.
ds_status ds_esp_credentials_make(ds_esp *p, const ds_publish *message, ds_esp_credentials *ret);
void ds_esp_credentials_free(ds_esp_credentials *c); // wipes the key

// Put them into a client's configuration; c must outlive the client.
void ds_esp_credentials_apply(const ds_esp_credentials *c, esp_mqtt_client_config_t *config);

bool ds_esp_publish_init(void); // once, before any of the others
// ds_port.publish. Does not wait: NETWORK until the message was acknowledged, which a later call says; see mqtt.c.
ds_status ds_esp_publish(void *ctx, const ds_publish *message);
// From now on messages go by the app's own client, which is not started yet; NULL: by one made for each message again.
// Any task but that of a client; waits for a handshake of ours that is going on. The client must be taken back (NULL)
// before it is destroyed.
void ds_esp_publish_by(esp_mqtt_client_handle_t client);

#endif
