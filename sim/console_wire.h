// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The chip's end of its UART: bytes of a socket passed through the fault plan and the timing model.
#ifndef DS_SIM_CONSOLE_WIRE_H
#define DS_SIM_CONSOLE_WIRE_H

#include "sim/cpu.h"

#define DS_SIM_WIRE_CHUNK 256u

typedef struct ds_sim_console_wire {
    int fd; // blocking
    ds_sim_shared *shared;
    uint64_t rng;                           // noise of a baud mismatch
    uint8_t pending[2 * DS_SIM_WIRE_CHUNK]; // received and not read yet
    size_t pending_at, pending_len;
} ds_sim_console_wire;

// Make *ret a wire over w; both outlive the CPU run. A write to a console that is gone ends the process.
void ds_sim_console_wire_init(ds_sim_console_wire *w, int fd, ds_sim_shared *shared, ds_sim_wire *ret);

#endif
