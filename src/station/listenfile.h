// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station file's "listen" part: the signer of this computer serves stations elsewhere (docs/remote-signer.md).
#ifndef DS_STATION_LISTENFILE_H
#define DS_STATION_LISTENFILE_H

#include "src/signer/front.h"
#include "src/station/yaml.h"

typedef struct ds_listen_station {
    char *name, *fingerprint, *first, *last;
    char **recipes;
    unsigned recipes_count;
    int revoke; // enum ds_front_revoke
    bool log;
    uint32_t connections;
} ds_listen_station;

typedef struct ds_listen_yaml {
    char *address, *certificate, *key, *ca, *est, *est_chain;
    uint32_t strangers, handshake, message, idle;
    ds_listen_station *stations;
    unsigned stations_count;
} ds_listen_yaml;

extern const cyaml_schema_field_t ds_listen_fields[];

// What the front is to do, without profiles; files are named from the folder that path is in. Texts are borrowed from
// y. DS_INPUT: two of one name, a certificate that is told by nothing, a number out of its bounds. ds_listen_free.
enum ds_class ds_listen_make(const char *path, const ds_listen_yaml *y, ds_front_config **ret, ds_err *e) DS_MUST;
void ds_listen_free(ds_front_config *c);

#endif
