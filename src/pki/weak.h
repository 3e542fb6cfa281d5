// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// RSA keys that are sound by themselves and still worthless: made by a library whose primes can be guessed (ROCA,
// CVE-2017-15361), or sharing a prime with another device's key (too little randomness at first boot).
#ifndef DS_PKI_WEAK_H
#define DS_PKI_WEAK_H

#include "src/base/buf.h"

#include <openssl/evp.h>

// Does the modulus carry the published ROCA fingerprint (Nemec et al., CCS 2017, section 2.3)? Its primes are k*M +
// 65537^a mod M for a primorial M, so that the modulus is a power of 65537 modulo each small prime; a random modulus
// is, for all 38 of them, once in 2^27 or so. false for other keys than RSA.
bool ds_rsa_is_roca(EVP_PKEY *key);

// Is the modulus divisible by a prime below 752, 2 among them? false for other keys than RSA.
bool ds_rsa_has_small_factor(EVP_PKEY *key);

// The moduli of the last keys that were seen.
typedef struct ds_moduli ds_moduli;
ds_moduli *ds_moduli_new(size_t keep);
void ds_moduli_free(ds_moduli *m);
// Remember an RSA key's modulus, the oldest of more than keep is forgotten; other keys are nothing.
void ds_moduli_add(ds_moduli *m, EVP_PKEY *key);
// Forget the key's modulus, where it is remembered.
void ds_moduli_drop(ds_moduli *m, EVP_PKEY *key);
// Does the RSA key's modulus have a factor in common with one that is remembered? About a microsecond for each of them
// (2048 bits): they are multiplied modulo the key's own, so that one greatest common divisor tells. The key's modulus
// must be odd and at most DS_GCD_BITS long (gcd.h).
bool ds_moduli_share(const ds_moduli *m, EVP_PKEY *key);

#endif
