// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of the app side share.
#ifndef DS_AGENT_APP_INTERNAL_H
#define DS_AGENT_APP_INTERNAL_H

#include "agent/app/app.h"
#include "agent/core/internal.h"

// Close download mode for good where the stamp asks for it and the stamp has moved; OK where there is nothing to do.
ds_status ds_app_close_download(ds_agent *a);

// Note in the copy which values came from the factory, before it counts; a factory reset keeps these.
ds_status ds_app_note_born(ds_agent *a);

// Text for a JSON string (RFC 8259); at most six times as long as from.
void ds_app_json_text(char *to, const char *from);

// One try to say hello.
ds_status ds_app_hello_once(ds_agent *a);

#endif
