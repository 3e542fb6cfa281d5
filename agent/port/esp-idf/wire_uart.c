// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The console's wire on a UART. The driver's interrupt handler is in IRAM where Kconfig says so: then bytes are not
// lost while another task erases flash.
#include "agent/port/esp-idf/console.h"

#include "driver/uart.h"
#include "sdkconfig.h"

enum {
    RX_BUFFER = 4096, // of a request while the agent answers the one before; the station sends one at a time
    FLUSH_MS = 3000,
};

static const uart_port_t port = CONFIG_DEVSTAMP_UART_NUM;

esp_err_t ds_esp_wire_open(void)
{
    uart_config_t config = {
        .baud_rate = CONFIG_DEVSTAMP_UART_BAUD,
        .data_bits = UART_DATA_8_BITS,
        .parity = UART_PARITY_DISABLE,
        .stop_bits = UART_STOP_BITS_1,
        .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
        .source_clk = UART_SCLK_DEFAULT,
    };
    int flags = 0;
#if CONFIG_UART_ISR_IN_IRAM
    flags = ESP_INTR_FLAG_IRAM;
#endif
    if (uart_is_driver_installed(port))
        return ESP_ERR_INVALID_STATE;
    uart_wait_tx_idle_polling(port);
    esp_err_t e = uart_driver_install(port, RX_BUFFER, 0, 0, NULL, flags);
    if (e == ESP_OK)
        e = uart_param_config(port, &config);
    if (e == ESP_OK)
        e = uart_set_pin(port, CONFIG_DEVSTAMP_UART_TX, CONFIG_DEVSTAMP_UART_RX, UART_PIN_NO_CHANGE,
                         UART_PIN_NO_CHANGE);
    return e;
}

int ds_esp_wire_read(uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    // One byte decides how long to wait; what else has come is taken with it.
    int n = uart_read_bytes(port, buf, 1, pdMS_TO_TICKS(timeout_ms));
    if (n <= 0 || cap == 1)
        return n < 0 ? 0 : n;
    size_t more = 0;
    if (uart_get_buffered_data_len(port, &more) != ESP_OK || more == 0)
        return 1;
    n = uart_read_bytes(port, buf + 1, more < cap - 1 ? more : cap - 1, 0);
    return n > 0 ? 1 + n : 1;
}

void ds_esp_wire_write(const uint8_t *buf, size_t len)
{
    if (len > 0)
        uart_write_bytes(port, buf, len);
}

void ds_esp_wire_flush(void)
{
    uart_wait_tx_done(port, pdMS_TO_TICKS(FLUSH_MS));
}
