// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The kinds of transport, as ds_transport_open() chooses among them.
#ifndef DS_LINK_TRANSPORT_OPEN_H
#define DS_LINK_TRANSPORT_OPEN_H

#include "src/link/fdio.h"
#include "src/link/transport.h"

#define DS_BAUD_START 115200u

enum ds_class ds_serial_open(const char *path, ds_transport **ret, ds_err *e) DS_MUST;
enum ds_class ds_tcp_open(const char *host_port, ds_transport **ret, ds_err *e) DS_MUST;
enum ds_class ds_rfc2217_open(const char *host_port, ds_transport **ret, ds_err *e) DS_MUST;

// Connect to "host:port" or "[v6]:port" within 5 s; a non-blocking, close-on-exec socket without Nagle's delay.
enum ds_class ds_tcp_connect(const char *host_port, ds_fdio *ret, ds_err *e) DS_MUST;

#endif
