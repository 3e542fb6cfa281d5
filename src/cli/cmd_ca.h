// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of devstamp ca share.
#ifndef DS_CLI_CMD_CA_H
#define DS_CLI_CMD_CA_H

#include "src/base/buf.h"
#include "src/cli/cli.h"

// Print a certificate in plain words under a heading.
enum ds_class ds_ca_print(ds_view certificate, const char *heading, ds_err *e) DS_MUST;

int ds_cmd_ca_lint(int argc, char **argv);
int ds_cmd_ca_show(int argc, char **argv);

#endif
