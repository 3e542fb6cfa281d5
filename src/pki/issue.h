// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Device certificates made fast: the very bytes ds_cert_make gives for DS_CERT_DEVICE, written by hand around what all
// certificates of a CA have in common, since OpenSSL 3.0 takes longer to encode a public key than a token to sign.
#ifndef DS_PKI_ISSUE_H
#define DS_PKI_ISSUE_H

#include "src/pki/ossl.h"

// What all certificates of a CA have in common; threads may share it.
typedef struct ds_issuing ds_issuing;
enum ds_class ds_issuing_new(X509 *ca, ds_issuing **ret, ds_err *e) DS_MUST;
void ds_issuing_free(ds_issuing *g);

typedef struct ds_issue_spec {
    const X509_NAME *subject;
    ds_view spki;          // canonical SubjectPublicKeyInfo
    const uint8_t *serial; // 16, top bit clear
    int64_t not_before_utc, not_after_utc;
    const char *uri; // alternative name; "": none
} ds_issue_spec;

// As ds_cert_make: what the lint finds an error in is not signed; the signature is verified, and the names are held
// against the CA's name constraints, before the certificate is appended to ret.
enum ds_class ds_issue(const ds_issuing *g, EVP_PKEY *private_key, const ds_issue_spec *spec, ds_buf *ret,
                       ds_err *e) DS_MUST;

#endif
