// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The options of devstamp ca's verbs: one table, of which each verb allows a part.
#ifndef DS_CLI_CA_ARGS_H
#define DS_CLI_CA_ARGS_H

#include "src/cli/cli.h"
#include "src/pki/cert.h"
#include "src/signer/signer.h"

enum { DS_CA_LEDGERS = 16, DS_CA_CONSTRAINTS = 32, DS_CA_HOSTS = 16 };

typedef struct ds_ca_args {
    ds_signer_config access; // module and PIN
    const char *dir, *root_key, *sub_key, *name, *output, *request, *certificate, *root, *fingerprint, *key_fingerprint,
        *list, *revoked, *reason, *format, *key, *maker_root, *attestation;
    const char *ledgers[DS_CA_LEDGERS];
    size_t ledger_count;
    ds_constraint constraints[DS_CA_CONSTRAINTS];
    size_t constraint_count;
    const char *hosts[DS_CA_HOSTS];
    size_t host_count;
    enum ds_key_type type, root_type; // DS_KEY_NONE: none was named
    bool existing, sub_existing, of_root, previous_lost, without_root;
    long years, days;
    int operands; // argv's index of the first
} ds_ca_args;

// Read the options named in allowed ("dir root-key name"); module, pin-file, pin-fd and help always are. false where
// the exit code is decided already.
bool ds_ca_args_read(int argc, char **argv, const char *allowed, const char *usage, ds_ca_args *o, int *ret_exit);

// Ask for the PIN on the terminal where key, which may be NULL, is in a token and nothing else was said.
void ds_ca_args_pin(ds_ca_args *o, const char *key);

#endif
