// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What carries an owner's messages to a device: its console, or ESP-IDF's protocomm over HTTP with security 0, as the
// messages protect themselves.
#ifndef DS_CLI_OWNER_CARRIER_H
#define DS_CLI_OWNER_CARRIER_H

#include "src/owner/companion.h"

typedef struct ds_owner_carrier ds_owner_carrier;

// "http://host/devstamp-owner", or a port as ds_transport_open takes it. log: print the console's text to standard
// error. DS_DEVICE or DS_NETWORK where nothing is there.
enum ds_class ds_owner_carrier_open(const char *port, bool log, ds_owner_carrier **ret, ds_err *e) DS_MUST;
void ds_owner_carrier_close(ds_owner_carrier *w); // NULL-safe

// Valid until the carrier is closed.
ds_companion_transport ds_owner_carrier_transport(ds_owner_carrier *w);

#endif
