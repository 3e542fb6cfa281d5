// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp in a product's own ESP-IDF app: first boot moves the stamp to encrypted storage, the console answers the
// station, and the app gets at its identity. Typed values, the key's handle, the health report and the factory reset
// are those of agent/app/stamp.h, on an agent from devstamp_agent_new().
#ifndef DEVSTAMP_APP_H
#define DEVSTAMP_APP_H

#include "agent/app/owner.h"
#include "agent/app/stamp.h"

#include "esp_err.h"
#include "mqtt_client.h"
#include "protocomm.h"

#include <stdbool.h>

// First boot and every boot. Moves the stamp where it is to be moved, completes a factory reset that was cut off, opens
// encrypted NVS (partition "nvs"), which the app's own values and ESP-IDF's share, then starts the task that answers
// the station and says hello to the endpoint once there is a network. Call it first in app_main(), in one task, once:
// before radio, ADC and I2S, which the entropy source that it uses meanwhile would disturb. It takes the place of
// nvs_flash_init(), which knows no keys by the HMAC peripheral: calling that too makes keys that nobody uses, and fails
// without a partition for them. May take some seconds at first boot. A board that is not stamped or not locked runs all
// the same: it returns ESP_OK, and the report says so; without flash encryption NVS stays closed. ESP_ERR_NO_MEM, or
// the console driver's error.
esp_err_t devstamp_app_start(void);

// An agent of the calling task's own, for the functions of agent/app/stamp.h; about 16 KiB of heap. Not for polling.
// NULL before devstamp_app_start() or without memory. devstamp_agent_free() wipes it; NULL is fine.
ds_agent *devstamp_agent_new(void);
void devstamp_agent_free(ds_agent *a);

// An update at its first boot is on trial: a restart without devstamp_trial_end() takes the image before it back. The
// agent ends the trial by itself shortly after devstamp_app_start(); with CONFIG_DEVSTAMP_TRIAL_BY_APP it only refuses
// what cannot use the device or read its stamp, and the app, which may know more, ends it. good: stays for good, and
// the chip's secure version grows to this image's. Not good: restarts into the image before (does not return);
// ESP_ERR_NOT_FOUND where there is none. ESP_FAIL: flash or eFuses. Fine, and without effect, where nothing is on
// trial.
bool devstamp_on_trial(void);
esp_err_t devstamp_trial_end(bool good);

// An esp-mqtt client of the app's own with the device's identity: endpoint, its CA, client id (the serial number), key
// and chain are filled into config, whatever else it says is kept; AWS IoT Core and devstamp's endpoint both take it.
// NULL where the stamp is not in encrypted storage or memory is short; waits where the agent's own client is amid its
// handshake. Start it with devstamp_mqtt_start(), which is esp_mqtt_client_start() and remembers it: a client that is
// destroyed before its task ran for the first time, by whatever started it, would be used after that.
// devstamp_mqtt_free() stops it, destroys it and wipes its key, and waits for a handshake that is going on; NULL is
// fine. Not in an event handler of the client: esp-mqtt cannot stop a client there, and nothing is freed.
typedef struct devstamp_mqtt {
    esp_mqtt_client_handle_t client;
    const char *serial, *endpoint, *ca; // the device's; ca is PEM
    void *own;
} devstamp_mqtt;

devstamp_mqtt *devstamp_mqtt_new(esp_mqtt_client_config_t *config);
esp_err_t devstamp_mqtt_start(devstamp_mqtt *m);
void devstamp_mqtt_free(devstamp_mqtt *m);

// Authenticity towards the owner: add endpoint "devstamp-owner" (agent/app/owner.h, docs/owner.md) to a local
// provisioning transport, Wi-Fi or Bluetooth, whichever the app started. From the first call on the console answers
// owners too; with transport NULL it alone does. take is called in the transport's task (or the agent's) with what the
// owner hands over, once the owner has proved to know the label's secret; NULL: strings "ssid" and "pass" in namespace
// "wifi" of encrypted storage. take and arg of the first call stay. Needs 16 KiB of heap from then on.
esp_err_t devstamp_owner_attach(protocomm_t *transport, ds_owner_take_fn take, void *arg);
void devstamp_owner_detach(protocomm_t *transport);

#endif
