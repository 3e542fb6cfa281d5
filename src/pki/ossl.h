// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What every file that speaks to OpenSSL needs: releasing on leaving scope, and its error queue turned into a ds_err.
#ifndef DS_PKI_OSSL_H
#define DS_PKI_OSSL_H

#include "src/base/buf.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

// Record a failure as ds_fail does and append OpenSSL's innermost reason; the queue is empty afterwards. Where the
// reason came from a PKCS#11 module, its CKR_ value becomes the code.
enum ds_class ds_ossl_fail(ds_err *e, enum ds_class cls, const char *fmt, ...) DS_PRINTF(3, 4);

void ds_cleanup_pkey(EVP_PKEY **p);
void ds_cleanup_x509(X509 **p);
void ds_cleanup_req(X509_REQ **p);
void ds_cleanup_name(X509_NAME **p);
void ds_cleanup_bio(BIO **p);

#define DS_CLEANUP_PKEY __attribute__((cleanup(ds_cleanup_pkey)))
#define DS_CLEANUP_X509 __attribute__((cleanup(ds_cleanup_x509)))
#define DS_CLEANUP_REQ __attribute__((cleanup(ds_cleanup_req)))
#define DS_CLEANUP_NAME __attribute__((cleanup(ds_cleanup_name)))
#define DS_CLEANUP_BIO __attribute__((cleanup(ds_cleanup_bio)))

#endif
