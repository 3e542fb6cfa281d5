// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station: one computer on the line, its slots, its signer and its ledger. Loaded from YAML.
#ifndef DS_STATION_STATIONFILE_H
#define DS_STATION_STATIONFILE_H

#include "src/base/buf.h"
#include "src/link/transport.h"
#include "src/signer/bundle.h"
#include "src/signer/front.h"

#define DS_STATION_MAX_SLOTS 64

typedef struct ds_slot_config {
    char *name;    // never NULL once loaded
    char *port;    // transport address
    char *command; // reset command, or NULL
    char *product; // NULL: the recipe is chosen by chip
    int reset;     // enum ds_reset_kind
} ds_slot_config;

struct ds_station_yaml;

typedef struct ds_station {
    char *path;
    struct ds_station_yaml *yaml;
    const char *name;
    char *ledger;                          // path, or place of a database; NULL where only the signer was asked for
                                           // and it names none
    ds_signer_remote remote;               // address NULL: the signer is here; otherwise the signer_* but the
                                           // certificate, the token's and the seal's are NULL
    ds_signer_est est;                     // url NULL: none; otherwise there is no signer, and all of these are NULL
    ds_front_config *listen;               // the signer here serves others too; or NULL. Without profiles
    char *signer_certificate, *signer_log; // paths; the Sub CA's certificate may be NULL where the signer is elsewhere
    char *signer_key, *signer_log_key;     // file: path made absolute, or pkcs11: URI; the log key may be NULL
    const char *signer_module;             // or NULL
    char *signer_quota;                    // path, or NULL
    const char *token_serial;              // of the one token that may be given the PIN; or NULL
    char *pool, *pool_key;                 // folder of stamps; URI of the key they are sealed to; or NULL
    char *pool_ca;                         // path: whom their certificates are by; with pool, else NULL
    char *pin_file;                        // or NULL
    char *seal, *seal_key;                 // paths, or NULL
    const char *seal_tpm;                  // address of a TPM, or NULL
    uint32_t token_wait_s;                 // how long the line waits for a token that was pulled out
    // Release bundles: where they are demanded, nothing but what a bundle holds is flashed.
    bool bundles_only;
    ds_bundle_policy bundles; // whose signatures count
    bool allow_older;         // than the newest that was used
    uint32_t baud, flash_baud;
    ds_slot_config *slots;
    unsigned slot_count;
} ds_station;

// DS_INPUT names file, line and key. Ports named by "discover" are looked for now; none found and none named is
// DS_DEVICE.
enum ds_class ds_station_load(const char *path, ds_station **ret, ds_err *e) DS_MUST;
// The same without slots: nothing is looked for, and there may be none.
enum ds_class ds_station_load_signer(const char *path, ds_station **ret, ds_err *e) DS_MUST;
void ds_station_free(ds_station *s);

#endif
