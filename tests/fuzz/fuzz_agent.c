// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's console: raw bytes, and, for the other half of the inputs, a well-framed message of hostile content. The
// device never dies of it, and what it answers never holds its private key.
#include "agent/core/agent.h"

#include "src/base/crc.h"
#include "src/base/slip.h"

#include "tests/unit/fake_port.c"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fake_port device;

static void feed(const uint8_t *bytes, size_t len)
{
    device.in_len = device.in_at = 0;
    if (len > FAKE_CONSOLE)
        len = FAKE_CONSOLE;
    memcpy(device.in, bytes, len);
    device.in_len = len;
}

static void framed(const uint8_t *data, size_t size)
{
    ds_buf message = {0}, wire = {0};
    ds_buf_add(&message, "DS\x01", 3);
    ds_buf_add(&message, data, size);
    ds_buf_add_le32(&message, ds_crc32(message.ptr, message.len));
    ds_slip_encode(&wire, ds_buf_view(&message));
    feed(wire.ptr, wire.len);
    ds_buf_free(&message);
    ds_buf_free(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    // RSA keys take seconds to make: requests that ask for one are for the unit tests.
    for (size_t i = 0; i + 1 < size; i++)
        if (data[i] == 0x08 && (data[i + 1] == 1 || data[i + 1] == 2))
            return 0;
    if (size < 1)
        return 0;
    fake_init(&device, 1);
    fake_power_on(&device, data[0] & 2 ? DS_AGENT_APP : DS_AGENT_MFG);
    device.idle_polls = 2;
    if (data[0] & 1)
        framed(data + 1, size - 1);
    else
        feed(data + 1, size - 1);
    while (ds_agent_poll(&device.agent, 0))
        ;
    const fake_value *key = fake_find(&device, DS_AREA_PLAIN, DS_AGENT_NAMESPACE, "key");
    if (key && key->len >= 32 && fake_leaks(&device, key->data + key->len / 2, 16))
        abort();
    return 0;
}
