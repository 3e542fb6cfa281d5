// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signing for a release, the child's side; see order.h. What is signed is built here, of what the order says in words.
#include "src/signer/order_child.h"

#include "src/base/file.h"
#include "src/pki/statement.h"
#include "src/signer/issuer.h"
#include "src/signer/sandbox.h"

#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

typedef Devstamp__Signer__SignOrder asked_t;

// The image beside its order: it must make the very same one.
static enum ds_class compare_image(const asked_t *asked, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf image = {0}, order = {0};
    ds_order o = {.what = DS_ORDER_IMAGE};
    enum ds_class rc = ds_file_read(asked->image, DS_BUNDLE_PART_MAX, &image, e);
    if (!rc)
        rc = ds_order_of_image(ds_buf_view(&image), &o, e);
    if (!rc)
        rc = ds_order_write(&o, &order, e);
    if (!rc && (order.len != asked->order.len || memcmp(order.ptr, asked->order.data, order.len) != 0))
        rc = ds_fail(e, DS_INPUT, "the order is of another image");
    ds_order_free(&o);
    return rc ? ds_wrap(e, "%s", asked->image) : DS_OK;
}

static enum ds_class sign_digest(void *arg, enum ds_sbv2_scheme scheme, const uint8_t digest[32], uint8_t *ret,
                                 size_t *ret_len, ds_err *e)
{
    (void)scheme;
    return ds_key_sign_digest(arg, digest, ret, ret_len, e);
}

static enum ds_class sign_image(ds_key *key, const ds_order *o, ds_answer *a, ds_err *e)
{
    memcpy(a->digest, o->image.digest, 32);
    return ds_sbv2_make_block(ds_key_public(key), o->image.digest, sign_digest, key, a->block, e);
}

static enum ds_class take_key(ds_key *key, ds_answer *a, ds_err *e)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(ds_key_public(key), &der);
    enum ds_class rc = DS_OK;
    if (len <= 0 || (size_t)len > sizeof a->key)
        rc = ds_ossl_fail(e, DS_INTERNAL, "public key");
    else
        memcpy(a->key, der, a->key_len = (size_t)len);
    OPENSSL_free(der);
    return rc;
}

// What the text's signature is over; whether this key may give it.
static enum ds_class text_message(ds_key *key, const ds_order *o, ds_buf *ret, ds_err *e)
{
    if (o->what != DS_ORDER_STATEMENT) {
        ds_bundle_message(o->what == DS_ORDER_RELEASE ? DS_ROLE_RELEASE : DS_ROLE_APPROVAL, ds_buf_view(&o->text), ret);
        return ds_bundle_check_key(ds_key_public(key), o->manifest, e);
    }
    ds_statement_message(ds_buf_view(&o->text), ret);
    return ds_key_type_of(ds_key_public(key)) == DS_KEY_NONE ? ds_fail(e, DS_INPUT, "the key is none of our types")
                                                             : DS_OK;
}

static enum ds_class sign_text(ds_key *key, const ds_order *o, ds_answer *a, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf message = {0};
    SHA256(o->text.ptr, o->text.len, a->digest);
    a->signature_len = sizeof a->signature;
    enum ds_class rc = text_message(key, o, &message, e);
    if (!rc)
        rc = take_key(key, a, e);
    if (!rc)
        rc = ds_key_sign(key, ds_buf_view(&message), a->signature, &a->signature_len, e);
    if (!rc && !ds_key_verify(ds_key_public(key), ds_buf_view(&message), (ds_view){a->signature, a->signature_len}))
        rc = ds_fail(e, DS_TOKEN, "the signature that was made does not hold");
    return rc;
}

static enum ds_class sign_with(const ds_signer_config *access, const asked_t *asked, const ds_pin *pin,
                               const ds_order *o, ds_answer *a, ds_err *e)
{
    const ds_key_source src = {asked->key, access->module, &pin->secret, &pin->note, access->token_serial};
    ds_key *key = NULL;
    a->what = o->what;
    enum ds_class rc = ds_key_open(&src, &key, e);
    if (!rc)
        rc = asked->network ? ds_sandbox_enter_online(e) : ds_sandbox_enter(e);
    if (!rc)
        rc = o->what == DS_ORDER_IMAGE ? sign_image(key, o, a, e) : sign_text(key, o, a, e);
    ds_key_free(key);
    return rc;
}

enum ds_class ds_order_hold(const ds_signer_config *access, const Devstamp__Signer__SignOrder *asked, ds_buf *ret,
                            ds_err *e)
{
    ds_order o = {.what = DS_ORDER_IMAGE};
    ds_answer a = {.what = DS_ORDER_IMAGE};
    ds_pin pin = {0};
    bool token = false;
    enum ds_class rc = ds_order_parse((ds_view){asked->order.data, asked->order.len}, &o, e);
    if (!rc && asked->image[0])
        rc = compare_image(asked, e);
    if (!rc)
        rc = ds_key_uri_check(asked->key, &token, e);
    if (!rc) // nothing is asked for before all that can be wrong without it was looked at
        rc = ds_issuer_read_pin(access, asked->beside, &pin, e);
    if (!rc)
        rc = sign_with(access, asked, &pin, &o, &a, e);
    if (!rc)
        rc = ds_answer_write(&a, ret, e);
    ds_pin_free(&pin);
    ds_order_free(&o);
    return rc;
}
