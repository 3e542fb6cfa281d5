// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The wire to a device as bytes, and its control lines: serial port, TCP, RFC 2217. One struct of functions; real and
// fault-injecting ones alike.
#ifndef DS_LINK_TRANSPORT_H
#define DS_LINK_TRANSPORT_H

#include "src/base/buf.h"

typedef struct ds_transport ds_transport;
struct ds_transport {
    // Wait at most timeout_ms for at least one byte; *ret_len = 0 on timeout. DS_DEVICE when the port vanished.
    enum ds_class (*read)(ds_transport *t, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len, ds_err *e);
    enum ds_class (*write)(ds_transport *t, ds_view data, ds_err *e);     // all of it, within 10 s
    enum ds_class (*set_baud)(ds_transport *t, uint32_t baud, ds_err *e); // no effect on plain TCP
    // Drive the lines (true = asserted, pin at 0 V). DS_DEVICE where the wire has none.
    enum ds_class (*set_lines)(ds_transport *t, bool dtr, bool rts, ds_err *e);
    enum ds_class (*flush_input)(ds_transport *t, ds_err *e); // drop what was received and not read
    void (*close)(ds_transport *t);                           // frees t
    bool has_lines;
    bool tight_lines;          // set_lines changes both lines at the same moment
    uint16_t usb_vid, usb_pid; // of the port's USB device; 0 where unknown
};

// "/dev/ttyUSB0" or "serial:/dev/…", "tcp://host:port", "rfc2217://host:port". Locks a serial port against a second
// user. A serial line starts at 115200 baud, 8N1. Blocks for at most 5 s for a connection, 3 s more for RFC 2217's
// negotiation.
enum ds_class ds_transport_open(const char *address, ds_transport **ret, ds_err *e) DS_MUST;
void ds_transport_close(ds_transport *t); // NULL-safe

// How a slot's device is reset. command: run by the shell with DEVSTAMP_RESET=run|download and DEVSTAMP_SLOT=name in
// its environment (relay, power switch); its exit code 0 is success; after 15 s it is killed with what it started in
// its process group.
enum ds_reset_kind { DS_RESET_LINES, DS_RESET_COMMAND, DS_RESET_NONE };
typedef struct ds_reset {
    enum ds_reset_kind kind;
    const char *command; // borrowed
    const char *slot;    // borrowed
} ds_reset;
// Reset into the app (false) or into ROM download mode (true), and set the line to the 115200 baud that a chip starts
// with. With DS_RESET_NONE: DS_DEVICE and a hint.
enum ds_class ds_reset_device(const ds_reset *r, ds_transport *t, bool download, ds_err *e) DS_MUST;

// Serial ports by USB id; calls fn(arg, address, usb_serial) for each.
void ds_transport_discover(uint16_t usb_vid, uint16_t usb_pid, void (*fn)(void *, const char *, const char *),
                           void *arg);

#endif
