// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of devstamp log share.
#ifndef DS_CLI_CMD_LOG_H
#define DS_CLI_CMD_LOG_H

#include "src/signer/log_verify.h"

typedef struct ds_log_options {
    const char *log, *head, *root, *ledger, *log_key, *certificate, *serial, *output, *station;
    uint64_t size, from, entry;
    bool has_size, has_from, has_entry, json;
} ds_log_options;

// devstamp log prove inclusion|consistency: the exit code.
int ds_log_cmd_prove(const ds_log_options *o, const char *what);

// devstamp log mirror: the exit code.
int ds_log_cmd_mirror(const ds_log_options *o);

#endif
