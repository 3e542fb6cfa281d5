// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Parts of devstamp manifest: export is in cmd_manifest_export.c, import in cmd_manifest_import.c.
#ifndef DS_CLI_CMD_MANIFEST_H
#define DS_CLI_CMD_MANIFEST_H

#include "src/cli/list_args.h"

int ds_manifest_cmd_export(int argc, char **argv);
int ds_manifest_cmd_import(int argc, char **argv);

// On standard output: what it is, how many entries, which root.
void ds_manifest_tell_head(const ds_roll_head *h);

#endif
