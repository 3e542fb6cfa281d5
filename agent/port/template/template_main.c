// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The mfg firmware of a port, as small as it can be. Before this runs: clocks, RAM, console, flash, random source, and
// mbedTLS's allocator where the C library has none.
#include "agent/port/template/port.h"

static uint8_t frame[DS_AGENT_FRAME_MAX + 16], scratch[DS_AGENT_FRAME_MAX + 16];

int main(void)
{
    static ds_port port;
    static ds_agent agent;
    ds_template_port(&port);
    ds_agent_init(&agent, &port, DS_AGENT_MFG, frame, scratch);
    ds_agent_run(&agent); // until the console is gone: on a device for good
    return 0;
}
