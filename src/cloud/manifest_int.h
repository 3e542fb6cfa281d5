// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the files of the manifest share.
#ifndef DS_CLOUD_MANIFEST_INT_H
#define DS_CLOUD_MANIFEST_INT_H

#include "src/cloud/manifest.h"

// Is it one of the choice's, by what never changes: serial number, product, time, CA?
bool ds_manifest_fits(const ds_manifest_choice *c, const ds_ledger_entry *x);

#endif
