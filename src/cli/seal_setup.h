// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the verbs of devstamp seal share: their options, and a station as a seal is tied to it.
#ifndef DS_CLI_SEAL_SETUP_H
#define DS_CLI_SEAL_SETUP_H

#include "src/pki/cert.h"
#include "src/signer/seal.h"
#include "src/station/products.h"

typedef struct ds_seal_options {
    const char *station;
    ds_product_files files;
    const char *output, *pin_file, *passphrase_file, *token_serial, *computer;
    int pin_fd, passphrase_fd;
    bool ask, all, help;
    uint32_t passes, memory_mib, pcrs;
    const char *by[DS_SEAL_UNLOCKERS];
    unsigned by_count;
    const char *file; // what is no option
} ds_seal_options;

// False where it is no command line of these verbs.
bool ds_seal_options_parse(int argc, char **argv, ds_seal_options *ret);

typedef struct ds_seal_setup {
    ds_station *station;
    ds_recipe *recipes[DS_PRODUCTS_MAX];
    unsigned recipe_count;
    ds_signer_profile profiles[DS_PRODUCTS_MAX];
    X509 *ca;
    ds_cert_info info;
    ds_quota *quota;
    ds_signer_config config;
    char serial[17], host[65];
    uint8_t machine[32];
    ds_seal_part parts[DS_SEAL_PARTS];
    size_t part_count;
} ds_seal_setup;

// Read all of it. identify: the token tells its serial number where neither options nor station file do; no PIN is
// sent.
enum ds_class ds_seal_setup_open(const ds_seal_options *o, bool identify, ds_seal_setup *ret, ds_err *e) DS_MUST;
void ds_seal_setup_close(ds_seal_setup *s);

int ds_seal_create(int argc, char **argv);

#endif
