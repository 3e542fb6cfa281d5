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
