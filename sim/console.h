// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The supervisor's end of a device's UART: plain TCP, RFC 2217 over TCP, or a pseudo-terminal. Serves one client at a
// time; a second one is told so and closed. Nothing here blocks.
#ifndef DS_SIM_CONSOLE_H
#define DS_SIM_CONSOLE_H

#include "sim/rfc2217.h"

#include <poll.h>

enum ds_sim_console_kind { DS_SIM_CONSOLE_TCP, DS_SIM_CONSOLE_RFC2217, DS_SIM_CONSOLE_PTY };

#define DS_SIM_CONSOLE_FDS 2
#define DS_SIM_CONSOLE_PTY_TICK_MS 20 // how often an unused pseudo-terminal is looked at

// What the client does; only RFC 2217 has lines and purge. baud 0 = not known.
typedef ds_sim_rfc2217_ops ds_sim_console_ops;

typedef struct ds_sim_console {
    enum ds_sim_console_kind kind;
    const ds_sim_console_ops *ops;
    void *ctx;
    int listener; // -1: pseudo-terminal
    int fd;       // the client, or the pseudo-terminal's master; -1 none
    uint16_t port;
    char pty[64]; // what a client opens
    bool idle;    // nobody has the pseudo-terminal open
    uint32_t pty_baud;
    ds_buf out; // for the client, not taken yet
    ds_sim_rfc2217 telnet;
} ds_sim_console;

// port 0 = chosen by the kernel. ops and ctx outlive the console.
enum ds_class ds_sim_console_open(ds_sim_console *c, enum ds_sim_console_kind kind, uint16_t port,
                                  const ds_sim_console_ops *ops, void *ctx, ds_err *e) DS_MUST;
void ds_sim_console_close(ds_sim_console *c);

// Fill p with what to wait for. may_read = false leaves the client's bytes where they are for now.
void ds_sim_console_poll(const ds_sim_console *c, bool may_read, struct pollfd p[DS_SIM_CONSOLE_FDS]);
void ds_sim_console_serve(ds_sim_console *c, const struct pollfd p[DS_SIM_CONSOLE_FDS]);
// Call every DS_SIM_CONSOLE_PTY_TICK_MS.
void ds_sim_console_tick(ds_sim_console *c);

// The chip's bytes to the client; dropped where there is none or it does not read.
void ds_sim_console_send(ds_sim_console *c, const uint8_t *data, size_t len);

#endif
