// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Ceremonies, the parent's side; see ceremony.h.
#include "src/signer/ceremony.h"
#include "src/signer/child.h"

#include <string.h>

enum { CEREMONY_MS = 300000 }; // a token may take minutes for an RSA key

// protobuf-c wants everything writable and only reads it.
static char *text(const char *s)
{
    char *p = NULL;
    memcpy(&p, &s, sizeof p);
    return p;
}

enum ds_class ds_ceremony_ask(const ds_signer_config *access, const Devstamp__Signer__Request *request,
                              ds_ceremony_result *ret, ds_err *e)
{
    const ds_signer_args args = {.config = {.module = access->module,
                                            .pin = access->pin,
                                            .pin_file = access->pin_file,
                                            .pin_fd = access->pin_fd},
                                 .ceremony = true};
    ds_child child = {0};
    Devstamp__Signer__Reply *reply = NULL;
    enum ds_child_state state = DS_CHILD_FINE;
    enum ds_class rc = ds_child_start(&args, &child, e);
    if (rc)
        return rc;
    rc = ds_child_ask(&child, request, access->pin == DS_PIN_PROMPT ? -1 : CEREMONY_MS, &reply, &state, e);
    if (!rc && reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_CA)
        rc = ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    if (!rc) {
        ds_buf_add(&ret->root, reply->ca->root.data, reply->ca->root.len);
        ds_buf_add(&ret->certificate, reply->ca->certificate.data, reply->ca->certificate.len);
        ret->from_log = reply->ca->from_log;
        ret->number = reply->ca->number;
    }
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (state == DS_CHILD_SILENT) {
        ds_child_kill(&child);
        (void)ds_hint(e, "unplug the token, plug it in, then look which keys it holds before you run again");
    } else {
        ds_child_end(&child);
    }
    return rc;
}

enum ds_class ds_ceremony_make_ca(const ds_signer_config *access, const ds_ca_request *req, ds_ceremony_result *ret,
                                  ds_err *e)
{
    Devstamp__Signer__MakeCa body = DEVSTAMP__SIGNER__MAKE_CA__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.root_key = text(req->root_key);
    body.sub_key = text(req->sub_key);
    body.existing = req->existing;
    body.sub_existing = req->sub_existing;
    body.root_key_type = (uint32_t)req->root_key_type;
    body.sub_key_type = (uint32_t)req->sub_key_type;
    body.root_subject = text(req->root_subject);
    body.sub_subject = text(req->sub_subject);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    body.folder = text(req->folder);
    body.maker_root = text(req->maker_root ? req->maker_root : "");
    body.attestation = text(req->attestation ? req->attestation : "");
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_CA;
    request.make_ca = &body;
    return ds_ceremony_ask(access, &request, ret, e);
}

enum ds_class ds_ceremony_make_server(const ds_signer_config *access, const ds_server_request *req,
                                      ds_ceremony_result *ret, ds_err *e)
{
    Devstamp__Signer__MakeServer body = DEVSTAMP__SIGNER__MAKE_SERVER__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.root_key = text(req->root_key);
    body.folder = text(req->folder);
    body.csr.len = req->csr.len;
    memcpy(&body.csr.data, &req->csr.ptr, sizeof req->csr.ptr);
    body.n_host = req->host_count;
    memcpy(&body.host, &req->hosts, sizeof req->hosts);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_SERVER;
    request.make_server = &body;
    return ds_ceremony_ask(access, &request, ret, e);
}
