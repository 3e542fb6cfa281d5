// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of devstamp_app share.
#ifndef DEVSTAMP_APP_INTERNAL_H
#define DEVSTAMP_APP_INTERNAL_H

#include "devstamp_app.h"

#include "agent/port/esp-idf/esp_port.h"

// The port, NULL before devstamp_app_start().
ds_esp *devstamp_port(void);

// From now on the console answers owners too, in the agent's task.
void devstamp_answer_owner(ds_agent_owner_fn fn);

#endif
