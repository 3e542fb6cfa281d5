// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Parts of devstamp bundle: signing is in cmd_bundle_sign.c, plain words in bundle_text.c and bundle_devices.c.
#ifndef DS_CLI_CMD_BUNDLE_H
#define DS_CLI_CMD_BUNDLE_H

#include "src/signer/bundle.h"
#include "src/station/recipe.h"

int ds_bundle_cmd_sign(int argc, char **argv);
int ds_bundle_cmd_approve(int argc, char **argv);
int ds_bundle_cmd_order(int argc, char **argv);
int ds_bundle_cmd_sign_order(int argc, char **argv);
int ds_bundle_cmd_attach(int argc, char **argv);

// Read a bundle and compare what it says with what it holds: whoever shows or signs it does. ret_recipe may be NULL.
// DS_INPUT, DS_POLICY as ds_recipe_of_bundle.
enum ds_class ds_bundle_open(const char *path, ds_bundle *ret, ds_recipe **ret_recipe, ds_err *e) DS_MUST;

// On standard output. Which bundle it is, in two lines: product, release, time; digest.
void ds_bundle_tell_name(const ds_manifest *m, const uint8_t digest[32]);
// That, and what a manifest means. r: its bundle's recipe; NULL: it is not at hand.
void ds_bundle_tell(const ds_manifest *m, const uint8_t digest[32], const ds_recipe *r);
void ds_bundle_tell_devices(const ds_recipe *r);
void ds_bundle_tell_signatures(const ds_bundle *b);

#endif
