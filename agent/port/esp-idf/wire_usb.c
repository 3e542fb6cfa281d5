// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The console's wire on the chip's USB-Serial/JTAG. Without a host that reads, what is written is dropped rather than
// waited for: an app must not stand still because nobody listens.
#include "agent/port/esp-idf/console.h"

#include "driver/usb_serial_jtag.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

enum {
    RX_BUFFER = 4096,
    TX_BUFFER = 1024,
    WRITE_MS = 200, // a host that is there takes 64 bytes each millisecond
    FLUSH_MS = 200,
};

static bool nobody_reads; // until something was taken again

esp_err_t ds_esp_wire_open(void)
{
    usb_serial_jtag_driver_config_t config = {.tx_buffer_size = TX_BUFFER, .rx_buffer_size = RX_BUFFER};
    return usb_serial_jtag_driver_install(&config);
}

int ds_esp_wire_read(uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    int n = usb_serial_jtag_read_bytes(buf, (uint32_t)cap, pdMS_TO_TICKS(timeout_ms));
    if (n > 0)
        nobody_reads = false;
    return n < 0 ? 0 : n;
}

void ds_esp_wire_write(const uint8_t *buf, size_t len)
{
    while (len > 0) {
        size_t piece = len < TX_BUFFER / 2 ? len : TX_BUFFER / 2;
        int n = usb_serial_jtag_write_bytes(buf, piece, nobody_reads ? 0 : pdMS_TO_TICKS(WRITE_MS));
        nobody_reads = n <= 0;
        if (n <= 0)
            return;
        buf += n;
        len -= (size_t)n;
    }
}

void ds_esp_wire_flush(void)
{
    vTaskDelay(pdMS_TO_TICKS(FLUSH_MS));
}
