// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer as the station sees it; see signer.h. A child that died is started again where its PIN can be had again
// without anybody's help; but never where a login was tried and failed, because that would try a PIN twice.
//
// A token that hangs must not hold the line: a child that is silent for SIGN_MS is killed, those who wait for their
// turn meanwhile fail with the same words at once, as do all who come within PAUSE_MS; then it is started again. One
// that is silent twice in a row is not.
//
// A token that is pulled out pauses the line: the first caller waits for it, trying a fresh child every half second (a
// child without a token sends no PIN), and the others wait for their turn. Once that was in vain nobody waits again
// before a signature succeeds.
#include "src/signer/child.h"
#include "src/signer/signer.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A signature takes a token two seconds at most; one that wants to be touched waits 15 for that.
enum { START_MS = 60000, SIGN_MS = 20000, PAUSE_MS = 10000, SILENT_MAX = 2, LOOK_MS = 500 };

struct ds_signer {
    pthread_mutex_t mutex;
    ds_signer_config config; // strings owned
    ds_child child;
    bool barred;             // no start by itself any more: the PIN was refused
    _Atomic unsigned silent; // how often a child was silent: who waited while it changed fails as well
    unsigned silent_in_a_row;
    int64_t pause_end_ms;
    bool waiting; // for a token that was pulled out
    bool waited;  // in vain, and nothing was signed since
    ds_err silence;
    ds_signer_status status;
};

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

static void take_status(ds_signer *s, const Devstamp__Signer__StatusReply *status)
{
    snprintf(s->status.ca_subject, sizeof s->status.ca_subject, "%s", status->ca_subject);
    memcpy(s->status.ca_fingerprint, status->ca_fingerprint.data, 32);
    ds_buf_clear(&s->status.ca_certificate);
    ds_buf_add(&s->status.ca_certificate, status->ca_certificate.data, status->ca_certificate.len);
    s->status.quota_count = status->n_quota < DS_QUOTA_MAX ? status->n_quota : DS_QUOTA_MAX;
    for (size_t i = 0; i < s->status.quota_count; i++) {
        const Devstamp__Signer__Quota *q = status->quota[i];
        ds_signer_quota *mine = &s->status.quota[i];
        *mine = (ds_signer_quota){.certificates = q->certificates, .left = q->left, .until_utc = q->until_utc};
        snprintf(mine->recipe, sizeof mine->recipe, "%s", q->recipe);
        snprintf(mine->first, sizeof mine->first, "%s", q->first);
        snprintf(mine->last, sizeof mine->last, "%s", q->last);
    }
}

static void take_log(ds_signer *s, uint64_t entries, const ProtobufCBinaryData *root)
{
    s->status.log_entries = entries;
    memcpy(s->status.log_root, root->data, sizeof s->status.log_root);
}

// protobuf-c wants everything writable and only reads it.
static char *text(const char *s)
{
    char *p = NULL;
    memcpy(&p, &s, sizeof p);
    return p;
}

static ProtobufCBinaryData binary(const uint8_t *bytes, size_t len)
{
    ProtobufCBinaryData data = {.len = len};
    memcpy(&data.data, &bytes, sizeof bytes); // protobuf-c wants it writable and only reads
    return data;
}

static void put_profiles(const ds_signer_config *c, Devstamp__Signer__Profile *wire, Devstamp__Signer__Profile **list)
{
    for (size_t i = 0; i < c->profile_count; i++) {
        const ds_signer_profile *p = &c->profiles[i];
        wire[i] = (Devstamp__Signer__Profile)DEVSTAMP__SIGNER__PROFILE__INIT;
        wire[i].recipe = text(p->recipe);
        wire[i].subject = text(p->subject);
        wire[i].serial_format = text(p->serial_format);
        wire[i].subject_alt_uri = text(p->subject_alt_uri);
        wire[i].key_type = (uint32_t)p->key_type;
        wire[i].days = p->days;
        if (p->digest)
            wire[i].digest = binary(p->digest, 32);
        list[i] = &wire[i];
    }
}

// The first thing asked of a child; it learns the recipes' profiles by it.
static enum ds_class ask_status(ds_signer *s, bool first, enum ds_child_state *ret_state, ds_err *e)
{
    DS_CLEANUP_FREE Devstamp__Signer__Profile *profiles = ds_alloc((s->config.profile_count + 1) * sizeof *profiles);
    DS_CLEANUP_FREE Devstamp__Signer__Profile **list = ds_alloc((s->config.profile_count + 1) * sizeof *list);
    Devstamp__Signer__Status body = DEVSTAMP__SIGNER__STATUS__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_STATUS;
    request.status = &body;
    put_profiles(&s->config, profiles, list);
    body.n_profile = s->config.profile_count;
    body.profile = list;
    int64_t timeout = s->config.pin == DS_PIN_PROMPT ? -1 : START_MS;
    enum ds_class rc = ds_child_ask(&s->child, &request, timeout, &reply, ret_state, e);
    if (rc)
        return rc;
    bool good = reply->body_case == DEVSTAMP__SIGNER__REPLY__BODY_STATUS && reply->status->ca_fingerprint.len == 32 &&
                reply->status->log_root.len == 32;
    if (good && first)
        take_status(s, reply->status);
    if (good)
        take_log(s, reply->status->log_entries, &reply->status->log_root);
    devstamp__signer__reply__free_unpacked(reply, NULL);
    return good ? DS_OK : ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
}

static enum ds_class silenced(ds_signer *s, int64_t timeout_ms, ds_err *e)
{
    ds_child_kill(&s->child);
    (void)ds_fail(e, DS_TOKEN, "the token gave no answer within %d s", (int)(timeout_ms / 1000));
    (void)ds_hint(e, "unplug the token, plug it in, then run again; nothing is lost: the same request gives the same "
                     "certificate");
    s->silence = *e;
    s->silent++;
    s->silent_in_a_row++;
    s->pause_end_ms = ds_now_ms() + PAUSE_MS;
    return DS_TOKEN;
}

// Not there, another one there, or on its way: no PIN was sent.
static bool is_away(const ds_err *e)
{
    return e->cls == DS_TOKEN &&
           (e->code == CKR_TOKEN_NOT_PRESENT || e->code == CKR_DEVICE_REMOVED || e->code == CKR_TOKEN_NOT_RECOGNIZED);
}

static enum ds_class start(ds_signer *s, bool first, ds_err *e)
{
    const ds_signer_args args = {.config = s->config};
    enum ds_child_state state = DS_CHILD_FINE;
    enum ds_class rc = ds_child_start(&args, &s->child, e);
    if (rc)
        return rc;
    rc = ask_status(s, first, &state, e);
    if (!rc)
        return DS_OK;
    if (state == DS_CHILD_SILENT)
        return silenced(s, START_MS, e);
    ds_child_end(&s->child);
    // The token said no, and that may have cost a try. A token that is not there, and a child that just died, did not.
    if (rc == DS_TOKEN && e->code != 0 && !is_away(e))
        s->barred = true;
    return rc;
}

enum ds_class ds_signer_start(const ds_signer_config *cfg, ds_signer **ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT; // the code decides what may be tried again
    ds_signer *s = ds_alloc(sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    s->config = *cfg;
    s->config.key = copy(cfg->key);
    s->config.module = copy(cfg->module);
    s->config.token_serial = copy(cfg->token_serial);
    s->config.certificate = copy(cfg->certificate);
    s->config.log = copy(cfg->log);
    s->config.log_key = copy(cfg->log_key);
    s->config.quota = copy(cfg->quota);
    s->config.pin_file = copy(cfg->pin_file);
    s->config.seal = copy(cfg->seal);
    s->config.seal_key = copy(cfg->seal_key);
    s->config.seal_tpm = copy(cfg->seal_tpm);
    s->config.station = copy(cfg->station);
    enum ds_class rc = start(s, true, &own);
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
    ds_child_end(&s->child);
    free_copy(&s->config.key);
    free_copy(&s->config.module);
    free_copy(&s->config.token_serial);
    free_copy(&s->config.certificate);
    free_copy(&s->config.log);
    free_copy(&s->config.log_key);
    free_copy(&s->config.quota);
    free_copy(&s->config.pin_file);
    free_copy(&s->config.seal);
    free_copy(&s->config.seal_key);
    free_copy(&s->config.seal_tpm);
    free_copy(&s->config.station);
    ds_buf_free(&s->status.ca_certificate);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

const ds_signer_status *ds_signer_get_status(const ds_signer *s)
{
    return &s->status;
}

static bool starts_by_itself(const ds_signer *s)
{
    return s->config.pin == DS_PIN_FILE || s->config.pin == DS_PIN_NONE;
}

static enum ds_class restart(ds_signer *s, ds_err *e)
{
    if (s->silent_in_a_row >= SILENT_MAX || (s->silent_in_a_row && ds_now_ms() < s->pause_end_ms)) {
        *e = s->silence;
        return e->cls;
    }
    if (s->barred)
        return ds_hint((ds_fail(e, DS_TOKEN, "the token refused the signer; it is not asked again by itself"), e),
                       "see to the PIN, then start the utility again");
    if (!starts_by_itself(s))
        return ds_hint((ds_fail(e, DS_TOKEN, "the signer has ended, and its PIN cannot be had again by itself"), e),
                       "start the utility again and give the PIN");
    if (!s->waiting)
        ds_log(DS_LOG_WARN, "the signer process has ended and is started again");
    enum ds_class rc = start(s, false, e);
    return rc ? ds_wrap(e, "start the signer again") : DS_OK;
}

// Ask the child, started again where need be; s->mutex is held.
static enum ds_class ask_locked(ds_signer *s, const Devstamp__Signer__Request *request, Devstamp__Signer__Reply **ret,
                                ds_err *e)
{
    enum ds_class rc = s->child.pid ? DS_OK : restart(s, e);
    if (rc)
        return rc;
    enum ds_child_state state = DS_CHILD_FINE;
    rc = ds_child_ask(&s->child, request, SIGN_MS, ret, &state, e);
    if (state == DS_CHILD_SILENT)
        return silenced(s, SIGN_MS, e);
    s->silent_in_a_row = 0;
    if (state == DS_CHILD_LOST) {
        s->barred = s->barred || (e->code >= CKR_PIN_INCORRECT && e->code <= CKR_PIN_LOCKED);
        ds_child_end(&s->child);
        (void)ds_hint(e, "nothing is lost: the same request gives the same certificate when asked again");
    }
    return rc;
}

static enum ds_class take_certificate(ds_signer *s, const Devstamp__Signer__Reply *reply, ds_buf *ret_der, ds_err *e)
{
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_SIGN || reply->sign->certificate.len == 0 ||
        reply->sign->log_root.len != 32)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    ds_buf_add(ret_der, reply->sign->certificate.data, reply->sign->certificate.len);
    take_log(s, reply->sign->log_entries, &reply->sign->log_root);
    return DS_OK;
}

static enum ds_class sign_locked(ds_signer *s, const Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    Devstamp__Signer__Reply *reply = NULL;
    enum ds_class rc = ask_locked(s, request, &reply, e);
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
    take_log(s, body->log_entries, &body->log_root);
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
    pthread_mutex_lock(&s->mutex);
    enum ds_class rc = ask_locked(s, &request, &reply, &own);
    if (!rc)
        rc = take_proof(s, reply, ret, &own);
    pthread_mutex_unlock(&s->mutex);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    if (rc && e)
        *e = own;
    return rc;
}

static enum ds_class sign_or_wait(ds_signer *s, const Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    enum ds_class rc = sign_locked(s, request, ret_der, e);
    int64_t deadline = ds_now_ms() + s->config.wait_ms;
    // Pulled out and back already, a token only says "error" to those it knew before: a fresh child, once.
    if (rc == DS_TOKEN && e->code == CKR_DEVICE_ERROR && !s->barred && starts_by_itself(s)) {
        *e = DS_ERR_INIT;
        rc = sign_locked(s, request, ret_der, e);
    }
    if (!rc)
        s->waited = false;
    if (!rc || !is_away(e) || s->barred || s->waited || !s->config.wait_ms || !starts_by_itself(s))
        return rc;
    ds_log(DS_LOG_WARN, "%s: the line waits %d s for it; plug it in", e->text, s->config.wait_ms / 1000);
    s->waiting = true;
    while (rc && is_away(e) && ds_now_ms() < deadline) {
        ds_sleep_ms(LOOK_MS);
        *e = DS_ERR_INIT;
        rc = sign_locked(s, request, ret_der, e);
    }
    s->waiting = false;
    s->waited = rc != DS_OK;
    if (!rc)
        ds_log(DS_LOG_WARN, "the token is back; the line goes on");
    return rc;
}

enum ds_class ds_signer_sign(ds_signer *s, const ds_sign_request *req, ds_buf *ret_der, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    Devstamp__Signer__Sign body = DEVSTAMP__SIGNER__SIGN__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    body.csr = binary(req->csr.ptr, req->csr.len);
    body.serial = binary(req->serial, 16);
    body.not_before_utc = req->not_before_utc;
    body.not_after_utc = req->not_after_utc;
    body.subject = text(req->subject);
    body.key_type = (uint32_t)req->key_type;
    body.subject_alt_uri = text(req->subject_alt_uri ? req->subject_alt_uri : "");
    body.recipe = text(req->recipe);
    body.device_serial = text(req->device_serial);
    body.mac = text(req->mac);
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_SIGN;
    request.sign = &body;
    unsigned silent = s->silent;
    pthread_mutex_lock(&s->mutex);
    if (s->silent != silent)
        own = s->silence;
    enum ds_class rc = own.cls ? own.cls : sign_or_wait(s, &request, ret_der, &own);
    pthread_mutex_unlock(&s->mutex);
    if (rc && e)
        *e = own;
    return rc;
}
