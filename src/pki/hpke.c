// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One message sealed to a public key; see hpke.h. Section numbers are RFC 9180's. Written apart from
// agent/core/import.c, which opens what this seals.
#include "src/pki/hpke.h"

#include "src/pki/keytype.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { HASH = 32, KEY = 16, NONCE = 12, LABELED_MAX = 512 };

static const uint8_t kem_suite[] = {'K', 'E', 'M', 0x00, 0x10};
static const uint8_t hpke_suite[] = {'H', 'P', 'K', 'E', 0x00, 0x10, 0x00, 0x01, 0x00, 0x01};

typedef struct schedule {
    uint8_t key[KEY], nonce[NONCE];
} schedule;

static void add_label(ds_buf *b, ds_view suite, const char *label)
{
    ds_buf_add(b, "HPKE-v1", 7);
    ds_buf_add(b, suite.ptr, suite.len);
    ds_buf_add(b, label, strlen(label));
}

static bool hmac(ds_view key, const ds_buf *data, uint8_t ret[HASH])
{
    unsigned len = 0;
    static const uint8_t none[1] = {0};
    return HMAC(EVP_sha256(), key.ptr ? key.ptr : none, (int)key.len, data->ptr, data->len, ret, &len) && len == HASH;
}

// 4: LabeledExtract.
static bool extract(ds_view salt, ds_view suite, const char *label, ds_view ikm, uint8_t ret[HASH])
{
    ds_buf b = {0};
    ds_buf_resize(&b, LABELED_MAX, 0); // no copy of a secret is left behind by growing
    ds_buf_clear(&b);
    add_label(&b, suite, label);
    ds_buf_add(&b, ikm.ptr, ikm.len);
    bool ok = hmac(salt, &b, ret);
    ds_wipe(b.ptr, b.len);
    ds_buf_free(&b);
    return ok;
}

// 4: LabeledExpand of at most one block.
static bool expand(const uint8_t prk[HASH], ds_view suite, const char *label, ds_view info, uint8_t *ret, size_t len)
{
    DS_CLEANUP_BUF ds_buf b = {0};
    uint8_t block[HASH];
    ds_buf_add_u8(&b, 0);
    ds_buf_add_u8(&b, (uint8_t)len);
    add_label(&b, suite, label);
    ds_buf_add(&b, info.ptr, info.len);
    ds_buf_add_u8(&b, 1);
    bool ok = hmac((ds_view){prk, HASH}, &b, block);
    if (ok)
        memcpy(ret, block, len);
    ds_wipe(block, sizeof block);
    return ok;
}

// 4.1 (ExtractAndExpand) and 5.1 (KeySchedule).
static bool make_schedule(const uint8_t dh[HASH], ds_view sender, ds_view recipient, const char *info, schedule *ret)
{
    const ds_view kem = {kem_suite, sizeof kem_suite}, hpke = {hpke_suite, sizeof hpke_suite}, none = {NULL, 0};
    uint8_t prk[HASH], shared[HASH], secret[HASH], context[1 + 2 * HASH] = {0};
    const ds_view all = {context, sizeof context};
    DS_CLEANUP_BUF ds_buf both = {0};
    ds_buf_add(&both, sender.ptr, sender.len);
    ds_buf_add(&both, recipient.ptr, recipient.len);
    bool ok = extract(none, kem, "eae_prk", (ds_view){dh, HASH}, prk) &&
              expand(prk, kem, "shared_secret", ds_buf_view(&both), shared, HASH) &&
              extract(none, hpke, "psk_id_hash", none, context + 1) &&
              extract(none, hpke, "info_hash", (ds_view){(const uint8_t *)info, strlen(info)}, context + 1 + HASH) &&
              extract((ds_view){shared, HASH}, hpke, "secret", none, secret) &&
              expand(secret, hpke, "key", all, ret->key, KEY) &&
              expand(secret, hpke, "base_nonce", all, ret->nonce, NONCE);
    ds_wipe(prk, sizeof prk);
    ds_wipe(shared, sizeof shared);
    ds_wipe(secret, sizeof secret);
    return ok;
}

static EVP_PKEY *read_point(ds_view point)
{
    EVP_PKEY *key = NULL;
    if (point.len != DS_HPKE_PUBLIC || point.ptr[0] != 4)
        return NULL;
    char group[] = "P-256";
    uint8_t copy[DS_HPKE_PUBLIC];
    memcpy(copy, point.ptr, sizeof copy);
    OSSL_PARAM from[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                         OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof copy),
                         OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    bool ok = ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, from) == 1;
    EVP_PKEY_CTX_free(ctx);
    ctx = ok ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
    ok = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (!ok) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

static bool agree(EVP_PKEY *own, EVP_PKEY *other, uint8_t ret[HASH])
{
    size_t len = HASH;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1 &&
              EVP_PKEY_derive(ctx, ret, &len) == 1 && len == HASH;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

// All that both sides compute alike.
static bool know(EVP_PKEY *own, EVP_PKEY *other, ds_view sender, ds_view recipient, const char *info, schedule *ret)
{
    uint8_t dh[HASH];
    bool ok = agree(own, other, dh) && make_schedule(dh, sender, recipient, info, ret);
    ds_wipe(dh, sizeof dh);
    return ok;
}

static bool encrypt(const schedule *s, ds_view aad, const ds_secret *plain, ds_buf *ret)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    size_t at = ret->len;
    int len = 0, end = 0;
    ds_buf_resize(ret, at + plain->len + DS_HPKE_TAG, 0);
    uint8_t *out = ret->ptr + at;
    bool ok = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, s->key, s->nonce) == 1 &&
              EVP_EncryptUpdate(ctx, NULL, &len, aad.ptr, (int)aad.len) == 1 &&
              EVP_EncryptUpdate(ctx, out, &len, plain->ptr, (int)plain->len) == 1 &&
              EVP_EncryptFinal_ex(ctx, out + len, &end) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, DS_HPKE_TAG, out + plain->len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!ok)
        ds_buf_resize(ret, at, 0);
    return ok;
}

static bool decrypt(const schedule *s, ds_view aad, ds_view sealed, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    size_t n = sealed.len - DS_HPKE_TAG;
    uint8_t tag[DS_HPKE_TAG];
    memcpy(tag, sealed.ptr + n, sizeof tag);
    int len = 0, end = 0;
    bool ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, s->key, s->nonce) == 1 &&
              EVP_DecryptUpdate(ctx, NULL, &len, aad.ptr, (int)aad.len) == 1 &&
              EVP_DecryptUpdate(ctx, out, &len, sealed.ptr, (int)n) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, DS_HPKE_TAG, tag) == 1 &&
              EVP_DecryptFinal_ex(ctx, out + len, &end) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

enum ds_class ds_hpke_public(EVP_PKEY *key, uint8_t ret[DS_HPKE_PUBLIC], ds_err *e)
{
    size_t len = 0;
    if (ds_key_type_of(key) != DS_KEY_ECDSA_P256)
        return ds_fail(e, DS_INPUT, "it is no P-256 key");
    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, ret, DS_HPKE_PUBLIC, &len) != 1 ||
        len != DS_HPKE_PUBLIC)
        return ds_ossl_fail(e, DS_INTERNAL, "encode a public key");
    return DS_OK;
}

enum ds_class ds_hpke_seal(ds_view recipient, const ds_hpke_terms *terms, const ds_secret *plain,
                           uint8_t ret_sender[DS_HPKE_PUBLIC], ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_PKEY EVP_PKEY *to = read_point(recipient);
    DS_CLEANUP_PKEY EVP_PKEY *own = NULL;
    if (!to)
        return ds_ossl_fail(e, DS_INPUT, "the key to seal to is no point of P-256");
    if (ds_key_make(DS_KEY_ECDSA_P256, &own, e) || ds_hpke_public(own, ret_sender, e))
        return DS_INTERNAL;
    schedule s;
    bool ok = know(own, to, (ds_view){ret_sender, DS_HPKE_PUBLIC}, recipient, terms->info, &s) &&
              encrypt(&s, terms->aad, plain, ret);
    ds_wipe(&s, sizeof s);
    return ok ? DS_OK : ds_ossl_fail(e, DS_INTERNAL, "seal a message");
}

enum ds_class ds_hpke_open(EVP_PKEY *key, const ds_hpke_terms *terms, ds_view sender, ds_view sealed, ds_secret *ret,
                           ds_err *e)
{
    uint8_t own[DS_HPKE_PUBLIC];
    enum ds_class rc = ds_hpke_public(key, own, e);
    if (rc)
        return rc;
    DS_CLEANUP_PKEY EVP_PKEY *from = read_point(sender);
    if (!from || sealed.len <= DS_HPKE_TAG)
        return ds_ossl_fail(e, DS_INPUT, "this is no sealed message");
    DS_CLEANUP_SECRET ds_secret plain = {0};
    if (ds_secret_new(&plain, sealed.len - DS_HPKE_TAG, e))
        return DS_INTERNAL;
    schedule s;
    bool ok = know(key, from, sender, (ds_view){own, sizeof own}, terms->info, &s) &&
              decrypt(&s, terms->aad, sealed, plain.ptr);
    ds_wipe(&s, sizeof s);
    if (!ok)
        return ds_ossl_fail(e, DS_INPUT, "it was sealed to another key, or was changed");
    *ret = plain;
    plain = (ds_secret){0};
    return DS_OK;
}
