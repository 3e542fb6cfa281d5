// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Talking to a running simulation: the socket <state>/control. A request is one line, "<verb> <device|all>[
// <argument>]"; the answer is "ok" or "error <text>", a line end, and what was asked for.
#ifndef DS_SIM_CONTROL_H
#define DS_SIM_CONTROL_H

#include "sim/device.h"

typedef struct ds_sim_control {
    ds_sim_device *devices; // borrowed
    unsigned count;
    char *path;
    int listener, client; // -1 none
    int64_t deadline;     // for the client's request
    char request[1024];
    size_t len;
} ds_sim_control;

#define DS_SIM_CONTROL_FDS 2

enum ds_class ds_sim_control_open(ds_sim_control *c, const char *state, ds_sim_device *devices, unsigned count,
                                  ds_err *e) DS_MUST;
void ds_sim_control_close(ds_sim_control *c);
void ds_sim_control_poll(const ds_sim_control *c, struct pollfd p[DS_SIM_CONTROL_FDS]);
void ds_sim_control_serve(ds_sim_control *c, const struct pollfd p[DS_SIM_CONTROL_FDS]);

// All devices as a JSON array.
void ds_sim_control_json(const ds_sim_device *devices, unsigned count, bool status, ds_buf *out);

// The client's side: append the answer to ret. DS_DEVICE where no simulation runs on state.
enum ds_class ds_sim_control_ask(const char *state, const char *request, ds_buf *ret, ds_err *e) DS_MUST;
// Is nothing running that could have the device powered? DS_POLICY otherwise.
enum ds_class ds_sim_control_need_off(const char *state, unsigned index, ds_err *e) DS_MUST;

#endif
