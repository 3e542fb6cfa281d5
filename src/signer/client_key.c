// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys that the signer makes for devices, asked for by the station, which carries what it cannot open. Neither token
// nor log is needed: there is nothing to wait for.
#include "src/signer/client.h"

#include <openssl/sha.h>
#include <string.h>

static enum ds_class take(const Devstamp__Signer__Reply *reply, ds_sealed_key *ret, ds_err *e)
{
    const Devstamp__Signer__MadeKey *body = reply->made_key;
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_MADE_KEY || body->public_key.len == 0 ||
        body->encapsulated.len != sizeof ret->encapsulated || body->sealed.len == 0)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    *ret = (ds_sealed_key){0};
    SHA256(body->public_key.data, body->public_key.len, ret->public_key_digest);
    memcpy(ret->encapsulated, body->encapsulated.data, sizeof ret->encapsulated);
    ds_buf_add(&ret->sealed, body->sealed.data, body->sealed.len);
    return DS_OK;
}

enum ds_class ds_signer_make_key(ds_signer *s, const char *recipe, int key_type, ds_view transport, ds_sealed_key *ret,
                                 ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__MakeKey body = DEVSTAMP__SIGNER__MAKE_KEY__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    body.recipe = ds_client_text(recipe);
    body.key_type = (uint32_t)key_type;
    body.transport_key = ds_client_binary(transport.ptr, transport.len);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_KEY;
    request.make_key = &body;
    enum ds_class rc = ds_client_ask(s, &request, &reply, &own);
    if (!rc)
        rc = take(reply, ret, &own);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}

static enum ds_class take_opened(const Devstamp__Signer__Reply *reply, const ds_sealed_key *stamp, ds_sealed_key *ret,
                                 ds_err *e)
{
    const Devstamp__Signer__MadeKey *body = reply->made_key;
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_MADE_KEY ||
        body->encapsulated.len != sizeof ret->encapsulated || body->sealed.len == 0)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    *ret = (ds_sealed_key){0};
    memcpy(ret->public_key_digest, stamp->public_key_digest, sizeof ret->public_key_digest);
    memcpy(ret->encapsulated, body->encapsulated.data, sizeof ret->encapsulated);
    ds_buf_add(&ret->sealed, body->sealed.data, body->sealed.len);
    return DS_OK;
}

enum ds_class ds_signer_open_stamp(ds_signer *s, const char *recipe, const ds_sealed_key *stamp, ds_view transport,
                                   ds_sealed_key *ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__OpenStamp body = DEVSTAMP__SIGNER__OPEN_STAMP__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    body.recipe = ds_client_text(recipe);
    body.public_key_digest = ds_client_binary(stamp->public_key_digest, sizeof stamp->public_key_digest);
    body.encapsulated = ds_client_binary(stamp->encapsulated, sizeof stamp->encapsulated);
    body.sealed = ds_client_binary(stamp->sealed.ptr, stamp->sealed.len);
    body.transport_key = ds_client_binary(transport.ptr, transport.len);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_OPEN_STAMP;
    request.open_stamp = &body;
    enum ds_class rc = ds_client_ask(s, &request, &reply, &own);
    if (!rc)
        rc = take_opened(reply, stamp, ret, &own);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}

static enum ds_class take_stamp(ds_signer *s, const Devstamp__Signer__Reply *reply, ds_buf *ret_der, ds_sealed_key *ret,
                                ds_err *e)
{
    const Devstamp__Signer__MadeStamp *body = reply->made_stamp;
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_MADE_STAMP || !body->sign ||
        body->encapsulated.len != sizeof ret->encapsulated || body->sealed.len == 0 ||
        body->sign->certificate.len == 0 || body->sign->log_root.len != 32)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    *ret = (ds_sealed_key){0};
    memcpy(ret->encapsulated, body->encapsulated.data, sizeof ret->encapsulated);
    ds_buf_add(&ret->sealed, body->sealed.data, body->sealed.len);
    ds_buf_add(ret_der, body->sign->certificate.data, body->sign->certificate.len);
    pthread_mutex_lock(&s->mutex);
    ds_client_take_log(s, body->sign->log_entries, &body->sign->log_root);
    pthread_mutex_unlock(&s->mutex);
    return DS_OK;
}

enum ds_class ds_signer_make_stamp(ds_signer *s, const ds_sign_request *req, ds_view pool_key, ds_buf *ret_der,
                                   ds_sealed_key *ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__Sign sign = DEVSTAMP__SIGNER__SIGN__INIT;
    Devstamp__Signer__MakeStamp body = DEVSTAMP__SIGNER__MAKE_STAMP__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    sign.serial = ds_client_binary(req->serial, 16);
    sign.not_before_utc = req->not_before_utc;
    sign.not_after_utc = req->not_after_utc;
    sign.subject = ds_client_text(req->subject);
    sign.key_type = (uint32_t)req->key_type;
    sign.recipe = ds_client_text(req->recipe);
    sign.device_serial = ds_client_text(req->device_serial);
    sign.mac = ds_client_text(req->mac);
    body.sign = &sign;
    body.pool_key = ds_client_binary(pool_key.ptr, pool_key.len);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_STAMP;
    request.make_stamp = &body;
    enum ds_class rc = ds_client_ask(s, &request, &reply, &own);
    if (!rc)
        rc = take_stamp(s, reply, ret_der, ret, &own);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}
