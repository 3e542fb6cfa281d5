// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading and verifying Secure Boot V2 signature sectors; see sbv2.h. ESP-IDF secure-boot-v2.rst, "Signature Block
// Format".
#include "src/esp/sbv2.h"

#include "src/base/crc.h"
#include "src/esp/sbv2_key.h"

#include <openssl/sha.h>
#include <string.h>

static bool block_scheme(const uint8_t *b, enum ds_sbv2_scheme *ret)
{
    if (b[1] == DS_SBV2_VERSION_RSA) {
        *ret = DS_SBV2_RSA3072;
        return true;
    }
    *ret = DS_SBV2_ECDSA256;
    return b[1] == DS_SBV2_VERSION_ECDSA && b[2] == 0 && b[DS_SBV2_KEY_OFF] == DS_SBV2_CURVE_P256;
}

static void read_block(const uint8_t *b, ds_sbv2_block *ret)
{
    static const uint8_t zeros[16];
    *ret = (ds_sbv2_block){0};
    if (b[0] != DS_SBV2_MAGIC || ds_le32(b + DS_SBV2_CRC_OFF) != ds_crc32(b, DS_SBV2_CRC_OFF) ||
        memcmp(b + DS_SBV2_CRC_OFF + 4, zeros, sizeof zeros) != 0 || !block_scheme(b, &ret->scheme))
        return;
    ret->valid = true;
    memcpy(ret->image_digest, b + DS_SBV2_DIGEST_OFF, 32);
    SHA256(b + DS_SBV2_KEY_OFF, ds_sbv2_key_len(ret->scheme), ret->key_digest);
}

enum ds_class ds_sbv2_check_block(const uint8_t block[DS_SBV2_BLOCK], ds_sbv2_block *ret, ds_err *e)
{
    read_block(block, ret);
    if (!ret->valid)
        return ds_fail(e, DS_INPUT, "no signature block of Secure Boot V2");
    if (!ds_sbv2_block_verify(block, ret->scheme))
        return ds_fail(e, DS_INPUT, "the signature block's signature does not hold");
    return DS_OK;
}

enum ds_class ds_sbv2_read(ds_view image, size_t content_len, ds_sbv2_block ret[DS_SBV2_MAX_BLOCKS], ds_err *e)
{
    memset(ret, 0, DS_SBV2_MAX_BLOCKS * sizeof *ret);
    ds_view sector;
    if (content_len % DS_SBV2_SECTOR)
        return ds_fail(e, DS_INPUT, "signature sector at 0x%zx: not a multiple of 0x%x", content_len, DS_SBV2_SECTOR);
    if (!ds_view_slice(image, content_len, DS_SBV2_SECTOR, &sector)) {
        ds_fail(e, DS_INPUT, "no signature sector at 0x%zx: the image has 0x%zx bytes", content_len, image.len);
        return ds_hint(e, "sign the image");
    }
    for (unsigned i = 0; i < DS_SBV2_MAX_BLOCKS; i++) {
        read_block(sector.ptr + i * DS_SBV2_BLOCK, &ret[i]);
        if (!ret[i].valid)
            break; // blocks are consecutive
    }
    return DS_OK;
}

static bool trusts(const uint8_t digest[32], const uint8_t (*trusted)[32], unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!memcmp(digest, trusted[i], 32))
            return true;
    return n == 0;
}

static enum ds_sbv2_verdict verify_block(const ds_sbv2_block *b, const uint8_t *raw, const uint8_t content_digest[32],
                                         const uint8_t (*trusted)[32], unsigned n)
{
    if (memcmp(b->image_digest, content_digest, 32) != 0)
        return DS_SBV2_DIGEST_MISMATCH;
    if (!trusts(b->key_digest, trusted, n))
        return DS_SBV2_UNTRUSTED_KEY;
    return ds_sbv2_block_verify(raw, b->scheme) ? DS_SBV2_OK : DS_SBV2_BAD_SIGNATURE;
}

enum ds_sbv2_verdict ds_sbv2_verify(ds_view image, size_t content_len, const uint8_t (*trusted)[32], unsigned n,
                                    uint8_t ret_key_digest[32])
{
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    if (ds_sbv2_read(image, content_len, blocks, NULL))
        return DS_SBV2_UNSIGNED;
    uint8_t digest[32];
    SHA256(image.ptr, content_len, digest);
    enum ds_sbv2_verdict worst = DS_SBV2_UNSIGNED;
    for (unsigned i = 0; i < DS_SBV2_MAX_BLOCKS && blocks[i].valid; i++) {
        const uint8_t *raw = image.ptr + content_len + i * DS_SBV2_BLOCK;
        enum ds_sbv2_verdict v = verify_block(&blocks[i], raw, digest, trusted, n);
        if (v == DS_SBV2_OK) {
            if (ret_key_digest)
                memcpy(ret_key_digest, blocks[i].key_digest, 32);
            return DS_SBV2_OK;
        }
        if (v > worst)
            worst = v; // the verdict that came furthest tells most
    }
    return worst;
}

const char *ds_sbv2_verdict_text(enum ds_sbv2_verdict v)
{
    switch (v) {
    case DS_SBV2_OK:
        return "signature is good";
    case DS_SBV2_UNSIGNED:
        return "not signed";
    case DS_SBV2_DIGEST_MISMATCH:
        return "content differs from what was signed";
    case DS_SBV2_UNTRUSTED_KEY:
        return "signed with an untrusted key";
    case DS_SBV2_BAD_SIGNATURE:
        return "signature does not hold";
    }
    return "unknown verdict";
}
