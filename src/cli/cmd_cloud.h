// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The verbs of devstamp cloud aws, each in a file of its own.
#ifndef DS_CLI_CMD_CLOUD_H
#define DS_CLI_CMD_CLOUD_H

int ds_cloud_cmd_bulk(int argc, char **argv);
int ds_cloud_cmd_ca(int argc, char **argv);
int ds_cloud_cmd_check(int argc, char **argv);
int ds_cloud_cmd_endpoint(int argc, char **argv);
int ds_cloud_cmd_jitr_rule(int argc, char **argv);
int ds_cloud_cmd_policy(int argc, char **argv);
int ds_cloud_cmd_register(int argc, char **argv);
int ds_cloud_cmd_register_ca(int argc, char **argv);
int ds_cloud_cmd_template(int argc, char **argv);
int ds_cloud_cmd_activate(int argc, char **argv);
int ds_cloud_cmd_deactivate(int argc, char **argv);
int ds_cloud_cmd_revoke(int argc, char **argv);
int ds_cloud_cmd_delete(int argc, char **argv);

#endif
