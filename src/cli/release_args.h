// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The options of those verbs of devstamp image and devstamp bundle that sign or carry what is to be signed.
#ifndef DS_CLI_RELEASE_ARGS_H
#define DS_CLI_RELEASE_ARGS_H

#include "src/cli/cli.h"
#include "src/signer/order.h"

typedef struct ds_release_args {
    ds_signer_config access; // module, token's serial number, PIN
    const char *key, *out, *image;
    bool approve, network, no_pin;
    bool has_digest;
    uint8_t digest[32]; // of the bundle that may be signed; has_digest
    const char *operands[2];
    int count; // of operands
    char *uri; // of the key; owned
} ds_release_args;

// Read the options; allowed names those the verb has ("key output"), a key's always with those of its token. False
// where the exit code is decided already. operands: how many there must be.
typedef struct ds_release_verb {
    const char *usage, *allowed;
    int operands;
    bool needs_key, needs_out, needs_digest;
} ds_release_verb;
bool ds_release_args_read(int argc, char **argv, const ds_release_verb *verb, ds_release_args *ret, int *ret_exit);
void ds_release_args_free(ds_release_args *a);

// DS_POLICY: a bundle with this digest is not the one that was named, if one was.
enum ds_class ds_release_compare(const ds_release_args *a, const uint8_t digest[32], ds_err *e) DS_MUST;

// Have the order signed by the key that the options name. image: see ds_order_sign.
enum ds_class ds_release_sign(const ds_release_args *a, const ds_order *order, const char *image, ds_answer *ret,
                              ds_err *e) DS_MUST;

// The second half of what is carried: an order in, its answer out. A bundle's is compared as above. The order is
// returned, to be told.
enum ds_class ds_release_sign_carried(const ds_release_args *a, bool image, ds_order *ret, ds_err *e) DS_MUST;

enum ds_class ds_release_write_order(const ds_order *o, const char *path, ds_err *e) DS_MUST;
enum ds_class ds_release_read_answer(const char *path, ds_answer *ret, ds_err *e) DS_MUST;

// Print "<what> <64 hex digits>".
void ds_release_print_digest(const char *what, const uint8_t digest[32]);

#endif
