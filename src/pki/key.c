// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys behind URIs; see key.h. A token's private key is libp11's EVP_PKEY over the session that token.c logged in;
// where the key wants the PIN again at each use (CKA_ALWAYS_AUTHENTICATE), libp11 asks through an OpenSSL UI, which
// answers from guarded memory.
#include "src/pki/key.h"
#include "src/pki/attest.h"
#include "src/pki/keyfile.h"
#include "src/pki/token.h"

#include <libp11.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ui.h>
#include <p11-kit/pkcs11.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ds_key {
    EVP_PKEY *private_key, *public_key;
    char *path; // of a file key
    ds_token *token;
    ds_token_key object;
    PKCS11_CTX *ctx;
    PKCS11_SLOT *slots;
    unsigned slot_count;
    UI_METHOD *ui;
    const ds_secret *pin;
    bool touch;       // it wants to be touched
    bool login_first; // it wants the PIN before each use, and libp11 does not know
};

enum ds_class ds_key_uri_check(const char *uri, bool *ret_token, ds_err *e)
{
    *ret_token = strncmp(uri, "pkcs11:", 7) == 0;
    if (*ret_token)
        return ds_token_uri_check(uri, e);
    if (strncmp(uri, "file:", 5) != 0 || !uri[5])
        return ds_hint((ds_fail(e, DS_USAGE, "\"%.60s\" names no key", uri), e),
                       "use file:PATH or pkcs11:token=NAME;object=NAME");
    return DS_OK;
}

void ds_key_free(ds_key *k)
{
    if (!k)
        return;
    EVP_PKEY_free(k->private_key);
    EVP_PKEY_free(k->public_key);
    if (k->slots)
        PKCS11_release_all_slots(k->ctx, k->slots, k->slot_count);
    if (k->ctx) {
        PKCS11_CTX_unload(k->ctx);
        PKCS11_CTX_free(k->ctx);
    }
    UI_destroy_method(k->ui);
    ds_token_key_free(&k->object);
    ds_token_close(k->token);
    free(k->path);
    free(k);
}

void ds_key_destroy(ds_key *k)
{
    if (!k)
        return;
    if (k->path)
        (void)unlink(k->path);
    if (k->token)
        ds_token_destroy(k->token, &k->object);
}

// libp11 asks for the PIN of one use of the key.
static int answer_pin(UI *ui, UI_STRING *question)
{
    const ds_secret *pin = UI_get0_user_data(ui);
    if (UI_get_string_type(question) != UIT_PROMPT || !pin || !pin->ptr)
        return 0;
    return UI_set_result_ex(ui, question, (const char *)pin->ptr, (int)pin->len) == 0;
}

static enum ds_class load_libp11(ds_key *k, ds_err *e)
{
    k->ctx = PKCS11_CTX_new();
    k->ui = UI_create_method("devstamp");
    if (!k->ctx || !k->ui || UI_method_set_reader(k->ui, answer_pin) != 0)
        return ds_ossl_fail(e, DS_INTERNAL, "PKCS#11");
    void *pin = NULL; // libp11 hands it back to answer_pin, which only reads it
    memcpy(&pin, &k->pin, sizeof pin);
    if (PKCS11_CTX_load(k->ctx, ds_token_module(k->token)) != 0 || PKCS11_set_ui_method(k->ctx, k->ui, pin) != 0 ||
        PKCS11_enumerate_slots(k->ctx, &k->slots, &k->slot_count) != 0)
        return ds_hint((ds_ossl_fail(e, DS_TOKEN, "PKCS#11 module"), e),
                       "unplug the token, plug it in, then run again");
    return DS_OK;
}

static EVP_PKEY *pick_private(PKCS11_TOKEN *token, const ds_token_key *want)
{
    PKCS11_KEY *keys = NULL;
    unsigned count = 0;
    if (PKCS11_enumerate_keys(token, &keys, &count) != 0)
        return NULL;
    for (unsigned i = 0; i < count; i++)
        if (keys[i].id_len == want->id_len && memcmp(keys[i].id, want->id, want->id_len) == 0 &&
            (!keys[i].label || strcmp(keys[i].label, want->label) == 0))
            return PKCS11_get_private_key(&keys[i]);
    return NULL;
}

static enum ds_class attach_private(ds_key *k, ds_err *e)
{
    if (load_libp11(k, e))
        return DS_TOKEN;
    for (unsigned i = 0; i < k->slot_count; i++)
        if (k->slots[i].token && PKCS11_get_slotid_from_slot(&k->slots[i]) == ds_token_slot(k->token))
            k->private_key = pick_private(k->slots[i].token, &k->object);
    if (!k->private_key)
        return ds_hint((ds_ossl_fail(e, DS_TOKEN, "use the token's private key"), e),
                       "unplug the token, plug it in, then run again");
    return DS_OK;
}

// Which policies the key has, where its attestation says so. It is not verified for that: a false one gains nothing but
// a login more, or a word too many.
static void learn_policies(ds_key *k)
{
    X509 *leaf = NULL;
    STACK_OF(X509) *chain = NULL;
    ds_attestation a;
    if (ds_token_attestation(k->token, &k->object, &leaf, &chain, NULL))
        return;
    if (!ds_attestation_read(leaf, &a, NULL)) {
        k->touch = a.touch_policy > DS_TOUCH_POLICY_NEVER;
        k->login_first = a.pin_policy == DS_PIN_POLICY_ALWAYS && !k->object.each_use;
    }
    X509_free(leaf);
    sk_X509_pop_free(chain, X509_free);
}

static enum ds_class open_token(ds_key *k, const ds_key_source *src, enum ds_key_type create, ds_err *e)
{
    const ds_token_access access = {
        .uri = src->uri,
        .module = src->module,
        .pin = src->pin,
        .note = src->note,
        .rw = create != DS_KEY_NONE,
        .serial = src->serial,
    };
    k->pin = src->pin;
    enum ds_class rc = ds_token_open(&access, &k->token, e);
    if (rc)
        return rc;
    const ds_token_new what = {.type = create};
    rc = create != DS_KEY_NONE ? ds_token_generate(k->token, &what, &k->object, e)
                               : ds_token_find(k->token, &k->object, e);
    if (rc)
        return rc;
    k->public_key = EVP_PKEY_dup(k->object.public_key);
    rc = k->public_key ? attach_private(k, e) : ds_ossl_fail(e, DS_INTERNAL, "public key");
    if (rc && create != DS_KEY_NONE)
        ds_token_destroy(k->token, &k->object);
    if (!rc)
        learn_policies(k);
    return rc;
}

enum ds_class ds_key_ready(ds_key *k, ds_err *e)
{
    return k->login_first ? ds_token_login_again(k->token, k->pin, e) : DS_OK;
}

bool ds_key_wants_touch(const ds_key *k)
{
    return k->touch;
}

enum ds_class ds_key_attestation(const ds_key *k, X509 **ret_leaf, STACK_OF(X509) * *ret_chain, ds_err *e)
{
    if (!k->token)
        return ds_fail(e, DS_USAGE, "a key in a file has no attestation");
    return ds_token_attestation(k->token, &k->object, ret_leaf, ret_chain, e);
}

static enum ds_class public_half(ds_key *k, ds_err *e)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(k->private_key, &der);
    const unsigned char *p = der;
    k->public_key = len > 0 ? d2i_PUBKEY(NULL, &p, len) : NULL;
    OPENSSL_free(der);
    return k->public_key ? DS_OK : ds_ossl_fail(e, DS_INTERNAL, "public key");
}

static enum ds_class open_file(ds_key *k, const char *path, enum ds_key_type create, ds_err *e)
{
    enum ds_class rc;
    if (create == DS_KEY_NONE) {
        rc = ds_key_file_read(path, &k->private_key, e);
    } else {
        rc = ds_key_make(create, &k->private_key, e);
        if (!rc)
            rc = ds_key_file_write(path, k->private_key, e);
    }
    if (rc)
        return rc;
    k->path = ds_strdup(path);
    return public_half(k, e);
}

static enum ds_class open_any(const ds_key_source *src, enum ds_key_type create, ds_key **ret, ds_err *e)
{
    bool token = false;
    enum ds_class rc = ds_key_uri_check(src->uri, &token, e);
    if (rc)
        return rc;
    ds_key *k = ds_alloc(sizeof *k);
    rc = token ? open_token(k, src, create, e) : open_file(k, src->uri + 5, create, e);
    if (rc) {
        ds_key_free(k);
        return rc;
    }
    *ret = k;
    return DS_OK;
}

enum ds_class ds_key_open(const ds_key_source *src, ds_key **ret, ds_err *e)
{
    return open_any(src, DS_KEY_NONE, ret, e);
}

enum ds_class ds_key_create(const ds_key_source *src, enum ds_key_type type, ds_key **ret, ds_err *e)
{
    if (!ds_key_kind_of(type))
        return ds_fail(e, DS_USAGE, "no such key type");
    return open_any(src, type, ret, e);
}

static bool sign_digest(EVP_PKEY *key, const uint8_t digest[32], uint8_t *ret, size_t *ret_len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool ok = ctx && EVP_PKEY_sign_init(ctx) > 0;
    if (ok && EVP_PKEY_is_a(key, "RSA"))
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
             EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) > 0 && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 32) > 0;
    ok = ok && EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0 && EVP_PKEY_sign(ctx, ret, ret_len, digest, 32) > 0;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

enum ds_class ds_key_sign_digest(ds_key *k, const uint8_t digest[32], uint8_t *ret, size_t *ret_len, ds_err *e)
{
    if (ds_key_ready(k, e))
        return ds_key_failed(k, e);
    if (k->token && EVP_PKEY_is_a(k->public_key, "RSA")) {
        size_t len = *ret_len;
        enum ds_class rc = ds_token_sign_pss(k->token, &k->object, k->pin, digest, ret, &len, e);
        if (!rc)
            *ret_len = len;
        if (!rc || (e->code != CKR_MECHANISM_INVALID && e->code != CKR_MECHANISM_PARAM_INVALID))
            return rc ? ds_key_failed(k, e) : DS_OK;
    }
    if (sign_digest(k->private_key, digest, ret, ret_len))
        return DS_OK;
    (void)ds_ossl_fail(e, k->token ? DS_TOKEN : DS_INPUT, "sign");
    return ds_key_failed(k, e);
}

enum ds_class ds_key_sign(ds_key *k, ds_view message, uint8_t *ret, size_t *ret_len, ds_err *e)
{
    if (ds_key_ready(k, e))
        return ds_key_failed(k, e);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestSignInit(md, NULL, ds_key_digest_md(k->public_key), NULL, k->private_key) == 1 &&
              EVP_DigestSign(md, ret, ret_len, message.ptr, message.len) == 1;
    EVP_MD_CTX_free(md);
    if (ok)
        return DS_OK;
    (void)ds_ossl_fail(e, k->token ? DS_TOKEN : DS_INPUT, "sign");
    return ds_key_failed(k, e);
}

bool ds_key_verify(EVP_PKEY *public_key, ds_view message, ds_view signature)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestVerifyInit(md, NULL, ds_key_digest_md(public_key), NULL, public_key) == 1 &&
              EVP_DigestVerify(md, signature.ptr, signature.len, message.ptr, message.len) == 1;
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return ok;
}

enum ds_class ds_key_failed(const ds_key *k, ds_err *e)
{
    if (!k->token || !e)
        return e ? e->cls : DS_TOKEN;
    if (e->cls == DS_TOKEN && ds_token_code_is_pin(e->code))
        ds_token_pin_refused(k->token);
    return ds_token_explain(k->token, e);
}

EVP_PKEY *ds_key_private(const ds_key *k)
{
    return k->private_key;
}

EVP_PKEY *ds_key_public(const ds_key *k)
{
    return k->public_key;
}

bool ds_key_is_serial(const ds_key *k)
{
    return k->token && (k->object.each_use || k->login_first || k->touch);
}
