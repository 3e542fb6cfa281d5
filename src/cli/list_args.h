// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The options of devstamp manifest and devstamp ledger push and pull: whose signatures count, the key that signs, what
// is to be listed.
#ifndef DS_CLI_LIST_ARGS_H
#define DS_CLI_LIST_ARGS_H

#include "src/cli/cli.h"
#include "src/cloud/manifest.h"
#include "src/signer/order.h"

enum { DS_LIST_KEYS = 64, DS_LIST_ONLY = 256 };

typedef struct ds_list_args {
    const char *ledger, *registry, *out, *format, *ca, *serials;
    uint8_t signed_by[DS_LIST_KEYS][32];
    size_t signed_by_count;
    const char *key;         // that signs
    ds_signer_config access; // its module, token's serial number, PIN
    bool network, no_pin;
    ds_manifest_choice choice; // ca is not opened
    const char *only[DS_LIST_ONLY];
    size_t only_count;
    unsigned parts;
    uint64_t from; // ledger push
    bool has_from, repair, json;
    const char **operands;
    size_t count; // of operands
} ds_list_args;

// allowed: the names of the options that the verb has, between spaces (" ledger output "); those of a key's token
// belong to key. False where the exit code is decided already.
bool ds_list_args_read(int argc, char **argv, const char *usage, const char *allowed, ds_list_args *ret, int *ret_exit);

ds_roll_options ds_list_options(const ds_list_args *a, ds_roll_fault_fn fault, void *arg);

// The ledger the options name, which must be there: a wrong path is no empty ledger.
enum ds_class ds_list_open_ledger(const ds_list_args *a, bool read_only, ds_ledger **ret, ds_err *e) DS_MUST;

// Have the statement signed by the key that the options name.
enum ds_class ds_list_sign(const ds_list_args *a, ds_view statement, ds_statement_signature *ret, ds_err *e) DS_MUST;

// On standard output, one line: what is wrong, with which entry, where. ds_roll_fault_fn; arg is not used.
void ds_list_tell_fault(void *arg, const ds_roll_fault *f);
// The same text; the caller frees it.
char *ds_list_fault_text(const ds_roll_fault *f);

// What a survey found, as a failure; DS_OK where all is whole.
enum ds_class ds_list_demand_whole(const ds_roll_files *f, ds_err *e) DS_MUST;

#define DS_LIST_KEY_OPTIONS                                                                           \
    "  --key KEY        that signs: a PEM file that only its owner can read, or a URI (pkcs11:...)\n" \
    "  --module PATH    PKCS#11 module of a token or key service\n"                                   \
    "  --network        the module speaks to a key service: it may make connections\n"                \
    "  --token-serial N serial number the token must have, else no PIN is sent\n"                     \
    "  --pin-file FILE  PIN of the token, in a file that only its owner can read\n"                   \
    "  --pin-fd N       PIN from file descriptor N (neither: asked on the terminal)\n"                \
    "  --no-pin         the token or key service asks for none\n"
#define DS_LIST_SIGNED_BY                                                                                              \
    "  --signed-by KEY  whose signature counts, as often as there are such: a public key in PEM, or sha256: and the\n" \
    "                   64 digits of its SHA-256\n"

#endif
