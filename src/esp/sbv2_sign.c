// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signing for Secure Boot V2: RSASSA-PSS with a 32-byte salt, or ECDSA, over the SHA-256 of the padded content. ESP-IDF
// secure-boot-v2.rst.
#include "src/esp/sbv2.h"

#include "src/base/crc.h"
#include "src/esp/sbv2_key.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

static bool sign_digest(EVP_PKEY *key, bool pss, const uint8_t digest[32], uint8_t *ret, size_t *len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool ok = ctx && EVP_PKEY_sign_init(ctx) > 0;
    if (ok && pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
             EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) > 0 && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 32) > 0;
    ok = ok && EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0 && EVP_PKEY_sign(ctx, ret, len, digest, 32) > 0;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

// r and s of a DER signature, little-endian.
static bool put_ec_signature(const uint8_t *der, size_t len, uint8_t *ret)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    bool ok =
        sig && BN_bn2lebinpad(ECDSA_SIG_get0_r(sig), ret, DS_SBV2_POINT_LEN) == (int)DS_SBV2_POINT_LEN &&
        BN_bn2lebinpad(ECDSA_SIG_get0_s(sig), ret + DS_SBV2_POINT_LEN, DS_SBV2_POINT_LEN) == (int)DS_SBV2_POINT_LEN;
    ECDSA_SIG_free(sig);
    return ok;
}

static bool put_signature(EVP_PKEY *key, enum ds_sbv2_scheme scheme, uint8_t *block)
{
    bool rsa = scheme == DS_SBV2_RSA3072;
    uint8_t sig[DS_SBV2_RSA_LEN];
    size_t len = sizeof sig;
    if (!sign_digest(key, rsa, block + DS_SBV2_DIGEST_OFF, sig, &len))
        return false;
    uint8_t *at = block + DS_SBV2_KEY_OFF + ds_sbv2_key_len(scheme);
    if (!rsa)
        return put_ec_signature(sig, len, at);
    for (size_t i = 0; i < len; i++)
        at[i] = sig[len - 1 - i];
    return len == DS_SBV2_RSA_LEN;
}

static enum ds_class make_block(EVP_PKEY *key, const uint8_t digest[32], uint8_t ret[DS_SBV2_BLOCK], ds_err *e)
{
    enum ds_sbv2_scheme scheme;
    memset(ret, 0, DS_SBV2_BLOCK);
    ret[0] = DS_SBV2_MAGIC;
    memcpy(ret + DS_SBV2_DIGEST_OFF, digest, 32);
    enum ds_class cls = ds_sbv2_block_put_key(key, ret, &scheme, e);
    if (cls)
        return cls;
    if (!put_signature(key, scheme, ret) || !ds_sbv2_block_verify(ret, scheme)) {
        ds_fail(e, DS_INPUT, "secure boot key cannot sign");
        return ds_hint(e, "is it the private key?");
    }
    ds_put_le32(ret + DS_SBV2_CRC_OFF, ds_crc32(ret, DS_SBV2_CRC_OFF));
    return DS_OK;
}

// Number of blocks in the signature sector that image ends with; 0 where it ends with none.
static unsigned existing_blocks(const ds_buf *image)
{
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    if (image->len < 2 * DS_SBV2_SECTOR || image->len % DS_SBV2_SECTOR ||
        ds_sbv2_read(ds_buf_view(image), image->len - DS_SBV2_SECTOR, blocks, NULL))
        return 0;
    unsigned n = 0;
    while (n < DS_SBV2_MAX_BLOCKS && blocks[n].valid)
        n++;
    return n;
}

static enum ds_class check_same_content(const ds_buf *image, size_t content, const uint8_t digest[32], unsigned n,
                                        ds_err *e)
{
    if (n == DS_SBV2_MAX_BLOCKS)
        return ds_fail(e, DS_INPUT, "the image carries %d signatures already, no more fit", DS_SBV2_MAX_BLOCKS);
    for (unsigned i = 0; i < n; i++)
        if (memcmp(image->ptr + content + i * DS_SBV2_BLOCK + DS_SBV2_DIGEST_OFF, digest, 32) != 0) {
            ds_fail(e, DS_INPUT, "the image was changed after its signature %u was made", i);
            return ds_hint(e, "sign the unsigned image instead");
        }
    return DS_OK;
}

enum ds_class ds_sbv2_sign(ds_buf *image, EVP_PKEY *key, ds_err *e)
{
    if (!image->len)
        return ds_fail(e, DS_INPUT, "an empty image cannot be signed");
    unsigned n = existing_blocks(image);
    size_t before = image->len;
    size_t content = n ? image->len - DS_SBV2_SECTOR : ds_sbv2_content_len(image->len);
    if (!n)
        ds_buf_resize(image, content, 0xFF);
    uint8_t digest[32], block[DS_SBV2_BLOCK];
    SHA256(image->ptr, content, digest);
    enum ds_class cls = check_same_content(image, content, digest, n, e);
    if (!cls)
        cls = make_block(key, digest, block, e);
    if (cls) {
        ds_buf_resize(image, before, 0xFF);
        return cls;
    }
    ds_buf_resize(image, content + DS_SBV2_SECTOR, 0xFF);
    memcpy(image->ptr + content + n * DS_SBV2_BLOCK, block, sizeof block);
    return DS_OK;
}
