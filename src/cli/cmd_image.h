// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Verbs of devstamp image that sign: cmd_image_sign.c.
#ifndef DS_CLI_CMD_IMAGE_H
#define DS_CLI_CMD_IMAGE_H

int ds_image_sign(int argc, char **argv);
int ds_image_order(int argc, char **argv);
int ds_image_sign_order(int argc, char **argv);
int ds_image_attach(int argc, char **argv);

#endif
