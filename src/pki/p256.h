// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ECDSA P-256 signatures of one key verified often: multiples of its point are computed once, which halves the time of
// each verification.
#ifndef DS_PKI_P256_H
#define DS_PKI_P256_H

#include "src/base/buf.h"

#include <openssl/evp.h>

typedef struct ds_p256 ds_p256;

// NULL where the key is not on P-256, or OpenSSL does not do it. Threads may share it.
ds_p256 *ds_p256_new(EVP_PKEY *key);
void ds_p256_free(ds_p256 *p);

// Is the signature, DER, one of the SHA-256 digest by the key? (FIPS 186-4, 6.4)
bool ds_p256_verify(const ds_p256 *p, const uint8_t digest[32], ds_view signature);

#endif
