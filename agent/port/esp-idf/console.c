// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Frames and log text on one wire. A frame is END, bytes without END, END (SLIP), so that its bounds are seen here
// without knowing what is in it. From the first END to the last the lock is held: a log line waits, at most
// LINE_WAIT_MS, then it is dropped. Log text is printable ASCII and can never hold an END.
//
// What bypasses ESP_LOG (printf, ROM printf, a panic) is not held back. A frame it tears fails its CRC, and the station
// asks again.
#include "agent/port/esp-idf/console.h"

#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"

#include <stdio.h>
#include <string.h>

enum { END = 0xC0, TEXT_MAX = 256, LINE_WAIT_MS = 1000 };

static SemaphoreHandle_t lock; // recursive
static bool in_frame;
static vprintf_like_t log_before_us;
static char line_text[TEXT_MAX]; // under the lock: tasks that log have small stacks

void ds_esp_console_write(void *ctx, const uint8_t *buf, size_t len)
{
    (void)ctx;
    xSemaphoreTakeRecursive(lock, portMAX_DELAY);
    bool held = in_frame;
    for (size_t i = 0; i < len; i++)
        in_frame ^= buf[i] == END;
    if (!held && in_frame)
        xSemaphoreTakeRecursive(lock, portMAX_DELAY);
    ds_esp_wire_write(buf, len);
    if (held && !in_frame)
        xSemaphoreGiveRecursive(lock);
    xSemaphoreGiveRecursive(lock);
}

static bool take_line(void)
{
    return xSemaphoreTakeRecursive(lock, pdMS_TO_TICKS(LINE_WAIT_MS)) == pdTRUE;
}

static void put_text(const char *text)
{
    uint8_t out[64];
    size_t len = 0;
    for (; *text != 0; text++) {
        if (len + 2 > sizeof out) {
            ds_esp_wire_write(out, len);
            len = 0;
        }
        if (*text == '\n')
            out[len++] = '\r';
        bool plain = (*text >= ' ' && *text <= '~') || *text == '\n' || *text == '\t' || *text == '\033';
        out[len++] = plain ? (uint8_t)*text : (uint8_t)'?';
    }
    ds_esp_wire_write(out, len);
}

void ds_esp_console_log(void *ctx, const char *line)
{
    (void)ctx;
    if (!take_line())
        return;
    put_text(line);
    put_text("\n");
    xSemaphoreGiveRecursive(lock);
}

// What ESP_LOG calls. A line may come in several calls; a frame between them harms neither.
static int log_vprintf(const char *format, va_list args)
{
    if (xTaskGetSchedulerState() != taskSCHEDULER_RUNNING)
        return log_before_us(format, args);
    if (!take_line())
        return 0;
    int n = vsnprintf(line_text, sizeof line_text, format, args);
    if (n >= (int)sizeof line_text)
        memcpy(line_text + sizeof line_text - 5, "...\n", 5);
    put_text(line_text);
    xSemaphoreGiveRecursive(lock);
    return n;
}

esp_err_t ds_esp_console_open(void)
{
    if (lock != NULL)
        return ESP_ERR_INVALID_STATE;
    lock = xSemaphoreCreateRecursiveMutex();
    if (lock == NULL)
        return ESP_ERR_NO_MEM;
    fflush(stdout);
    esp_err_t e = ds_esp_wire_open();
    if (e == ESP_OK)
        log_before_us = esp_log_set_vprintf(log_vprintf);
    return e;
}

int ds_esp_console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    (void)ctx;
    return ds_esp_wire_read(buf, cap, timeout_ms);
}

void ds_esp_console_flush(void)
{
    ds_esp_wire_flush();
}
