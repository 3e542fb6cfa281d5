// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signing for a release, the parent's side; see order.h.
#include "src/signer/child.h"
#include "src/signer/order.h"

#include <string.h>

enum { ORDER_MS = 120000 };

// protobuf-c wants everything writable and only reads it.
static char *text(const char *s)
{
    char *p = NULL;
    memcpy(&p, &s, sizeof p);
    return p;
}

static enum ds_class take_answer(const Devstamp__Signer__Reply *reply, ds_answer *ret, ds_err *e)
{
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_SIGN_ORDER)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    return ds_answer_parse((ds_view){reply->sign_order->answer.data, reply->sign_order->answer.len}, ret, e);
}

enum ds_class ds_order_have_signed(const ds_signer_config *access, const ds_order_sign *s, ds_answer *ret, ds_err *e)
{
    const ds_signer_args args = {.config = {.module = access->module,
                                            .token_serial = access->token_serial,
                                            .pin = access->pin,
                                            .pin_file = access->pin_file,
                                            .pin_fd = access->pin_fd},
                                 .ceremony = true};
    Devstamp__Signer__SignOrder body = DEVSTAMP__SIGNER__SIGN_ORDER__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    enum ds_child_state state = DS_CHILD_FINE;
    ds_child child = {0};
    body.key = text(s->key);
    body.order.len = s->order.len;
    memcpy(&body.order.data, &s->order.ptr, sizeof s->order.ptr);
    body.image = text(s->image ? s->image : "");
    body.beside = text(s->beside);
    body.network = s->network;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_SIGN_ORDER;
    request.sign_order = &body;
    enum ds_class rc = ds_child_start(&args, &child, e);
    if (rc)
        return rc;
    rc = ds_child_ask(&child, &request, access->pin == DS_PIN_PROMPT ? -1 : ORDER_MS, &reply, &state, e);
    if (!rc)
        rc = take_answer(reply, ret, e);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (state == DS_CHILD_SILENT)
        ds_child_kill(&child);
    else
        ds_child_end(&child);
    return rc;
}
