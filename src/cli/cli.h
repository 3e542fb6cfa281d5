// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What every verb of the devstamp command shares: the verb table, exit codes, and how a failure is printed.
#ifndef DS_CLI_H
#define DS_CLI_H

#include "src/base/err.h"

#include <stdbool.h>

// Exit codes; documented in docs/exit-codes.md.
enum ds_exit {
    DS_EXIT_OK = 0,
    DS_EXIT_SOME_FAILED = 1, // provision: some devices failed, the station is fine
    DS_EXIT_USAGE = 2,
    DS_EXIT_INPUT = 3,
    DS_EXIT_DEVICE = 4,
    DS_EXIT_TOKEN = 5,
    DS_EXIT_STORE = 6,
    DS_EXIT_NETWORK = 7,
    DS_EXIT_POLICY = 8,
    DS_EXIT_INTERNAL = 9,
};

// argv[0] is the whole command so far: "devstamp ca init".
typedef struct ds_verb {
    const char *name;
    const char *summary; // one line for "devstamp --help"; NULL hides the verb
    int (*run)(int argc, char **argv);
} ds_verb;

int ds_cmd_bundle(int argc, char **argv);
int ds_cmd_ca(int argc, char **argv);
int ds_cmd_cloud(int argc, char **argv);
int ds_cmd_image(int argc, char **argv);
int ds_cmd_label(int argc, char **argv);
int ds_cmd_ledger(int argc, char **argv);
int ds_cmd_log(int argc, char **argv);
int ds_cmd_manifest(int argc, char **argv);
int ds_cmd_pool(int argc, char **argv);
int ds_cmd_provision(int argc, char **argv);
int ds_cmd_registry(int argc, char **argv);
int ds_cmd_seal(int argc, char **argv);
int ds_cmd_signer(int argc, char **argv);
int ds_cmd_token(int argc, char **argv);
int ds_cmd_verify(int argc, char **argv);

// Find argv[1] in a table that ends with a NULL name and run it with argv shifted; usage where it is missing or
// unknown.
int ds_cli_dispatch(const char *program, const ds_verb *verbs, int argc, char **argv);

// The exit code of a class.
int ds_cli_exit(enum ds_class cls);

// Print "devstamp: <text>" and "  hint: <hint>" to standard error; returns the exit code of the class.
int ds_cli_fail(const ds_err *e);

// Print the usage text to standard output (asked for: --help, returns 0) or standard error (returns DS_EXIT_USAGE).
int ds_cli_usage(const char *usage, bool asked);

#endif
