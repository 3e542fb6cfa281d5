// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A private key as DER, written straight into guarded memory: OpenSSL's encoders leave copies behind in memory that
// they free without wiping.
#ifndef DS_SIGNER_KEYDER_H
#define DS_SIGNER_KEYDER_H

#include "src/base/secret.h"
#include "src/pki/ossl.h"

// RSAPrivateKey (RFC 8017, A.1.2) or ECPrivateKey (RFC 5915) of a device's key.
enum ds_class ds_key_der(EVP_PKEY *key, ds_secret *ret, ds_err *e) DS_MUST;

#endif
