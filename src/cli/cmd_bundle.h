// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Parts of devstamp bundle: signing is in cmd_bundle_sign.c, plain words in bundle_text.c.
#ifndef DS_CLI_CMD_BUNDLE_H
#define DS_CLI_CMD_BUNDLE_H

#include "src/signer/bundle.h"

int ds_bundle_cmd_sign(int argc, char **argv);
int ds_bundle_cmd_approve(int argc, char **argv);
int ds_bundle_cmd_order(int argc, char **argv);
int ds_bundle_cmd_sign_order(int argc, char **argv);
int ds_bundle_cmd_attach(int argc, char **argv);

// What a manifest means, on standard output.
void ds_bundle_tell(const ds_manifest *m, const uint8_t digest[32]);
void ds_bundle_tell_signatures(const ds_bundle *b);

#endif
