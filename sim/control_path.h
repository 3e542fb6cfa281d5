// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The control socket's address. A state folder's path may be longer than the 107 bytes a socket address holds, so it
// goes through the folder's descriptor.
#ifndef DS_SIM_CONTROL_PATH_H
#define DS_SIM_CONTROL_PATH_H

#include "src/base/err.h"

#include <sys/un.h>

#define DS_SIM_CONTROL_NAME "control"

typedef struct ds_sim_control_address {
    int folder; // must stay open while sun is used
    struct sockaddr_un sun;
} ds_sim_control_address;

enum ds_class ds_sim_control_address_open(ds_sim_control_address *a, const char *state, ds_err *e) DS_MUST;
void ds_sim_control_address_close(ds_sim_control_address *a);

#endif
