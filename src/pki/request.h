// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests for those who go on to use them: checked as csr.h says, then handed over as OpenSSL's object;
// and made. Source: RFC 2986.
#ifndef DS_PKI_REQUEST_H
#define DS_PKI_REQUEST_H

#include "src/pki/csr.h"
#include "src/pki/ossl.h"

// As ds_csr_check; ret_req (may be NULL) becomes the caller's.
enum ds_class ds_request_open(ds_view der, ds_csr_info *ret, X509_REQ **ret_req, ds_err *e) DS_MUST;

// The same for a Sub CA's: RSA-4096 too, and it may ask to be a certificate authority (its signer decides that anyway).
enum ds_class ds_request_open_ca(ds_view der, ds_csr_info *ret, X509_REQ **ret_req, ds_err *e) DS_MUST;

// Does a request that asks for these (NULL: none) ask for no extension that a device's certificate does not get: key
// usage digitalSignature, extended key usage clientAuth, basic constraints CA:FALSE, and the alternative name uri ("":
// none)? DS_POLICY names the first.
enum ds_class ds_request_check_wishes(const STACK_OF(X509_EXTENSION) * wanted, const char *uri, ds_err *e) DS_MUST;

// Make a request for subject, signed by key; appends its DER to ret.
enum ds_class ds_request_make(const X509_NAME *subject, EVP_PKEY *key, ds_buf *ret, ds_err *e) DS_MUST;
// The same with a private key that may be a handle into a token. DS_TOKEN: it did not sign.
enum ds_class ds_request_make_with(const X509_NAME *subject, EVP_PKEY *private_key, EVP_PKEY *public_key, ds_buf *ret,
                                   ds_err *e) DS_MUST;

#endif
