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

static bool put_signature(enum ds_sbv2_scheme scheme, const uint8_t *sig, size_t len, uint8_t *block)
{
    uint8_t *at = block + DS_SBV2_KEY_OFF + ds_sbv2_key_len(scheme);
    if (scheme != DS_SBV2_RSA3072)
        return put_ec_signature(sig, len, at);
    for (size_t i = 0; i < len && i < DS_SBV2_RSA_LEN; i++)
        at[i] = sig[len - 1 - i];
    return len == DS_SBV2_RSA_LEN;
}

enum ds_class ds_sbv2_make_block(EVP_PKEY *public_key, const uint8_t digest[32], ds_sbv2_sign_fn sign, void *arg,
                                 uint8_t ret[DS_SBV2_BLOCK], ds_err *e)
{
    enum ds_sbv2_scheme scheme;
    uint8_t sig[DS_SBV2_RSA_LEN];
    size_t len = sizeof sig;
    memset(ret, 0, DS_SBV2_BLOCK);
    ret[0] = DS_SBV2_MAGIC;
    memcpy(ret + DS_SBV2_DIGEST_OFF, digest, 32);
    enum ds_class cls = ds_sbv2_block_put_key(public_key, ret, &scheme, e);
    if (!cls)
        cls = sign(arg, scheme, digest, sig, &len, e);
    if (cls)
        return cls;
    if (!put_signature(scheme, sig, len, ret) || !ds_sbv2_block_verify(ret, scheme))
        return ds_fail(e, DS_TOKEN, "the signature that was made does not hold");
    ds_put_le32(ret + DS_SBV2_CRC_OFF, ds_crc32(ret, DS_SBV2_CRC_OFF));
    return DS_OK;
}

static enum ds_class sign_here(void *arg, enum ds_sbv2_scheme scheme, const uint8_t digest[32], uint8_t *ret,
                               size_t *ret_len, ds_err *e)
{
    if (sign_digest(arg, scheme == DS_SBV2_RSA3072, digest, ret, ret_len))
        return DS_OK;
    return ds_hint((ds_fail(e, DS_INPUT, "secure boot key cannot sign"), e), "is it the private key?");
}

// Number of blocks in the signature sector that image ends with; 0 where it ends with none.
static unsigned existing_blocks(ds_view image)
{
    ds_sbv2_block blocks[DS_SBV2_MAX_BLOCKS];
    if (image.len < 2 * DS_SBV2_SECTOR || image.len % DS_SBV2_SECTOR ||
        ds_sbv2_read(image, image.len - DS_SBV2_SECTOR, blocks, NULL))
        return 0;
    unsigned n = 0;
    while (n < DS_SBV2_MAX_BLOCKS && blocks[n].valid)
        n++;
    return n;
}

static enum ds_class check_same_content(ds_view image, const ds_sbv2_content *c, ds_err *e)
{
    if (c->blocks == DS_SBV2_MAX_BLOCKS)
        return ds_fail(e, DS_INPUT, "the image carries %d signatures already, no more fit", DS_SBV2_MAX_BLOCKS);
    for (unsigned i = 0; i < c->blocks; i++)
        if (memcmp(image.ptr + c->len + i * DS_SBV2_BLOCK + DS_SBV2_DIGEST_OFF, c->digest, 32) != 0) {
            ds_fail(e, DS_INPUT, "the image was changed after its signature %u was made", i);
            return ds_hint(e, "sign the unsigned image instead");
        }
    return DS_OK;
}

static bool digest_padded(ds_view image, size_t len, uint8_t ret[32])
{
    uint8_t fill[DS_SBV2_SECTOR];
    size_t here = image.len < len ? image.len : len;
    memset(fill, 0xFF, sizeof fill);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(ctx, image.ptr, here) == 1 &&
              EVP_DigestUpdate(ctx, fill, len - here) == 1 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

enum ds_class ds_sbv2_measure(ds_view image, ds_sbv2_content *ret, ds_err *e)
{
    if (!image.len)
        return ds_fail(e, DS_INPUT, "an empty image cannot be signed");
    ds_sbv2_content c = {.blocks = existing_blocks(image)};
    c.len = c.blocks ? image.len - DS_SBV2_SECTOR : ds_sbv2_content_len(image.len);
    if (!digest_padded(image, c.len, c.digest))
        return ds_fail(e, DS_INTERNAL, "digest of an image");
    enum ds_class cls = check_same_content(image, &c, e);
    if (!cls)
        *ret = c;
    return cls;
}

static void add_block(ds_buf *image, const ds_sbv2_content *c, const uint8_t block[DS_SBV2_BLOCK])
{
    ds_buf_resize(image, c->len, 0xFF);
    uint8_t sector[DS_SBV2_SECTOR];
    memset(sector, 0xFF, sizeof sector);
    memcpy(sector, block, DS_SBV2_BLOCK);
    ds_buf_add(image, sector, sizeof sector);
}

static void put_block(ds_buf *image, const ds_sbv2_content *c, const uint8_t block[DS_SBV2_BLOCK])
{
    if (c->blocks)
        memcpy(image->ptr + c->len + c->blocks * DS_SBV2_BLOCK, block, DS_SBV2_BLOCK);
    else
        add_block(image, c, block);
}

enum ds_class ds_sbv2_append(ds_buf *image, const uint8_t block[DS_SBV2_BLOCK], ds_err *e)
{
    ds_sbv2_content c;
    ds_sbv2_block b, there[DS_SBV2_MAX_BLOCKS] = {{.valid = false}};
    enum ds_class cls = ds_sbv2_measure(ds_buf_view(image), &c, e);
    if (!cls)
        cls = ds_sbv2_check_block(block, &b, e);
    if (!cls && memcmp(b.image_digest, c.digest, 32) != 0)
        cls = ds_hint((ds_fail(e, DS_INPUT, "the signature is of another image"), e),
                      "attach it to the very file that its request was made of");
    if (!cls && c.blocks)
        cls = ds_sbv2_read(ds_buf_view(image), c.len, there, e);
    for (unsigned i = 0; !cls && i < c.blocks; i++)
        if (memcmp(there[i].key_digest, b.key_digest, 32) == 0)
            cls = ds_fail(e, DS_POLICY, "this key has signed the image already");
    if (!cls)
        put_block(image, &c, block);
    return cls;
}

enum ds_class ds_sbv2_sign(ds_buf *image, EVP_PKEY *key, ds_err *e)
{
    ds_sbv2_content c;
    uint8_t block[DS_SBV2_BLOCK];
    enum ds_class cls = ds_sbv2_measure(ds_buf_view(image), &c, e);
    if (!cls)
        cls = ds_sbv2_make_block(key, c.digest, sign_here, key, block, e);
    if (!cls)
        put_block(image, &c, block);
    return cls;
}
