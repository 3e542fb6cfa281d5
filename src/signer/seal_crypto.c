// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The seal's cryptography, all of it libsodium's: Argon2id (RFC 9106) for passphrases, BLAKE2b (RFC 7693, with salt and
// personalization) for keys, XChaCha20-Poly1305 for the data key and the secrets. docs/seal.md says what is computed of
// what. Every key lives in guarded memory.
#include "src/signer/seal_int.h"

#include <sodium.h>
#include <string.h>

enum { PERSON = crypto_generichash_blake2b_PERSONALBYTES };
static const uint8_t person_key[PERSON] = "devstamp key 1", person_any[PERSON] = "devstamp any 1",
                     person_all[PERSON] = "devstamp all 1";
static const uint8_t wrap_ad[] = {'d', 'e', 'v', 's', 't', 'a', 'm', 'p', ' ', 'w', 'r', 'a', 'p', ' ', '1'};
static const char pin_name[] = "pin";

_Static_assert(SEAL_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(SEAL_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(SEAL_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(sizeof((ds_seal_unlocker *)0)->salt == crypto_pwhash_argon2id_SALTBYTES, "salt of Argon2id");
_Static_assert(sizeof((ds_seal_unlocker *)0)->salt == crypto_generichash_blake2b_SALTBYTES, "salt of BLAKE2b");

static enum ds_class hash(const ds_secret *in, const uint8_t *salt, const uint8_t *person, ds_secret *ret, ds_err *e)
{
    ds_secret out = {0};
    enum ds_class rc = ds_secret_new(&out, SEAL_KEY, e);
    if (!rc &&
        crypto_generichash_blake2b_salt_personal(out.ptr, SEAL_KEY, in->ptr, in->len, NULL, 0, salt, person) != 0)
        rc = ds_fail(e, DS_INTERNAL, "hash");
    if (rc)
        ds_secret_free(&out);
    else
        *ret = out;
    return rc;
}

enum ds_class ds_seal_share_passphrase(const ds_seal_unlocker *u, const ds_secret *passphrase, ds_secret *ret,
                                       ds_err *e)
{
    ds_secret out = {0};
    const char *text = (const char *)passphrase->ptr;
    enum ds_class rc = ds_secret_new(&out, SEAL_KEY, e);
    if (!rc && crypto_pwhash_argon2id(out.ptr, SEAL_KEY, text, passphrase->len, u->salt, u->passes,
                                      (size_t)u->memory_kib * 1024, crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
        rc = ds_hint((ds_fail(e, DS_INTERNAL, "no memory for Argon2id over %u KiB", u->memory_kib), e),
                     "end other programs on this computer, or let the officer seal with less (--kdf-memory)");
    if (rc)
        ds_secret_free(&out);
    else
        *ret = out;
    return rc;
}

enum ds_class ds_seal_share_key(const ds_seal_unlocker *u, const ds_secret *key, ds_secret *ret, ds_err *e)
{
    return hash(key, u->salt, person_key, ret, e);
}

// The key that wraps the data key: of one share, or of all in their order.
static enum ds_class wrap_key(const ds_secret *shares, size_t count, bool all, ds_secret *ret, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret together = {0};
    enum ds_class rc = ds_secret_new(&together, count * SEAL_KEY, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < count; i++)
        memcpy(together.ptr + i * SEAL_KEY, shares[i].ptr, SEAL_KEY);
    return hash(&together, NULL, all ? person_all : person_any, ret, e);
}

enum ds_class ds_seal_wrap(const ds_secret *shares, size_t count, bool all, const ds_secret *data_key, uint8_t *ret,
                           ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret key = {0};
    enum ds_class rc = wrap_key(shares, count, all, &key, e);
    if (rc)
        return rc;
    ds_random(ret, SEAL_NONCE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(ret + SEAL_NONCE, NULL, data_key->ptr, SEAL_KEY, wrap_ad,
                                                     sizeof wrap_ad, NULL, ret, key.ptr);
    return DS_OK;
}

bool ds_seal_unwrap(const ds_secret *shares, size_t count, bool all, const uint8_t *wrap, ds_secret *ret)
{
    DS_CLEANUP_SECRET ds_secret key = {0};
    ds_secret out = {0};
    bool good = !wrap_key(shares, count, all, &key, NULL) && !ds_secret_new(&out, SEAL_KEY, NULL) &&
                crypto_aead_xchacha20poly1305_ietf_decrypt(out.ptr, NULL, NULL, wrap + SEAL_NONCE, SEAL_KEY + SEAL_TAG,
                                                           wrap_ad, sizeof wrap_ad, wrap, key.ptr) == 0;
    if (good)
        *ret = out;
    else
        ds_secret_free(&out);
    return good;
}

enum ds_class ds_seal_put_secrets(const ds_secret *data_key, const ds_secret *pin, ds_buf *bytes, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret plain = {0};
    size_t name_len = sizeof pin_name - 1, used = 1 + name_len + 2 + pin->len;
    size_t len = (used / SEAL_PAD + 1) * SEAL_PAD; // at least one zero follows
    enum ds_class rc = ds_secret_new(&plain, len, e);
    if (rc)
        return rc;
    plain.ptr[0] = (uint8_t)name_len;
    memcpy(plain.ptr + 1, pin_name, name_len);
    ds_put_le16(plain.ptr + 1 + name_len, (uint16_t)pin->len);
    memcpy(plain.ptr + 3 + name_len, pin->ptr, pin->len);
    uint8_t nonce[SEAL_NONCE];
    ds_random(nonce, sizeof nonce);
    ds_buf_add(bytes, nonce, sizeof nonce);
    ds_buf_add_le32(bytes, (uint32_t)(len + SEAL_TAG));
    size_t head = bytes->len;
    ds_seal_put_length(bytes, head + len + SEAL_TAG + SEAL_DIGEST);
    ds_buf_resize(bytes, head + len + SEAL_TAG, 0);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(bytes->ptr + head, NULL, plain.ptr, len, bytes->ptr, head, NULL,
                                                     nonce, data_key->ptr);
    return DS_OK;
}

// The value behind a name; names of later devstamps are passed over.
static bool find(const ds_secret *plain, const char *name, ds_view *ret)
{
    size_t at = 0;
    while (at < plain->len && plain->ptr[at]) {
        ds_view all = {plain->ptr, plain->len}, head, found, value;
        if (!ds_view_slice(all, at + 1, plain->ptr[at], &found) || !ds_view_slice(all, at + 1 + found.len, 2, &head) ||
            !ds_view_slice(all, at + 3 + found.len, ds_le16(head.ptr), &value))
            return false;
        if (found.len == strlen(name) && memcmp(found.ptr, name, found.len) == 0) {
            *ret = value;
            return value.len > 0;
        }
        at += 3 + found.len + value.len;
    }
    return false;
}

enum ds_class ds_seal_take_secrets(const ds_seal *s, const ds_secret *data_key, ds_secret *ret_pin, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret plain = {0};
    ds_secret pin = {0};
    ds_view value = {NULL, 0};
    enum ds_class rc = ds_secret_new(&plain, s->ciphertext.len - SEAL_TAG, e);
    if (rc)
        return rc;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain.ptr, NULL, NULL, s->ciphertext.ptr, s->ciphertext.len,
                                                   s->head.ptr, s->head.len, s->nonce.ptr, data_key->ptr) != 0)
        return ds_hint((ds_fail(e, DS_INPUT, "it was changed after the officer made it"), e),
                       "put the officer's copy back, and find out who changed it; no PIN was tried");
    if (!find(&plain, pin_name, &value))
        return ds_hint((ds_fail(e, DS_INPUT, "it holds no PIN"), e), "let the officer make a new seal");
    rc = ds_secret_new(&pin, value.len, e);
    if (rc)
        return rc;
    memcpy(pin.ptr, value.ptr, value.len);
    *ret_pin = pin;
    return DS_OK;
}
