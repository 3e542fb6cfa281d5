// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Ceremonies: making a root and the Sub CA below it, and certifying the endpoint's server. They run in a child of the
// same kind as the signer, with the same cage, for one request; the folder holds what came of them:
//   root.pem, subca.pem, chain.pem (Sub CA, then root), root.log (the root's issuance log);
//   attestation.pem, attestation-chain.pem (attest_file.h), where the token's maker is to vouch for the Sub CA's key.
// Server certificates are the root's, so that the Sub CA certifies devices and nothing else.
#ifndef DS_SIGNER_CEREMONY_H
#define DS_SIGNER_CEREMONY_H

#include "proto/signer.pb-c.h"
#include "src/signer/signer.h"

typedef struct ds_ca_request {
    const char *folder; // exists
    const char *root_key, *sub_key;
    bool existing;     // the keys are there already
    bool sub_existing; // the Sub CA's is
    int root_key_type, sub_key_type;
    const char *root_subject, *sub_subject;
    int64_t not_before_utc, not_after_utc; // of both
    const char *maker_root;                // of the token the Sub CA's key must have been made in; NULL: not asked
    const char *attestation;               // file that says so, where the token does not; NULL: the token is asked
} ds_ca_request;

typedef struct ds_server_request {
    const char *folder;
    const char *root_key;
    ds_view csr;
    const char *const *hosts; // DNS names and IP addresses
    size_t host_count;
    int64_t not_before_utc, not_after_utc;
} ds_server_request;

// DER. ds_buf_free both.
typedef struct ds_ceremony_result {
    ds_buf root;
    ds_buf certificate; // the Sub CA's or the server's
} ds_ceremony_result;

// The parent's side. Of access only module and the PIN's source are used. All or nothing: on a failure no file stays,
// and no key that was made for it. DS_POLICY: something of it exists already.
enum ds_class ds_ceremony_make_ca(const ds_signer_config *access, const ds_ca_request *req, ds_ceremony_result *ret,
                                  ds_err *e) DS_MUST;
enum ds_class ds_ceremony_make_server(const ds_signer_config *access, const ds_server_request *req,
                                      ds_ceremony_result *ret, ds_err *e) DS_MUST;

// The child's side: hold the one that is asked for / serve one request on fd.
enum ds_class ds_ceremony_hold(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                               ds_ceremony_result *ret, ds_err *e) DS_MUST;
int ds_ceremony_main(int fd, const ds_signer_config *access);

#endif
