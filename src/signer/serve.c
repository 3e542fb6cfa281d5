// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer process itself: open, give up what is not needed any more, answer requests until the other side closes.
// Certificates are made at the desk, many at once; everything else is answered here while the desk rests. After a
// failure of the token it answers and ends, so that its parent starts a fresh one: PKCS#11 sessions do not survive a
// token that was pulled out.
#include "src/base/log.h"
#include "src/signer/args.h"
#include "src/signer/ceremony.h"
#include "src/signer/desk.h"
#include "src/signer/issuer.h"
#include "src/signer/keymaker.h"
#include "src/signer/order_child.h"
#include "src/signer/revoked.h"
#include "src/signer/sandbox.h"
#include "src/signer/wire.h"

#include <string.h>
#include <unistd.h>

enum { LAST_S = 10 };

typedef Devstamp__Signer__Request request_t;
typedef Devstamp__Signer__Reply reply_t;

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

static enum ds_class answer_status(ds_issuer *i, const request_t *request, bool first, int fd, ds_err *e)
{
    const Devstamp__Signer__Status *asked = request->status;
    DS_CLEANUP_BUF ds_buf der = {0};
    enum ds_class rc = DS_OK;
    if (asked->n_profile && !first) // those of the first request are taken already
        rc = ds_profiles_take(&i->profiles, asked->profile, asked->n_profile, e);
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
    reply.id = request->id;
    status.wants_touch = ds_key_wants_touch(i->key);
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_STATUS;
    reply.status = &status;
    return ds_wire_send(fd, &reply.base, e);
}

// The head beside the log is brought up to date too: this is asked for when a head is about to be remembered elsewhere.
static enum ds_class answer_consistency(ds_issuer *i, const request_t *request, int fd, ds_err *e)
{
    uint64_t from = request->consistency->from;
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
    reply.id = request->id;
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_CONSISTENCY;
    reply.consistency = &body;
    return ds_wire_send(fd, &reply.base, e);
}

static enum ds_class answer_revoke(ds_issuer *i, const request_t *request, int fd, ds_err *e)
{
    ds_revocation r;
    bool before = false;
    enum ds_class rc = ds_issuer_revoke(i, request->revoke, &r, &before, e);
    if (rc)
        return rc;
    Devstamp__Signer__RevokeReply body = DEVSTAMP__SIGNER__REVOKE_REPLY__INIT;
    reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body.revoked_utc = r.revoked_utc;
    body.reason = (uint32_t)r.reason;
    body.before = before;
    reply.id = request->id;
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_REVOKE;
    reply.revoke = &body;
    return ds_wire_send(fd, &reply.base, e);
}

static enum ds_class answer(ds_issuer *i, const request_t *request, bool first, int fd, ds_err *e)
{
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_STATUS)
        return answer_status(i, request, first, fd, e);
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_CONSISTENCY)
        return answer_consistency(i, request, fd, e);
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_REVOKE)
        return answer_revoke(i, request, fd, e);
    return ds_fail(e, DS_INPUT, "the signer was asked for something it does not do");
}

// What is no certificate; meanwhile nobody else touches the issuer or sends.
static enum ds_class serve_here(ds_issuer *i, ds_desk *desk, const request_t *request, bool first, int fd,
                                bool *ret_end, ds_err *e)
{
    ds_err failure = DS_ERR_INIT;
    *ret_end = !ds_desk_rest(desk);
    if (*ret_end)
        return DS_OK;
    enum ds_class rc = answer(i, request, first, fd, &failure);
    *ret_end = rc == DS_TOKEN;
    return rc ? ds_desk_send_failure(fd, request->id, &failure, e) : DS_OK;
}

// One request, answered or given to the desk; it is freed. *ret_end: there can be no more.
static enum ds_class serve(ds_issuer *i, ds_desk *desk, request_t *request, bool first, int fd, bool *ret_end,
                           ds_err *e)
{
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_SIGN ||
        (request->body_case >= DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_KEY &&
         request->body_case <= DEVSTAMP__SIGNER__REQUEST__BODY_OPEN_STAMP)) {
        ds_desk_put(desk, request);
        return DS_OK;
    }
    if (request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_ENTRIES && !first) {
        ds_desk_tell_entries(desk, request);
        devstamp__signer__request__free_unpacked(request, NULL);
        return DS_OK;
    }
    enum ds_class rc = serve_here(i, desk, request, first, fd, ret_end, e);
    devstamp__signer__request__free_unpacked(request, NULL);
    return rc;
}

// The next request; NULL with DS_OK: there will be no more. devstamp__signer__request__free_unpacked.
static enum ds_class next_request(ds_wire_reader *reader, request_t **ret, ds_err *e)
{
    ds_view bytes = {0};
    enum ds_wire_met met = DS_WIRE_MESSAGE;
    *ret = NULL;
    enum ds_class rc = ds_wire_next(reader, -1, &bytes, &met, e);
    if (rc || met == DS_WIRE_END)
        return rc;
    *ret = devstamp__signer__request__unpack(NULL, bytes.len, bytes.ptr);
    return *ret ? DS_OK : ds_fail(e, DS_TOKEN, "a request that cannot be read");
}

// Nothing can be signed: the first request is answered with the reason.
static int refuse(int fd, ds_err *failure)
{
    ds_wire_reader reader = {.fd = fd};
    request_t *request = NULL;
    if (!next_request(&reader, &request, NULL) && request)
        (void)!ds_desk_send_failure(fd, request->id, failure, NULL);
    if (request)
        devstamp__signer__request__free_unpacked(request, NULL);
    ds_buf_free(&reader.bytes);
    return 1;
}

// A seal is bound to the recipes: they are known before anything is opened.
static enum ds_class open_for(const ds_signer_config *cfg, const request_t *first, ds_issuer *ret, ds_err *e)
{
    ds_profiles profiles = {0};
    enum ds_class rc = DS_OK;
    if (first->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_STATUS)
        rc = ds_profiles_take(&profiles, first->status->profile, first->status->n_profile, e);
    if (!rc)
        rc = ds_issuer_open(cfg, cfg->log, &profiles, ret, e);
    if (!rc)
        rc = ds_sandbox_enter(e);
    ds_profiles_free(&profiles);
    return rc;
}

// From the first request, which is freed, to the last.
static enum ds_class serve_all(ds_issuer *i, ds_desk *desk, request_t *first, ds_wire_reader *reader, ds_err *e)
{
    bool end = false;
    enum ds_class rc = serve(i, desk, first, true, reader->fd, &end, e);
    while (!rc && !end) {
        request_t *request = NULL;
        rc = next_request(reader, &request, e);
        end = request == NULL;
        if (!rc && !end)
            rc = serve(i, desk, request, false, reader->fd, &end, e);
    }
    return rc;
}

static enum ds_class open_and_serve(const ds_signer_config *cfg, request_t *first, ds_wire_reader *reader, ds_err *e)
{
    ds_issuer issuer = {0};
    ds_desk *desk = NULL;
    enum ds_class rc = open_for(cfg, first, &issuer, e);
    if (!rc)
        rc = ds_desk_open(&issuer, reader->fd, &desk, e);
    if (rc) {
        (void)!ds_desk_send_failure(reader->fd, first->id, e, NULL);
        devstamp__signer__request__free_unpacked(first, NULL);
    } else {
        rc = serve_all(&issuer, desk, first, reader, e);
        (void)alarm(LAST_S); // a driver that hangs keeps neither the token nor the log's lock from the next signer
        bool good = ds_desk_close(desk);
        if (!rc && good && ds_issuer_put_head(&issuer, e)) // a token that failed is asked for no head either
            ds_log(DS_LOG_WARN, "%s", e->text);
    }
    ds_issuer_close(&issuer);
    return rc;
}

int ds_signer_main(int fd, const ds_signer_config *cfg)
{
    ds_err e = DS_ERR_INIT;
    ds_wire_reader reader = {.fd = fd};
    request_t *first = NULL;
    if (ds_sandbox_harden(&e) || ds_keymaker_guard(&e))
        return refuse(fd, &e);
    enum ds_class rc = next_request(&reader, &first, &e);
    if (!rc && first)
        rc = open_and_serve(cfg, first, &reader, &e);
    ds_buf_free(&reader.bytes);
    return rc ? 1 : 0;
}

static enum ds_class sign_order(int fd, const ds_signer_config *cfg, const request_t *request, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf answer = {0};
    Devstamp__Signer__SignOrderReply body = DEVSTAMP__SIGNER__SIGN_ORDER_REPLY__INIT;
    reply_t reply = DEVSTAMP__SIGNER__REPLY__INIT;
    enum ds_class rc = ds_order_hold(cfg, request->sign_order, &answer, e);
    if (rc) {
        (void)!ds_desk_send_failure(fd, 0, e, NULL);
        return rc;
    }
    body.answer = (ProtobufCBinaryData){answer.len, answer.ptr};
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_SIGN_ORDER;
    reply.sign_order = &body;
    return ds_wire_send(fd, &reply.base, e);
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
    if (request && request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_SIGN_ORDER) {
        enum ds_class signed_rc = sign_order(fd, cfg, request, &e);
        devstamp__signer__request__free_unpacked(request, NULL);
        return signed_rc ? 1 : 0;
    }
    ds_ceremony_result made = {0};
    enum ds_class rc =
        request ? ds_ceremony_hold(cfg, request, &made, &e) : ds_fail(&e, DS_INPUT, "a request that cannot be read");
    if (request)
        devstamp__signer__request__free_unpacked(request, NULL);
    if (rc) {
        (void)!ds_desk_send_failure(fd, 0, &e, NULL);
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
