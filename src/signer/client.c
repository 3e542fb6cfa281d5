// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer as the station sees it; see signer.h. All callers ask the one child at once (post.h); starting one
// (client_child.c), and waiting for a token, is one caller's turn at a time.
//
// A token that is pulled out pauses the line: one caller waits for it, trying a fresh child every half second (a child
// without a token sends no PIN), and the others wait for what comes of that. Once that was in vain nobody waits again
// before a signature succeeds.
#include "src/signer/client.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 500 };

static char *copy(const char *s)
{
    return s ? ds_strdup(s) : NULL;
}

// Each string is held once; the config's members are const for everybody else.
static void free_copy(const char **s)
{
    void *p = NULL;
    memcpy(&p, s, sizeof p);
    free(p);
    *s = NULL;
}

enum ds_class ds_signer_start(const ds_signer_config *cfg, ds_signer **ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT; // the code decides what may be tried again
    ds_signer *s = ds_alloc(sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->touch, NULL);
    pthread_cond_init(&s->turn, NULL);
    s->config = *cfg; // remote and est are looked at by ds_client_start alone
    s->config.key = copy(cfg->key);
    s->config.module = copy(cfg->module);
    s->config.token_serial = copy(cfg->token_serial);
    s->config.certificate = copy(cfg->certificate);
    s->config.log = copy(cfg->log);
    s->config.log_key = copy(cfg->log_key);
    s->config.quota = copy(cfg->quota);
    s->config.pool_key = copy(cfg->pool_key);
    s->config.pin_file = copy(cfg->pin_file);
    s->config.seal = copy(cfg->seal);
    s->config.seal_key = copy(cfg->seal_key);
    s->config.seal_tpm = copy(cfg->seal_tpm);
    s->config.station = copy(cfg->station);
    enum ds_class rc = ds_client_start(s, &own);
    if (rc) {
        ds_signer_stop(s);
        if (e)
            *e = own;
        return rc;
    }
    *ret = s;
    return DS_OK;
}

void ds_signer_stop(ds_signer *s)
{
    if (!s)
        return;
    ds_post_close(s->post);
    ds_client_stop_remote(s);
    ds_client_stop_est(s);
    free_copy(&s->config.key);
    free_copy(&s->config.module);
    free_copy(&s->config.token_serial);
    free_copy(&s->config.certificate);
    free_copy(&s->config.log);
    free_copy(&s->config.log_key);
    free_copy(&s->config.quota);
    free_copy(&s->config.pool_key);
    free_copy(&s->config.pin_file);
    free_copy(&s->config.seal);
    free_copy(&s->config.seal_key);
    free_copy(&s->config.seal_tpm);
    free_copy(&s->config.station);
    ds_buf_free(&s->status.ca_certificate);
    pthread_cond_destroy(&s->turn);
    pthread_mutex_destroy(&s->touch);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

const ds_signer_status *ds_signer_get_status(const ds_signer *s)
{
    return &s->status;
}

static enum ds_class take_certificate(ds_signer *s, const Devstamp__Signer__Reply *reply, ds_buf *ret_der, ds_err *e)
{
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_SIGN || reply->sign->certificate.len == 0 ||
        reply->sign->log_root.len != 32)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    ds_buf_add(ret_der, reply->sign->certificate.data, reply->sign->certificate.len);
    pthread_mutex_lock(&s->mutex);
    ds_client_take_log(s, reply->sign->log_entries, &reply->sign->log_root);
    pthread_mutex_unlock(&s->mutex);
    return DS_OK;
}

static enum ds_class sign_once(ds_signer *s, Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    Devstamp__Signer__Reply *reply = NULL;
    enum ds_class rc = ds_client_ask(s, request, &reply, e);
    if (rc)
        return rc;
    rc = take_certificate(s, reply, ret_der, e);
    devstamp__signer__reply__free_unpacked(reply, NULL);
    return rc;
}

static enum ds_class take_proof(ds_signer *s, const Devstamp__Signer__Reply *reply, ds_signer_proof *ret, ds_err *e)
{
    const Devstamp__Signer__ConsistencyReply *body = reply->consistency;
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_CONSISTENCY || body->log_root.len != 32 ||
        body->n_hash > DS_MERKLE_PROOF_MAX)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    for (size_t i = 0; i < body->n_hash; i++) {
        if (body->hash[i].len != 32)
            return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
        memcpy(ret->proof.hash[i], body->hash[i].data, 32);
    }
    ret->proof.count = body->n_hash;
    ret->log_entries = body->log_entries;
    memcpy(ret->log_root, body->log_root.data, 32);
    pthread_mutex_lock(&s->mutex);
    ds_client_take_log(s, body->log_entries, &body->log_root);
    pthread_mutex_unlock(&s->mutex);
    return DS_OK;
}

enum ds_class ds_signer_prove(ds_signer *s, uint64_t from, ds_signer_proof *ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__Consistency body = DEVSTAMP__SIGNER__CONSISTENCY__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    body.from = from;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_CONSISTENCY;
    request.consistency = &body;
    *ret = (ds_signer_proof){.from = from};
    enum ds_class rc = ds_client_ask(s, &request, &reply, &own);
    if (!rc)
        rc = take_proof(s, reply, ret, &own);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}

// Is it this caller's turn to wait for the token? Otherwise somebody else's, and when that is over *ret_over tells so.
static bool take_watch(ds_signer *s, bool *ret_over)
{
    pthread_mutex_lock(&s->mutex);
    *ret_over = s->waiting;
    bool mine = !s->waiting && !s->waited && !s->barred && s->config.wait_ms && ds_client_starts_by_itself(s);
    while (s->waiting)
        pthread_cond_wait(&s->turn, &s->mutex);
    s->waiting = mine;
    pthread_mutex_unlock(&s->mutex);
    return mine;
}

static enum ds_class watch(ds_signer *s, Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    enum ds_class rc = DS_TOKEN;
    int64_t deadline = ds_now_ms() + s->config.wait_ms;
    ds_log(DS_LOG_WARN, "%s: the line waits %d s for it; plug it in", e->text, s->config.wait_ms / 1000);
    while (rc && ds_client_is_coming(e) && ds_now_ms() < deadline) {
        ds_sleep_ms(LOOK_MS);
        *e = DS_ERR_INIT;
        rc = sign_once(s, request, ret_der, e);
    }
    bool in_vain = rc && ds_client_is_coming(e); // what else was refused is this request's own matter
    pthread_mutex_lock(&s->mutex);
    s->waiting = false;
    s->waited = in_vain;
    if (in_vain)
        s->away = *e;
    pthread_cond_broadcast(&s->turn);
    pthread_mutex_unlock(&s->mutex);
    if (rc != DS_TOKEN)
        ds_log(DS_LOG_WARN, "the token is back; the line goes on");
    return rc;
}

// While somebody waits for the token, everybody does.
static void wait_for_watch(ds_signer *s)
{
    pthread_mutex_lock(&s->mutex);
    while (s->waiting)
        pthread_cond_wait(&s->turn, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
}

static bool may_try_again(ds_signer *s)
{
    pthread_mutex_lock(&s->mutex);
    bool may = !s->barred && ds_client_starts_by_itself(s);
    pthread_mutex_unlock(&s->mutex);
    return may;
}

// Somebody else waited for the token: was it in vain?
static bool was_in_vain(ds_signer *s, ds_err *e)
{
    pthread_mutex_lock(&s->mutex);
    bool in_vain = s->waited;
    if (in_vain)
        *e = s->away;
    pthread_mutex_unlock(&s->mutex);
    return in_vain;
}

static enum ds_class sign_or_wait(ds_signer *s, Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    bool over = false;
    enum ds_class rc = DS_OK;
    do {
        *e = DS_ERR_INIT;
        wait_for_watch(s);
        rc = sign_once(s, request, ret_der, e);
        // Pulled out and back already, a token only says "error" to those it knew before: a fresh child, once.
        if (rc == DS_TOKEN && e->code == CKR_DEVICE_ERROR && may_try_again(s)) {
            *e = DS_ERR_INIT;
            rc = sign_once(s, request, ret_der, e);
        }
        if (!rc || !ds_client_is_away(e))
            break;
        if (take_watch(s, &over))
            return watch(s, request, ret_der, e);
    } while (over && !was_in_vain(s, e));
    if (!rc) {
        pthread_mutex_lock(&s->mutex);
        s->waited = false;
        pthread_mutex_unlock(&s->mutex);
    }
    return rc;
}

// How often a child was silent so far.
static unsigned silences(ds_signer *s, ds_err *ret_last)
{
    pthread_mutex_lock(&s->mutex);
    unsigned n = s->silent;
    if (ret_last)
        *ret_last = s->silence;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

// A token that wants to be touched blinks for one request: each has its turn, and its slot says so then. Who waited for
// that while the token fell silent fails as well.
static enum ds_class sign_in_turn(ds_signer *s, const ds_sign_request *req, Devstamp__Signer__Request *request,
                                  ds_buf *ret_der, ds_err *e)
{
    ds_err last = DS_ERR_INIT;
    unsigned before = silences(s, NULL);
    pthread_mutex_lock(&s->touch);
    if (silences(s, &last) != before)
        *e = last;
    else if (req->on_touch)
        req->on_touch(req->arg);
    enum ds_class rc = e->cls ? e->cls : sign_or_wait(s, request, ret_der, e);
    pthread_mutex_unlock(&s->touch);
    return rc;
}

enum ds_class ds_signer_sign(ds_signer *s, const ds_sign_request *req, ds_buf *ret_der, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__Sign body = DEVSTAMP__SIGNER__SIGN__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.csr = ds_client_binary(req->csr.ptr, req->csr.len);
    body.serial = ds_client_binary(req->serial, 16);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    body.subject = ds_client_text(req->subject);
    body.key_type = (uint32_t)req->key_type;
    body.subject_alt_uri = ds_client_text(req->subject_alt_uri ? req->subject_alt_uri : "");
    body.recipe = ds_client_text(req->recipe);
    body.device_serial = ds_client_text(req->device_serial);
    body.mac = ds_client_text(req->mac);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_SIGN;
    request.sign = &body;
    if (s->est)
        return ds_client_sign_est(s, req, ret_der, e);
    if (s->remote) {
        Devstamp__Signer__Reply *reply = NULL;
        enum ds_class there = ds_client_ask_remote(s, &request, req, &reply, &own);
        if (!there)
            there = take_certificate(s, reply, ret_der, &own);
        if (reply)
            devstamp__signer__reply__free_unpacked(reply, NULL);
        if (there && e)
            *e = own;
        return there;
    }
    enum ds_class rc = s->status.wants_touch ? sign_in_turn(s, req, &request, ret_der, &own)
                                             : sign_or_wait(s, &request, ret_der, &own);
    if (rc && e)
        *e = own;
    return rc;
}
