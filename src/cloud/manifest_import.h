// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Manifests on their way into an endpoint's registry, and lists of serial numbers into a station's ledger.
#ifndef DS_CLOUD_MANIFEST_IMPORT_H
#define DS_CLOUD_MANIFEST_IMPORT_H

#include "src/cloud/manifest.h"
#include "src/cloud/registry.h"

// Announce a manifest's devices to the registry, each for the CA that signed its certificate (ds_registry_expect). The
// files were surveyed, and are whole. Some thousand devices a transaction: cut off, it is run again. DS_INPUT: no
// manifest of devices; DS_POLICY: a device's certificate is by no CA that is registered for devices, tells which: the
// devices before it are announced.
typedef struct ds_manifest_imported {
    uint64_t devices, fresh; // fresh: were not announced before
} ds_manifest_imported;
enum ds_class ds_manifest_to_registry(ds_roll_files *f, ds_registry *r, ds_manifest_imported *ret, ds_err *e) DS_MUST;

// Import a list of serial numbers (src/ledger/lists.h): all or nothing. DS_INPUT: it is none; else as
// ds_ledger_serials_add. *ret_added is 0 where it was imported before.
enum ds_class ds_manifest_to_ledger(ds_roll_files *f, ds_ledger *l, char ret_product[64], uint64_t *ret_added,
                                    ds_err *e) DS_MUST;

#endif
