// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A chip without HMAC and digital-signature peripherals: keys lie in encrypted NVS.
#include "agent/port/esp-idf/esp_port.h"

void ds_esp_keys_fill(ds_port *port)
{
    (void)port;
}

ds_status ds_esp_hmac(void *ctx, const void *message, size_t len, uint8_t ret[32])
{
    (void)ctx, (void)message, (void)len, (void)ret;
    return DS_STATUS(PORT, NOT_FOUND);
}

ds_status ds_esp_dsig_context(uint8_t *data, size_t data_len, void **ret)
{
    (void)data, (void)data_len, (void)ret;
    return DS_STATUS(PORT, UNSUPPORTED);
}
