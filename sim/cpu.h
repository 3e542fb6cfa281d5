// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One CPU run as a process: forked from the supervisor, with the console on a socket and flash and eFuses in shared
// files. It ends by itself (its exit code is an enum ds_sim_exit) or is killed, which is what a reset line does to a
// chip.
#ifndef DS_SIM_CPU_H
#define DS_SIM_CPU_H

#include "sim/chip.h"

#include <sys/types.h>

// What outlives a CPU run; in memory shared by the supervisor and the runs.
typedef struct ds_sim_shared {
    ds_sim_fault fault; // the plan and how far it got
    uint64_t flash_ops;
    ds_sim_timing timing;
    uint32_t host_baud; // 0 = unknown: plain TCP says nothing about it
    uint32_t chip_baud; // 0 = takes the host's (the ROM's automatic detection)
} ds_sim_shared;

typedef struct ds_sim_cpu_spec {
    const ds_chip *chip;
    const char *flash_path, *efuse_path;
    uint32_t flash_size;
    uint8_t mac[6];
    uint16_t revision;
    ds_sim_shared *shared;
    enum ds_sim_reset reset;
    bool strap_download;
} ds_sim_cpu_spec;

// Load what the runs use of OpenSSL, so that they inherit it and need not load it themselves, each of them again.
void ds_sim_cpu_prepare(void);

// Start a run. ret_fd is the console's other end (non-blocking, the caller's); *ret_pid must be reaped by the caller.
// Every other descriptor of the caller is closed in the run, and the run dies with the caller.
enum ds_class ds_sim_cpu_start(const ds_sim_cpu_spec *spec, int *ret_fd, pid_t *ret_pid, ds_err *e) DS_MUST;

#endif
