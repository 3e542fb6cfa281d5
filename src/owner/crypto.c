// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ECDH over P-256, HKDF-SHA256 (RFC 5869, one block each) and AES-256-GCM by OpenSSL; see internal.h.
#include "src/owner/internal.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <string.h>

EVP_PKEY *ds_companion_keypair(uint8_t ret_point[DS_COMPANION_POINT])
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    unsigned char *point = NULL;
    size_t len = key ? EVP_PKEY_get1_encoded_public_key(key, &point) : 0;
    if (len != DS_COMPANION_POINT || point[0] != 4) {
        OPENSSL_free(point);
        EVP_PKEY_free(key);
        return NULL;
    }
    memcpy(ret_point, point, DS_COMPANION_POINT);
    OPENSSL_free(point);
    return key;
}

bool ds_companion_ecdh(EVP_PKEY *own, const uint8_t peer[DS_COMPANION_POINT], uint8_t ret[DS_COMPANION_KEY])
{
    EVP_PKEY *other = EVP_PKEY_new();
    EVP_PKEY_CTX *ctx = NULL;
    size_t len = DS_COMPANION_KEY;
    // Setting the point checks that it lies on the curve.
    bool ok = other && peer[0] == 4 && EVP_PKEY_copy_parameters(other, own) == 1 &&
              EVP_PKEY_set1_encoded_public_key(other, peer, DS_COMPANION_POINT) == 1 &&
              (ctx = EVP_PKEY_CTX_new(own, NULL)) != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, other) == 1 && EVP_PKEY_derive(ctx, ret, &len) == 1 &&
              len == DS_COMPANION_KEY;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(other);
    return ok;
}

static bool hmac(const uint8_t key[DS_COMPANION_KEY], const uint8_t *data, size_t len, uint8_t ret[DS_COMPANION_KEY])
{
    unsigned out = 0;
    return HMAC(EVP_sha256(), key, DS_COMPANION_KEY, data, len, ret, &out) && out == DS_COMPANION_KEY;
}

static bool expand(const uint8_t prk[DS_COMPANION_KEY], const char *name, uint8_t ret[DS_COMPANION_KEY])
{
    uint8_t info[32];
    size_t len = strlen(name);
    memcpy(info, name, len);
    info[len] = 1;
    return hmac(prk, info, len + 1, ret);
}

bool ds_companion_derive(const uint8_t *transcript, size_t len, const uint8_t z[DS_COMPANION_KEY], const uint8_t *pop,
                         size_t pop_len, ds_companion_keys *ret)
{
    uint8_t input[DS_COMPANION_KEY + DS_COMPANION_POP_MAX], salt[DS_COMPANION_KEY], prk[DS_COMPANION_KEY];
    if (pop_len > DS_COMPANION_POP_MAX || !SHA256(transcript, len, salt))
        return false;
    memcpy(input, z, DS_COMPANION_KEY);
    memcpy(input + DS_COMPANION_KEY, pop, pop_len);
    bool ok = hmac(salt, input, DS_COMPANION_KEY + pop_len, prk) && expand(prk, "owner tag", ret->tag) &&
              expand(prk, "proof key", ret->proof) && expand(prk, "parcel key", ret->parcel) &&
              expand(prk, "receipt key", ret->receipt);
    OPENSSL_cleanse(input, sizeof input);
    OPENSSL_cleanse(prk, sizeof prk);
    return ok;
}

static const uint8_t nonce[12]; // zero: each key seals one message

bool ds_companion_seal(const uint8_t key[DS_COMPANION_KEY], uint8_t *data, size_t len)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int out = 0;
    bool ok = ctx && len <= DS_COMPANION_REPLY_MAX &&
              EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
              EVP_EncryptUpdate(ctx, data, &out, data, (int)len) == 1 && (size_t)out == len &&
              EVP_EncryptFinal_ex(ctx, data + len, &out) == 1 && out == 0 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, DS_COMPANION_SEAL, data + len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

bool ds_companion_unseal(const uint8_t key[DS_COMPANION_KEY], uint8_t *data, size_t len, size_t *ret_len)
{
    if (len < DS_COMPANION_SEAL || len > DS_COMPANION_REPLY_MAX)
        return false;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    size_t text = len - DS_COMPANION_SEAL;
    int out = 0;
    bool ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
              EVP_DecryptUpdate(ctx, data, &out, data, (int)text) == 1 && (size_t)out == text &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, DS_COMPANION_SEAL, data + text) == 1 &&
              EVP_DecryptFinal_ex(ctx, data + text, &out) == 1;
    EVP_CIPHER_CTX_free(ctx);
    *ret_len = text;
    return ok;
}
