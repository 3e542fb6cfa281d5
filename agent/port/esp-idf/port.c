// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The struct ds_port on ESP-IDF, and the manufacturing firmware around it.
#include "agent/port/esp-idf/esp_port.h"
#include "agent/port/esp-idf/console.h"

#include "esp_log.h"
#include "esp_system.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#include <string.h>

enum { YIELD_MS = 500 };

static const char *const tag = "devstamp";

// An RSA key takes its task ten seconds and more at one stretch. The task's own watchdog is fed here; the idle task's
// wants that task to run, so now and then the CPU is left to the others for a tick.
static void alive(void *ctx)
{
    ds_esp *p = ctx;
    if (esp_task_wdt_status(NULL) == ESP_OK)
        esp_task_wdt_reset();
    if (xTaskGetTickCount() - p->yielded < pdMS_TO_TICKS(YIELD_MS))
        return;
    vTaskDelay(1);
    p->yielded = xTaskGetTickCount();
}

static void key_delay(void *ctx, int key_type)
{
    (void)ctx, (void)key_type;
}

static void reboot(void *ctx)
{
    (void)ctx;
    ds_esp_console_flush();
    esp_restart();
}

void ds_esp_watch_task(void)
{
    esp_err_t e = esp_task_wdt_add(NULL);
    if (e != ESP_OK)
        ESP_LOGW(tag, "no task watchdog: %s", esp_err_to_name(e));
}

static void fill_port(ds_esp *p)
{
    p->port = (ds_port){
        .ctx = p,
        .value_get = ds_esp_value_get,
        .value_set = ds_esp_value_set,
        .value_each = ds_esp_value_each,
        .area_erase = ds_esp_area_erase,
        .area_is_blank = ds_esp_area_is_blank,
        .area_free = ds_esp_area_free,
        .random = ds_esp_random,
        .image_capacity = ds_esp_image_capacity,
        .image_erase = ds_esp_image_erase,
        .image_write = ds_esp_image_write,
        .image_read = ds_esp_image_read,
        .boot_select = ds_esp_boot_select,
        .identity = ds_esp_identity,
        .security = ds_esp_security,
        .self_test = ds_esp_self_test,
        .console_read = ds_esp_console_read,
        .console_write = ds_esp_console_write,
        .log = ds_esp_console_log,
        .alive = alive,
        .key_delay = key_delay,
        .reboot = reboot,
        .download_close = ds_esp_download_close,
        .anchor_get = ds_esp_anchor_get,
        .anchor_set = ds_esp_anchor_set,
        .values_clear = ds_esp_values_clear,
    };
    ds_esp_keys_fill(&p->port);
}

esp_err_t ds_esp_init(ds_esp *p, int role)
{
    memset(p, 0, sizeof *p);
    p->is_app = role == DS_AGENT_APP;
    fill_port(p);
    return ds_esp_console_open();
}

void ds_esp_mfg_run(void)
{
    static uint8_t frame[DS_ESP_FRAME_LEN], scratch[DS_ESP_FRAME_LEN];
    static ds_esp p;
    static ds_agent agent;
    ESP_ERROR_CHECK(ds_esp_init(&p, DS_AGENT_MFG));
    ds_esp_watch_task();
    ds_esp_entropy_begin();
    ds_agent_init(&agent, &p.port, DS_AGENT_MFG, frame, scratch);
    ESP_LOGI(tag, "manufacturing agent");
    for (;;)
        ds_agent_run(&agent);
}
