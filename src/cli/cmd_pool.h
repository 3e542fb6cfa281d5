// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The verbs of devstamp pool that have a file of their own.
#ifndef DS_CMD_POOL_H
#define DS_CMD_POOL_H

int ds_pool_cmd_create(int argc, char **argv); // cmd_pool_create.c

#endif
