// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The owner's handshake as a protocomm endpoint and on the console; see devstamp_app.h. It brings its own secrecy and
// authenticity (docs/owner.md), so the transport may run with any protocomm security, or none.
#include "internal.h"

#include "agent/app/owner.h"

#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"

#include <stdlib.h>

enum { TICK_US = 60000000 };

// For good once made: wrong secrets are counted until the device restarts.
static ds_owner owner;
static ds_agent *agent;
static SemaphoreHandle_t lock;   // one message at a time
static esp_timer_handle_t timer; // runs while a session is open

// In the timers' task, which must not wait for a message that is being answered: that one is looked at a minute later.
static void on_tick(void *arg)
{
    (void)arg;
    bool open = true;
    if (xSemaphoreTake(lock, 0) == pdTRUE) {
        open = ds_owner_tick(&owner, (uint32_t)(esp_timer_get_time() / 1000));
        xSemaphoreGive(lock);
    }
    if (open)
        esp_timer_start_once(timer, TICK_US);
}

static size_t answer(void *arg, const uint8_t *in, size_t len, uint8_t *ret, size_t cap)
{
    (void)arg;
    xSemaphoreTake(lock, portMAX_DELAY);
    size_t n = ds_owner_handle(&owner, in, len, ret, cap);
    if (ds_owner_tick(&owner, (uint32_t)(esp_timer_get_time() / 1000)))
        esp_timer_start_once(timer, TICK_US); // refused where it runs already
    xSemaphoreGive(lock);
    return n;
}

static esp_err_t handle(uint32_t session, const uint8_t *in, ssize_t in_len, uint8_t **ret, ssize_t *ret_len, void *arg)
{
    (void)session;
    if (in_len < 0)
        return ESP_ERR_INVALID_ARG;
    uint8_t *reply = malloc(DS_OWNER_REPLY_MAX); // protocomm frees it
    if (reply == NULL)
        return ESP_ERR_NO_MEM;
    *ret_len = (ssize_t)answer(arg, in, (size_t)in_len, reply, DS_OWNER_REPLY_MAX);
    *ret = reply;
    return ESP_OK;
}

static esp_err_t prepare(ds_owner_take_fn take, void *arg)
{
    if (agent != NULL)
        return ESP_OK;
    esp_timer_create_args_t tick = {.callback = on_tick, .name = "owner"};
    if (timer == NULL && esp_timer_create(&tick, &timer) != ESP_OK)
        return ESP_ERR_NO_MEM;
    lock = lock != NULL ? lock : xSemaphoreCreateMutex();
    agent = lock != NULL ? devstamp_agent_new() : NULL;
    if (agent == NULL)
        return ESP_ERR_NO_MEM;
    ds_owner_init(&owner, agent, take != NULL ? take : ds_owner_store_wifi, take != NULL ? arg : agent);
    devstamp_answer_owner(answer);
    return ESP_OK;
}

esp_err_t devstamp_owner_attach(protocomm_t *transport, ds_owner_take_fn take, void *arg)
{
    esp_err_t e = prepare(take, arg);
    if (e != ESP_OK || transport == NULL)
        return e;
    return protocomm_add_endpoint(transport, DS_OWNER_ENDPOINT, handle, NULL);
}

void devstamp_owner_detach(protocomm_t *transport)
{
    if (transport != NULL)
        protocomm_remove_endpoint(transport, DS_OWNER_ENDPOINT);
    if (agent == NULL)
        return;
    xSemaphoreTake(lock, portMAX_DELAY);
    ds_owner_close(&owner);
    xSemaphoreGive(lock);
}
