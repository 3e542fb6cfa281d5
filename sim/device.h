// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A virtual device as its supervisor sees it: power, reset line, strap, three consoles on one UART, and the CPU run of
// the moment. One thread, never blocks: the caller polls for all devices and hands the results in.
#ifndef DS_SIM_DEVICE_H
#define DS_SIM_DEVICE_H

#include "sim/console.h"
#include "sim/cpu.h"
#include "sim/device_files.h"
#include "sim/device_lines.h"

#define DS_SIM_DEVICE_CONSOLES 3
#define DS_SIM_DEVICE_FDS (DS_SIM_DEVICE_CONSOLES * DS_SIM_CONSOLE_FDS + 1)

typedef struct ds_sim_device {
    unsigned index;
    ds_sim_device_spec spec;
    ds_sim_device_files files;
    ds_sim_shared *shared;
    ds_sim_console consoles[DS_SIM_DEVICE_CONSOLES]; // by enum ds_sim_console_kind
    char *pty_link;                                  // <dir>/pty
    ds_sim_lines lines;
    bool power;
    pid_t pid; // of the CPU run; 0 none
    int fd;    // its console; -1 none
    ds_buf to_chip;
    int64_t started_at, start_at; // of ds_now_ms(); start_at 0 = no start is due
    enum ds_sim_reset next_reset;
    unsigned runs, crashes, hasty;
} ds_sim_device;

// Take spec over (freed by close, also after a failure), make or check the files, open the consoles (base_port and
// base_port + 1; 0 = chosen by the kernel) and power up where spec
// says so.
enum ds_class ds_sim_device_open(ds_sim_device *d, const char *state, unsigned index, const ds_sim_device_spec *spec,
                                 uint16_t base_port, ds_err *e) DS_MUST;
void ds_sim_device_close(ds_sim_device *d);

void ds_sim_device_poll(const ds_sim_device *d, struct pollfd p[DS_SIM_DEVICE_FDS]);
void ds_sim_device_serve(ds_sim_device *d, const struct pollfd p[DS_SIM_DEVICE_FDS]);
// Time went by; call at least every DS_SIM_CONSOLE_PTY_TICK_MS.
void ds_sim_device_tick(ds_sim_device *d);

// Reset by the EN pin, with the strap low for download mode. Nothing happens to a device without power.
void ds_sim_device_reset(ds_sim_device *d, bool download);
void ds_sim_device_power(ds_sim_device *d, bool on);
// A new fault plan; counts from now.
enum ds_class ds_sim_device_fault(ds_sim_device *d, const char *plan, ds_err *e) DS_MUST;

// Append what the device is (and, status, how it is) as a JSON object.
void ds_sim_device_json(const ds_sim_device *d, bool status, ds_buf *out);

#endif
