// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of devstamp token share.
#ifndef DS_CLI_CMD_TOKEN_H
#define DS_CLI_CMD_TOKEN_H

#include "src/cli/cli.h"
#include "src/pki/attest.h"

int ds_cmd_token_init(int argc, char **argv);
int ds_cmd_token_generate(int argc, char **argv);
int ds_cmd_token_attest(int argc, char **argv);

// Print what an attestation says.
void ds_token_print_attestation(const ds_attestation *a);

#endif
