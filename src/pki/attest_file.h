// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Attestations in files, PEM: attestation.pem is the attestation, attestation-chain.pem what lies between it and the
// maker's root, so that openssl verify -CAfile ROOT -untrusted attestation-chain.pem attestation.pem says the same.
#ifndef DS_PKI_ATTEST_FILE_H
#define DS_PKI_ATTEST_FILE_H

#include "src/pki/attest.h"

#define DS_ATTESTATION_FILE "attestation.pem"
#define DS_ATTESTATION_CHAIN "attestation-chain.pem"

typedef struct ds_attestation_files {
    X509 *leaf;
    STACK_OF(X509) * chain; // what may lie between; may be NULL
} ds_attestation_files;
void ds_attestation_files_free(ds_attestation_files *f);

// The first certificate of a file is the attestation; those after it, and those of attestation-chain.pem in the same
// folder, are the chain.
enum ds_class ds_attestation_files_read(const char *path, ds_attestation_files *ret, ds_err *e) DS_MUST;

// Into a folder. DS_POLICY: there is one of the two already.
enum ds_class ds_attestation_files_write(const ds_attestation_files *f, const char *folder, ds_err *e) DS_MUST;

// As ds_attestation_verify, with the maker's certificates from a PEM file.
enum ds_class ds_attestation_verify_files(const ds_attestation_files *f, const char *maker_root, EVP_PKEY *key,
                                          int64_t at_utc, ds_attestation *ret, ds_err *e) DS_MUST;

#endif
