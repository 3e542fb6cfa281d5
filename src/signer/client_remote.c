// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's side of a signer that is elsewhere (remote.h), and what is asked of either kind beside certificates:
// revoking, and the entries of the log.
#include "src/signer/client.h"
#include "src/signer/log_scan.h"
#include "src/signer/remote.h"

#include "src/pki/cert.h"

#include <stdlib.h>
#include <string.h>

// What each connection begins with; lives as long as the connections.
typedef struct greeting {
    Devstamp__Signer__Status body;
    Devstamp__Signer__Request request;
    Devstamp__Signer__Profile *profiles, **list;
} greeting;

static uint64_t known_entries(void *arg)
{
    uint64_t entries = 0;
    uint8_t root[32];
    ds_client_log(arg, &entries, root);
    return entries;
}

// ds_signer_start's answer is the first there is, and no other thread asks yet.
static enum ds_class welcome(void *arg, uint64_t known, const Devstamp__Signer__StatusReply *status, ds_err *e)
{
    ds_signer *s = arg;
    if (status->ca_fingerprint.len != 32 || status->log_root.len != 32)
        return ds_fail(e, DS_NETWORK, "the signer's answer cannot be read");
    enum ds_class rc = ds_client_check_again(s, known, status, e);
    if (rc)
        return rc;
    pthread_mutex_lock(&s->mutex);
    if (s->status.ca_certificate.len == 0)
        ds_client_take_status(s, status);
    ds_client_take_log(s, status->log_entries, &status->log_root);
    pthread_mutex_unlock(&s->mutex);
    return DS_OK;
}

// The certificate it shows is the one it has the fingerprint of, and the one that was expected.
static enum ds_class check_ca(const ds_signer *s, ds_err *e)
{
    DS_CLEANUP_X509 X509 *shown = NULL, *expected = NULL;
    ds_cert_info info, wanted;
    enum ds_class rc = ds_cert_parse(ds_buf_view(&s->status.ca_certificate), &shown, e);
    if (!rc)
        rc = ds_cert_describe(shown, &info, e);
    if (!rc && memcmp(info.fingerprint, s->status.ca_fingerprint, 32) != 0)
        rc = ds_fail(e, DS_POLICY, "the signer shows another Sub CA than it names");
    if (rc || !s->config.certificate)
        return rc;
    rc = ds_cert_read(s->config.certificate, &expected, e);
    if (!rc)
        rc = ds_cert_describe(expected, &wanted, e);
    if (!rc && memcmp(info.fingerprint, wanted.fingerprint, 32) != 0)
        rc = ds_hint((ds_fail(e, DS_POLICY, "the signer signs as \"%s\", which is not the certificate in %s",
                              info.subject, s->config.certificate),
                      e),
                     "ask the officer which Sub CA this line is to have");
    return rc;
}

struct ds_client_remote {
    ds_remote *way;
    greeting greeting;
};

static void free_remote(struct ds_client_remote *r)
{
    ds_remote_free(r->way);
    free(r->greeting.profiles);
    free(r->greeting.list);
    free(r);
}

static struct ds_client_remote *make_greeting(const ds_signer_config *c)
{
    struct ds_client_remote *r = ds_alloc(sizeof *r);
    greeting *g = &r->greeting;
    g->profiles = ds_alloc((c->profile_count + 1) * sizeof *g->profiles);
    g->list = ds_alloc((c->profile_count + 1) * sizeof(Devstamp__Signer__Profile *));
    ds_client_put_profiles(c, g->profiles, g->list);
    g->body = (Devstamp__Signer__Status)DEVSTAMP__SIGNER__STATUS__INIT;
    g->body.n_profile = c->profile_count;
    g->body.profile = g->list;
    g->request = (Devstamp__Signer__Request)DEVSTAMP__SIGNER__REQUEST__INIT;
    g->request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_STATUS;
    g->request.status = &g->body;
    return r;
}

enum ds_class ds_client_start_remote(ds_signer *s, ds_err *e)
{
    struct ds_client_remote *r = make_greeting(&s->config);
    const ds_remote_greeting how = {&r->greeting.request, known_entries, welcome, s};
    const ds_remote_patience none = {0};
    Devstamp__Signer__Status body = DEVSTAMP__SIGNER__STATUS__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_STATUS;
    request.status = &body;
    enum ds_class rc = ds_remote_new(s->config.remote, &how, &r->way, e);
    s->remote = r;
    s->config.remote = NULL;
    if (!rc)
        rc = ds_remote_ask(r->way, &request, &none, &reply, e);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    return rc ? rc : check_ca(s, e);
}

void ds_client_stop_remote(ds_signer *s)
{
    if (s->remote)
        free_remote(s->remote);
    s->remote = NULL;
}

enum ds_class ds_client_ask_remote(ds_signer *s, Devstamp__Signer__Request *request, const ds_sign_request *req,
                                   Devstamp__Signer__Reply **ret, ds_err *e)
{
    const ds_remote_patience patience = {
        .wait_ms = s->config.wait_ms, .on_touch = req ? req->on_touch : NULL, .arg = req ? req->arg : NULL};
    return ds_remote_ask(s->remote->way, request, &patience, ret, e);
}

static enum ds_class unreadable(ds_err *e)
{
    return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
}

enum ds_class ds_signer_revoke(ds_signer *s, const uint8_t serial[16], int reason, ds_signer_revocation *ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    char by[] = "the signer's own computer"; // a remote signer puts the station's name
    Devstamp__Signer__Revoke body = DEVSTAMP__SIGNER__REVOKE__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    body.serial = ds_client_binary(serial, 16);
    body.reason = (uint32_t)reason;
    body.by = by;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_REVOKE;
    request.revoke = &body;
    enum ds_class rc = ds_client_ask(s, &request, &reply, &own);
    if (!rc && reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_REVOKE)
        rc = unreadable(&own);
    if (!rc)
        *ret = (ds_signer_revocation){reply->revoke->revoked_utc, (int)reply->revoke->reason, reply->revoke->before};
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}

static enum ds_class take_entries(const Devstamp__Signer__Reply *reply, uint64_t from, ds_signer_entries *ret,
                                  ds_err *e)
{
    const Devstamp__Signer__EntriesReply *body = reply->entries;
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_ENTRIES || body->log_root.len != 32 ||
        body->header.len != sizeof ret->header || body->next < from)
        return unreadable(e);
    ds_signer_entries_free(ret);
    ret->log_entries = body->log_entries;
    ret->next = body->next;
    memcpy(ret->log_root, body->log_root.data, 32);
    memcpy(ret->header, body->header.data, sizeof ret->header);
    ds_buf_add(&ret->records, body->records.data, body->records.len);
    ds_buf_add(&ret->head, body->head.data, body->head.len);
    return DS_OK;
}

enum ds_class ds_signer_read_entries(ds_signer *s, uint64_t from, ds_signer_entries *ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__Entries body = DEVSTAMP__SIGNER__ENTRIES__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    body.from = from;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_ENTRIES;
    request.entries = &body;
    enum ds_class rc = ds_client_ask(s, &request, &reply, &own);
    if (!rc)
        rc = take_entries(reply, from, ret, &own);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}

void ds_signer_entries_free(ds_signer_entries *x)
{
    ds_buf_free(&x->records);
    ds_buf_free(&x->head);
}
