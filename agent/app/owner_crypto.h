// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the owner handshake computes, from mbedTLS's ECDH, HMAC and GCM alone; formulas in proto/owner.proto. HKDF
// (RFC 5869) is two HMACs here, as ESP-IDF leaves mbedTLS's own out by default.
#ifndef DS_AGENT_OWNER_CRYPTO_H
#define DS_AGENT_OWNER_CRYPTO_H

#include "agent/core/internal.h"

enum { DS_OWNER_POINT = 65, DS_OWNER_KEY = 32, DS_OWNER_SEAL = 16 }; // SEAL: bytes that sealing adds

// A fresh P-256 key pair: the secret and the uncompressed point.
ds_status ds_owner_keypair(ds_rng *rng, uint8_t secret[DS_OWNER_KEY], uint8_t point[DS_OWNER_POINT]);

// x coordinate of the product. BAD_REQUEST where peer is no point of the curve.
ds_status ds_owner_ecdh(ds_rng *rng, const uint8_t secret[DS_OWNER_KEY], const uint8_t peer[DS_OWNER_POINT],
                        uint8_t ret[DS_OWNER_KEY]);

// PRK of points (X | Y), z and the secret of the label; at most 64 bytes of it.
bool ds_owner_extract(const uint8_t points[2 * DS_OWNER_POINT], const uint8_t z[DS_OWNER_KEY], const uint8_t *pop,
                      size_t pop_len, uint8_t ret[DS_OWNER_KEY]);
bool ds_owner_expand(const uint8_t prk[DS_OWNER_KEY], const char *name, uint8_t ret[DS_OWNER_KEY]);

// In place: len bytes become len + DS_OWNER_SEAL; and back, false where anything was changed.
bool ds_owner_seal(const uint8_t key[DS_OWNER_KEY], uint8_t *data, size_t len);
bool ds_owner_unseal(const uint8_t key[DS_OWNER_KEY], uint8_t *data, size_t len, size_t *ret_len);

// In a time that does not depend on the contents.
bool ds_owner_same(const uint8_t *a, const uint8_t *b, size_t len);

#endif
