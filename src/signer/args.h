// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The child's command line, written and read in one place. It holds paths, URIs and descriptor numbers; never a secret.
#ifndef DS_SIGNER_ARGS_H
#define DS_SIGNER_ARGS_H

#include "src/signer/signer.h"

typedef struct ds_signer_args {
    ds_signer_config config; // borrowed from argv
    int fd;
    bool ceremony;
} ds_signer_args;

enum { DS_SIGNER_ARGV = 40 };

// Fill argv (NULL-terminated, borrowed from args but for numbers, which live in numbers).
typedef struct ds_signer_argv {
    const char *argv[DS_SIGNER_ARGV];
    char numbers[2][12];
} ds_signer_argv;
void ds_signer_args_write(const ds_signer_args *args, ds_signer_argv *ret);

// argv[0] is the verb. DS_USAGE otherwise.
enum ds_class ds_signer_args_read(int argc, char **argv, ds_signer_args *ret, ds_err *e) DS_MUST;

#endif
