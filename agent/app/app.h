// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The app side: on first boot moves the stamp from plain to encrypted NVS and erases the plain one, closes download
// mode where the stamp says so, and says hello to the endpoint. Every step can be cut off by a power loss and is then
// repeated or already complete.
#ifndef DS_AGENT_APP_H
#define DS_AGENT_APP_H

#include "agent/core/agent.h"

// Move the stamp: copy every value, read it back and compare, mark the copy complete, burn the anchor, erase the plain
// partition. Only once flash encryption is on (NOT_ALLOWED otherwise): a copy before would lie readable in nvs_keys.
// Idempotent; OK at once when nothing is left to do. MISMATCH where the stamp is not the anchor's: it was lost or
// replaced, and then nothing is moved, copied or erased.
ds_status ds_app_migrate(ds_agent *a);

// Connect to the endpoint named by the stamp and publish the first message (topic "<serial>/hello":
// devstamp/<serial>/hello).
ds_status ds_app_hello(ds_agent *a);

// First boot and every boot: migrate, complete a factory reset that was cut off, close download mode where asked, end
// an update's trial by the self-test, publish, then answer the station for ever (Hello, Report, ImageBegin/Data/End for
// the update slot, SelectBoot, Reboot; anything else is NOT_ALLOWED).
void ds_app_run(ds_agent *a);

#endif
