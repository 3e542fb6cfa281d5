// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside of the Secure Boot V2 code: offsets of a signature block, and what is done with its keys by OpenSSL.
#ifndef DS_ESP_SBV2_KEY_H
#define DS_ESP_SBV2_KEY_H

#include "src/esp/sbv2.h"

#define DS_SBV2_MAGIC 0xE7
#define DS_SBV2_VERSION_RSA 2
#define DS_SBV2_VERSION_ECDSA 3
#define DS_SBV2_CURVE_P256 2
#define DS_SBV2_DIGEST_OFF 4u
#define DS_SBV2_KEY_OFF 36u
#define DS_SBV2_CRC_OFF 1196u
#define DS_SBV2_RSA_LEN 384u
#define DS_SBV2_POINT_LEN 32u

// Bytes of the key field that the key digest covers: n, e, R, M' or curve, X, Y. The signature follows it.
static inline size_t ds_sbv2_key_len(enum ds_sbv2_scheme scheme)
{
    return scheme == DS_SBV2_RSA3072 ? 2 * DS_SBV2_RSA_LEN + 8 : 1 + 2 * DS_SBV2_POINT_LEN;
}

// Does the block's signature over its digest hold under the key it carries?
bool ds_sbv2_block_verify(const uint8_t block[DS_SBV2_BLOCK], enum ds_sbv2_scheme scheme);

// Write the key field of key into a block and tell its scheme.
enum ds_class ds_sbv2_block_put_key(EVP_PKEY *key, uint8_t block[DS_SBV2_BLOCK], enum ds_sbv2_scheme *ret,
                                    ds_err *e) DS_MUST;

#endif
