// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The verbs of devstamp signer.
#ifndef DS_CLI_CMD_SIGNER_H
#define DS_CLI_CMD_SIGNER_H

int ds_cmd_signer_listen(int argc, char **argv);
int ds_cmd_signer_status(int argc, char **argv);
int ds_cmd_signer_revoke(int argc, char **argv);

#endif
