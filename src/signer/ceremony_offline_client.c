// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Ceremonies with an off-line root, CRLs and verification certificates, the parent's side; see ceremony.h.
#include "src/signer/ceremony.h"

#include <stdlib.h>
#include <string.h>

// protobuf-c wants everything writable and only reads it.
static char *text(const char *s)
{
    char *p = NULL;
    memcpy(&p, &s, sizeof p);
    return p;
}

enum ds_class ds_ceremony_make_root(const ds_signer_config *access, const ds_root_request *req, ds_ceremony_result *ret,
                                    ds_err *e)
{
    Devstamp__Signer__MakeRoot body = DEVSTAMP__SIGNER__MAKE_ROOT__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.root_key = text(req->root_key);
    body.existing = req->existing;
    body.key_type = (uint32_t)req->key_type;
    body.subject = text(req->subject);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    body.folder = text(req->folder);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_ROOT;
    request.make_root = &body;
    return ds_ceremony_ask(access, &request, ret, e);
}

enum ds_class ds_ceremony_make_request(const ds_signer_config *access, const ds_root_request *req,
                                       ds_ceremony_result *ret, ds_err *e)
{
    Devstamp__Signer__MakeRequest body = DEVSTAMP__SIGNER__MAKE_REQUEST__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.key = text(req->root_key);
    body.existing = req->existing;
    body.key_type = (uint32_t)req->key_type;
    body.subject = text(req->subject);
    body.folder = text(req->folder);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_REQUEST;
    request.make_request = &body;
    return ds_ceremony_ask(access, &request, ret, e);
}

enum ds_class ds_ceremony_sign_sub(const ds_signer_config *access, const ds_sub_request *req, ds_ceremony_result *ret,
                                   ds_err *e)
{
    Devstamp__Signer__SignSub body = DEVSTAMP__SIGNER__SIGN_SUB__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Constraint *each = ds_alloc((req->constraint_count + 1) * sizeof *each);
    Devstamp__Signer__Constraint **list =
        ds_alloc((req->constraint_count + 1) * sizeof(Devstamp__Signer__Constraint *));
    for (size_t i = 0; i < req->constraint_count; i++) {
        each[i] = (Devstamp__Signer__Constraint)DEVSTAMP__SIGNER__CONSTRAINT__INIT;
        each[i].excluded = req->constraints[i].excluded;
        each[i].kind = (uint32_t)req->constraints[i].kind;
        each[i].text = text(req->constraints[i].text);
        list[i] = &each[i];
    }
    body.root_key = text(req->root_key);
    body.folder = text(req->folder);
    body.csr.len = req->csr.len;
    memcpy(&body.csr.data, &req->csr.ptr, sizeof req->csr.ptr);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    body.n_constraint = req->constraint_count;
    body.constraint = list;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_SIGN_SUB;
    request.sign_sub = &body;
    enum ds_class rc = ds_ceremony_ask(access, &request, ret, e);
    free(list);
    free(each);
    return rc;
}

enum ds_class ds_ceremony_make_crl(const ds_signer_config *access, const ds_crl_request *req, ds_ceremony_result *ret,
                                   ds_err *e)
{
    Devstamp__Signer__MakeCrl body = DEVSTAMP__SIGNER__MAKE_CRL__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.key = text(req->key);
    body.certificate = text(req->certificate);
    body.stem = text(req->stem);
    body.list = text(req->list);
    body.this_update_utc = req->this_update_utc;
    body.next_update_utc = req->next_update_utc;
    body.previous_lost = req->previous_lost;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_CRL;
    request.make_crl = &body;
    return ds_ceremony_ask(access, &request, ret, e);
}

enum ds_class ds_ceremony_make_verification(const ds_signer_config *access, const ds_verification_request *req,
                                            ds_ceremony_result *ret, ds_err *e)
{
    Devstamp__Signer__MakeVerification body = DEVSTAMP__SIGNER__MAKE_VERIFICATION__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.key = text(req->key);
    body.certificate = text(req->certificate);
    body.stem = text(req->stem);
    body.subject = text(req->subject);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_VERIFICATION;
    request.make_verification = &body;
    return ds_ceremony_ask(access, &request, ret, e);
}
