// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of "devstamp registry" share.
#ifndef DS_CLI_CMD_REGISTRY_H
#define DS_CLI_CMD_REGISTRY_H

#include "src/cloud/registry.h"

#include <jansson.h>

typedef struct ds_registry_options {
    const char *registry, *ledger, *device, *ca_id, *state;
    const char *ca, *root, *services;                              // init: certificate files
    const char *policy, *registration, *rate, *log_key, *topics;   // init, set
    const char *issued_from, *issued_until;                        // set: a time of a CA's log
    const char *log, *head, *crl;                                  // import-log, import-crl
    const char *dir, *cert, *key, *address, *port, *user, *plugin; // config
    bool json, no_auto_registration;
} ds_registry_options;

// Each is a verb: returns an exit code. config writes DIR/mosquitto.conf and DIR/ca.pem, and prints how to start.
int ds_registry_cmd_config(const ds_registry_options *o);
int ds_registry_cmd_list(const ds_registry_options *o);
int ds_registry_cmd_set(const ds_registry_options *o);

// Read what --policy, --registration, --rate and --log-key say; what was not given stays NULL. DS_USAGE, DS_INPUT.
typedef struct ds_registry_wishes {
    ds_registry_ca_change change; // points into what follows
    bool active;
    enum ds_registry_registration registration;
    enum ds_registry_policy policy;
    unsigned rate;
    uint8_t log_key[32];
} ds_registry_wishes;
enum ds_class ds_registry_read_wishes(const ds_registry_options *o, ds_registry_wishes *ret, ds_err *e) DS_MUST;
// The 64 hexadecimal digits of --ca-id.
enum ds_class ds_registry_read_ca_id(const ds_registry_options *o, uint8_t ret[32], ds_err *e) DS_MUST;

// Print and release; an exit code.
int ds_registry_print_json(json_t *value);

#endif
