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
#include "src/pki/cert.h"
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
    ds_buf certificate; // the Sub CA's or the server's; the request
    bool from_log;      // it was signed before
    uint64_t number;    // of a CRL
} ds_ceremony_result;

// The parent's side. Of access only module and the PIN's source are used. All or nothing: on a failure no file stays,
// and no key that was made for it. DS_POLICY: something of it exists already.
enum ds_class ds_ceremony_make_ca(const ds_signer_config *access, const ds_ca_request *req, ds_ceremony_result *ret,
                                  ds_err *e) DS_MUST;
enum ds_class ds_ceremony_make_server(const ds_signer_config *access, const ds_server_request *req,
                                      ds_ceremony_result *ret, ds_err *e) DS_MUST;

// The same in parts, for a root that is off-line; what lies between is carried by file.
typedef struct ds_root_request {
    const char *folder; // exists
    const char *root_key;
    bool existing;
    int key_type;
    const char *subject;
    int64_t not_before_utc, not_after_utc;
} ds_root_request;
// All or nothing, as ds_ceremony_make_ca; makes root.pem and root.log.
enum ds_class ds_ceremony_make_root(const ds_signer_config *access, const ds_root_request *req, ds_ceremony_result *ret,
                                    ds_err *e) DS_MUST;
// A Sub CA's key and the request for its certificate (DER, in certificate). The key stays where it was made.
enum ds_class ds_ceremony_make_request(const ds_signer_config *access, const ds_root_request *req,
                                       ds_ceremony_result *ret, ds_err *e) DS_MUST;
// Sign that request: a Sub CA, path length 0. The same request again is given the same certificate, from root.log.
typedef struct ds_sub_request {
    const char *folder; // of the root
    const char *root_key;
    ds_view csr;
    int64_t not_before_utc, not_after_utc;
    const ds_constraint *constraints;
    size_t constraint_count;
} ds_sub_request;
enum ds_class ds_ceremony_sign_sub(const ds_signer_config *access, const ds_sub_request *req, ds_ceremony_result *ret,
                                   ds_err *e) DS_MUST;

// Sign a CRL: STEM.crl (DER) and STEM.crl.pem are written, STEM.crl.log has an entry for each that was signed, on disk
// before they are. Its number is one more than that log's entries, so that it never goes back while the log does not.
typedef struct ds_crl_request {
    const char *key;
    const char *certificate; // path: of the CA
    const char *stem;
    const char *list; // path: what is revoked (src/pki/crl.h)
    int64_t this_update_utc, next_update_utc;
    bool previous_lost; // STEM.crl need not be there
} ds_crl_request;
enum ds_class ds_ceremony_make_crl(const ds_signer_config *access, const ds_crl_request *req, ds_ceremony_result *ret,
                                   ds_err *e) DS_MUST;

// A certificate that shows a cloud who has the CA's key (docs/aws.md): the common name of its subject is the cloud's
// registration code, 64 hex digits, and anything else is DS_POLICY. Its key is made and forgotten in the child. Each is
// in STEM.verification.log, an issuance log of its own, before it is handed out (DER, in certificate).
typedef struct ds_verification_request {
    const char *key;
    const char *certificate; // path: of the CA
    const char *stem;
    const char *subject;
    int64_t not_before_utc, not_after_utc;
} ds_verification_request;
enum ds_class ds_ceremony_make_verification(const ds_signer_config *access, const ds_verification_request *req,
                                            ds_ceremony_result *ret, ds_err *e) DS_MUST;

// The parent's way to ask a child, and what the child does with what ceremony.c does not know.
enum ds_class ds_ceremony_ask(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                              ds_ceremony_result *ret, ds_err *e) DS_MUST;
enum ds_class ds_ceremony_hold_offline(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                                       ds_ceremony_result *ret, ds_err *e) DS_MUST;
enum ds_class ds_ceremony_hold_crl(const ds_signer_config *access, const Devstamp__Signer__MakeCrl *req,
                                   ds_ceremony_result *ret, ds_err *e) DS_MUST;
enum ds_class ds_ceremony_hold_verification(const ds_signer_config *access,
                                            const Devstamp__Signer__MakeVerification *req, ds_ceremony_result *ret,
                                            ds_err *e) DS_MUST;

// The child's side: hold the one that is asked for / serve one request on fd.
enum ds_class ds_ceremony_hold(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                               ds_ceremony_result *ret, ds_err *e) DS_MUST;
int ds_ceremony_main(int fd, const ds_signer_config *access);

#endif
