// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of "devstamp registry" share.
#ifndef DS_CLI_CMD_REGISTRY_H
#define DS_CLI_CMD_REGISTRY_H

#include "src/cloud/registry.h"

typedef struct ds_registry_options {
    const char *registry, *ledger, *device, *ca_id, *state;
    const char *ca, *root, *services;                              // init: certificate files
    const char *dir, *cert, *key, *address, *port, *user, *plugin; // config
    bool json, no_auto_registration;
} ds_registry_options;

// "devstamp registry config": write DIR/mosquitto.conf and DIR/ca.pem; print how to start. Returns an exit code.
int ds_registry_cmd_config(const ds_registry_options *o);

#endif
