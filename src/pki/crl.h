// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate revocation lists (RFC 5280, 5), and the list of what is revoked as it goes to the signer: text,
//   devstamp revoked 1
//   ca <SHA-256 of the CA certificate's DER, hex>
//   <serial number, hex> <seconds since 1970 UTC> <reason as RFC 5280 spells it>
// with one line a certificate and lines that begin with '#' as remarks.
#ifndef DS_PKI_CRL_H
#define DS_PKI_CRL_H

#include "src/pki/ossl.h"

typedef struct ds_crl_entry {
    uint8_t serial[20]; // big-endian, without zeros before it
    size_t serial_len;
    int64_t revoked_utc;
    int reason; // 0 unspecified, else the code of RFC 5280, 5.3.1
} ds_crl_entry;

// The code of a reason's name ("keyCompromise"), of those that last for ever; -1 where there is none.
int ds_crl_reason_parse(const char *name, size_t len);
const char *ds_crl_reason_name(int reason);

// Append the heading / an entry.
void ds_crl_list_begin(ds_buf *list, const uint8_t ca[32]);
void ds_crl_list_add(ds_buf *list, const ds_crl_entry *entry);
// Read a list for that CA. ret: ds_crl_entry after ds_crl_entry, sorted by serial number, each once (the earliest
// time). DS_INPUT: not a list, or another CA's; names the line.
enum ds_class ds_crl_list_read(ds_view list, const uint8_t ca[32], ds_buf *ret, ds_err *e) DS_MUST;

typedef struct ds_crl_spec {
    X509 *issuer;
    const ds_crl_entry *entries;
    size_t count;
    uint64_t number;
    int64_t this_update_utc, next_update_utc;
} ds_crl_spec;
// Build, not signed yet. X509_CRL_free.
enum ds_class ds_crl_build(const ds_crl_spec *spec, X509_CRL **ret, ds_err *e) DS_MUST;
// Sign, verify what was signed, encode. DS_TOKEN: signing failed.
enum ds_class ds_crl_sign(X509_CRL *crl, EVP_PKEY *private_key, EVP_PKEY *public_key, ds_buf *ret_der,
                          ds_err *e) DS_MUST;

// Does next follow previous: every certificate of the one is in the other, and its time is not earlier? DS_POLICY.
enum ds_class ds_crl_follows(X509_CRL *next, X509_CRL *previous, ds_err *e) DS_MUST;

enum ds_class ds_crl_parse(ds_view der, X509_CRL **ret, ds_err *e) DS_MUST;
enum ds_class ds_crl_pem(X509_CRL *crl, ds_buf *ret, ds_err *e) DS_MUST;

#endif
