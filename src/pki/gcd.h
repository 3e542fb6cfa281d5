// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Have two public numbers a factor in common? OpenSSL's own greatest common divisor takes secret numbers, so it is
// twenty times slower, which the signer would feel with every RSA key it certifies.
#ifndef DS_PKI_GCD_H
#define DS_PKI_GCD_H

#include <openssl/bn.h>
#include <stdbool.h>

// The longest number, in bits.
enum { DS_GCD_BITS = 4096 };

// Is the greatest common divisor of a and b 1? Both are not negative and at most DS_GCD_BITS long, not both are 0; the
// time it takes depends on them.
bool ds_coprime(const BIGNUM *a, const BIGNUM *b);

#endif
