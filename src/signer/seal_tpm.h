// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A seal's unlocker in a TPM 2.0: 32 random bytes in a sealed object under the TPM's storage primary (owner hierarchy,
// empty authorization, ECC P-256, the TCG's template), which nothing but this TPM can load; on demand only while given
// PCRs of its SHA-256 bank are as they were. What comes back is encrypted between TPM and process.
#ifndef DS_SIGNER_SEAL_TPM_H
#define DS_SIGNER_SEAL_TPM_H

#include "src/signer/seal.h"

// Fill in u's parent, and with u->pcrs the sealed object, which ret_public and ret_area hold; *ret: its 32 bytes.
// DS_INPUT: an address that is not used here; DS_TOKEN: the TPM.
enum ds_class ds_seal_tpm_make(const char *address, ds_seal_unlocker *u, ds_buf *ret_public, ds_buf *ret_area,
                               ds_secret *ret, ds_err *e) DS_MUST;

// The bytes again. DS_POLICY: another TPM, or its PCRs have changed; DS_TOKEN: not there, or it failed.
enum ds_class ds_seal_tpm_open(const char *address, const ds_seal_unlocker *u, ds_secret *ret, ds_err *e) DS_MUST;

#endif
