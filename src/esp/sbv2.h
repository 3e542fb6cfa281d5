// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Secure Boot V2 signature sectors, RSA-3072 and ECDSA P-256. Source: ESP-IDF secure-boot-v2.rst; espsecure (esptool
// v5.2).
#ifndef DS_ESP_SBV2_H
#define DS_ESP_SBV2_H

#include "src/base/buf.h"

#include <openssl/evp.h>

#define DS_SBV2_SECTOR 4096u
#define DS_SBV2_BLOCK 1216u
#define DS_SBV2_MAX_BLOCKS 3

enum ds_sbv2_scheme { DS_SBV2_RSA3072, DS_SBV2_ECDSA256 };

typedef struct ds_sbv2_block {
    bool valid; // magic, version, CRC
    enum ds_sbv2_scheme scheme;
    uint8_t image_digest[32];
    uint8_t key_digest[32]; // what the eFuse holds
} ds_sbv2_block;

// Key digest of a public key (or key pair): RSA-3072 or P-256.
enum ds_class ds_sbv2_key_digest(EVP_PKEY *key, uint8_t ret[32], ds_err *e) DS_MUST;

// Pad content with FF to 4096 and append a signature sector with one block by key. Content that already ends in a
// signature sector gets one more block (up to 3); replaces nothing. Result replaces *image.
enum ds_class ds_sbv2_sign(ds_buf *image, EVP_PKEY *key, ds_err *e) DS_MUST;

// The same in parts, for a key that is elsewhere. First, what is to be signed: SHA-256 of the content as it will be
// padded, its length, and how many blocks are there already. DS_INPUT: no more fit, or the content was changed since.
typedef struct ds_sbv2_content {
    uint8_t digest[32];
    size_t len; // a multiple of 4096
    unsigned blocks;
} ds_sbv2_content;
enum ds_class ds_sbv2_measure(ds_view image, ds_sbv2_content *ret, ds_err *e) DS_MUST;

// Then a block over that digest. sign is given it and returns the signature: RSASSA-PSS (SHA-256, salt of 32 bytes) as
// the standard has it, big-endian, 384 bytes; or ECDSA in DER. It is verified. *ret_len is the room at first.
typedef enum ds_class (*ds_sbv2_sign_fn)(void *arg, enum ds_sbv2_scheme scheme, const uint8_t digest[32], uint8_t *ret,
                                         size_t *ret_len, ds_err *e);
enum ds_class ds_sbv2_make_block(EVP_PKEY *public_key, const uint8_t digest[32], ds_sbv2_sign_fn sign, void *arg,
                                 uint8_t ret[DS_SBV2_BLOCK], ds_err *e) DS_MUST;

// Last, the block appended to the image, as ds_sbv2_sign does. DS_INPUT: it is over other content, no block, or its
// signature does not hold; DS_POLICY: that key has signed the image already.
enum ds_class ds_sbv2_append(ds_buf *image, const uint8_t block[DS_SBV2_BLOCK], ds_err *e) DS_MUST;

// One block by itself: what it says; its signature holds. DS_INPUT otherwise.
enum ds_class ds_sbv2_check_block(const uint8_t block[DS_SBV2_BLOCK], ds_sbv2_block *ret, ds_err *e) DS_MUST;

// Read the signature sector that starts at content_len (a multiple of 4096) in image.
enum ds_class ds_sbv2_read(ds_view image, size_t content_len, ds_sbv2_block ret[DS_SBV2_MAX_BLOCKS], ds_err *e) DS_MUST;

// Where the signature sector of a parsed image of image_len bytes starts: image_len padded to 4096.
static inline size_t ds_sbv2_content_len(size_t image_len)
{
    return (image_len + DS_SBV2_SECTOR - 1) / DS_SBV2_SECTOR * DS_SBV2_SECTOR;
}

enum ds_sbv2_verdict {
    DS_SBV2_OK = 0,
    DS_SBV2_UNSIGNED,        // no valid block
    DS_SBV2_DIGEST_MISMATCH, // content changed
    DS_SBV2_UNTRUSTED_KEY,   // signed by a key whose digest is not trusted
    DS_SBV2_BAD_SIGNATURE,
};

// As ROM and bootloader verify: succeeds when any block's key digest is among trusted (n of 32 bytes each) and its
// signature holds. n = 0 trusts the key the image carries (first boot). ret_key_digest may be NULL.
enum ds_sbv2_verdict ds_sbv2_verify(ds_view image, size_t content_len, const uint8_t (*trusted)[32], unsigned n,
                                    uint8_t ret_key_digest[32]);
const char *ds_sbv2_verdict_text(enum ds_sbv2_verdict v);

#endif
