// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// "host:port" and "[v6]:port", and TCP sockets of it that do not block.
#ifndef DS_SIGNER_ADDRESS_H
#define DS_SIGNER_ADDRESS_H

#include "src/base/buf.h"

typedef struct ds_address {
    char *host, *port;
} ds_address;

// DS_INPUT: it is none. ds_address_free, on a failure too.
enum ds_class ds_address_parse(const char *text, ds_address *ret, ds_err *e) DS_MUST;
void ds_address_free(ds_address *a);

// Connect / listen; *ret is the caller's to close. DS_NETWORK. Listening: at the first address that the host has.
enum ds_class ds_address_connect(const ds_address *a, int64_t deadline_ms, int *ret, ds_err *e) DS_MUST;
enum ds_class ds_address_listen(const ds_address *a, int *ret, ds_err *e) DS_MUST;

#endif
