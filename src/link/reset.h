// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Resetting with alternate tries; see transport.h for what a reset is.
#ifndef DS_LINK_RESET_H
#define DS_LINK_RESET_H

#include "src/link/transport.h"

#define DS_RESET_COMMAND_MS 15000

// As ds_reset_device(); attempt 0, 1, .. takes the next of the sequences that get other boards into download mode.
enum ds_class ds_reset_attempt(const ds_reset *r, ds_transport *t, bool download, unsigned attempt, ds_err *e) DS_MUST;

// Run command by the shell with DEVSTAMP_RESET and DEVSTAMP_SLOT in its environment, for at most timeout_ms.
enum ds_class ds_reset_run_command(const char *command, const char *slot, bool download, int timeout_ms,
                                   ds_err *e) DS_MUST;

#endif
