// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests read fast. Nearly all have one plain form: DER, the key in its canonical encoding, no
// attributes. That form is read here by hand, since OpenSSL 3.0 takes longer to decode a public key than to verify a
// signature; whatever has another form, or anything wrong with it, goes the long way (request.h), which also says what
// is wrong. What is accepted here the long way accepts too, but for one check that takes longer than all others
// together: that an RSA modulus is no prime. The station makes that one, for its own devices.
#ifndef DS_PKI_PLAIN_H
#define DS_PKI_PLAIN_H

#include "src/pki/request.h"

// What one thread keeps from request to request.
typedef struct ds_plain ds_plain;
ds_plain *ds_plain_new(void);
void ds_plain_free(ds_plain *p);

// A request that proved its key. Zero-initialise; ds_request_free.
typedef struct ds_request {
    ds_csr_info info;
    X509_NAME *subject;
    STACK_OF(X509_EXTENSION) * wishes; // what it asks for; NULL: nothing
    ds_buf spki;                       // SubjectPublicKeyInfo, canonical
    EVP_PKEY *key;                     // RSA alone
} ds_request;
void ds_request_free(ds_request *r);

// As ds_request_open.
enum ds_class ds_request_read(ds_plain *p, ds_view der, ds_request *ret, ds_err *e) DS_MUST;

#endif
