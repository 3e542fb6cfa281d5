// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates: the five profiles we issue, reading and writing them, and checking a chain. Source: RFC 5280.
#ifndef DS_PKI_CERT_H
#define DS_PKI_CERT_H

#include "src/pki/keytype.h"

// "No well-defined expiry" (RFC 5280, 4.1.2.5): 99991231235959Z.
#define DS_NO_EXPIRY INT64_C(253402300799)

enum ds_cert_kind {
    DS_CERT_ROOT,         // CA, keyCertSign and cRLSign, no path length
    DS_CERT_SUB_CA,       // CA, path length 0
    DS_CERT_DEVICE,       // digitalSignature, clientAuth
    DS_CERT_SERVER,       // digitalSignature, serverAuth
    DS_CERT_VERIFICATION, // digitalSignature, and no use: shows a cloud who has the CA's key
};

enum ds_san_kind { DS_SAN_URI, DS_SAN_DNS, DS_SAN_IP };
typedef struct ds_san {
    enum ds_san_kind kind;
    const char *text;
} ds_san;

// What the names below a Sub CA must be, or must not be (RFC 5280, 4.2.1.10).
enum ds_constraint_kind { DS_CONSTRAINT_DN, DS_CONSTRAINT_DNS, DS_CONSTRAINT_URI };
typedef struct ds_constraint {
    bool excluded;
    enum ds_constraint_kind kind;
    const char *text; // "O=Acme": subjects begin with that; "example.com"; host or ".example.com" of URIs
} ds_constraint;

// All that decides a certificate. Basic constraints and key usage are critical; subject and authority key identifier
// always present (the authority's not in a root).
typedef struct ds_cert_spec {
    enum ds_cert_kind kind;
    const X509_NAME *subject;
    EVP_PKEY *public_key;
    const uint8_t *serial; // 16, any; made positive by clearing the top bit; not all zero
    int64_t not_before_utc, not_after_utc;
    const ds_san *san;
    size_t san_count;
    const ds_constraint *constraints; // of a Sub CA
    size_t constraint_count;
} ds_cert_spec;

// Build and sign. issuer NULL: self-signed. The signature is verified again before the certificate is returned, so that
// a token that errs is noticed, and nothing is returned that the lint finds an error in or that is outside the
// issuer's name constraints (DS_POLICY). DS_INPUT: a name
// or time that cannot be; DS_TOKEN: signing failed (code: CKR_ value).
enum ds_class ds_cert_make(const ds_cert_spec *spec, X509 *issuer, EVP_PKEY *issuer_private, EVP_PKEY *issuer_public,
                           X509 **ret, ds_err *e) DS_MUST;

// Add the name constraints, critical. DS_INPUT: a name that cannot be one.
enum ds_class ds_constraints_add(X509 *cert, const ds_constraint *list, size_t count, ds_err *e) DS_MUST;
// Are the names of cert, which is signed, within the name constraints of its issuer? DS_POLICY otherwise.
enum ds_class ds_constraints_check(X509 *cert, X509 *issuer, ds_err *e) DS_MUST;

// The serial number as it stands in the certificate: 16 bytes, top bit clear.
void ds_cert_serial(const uint8_t given[16], uint8_t ret[16]);

// DER or PEM (the first certificate of a file) in; nothing may follow DER.
enum ds_class ds_cert_parse(ds_view bytes, X509 **ret, ds_err *e) DS_MUST;
enum ds_class ds_cert_read(const char *path, X509 **ret, ds_err *e) DS_MUST;
// All certificates of a PEM file, in order. Free with sk_X509_pop_free.
enum ds_class ds_cert_read_all(const char *path, STACK_OF(X509) * *ret, ds_err *e) DS_MUST;

enum ds_class ds_cert_der(X509 *cert, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_cert_pem(X509 *cert, ds_buf *ret, ds_err *e) DS_MUST;

typedef struct ds_cert_info {
    char subject[256], issuer[256];
    uint8_t serial[20];
    size_t serial_len;
    int64_t not_before_utc, not_after_utc;
    enum ds_key_type key_type;
    uint8_t fingerprint[32];       // SHA-256 of the DER
    uint8_t public_key_digest[32]; // SHA-256 of SubjectPublicKeyInfo
    bool ca;
    long path_len;      // -1: none given
    uint32_t key_usage; // OpenSSL's KU_ bits
    bool client_auth, server_auth;
} ds_cert_info;
enum ds_class ds_cert_describe(X509 *cert, ds_cert_info *ret, ds_err *e) DS_MUST;

// Does leaf chain through subs (may be NULL) to root, every signature and constraint strictly checked, at the time
// at_utc?
enum ds_class ds_chain_verify(X509 *leaf, STACK_OF(X509) * subs, X509 *root, int64_t at_utc, ds_err *e) DS_MUST;

#endif
