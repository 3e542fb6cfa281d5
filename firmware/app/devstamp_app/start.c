// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// First boot and the agent's task; see devstamp_app.h.
#include "internal.h"

#include "agent/app/app.h"
#include "agent/port/esp-idf/credentials.h"

#include "esp_flash_encrypt.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#include <mbedtls/platform_util.h>

#include <inttypes.h>
#include <stdlib.h>

static const char *const tag = "devstamp";

static ds_esp port;
static ds_agent agent;
static bool started;

#if CONFIG_DEVSTAMP_TRIAL_BY_APP
static ds_status (*const judge)(void *ctx, bool good) = ds_esp_trial_veto;
#else
static ds_status (*const judge)(void *ctx, bool good) = ds_esp_trial_end;
#endif

ds_esp *devstamp_port(void)
{
    return started ? &port : NULL;
}

void devstamp_answer_owner(ds_agent_owner_fn fn)
{
    agent.owner = fn;
}

static void agent_task(void *arg)
{
    (void)arg;
    ds_esp_watch_task();
    for (;;)
        ds_app_run(&agent);
}

static bool init_agent(ds_agent *a)
{
    uint8_t *frame = malloc(DS_ESP_FRAME_LEN), *scratch = malloc(DS_ESP_FRAME_LEN);
    if (frame == NULL || scratch == NULL) {
        free(frame);
        free(scratch);
        return false;
    }
    ds_agent_init(a, &port.port, DS_AGENT_APP, frame, scratch);
    return true;
}

// What ds_app_run() would do first, but now: while nothing else uses radio or ADC, and before the app reads what a
// factory reset that was cut off has still to erase.
static void first_boot(void)
{
    ds_esp_entropy_begin();
    ds_status s = ds_app_migrate(&agent);
    if (s == DS_STATUS_OK)
        s = ds_stamp_reset_resume(&agent);
    if (s != DS_STATUS_OK)
        ESP_LOGW(tag, "stamp not in encrypted storage, or a factory reset not complete: status %08" PRIx32, s);
    // Not by nvs_flash_init() of the app's: it knows nothing of keys by the HMAC peripheral.
    if (esp_flash_encryption_enabled() && ds_esp_area_open(&port, DS_AREA_ENCRYPTED, true) != DS_STATUS_OK)
        ESP_LOGE(tag, "no encrypted storage");
    ds_esp_entropy_end();
}

esp_err_t devstamp_app_start(void)
{
    if (started)
        return ESP_ERR_INVALID_STATE;
    esp_err_t e = ds_esp_init(&port, DS_AGENT_APP);
    if (e != ESP_OK)
        return e;
    port.port.publish = ds_esp_publish;
    port.port.trial_end = judge;
    if (!ds_esp_publish_init() || !init_agent(&agent))
        return ESP_ERR_NO_MEM;
    started = true;
    first_boot();
    BaseType_t made =
        xTaskCreate(agent_task, "devstamp", CONFIG_DEVSTAMP_AGENT_STACK, NULL, CONFIG_DEVSTAMP_AGENT_PRIORITY, NULL);
    return made == pdPASS ? ESP_OK : ESP_ERR_NO_MEM;
}

bool devstamp_on_trial(void)
{
    return ds_esp_on_trial();
}

esp_err_t devstamp_trial_end(bool good)
{
    ds_status s = ds_esp_trial_end(&port, good);
    if (s == DS_STATUS_OK)
        return ESP_OK;
    return DS_ESP_STATUS_IS(s, NOT_FOUND) ? ESP_ERR_NOT_FOUND : ESP_FAIL;
}

ds_agent *devstamp_agent_new(void)
{
    ds_agent *a = started ? malloc(sizeof *a) : NULL;
    if (a != NULL && init_agent(a))
        return a;
    free(a);
    return NULL;
}

void devstamp_agent_free(ds_agent *a)
{
    if (a == NULL)
        return;
    mbedtls_platform_zeroize(a->frame, DS_ESP_FRAME_LEN);
    mbedtls_platform_zeroize(a->scratch, DS_ESP_FRAME_LEN);
    free(a->frame);
    free(a->scratch);
    free(a);
}
