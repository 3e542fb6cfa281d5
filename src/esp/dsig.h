// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The digital-signature peripheral on paper: an RSA private key encrypted so that the chip alone can use it, and what
// the peripheral computes with it. Sources: the chips' technical reference manuals, chapter Digital Signature; ESP-IDF
// esp_ds.h, rom/digital_signature.h, gen_digital_signature_tests.py (v5.4).
//
// Data, as ESP-IDF's esp_ds_data_t: u32 bits/32-1 | IV 16 | C. C = AES-256-CBC(key, IV, P) with
//   key = HMAC-SHA256(K, 32 bytes FF); K lies in a read-protected key block of purpose HMAC_DOWN_DIGITAL_SIGNATURE
//   P   = Y | M | Rb | MD | M' | L | 8 bytes 08
// Y = private exponent, M = modulus, Rb = 2^(2*bits) mod M, each little-endian and zero-padded to the chip's longest
// key; M' = -M^-1 mod 2^32; L = bits/32-1; MD = SHA-256(Y | M | Rb | M' | L | IV).
#ifndef DS_ESP_DSIG_H
#define DS_ESP_DSIG_H

#include "src/base/buf.h"

#include <openssl/evp.h>

#define DS_DSIG_BITS_MAX 4096u

// Bytes of the data on a chip whose longest key is chip_bits.
size_t ds_dsig_len(unsigned chip_bits);
// Bits of the key in data as it claims, without its secret; 0 where it is no such data.
unsigned ds_dsig_bits(unsigned chip_bits, ds_view data);

// Encrypt an RSA private key of at most chip_bits bits (a multiple of 32). DS_INPUT where it is none.
enum ds_class ds_dsig_seal(unsigned chip_bits, EVP_PKEY *key, const uint8_t hmac_key[32], const uint8_t iv[16],
                           ds_buf *ret, ds_err *e) DS_MUST;

// What the peripheral does: check padding and MD, then ret = in^Y mod M; in and ret are big-endian, as long as the
// modulus, in < M. DS_POLICY where padding or MD are wrong (another key block, or data that was changed).
enum ds_class ds_dsig_sign(unsigned chip_bits, ds_view data, const uint8_t hmac_key[32], const uint8_t *in,
                           uint8_t *ret, size_t len, ds_err *e) DS_MUST;

#endif
