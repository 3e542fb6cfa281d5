// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer process itself: open, give up what is not needed any more, answer requests one after the other until the
// other side closes. After a failure of the token it answers and ends, so that its parent starts a fresh one: PKCS#11
// sessions do not survive a token that was pulled out.
#include "src/base/log.h"
#include "src/signer/args.h"
#include "src/signer/ceremony.h"
#include "src/signer/issuer.h"
#include "src/signer/sandbox.h"
#include "src/signer/wire.h"

#include <string.h>
#include <unistd.h>

enum { HEAD_EVERY = 256 }; // entries, at most, that the head beside the log is behind

typedef Devstamp__Signer__Request request_t;
typedef Devstamp__Signer__Reply reply_t;

static enum ds_class send_failure(int fd, ds_err *failure, ds_err *e)
{
    reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
    reply.error_class = failure->cls;
    reply.error_text = failure->text;
    reply.error_hint = failure->hint;
    reply.error_code = failure->code;
    return ds_wire_send(fd, &reply.base, e);
}

static void put_quota(ds_signer_quota *left, size_t count, Devstamp__Signer__Quota *wire,
                      Devstamp__Signer__Quota **list)
{
    for (size_t i = 0; i < count; i++) {
        wire[i] = (Devstamp__Signer__Quota)DEVSTAMP__SIGNER__QUOTA__INIT;
        wire[i].recipe = left[i].recipe;
        wire[i].certificates = left[i].certificates;
        wire[i].left = left[i].left;
        wire[i].until_utc = left[i].until_utc;
        wire[i].first = left[i].first;
        wire[i].last = left[i].last;
        list[i] = &wire[i];
    }
}

static enum ds_class answer_status(ds_issuer *i, const Devstamp__Signer__Status *asked, int fd, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    enum ds_class rc = asked->n_profile ? ds_profiles_take(&i->profiles, asked->profile, asked->n_profile, e) : DS_OK;
    if (!rc)
        rc = ds_cert_der(i->ca, &der, e);
    if (rc)
        return rc;
    uint8_t root[32];
    memcpy(root, ds_log_root(i->log), sizeof root);
    ds_signer_quota left[DS_QUOTA_MAX];
    Devstamp__Signer__Quota quota[DS_QUOTA_MAX], *list[DS_QUOTA_MAX];
    size_t count = ds_quota_list(i->quota, i->log, left);
    put_quota(left, count, quota, list);
    Devstamp__Signer__StatusReply status = DEVSTAMP__SIGNER__STATUS_REPLY__INIT;
    status.n_quota = count;
    status.quota = list;
    reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
    status.ca_subject = i->info.subject;
    status.ca_fingerprint = (ProtobufCBinaryData){32, i->info.fingerprint};
    status.ca_certificate = (ProtobufCBinaryData){der.len, der.ptr};
    status.log_entries = ds_log_entries(i->log);
    status.log_root = (ProtobufCBinaryData){32, root};
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_STATUS;
    reply.status = &status;
    return ds_wire_send(fd, &reply.base, e);
}

static enum ds_class answer_sign(ds_issuer *i, const Devstamp__Signer__Sign *sign, int fd, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    bool from_log = false;
    enum ds_class rc = ds_issuer_sign(i, sign, &der, &from_log, e);
    if (rc)
        return rc;
    uint8_t root[32];
    memcpy(root, ds_log_root(i->log), sizeof root);
    Devstamp__Signer__SignReply body = DEVSTAMP__SIGNER__SIGN_REPLY__INIT;
    reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body.certificate = (ProtobufCBinaryData){der.len, der.ptr};
    body.from_log = from_log;
    body.log_entries = ds_log_entries(i->log);
    body.log_root = (ProtobufCBinaryData){32, root};
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_SIGN;
    reply.sign = &body;
    return ds_wire_send(fd, &reply.base, e);
}

// The head beside the log is brought up to date too: this is asked for when a head is about to be remembered elsewhere.
static enum ds_class answer_consistency(ds_issuer *i, uint64_t from, int fd, ds_err *e)
{
    ds_merkle_proof proof = {0};
    ProtobufCBinaryData hashes[DS_MERKLE_PROOF_MAX];
    uint8_t root[32];
    enum ds_class rc = ds_issuer_put_head(i, e);
    if (!rc && from <= ds_log_entries(i->log))
        rc = ds_log_prove(i->log, from, &proof, e);
    if (rc)
        return rc;
    memcpy(root, ds_log_root(i->log), sizeof root);
    for (size_t n = 0; n < proof.count; n++)
        hashes[n] = (ProtobufCBinaryData){32, proof.hash[n]};
    Devstamp__Signer__ConsistencyReply body = DEVSTAMP__SIGNER__CONSISTENCY_REPLY__INIT;
    reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body.log_entries = ds_log_entries(i->log);
    body.log_root = (ProtobufCBinaryData){32, root};
    body.n_hash = proof.count;
    body.hash = hashes;
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_CONSISTENCY;
    reply.consistency = &body;
    return ds_wire_send(fd, &reply.base, e);
}

// A head that is old is no failure of the certificate just logged: it is told, and made up for with the next.
static void put_head_now_and_then(ds_issuer *i)
{
    ds_err e = DS_ERR_INIT;
    if (ds_log_entries(i->log) - ds_log_head_entries(i->log) >= HEAD_EVERY && ds_issuer_put_head(i, &e))
        ds_log(DS_LOG_WARN, "%s", e.text);
}

static enum ds_class answer(ds_issuer *i, const request_t *request, int fd, ds_err *e)
{
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_STATUS)
        return answer_status(i, request->status, fd, e);
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_SIGN)
        return answer_sign(i, request->sign, fd, e);
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_CONSISTENCY)
        return answer_consistency(i, request->consistency->from, fd, e);
    return ds_fail(e, DS_INPUT, "the signer was asked for something it does not do");
}

// One request: received, answered. *ret_end: there will be no more.
static enum ds_class serve_one(ds_issuer *i, int fd, bool *ret_end, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_wire_recv(fd, -1, &bytes, ret_end, e);
    if (rc || *ret_end)
        return rc;
    request_t *request = devstamp__signer__request__unpack(NULL, bytes.len, bytes.ptr);
    if (!request)
        return ds_fail(e, DS_TOKEN, "a request that cannot be read");
    ds_err failure = DS_ERR_INIT;
    rc = answer(i, request, fd, &failure);
    devstamp__signer__request__free_unpacked(request, NULL);
    if (!rc)
        return DS_OK;
    *ret_end = rc == DS_TOKEN;
    return send_failure(fd, &failure, e);
}

// The first request is answered with the reason why nothing can be signed.
static int refuse(int fd, ds_err *failure)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    bool end = false;
    if (!ds_wire_recv(fd, -1, &bytes, &end, NULL) && !end)
        (void)!send_failure(fd, failure, NULL);
    return 1;
}

int ds_signer_main(int fd, const ds_signer_config *cfg)
{
    ds_err e = DS_ERR_INIT;
    ds_issuer issuer = {0};
    if (ds_sandbox_harden(&e) || ds_issuer_open(cfg, cfg->log, &issuer, &e))
        return refuse(fd, &e);
    enum ds_class rc = ds_sandbox_enter(&e);
    if (rc) {
        ds_issuer_close(&issuer);
        return refuse(fd, &e);
    }
    bool end = false;
    while (!rc && !end) {
        rc = serve_one(&issuer, fd, &end, &e);
        put_head_now_and_then(&issuer);
    }
    if (!rc && ds_issuer_put_head(&issuer, &e))
        ds_log(DS_LOG_WARN, "%s", e.text);
    ds_issuer_close(&issuer);
    return rc ? 1 : 0;
}

int ds_ceremony_main(int fd, const ds_signer_config *cfg)
{
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    bool end = false;
    if (ds_sandbox_harden(&e))
        return refuse(fd, &e);
    if (ds_wire_recv(fd, -1, &bytes, &end, &e) || end)
        return 1;
    request_t *request = devstamp__signer__request__unpack(NULL, bytes.len, bytes.ptr);
    ds_ceremony_result made = {0};
    enum ds_class rc =
        request ? ds_ceremony_hold(cfg, request, &made, &e) : ds_fail(&e, DS_INPUT, "a request that cannot be read");
    if (request)
        devstamp__signer__request__free_unpacked(request, NULL);
    if (rc) {
        (void)!send_failure(fd, &e, NULL);
    } else {
        Devstamp__Signer__CaReply body = DEVSTAMP__SIGNER__CA_REPLY__INIT;
        reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
        body.root = (ProtobufCBinaryData){made.root.len, made.root.ptr};
        body.certificate = (ProtobufCBinaryData){made.certificate.len, made.certificate.ptr};
        body.from_log = made.from_log;
        body.number = made.number;
        reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_CA;
        reply.ca = &body;
        rc = ds_wire_send(fd, &reply.base, &e);
    }
    ds_buf_free(&made.root);
    ds_buf_free(&made.certificate);
    return rc ? 1 : 0;
}

_Noreturn void ds_signer_run(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_signer_args args;
    if (ds_signer_args_read(argc, argv, &args, &e)) {
        ds_log(DS_LOG_ERROR, "%s (%s)", e.text, e.hint);
        _exit(2);
    }
    _exit(args.ceremony ? ds_ceremony_main(args.fd, &args.config) : ds_signer_main(args.fd, &args.config));
}
