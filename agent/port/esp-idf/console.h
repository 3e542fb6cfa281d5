// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The console that station and device share: frames of the agent and log text of every task.
#ifndef DS_AGENT_ESP_IDF_CONSOLE_H
#define DS_AGENT_ESP_IDF_CONSOLE_H

#include "esp_err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Open the wire and send what ESP_LOG writes through it, so that no line tears a frame.
esp_err_t ds_esp_console_open(void);
int ds_esp_console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms); // as ds_port
// Frames, as core/frame.c sends them: pieces, the first of which starts with END and the last of which ends with END.
// Only one task may do so.
void ds_esp_console_write(void *ctx, const uint8_t *buf, size_t len);
void ds_esp_console_log(void *ctx, const char *line); // any task
// Wait until everything written has left.
void ds_esp_console_flush(void);

// ---- the wire: wire_uart.c or wire_usb.c, by Kconfig
esp_err_t ds_esp_wire_open(void);
int ds_esp_wire_read(uint8_t *buf, size_t cap, uint32_t timeout_ms);
void ds_esp_wire_write(const uint8_t *buf, size_t len);
void ds_esp_wire_flush(void);

#endif
