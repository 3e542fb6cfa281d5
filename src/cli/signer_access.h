// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How a verb comes to a signer: what the station file says of it, and where its PIN or the seal's passphrase is.
#ifndef DS_CLI_SIGNER_ACCESS_H
#define DS_CLI_SIGNER_ACCESS_H

#include "src/signer/signer.h"
#include "src/station/stationfile.h"

#include <getopt.h>

typedef struct ds_signer_access {
    const char *file;          // the PIN's, or the passphrase's
    int fd;                    // the same behind a descriptor; -1: none
    bool pin, passphrase, ask; // which of the two was given a place; the passphrase is asked for
} ds_signer_access;
#define DS_SIGNER_ACCESS_INIT ((ds_signer_access){.fd = -1})

// For a table of options; ds_signer_access_take knows them by these letters.
#define DS_SIGNER_ACCESS_OPTIONS                                                                            \
    {"pin-file", required_argument, NULL, 'p'}, {"pin-fd", required_argument, NULL, 'd'},                   \
        {"passphrase-file", required_argument, NULL, 'P'}, {"passphrase-fd", required_argument, NULL, 'D'}, \
    {                                                                                                       \
        "passphrase", no_argument, NULL, 'A'                                                                \
    }

// One of them. false: it is none, or its value is bad.
bool ds_signer_access_take(ds_signer_access *a, int letter, const char *value);
// At most one place is named.
bool ds_signer_access_is_one(const ds_signer_access *a);

// A sealed PIN comes out of the seal alone. Where nothing but a passphrase opens it, somebody is asked. A signer that
// is elsewhere wants none.
enum ds_class ds_signer_access_check(ds_signer_access *a, const ds_station *s, ds_err *e) DS_MUST;

// Borrows from all three.
ds_signer_config ds_signer_access_config(const ds_signer_access *a, const ds_station *s,
                                         const ds_signer_profile *profiles, size_t count);

#endif
