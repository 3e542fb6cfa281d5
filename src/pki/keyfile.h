// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Private keys in PEM files: read into guarded memory, owner-only. Writing is in key.h.
#ifndef DS_PKI_KEYFILE_H
#define DS_PKI_KEYFILE_H

#include "src/pki/key.h"

// DS_POLICY where others than the owner may read it; DS_INPUT where it is no key of ours.
enum ds_class ds_key_file_read(const char *path, EVP_PKEY **ret, ds_err *e) DS_MUST;

#endif
