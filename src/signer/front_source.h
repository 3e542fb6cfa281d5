// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where a connection comes from, for the front to share its places among sources: an IPv4 address, or the /64 of an
// IPv6 address, which one customer has whole. An IPv4 address mapped into IPv6 is that IPv4 address.
#ifndef DS_SIGNER_FRONT_SOURCE_H
#define DS_SIGNER_FRONT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct ds_front_source {
    uint8_t bytes[9]; // family, address; zeros where it is neither
} ds_front_source;

ds_front_source ds_front_source_of(const struct sockaddr_storage *a);
bool ds_front_source_same(const ds_front_source *a, const ds_front_source *b);

#endif
