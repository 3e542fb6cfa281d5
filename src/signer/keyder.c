// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A private key as DER; see keyder.h. Written from the end to the front, where lengths are known.
#include "src/signer/keyder.h"

#include "src/pki/keytype.h"

#include <openssl/core_names.h>
#include <string.h>

enum { DER_MAX = 2560, NUMBER_MAX = 512, POINT_MAX = 97 };

typedef struct writer {
    ds_secret room, number; // what is written; one number on its way
    size_t at;              // of room: its last bytes are written
    bool ok;
} writer;

static void put(writer *w, const void *data, size_t len)
{
    w->ok = w->ok && len <= w->at;
    if (!w->ok)
        return;
    w->at -= len;
    memcpy(w->room.ptr + w->at, data, len);
}

static void put_byte(writer *w, uint8_t byte)
{
    put(w, &byte, 1);
}

// What was written since end becomes the content of this tag.
static void put_head(writer *w, uint8_t tag, size_t end)
{
    size_t len = end - w->at;
    put_byte(w, (uint8_t)len);
    if (len > 0xFF)
        put_byte(w, (uint8_t)(len >> 8));
    if (len > 0x7F)
        put_byte(w, len > 0xFF ? 0x82 : 0x81);
    put_byte(w, tag);
}

// The key's number of that name to w->number, most significant byte first; its length without leading zeros.
static size_t load_number(writer *w, EVP_PKEY *key, const char *name)
{
    uint8_t *n = w->number.ptr;
    memset(n, 0, NUMBER_MAX);
    OSSL_PARAM p[] = {OSSL_PARAM_construct_BN(name, n, NUMBER_MAX), OSSL_PARAM_construct_end()};
    w->ok = w->ok && EVP_PKEY_get_params(key, p) == 1 && OSSL_PARAM_modified(&p[0]);
    if (!w->ok)
        return 0;
    const uint16_t one = 1;
    bool little = *(const uint8_t *)&one == 1; // OSSL_PARAM has the machine's order
    for (size_t i = 0; little && i < NUMBER_MAX / 2; i++) {
        uint8_t t = n[i];
        n[i] = n[NUMBER_MAX - 1 - i];
        n[NUMBER_MAX - 1 - i] = t;
    }
    size_t len = NUMBER_MAX;
    while (len > 1 && n[NUMBER_MAX - len] == 0)
        len--;
    return len;
}

static void put_integer(writer *w, EVP_PKEY *key, const char *name)
{
    size_t end = w->at, len = load_number(w, key, name);
    if (!w->ok)
        return;
    put(w, w->number.ptr + NUMBER_MAX - len, len);
    if (w->number.ptr[NUMBER_MAX - len] & 0x80)
        put_byte(w, 0);
    put_head(w, 0x02, end);
}

static void put_version(writer *w, uint8_t version)
{
    put(w, (const uint8_t[]){0x02, 1, version}, 3);
}

static void put_rsa(writer *w, EVP_PKEY *key)
{
    static const char *const names[] = {OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT2,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                        OSSL_PKEY_PARAM_RSA_FACTOR2,
                                        OSSL_PKEY_PARAM_RSA_FACTOR1,
                                        OSSL_PKEY_PARAM_RSA_D,
                                        OSSL_PKEY_PARAM_RSA_E,
                                        OSSL_PKEY_PARAM_RSA_N};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put_integer(w, key, names[i]);
    put_version(w, 0);
    put_head(w, 0x30, DER_MAX);
}

static void put_ec(writer *w, EVP_PKEY *key, bool p256)
{
    static const uint8_t secp256r1[] = {0xA0, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
    static const uint8_t secp384r1[] = {0xA0, 0x07, 0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22};
    size_t size = p256 ? 32 : 48, len = 0;
    uint8_t point[POINT_MAX];
    w->ok = w->ok &&
            EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof point, &len) == 1 &&
            len == 1 + 2 * size;
    put(w, point, w->ok ? len : 0);
    put_byte(w, 0);
    put_head(w, 0x03, DER_MAX);
    put_head(w, 0xA1, DER_MAX);
    put(w, p256 ? secp256r1 : secp384r1, p256 ? sizeof secp256r1 : sizeof secp384r1);
    w->ok = load_number(w, key, OSSL_PKEY_PARAM_PRIV_KEY) <= size && w->ok;
    put(w, w->number.ptr + NUMBER_MAX - size, size);
    put(w, (const uint8_t[]){0x04, (uint8_t)size}, 2);
    put_version(w, 1);
    put_head(w, 0x30, DER_MAX);
}

static enum ds_class finish(const writer *w, ds_secret *ret, ds_err *e)
{
    if (!w->ok)
        return ds_ossl_fail(e, DS_INTERNAL, "encode a private key");
    if (ds_secret_new(ret, DER_MAX - w->at, e))
        return DS_INTERNAL;
    memcpy(ret->ptr, w->room.ptr + w->at, ret->len);
    return DS_OK;
}

enum ds_class ds_key_der(EVP_PKEY *key, ds_secret *ret, ds_err *e)
{
    writer w = {.at = DER_MAX, .ok = true};
    enum ds_key_type type = ds_key_type_of(key);
    enum ds_class rc = ds_secret_new(&w.room, DER_MAX, e);
    if (!rc)
        rc = ds_secret_new(&w.number, NUMBER_MAX, e);
    if (!rc) {
        if (type == DS_KEY_ECDSA_P256 || type == DS_KEY_ECDSA_P384)
            put_ec(&w, key, type == DS_KEY_ECDSA_P256);
        else
            put_rsa(&w, key);
        rc = finish(&w, ret, e);
    }
    ds_secret_free(&w.number);
    ds_secret_free(&w.room);
    return rc;
}
