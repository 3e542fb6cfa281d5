// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer as the station sees it; see signer.h. A child that died is started again where its PIN can be had again
// without anybody's help; but never where a login was tried and failed, because that would try a PIN twice.
//
// All callers ask the one child at once (post.h); starting one, and waiting for a token, is one caller's turn at a
// time.
//
// A token that hangs must not hold the line: a child that is silent for SIGN_MS is killed, all who ask it fail with the
// same words at once, as do all who come within PAUSE_MS; then it is started again. One that is silent twice in a row
// is not.
//
// A token that is pulled out pauses the line: one caller waits for it, trying a fresh child every half second (a child
// without a token sends no PIN), and the others wait for what comes of that. Once that was in vain nobody waits again
// before a signature succeeds.
#include "src/signer/post.h"
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
    pthread_mutex_t touch;   // who holds it may have the token blink; taken before mutex
    pthread_cond_t turn;     // something of the following changed
    ds_signer_config config; // strings owned
    ds_post *post;           // NULL: no child runs
    unsigned asking;         // callers who use post
    bool starting;
    bool told;       // what became of post's child is known already
    bool barred;     // no start by itself any more: the PIN was refused
    unsigned silent; // how often a child was silent: who waited while it changed fails as well
    unsigned silent_in_a_row;
    int64_t pause_end_ms;
    ds_err silence;
    bool waiting; // for a token that was pulled out
    bool waited;  // in vain, and nothing was signed since
    ds_err away;
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
    s->status.wants_touch = status->wants_touch;
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

// Answers may overtake each other.
static void take_log(ds_signer *s, uint64_t entries, const ProtobufCBinaryData *root)
{
    if (entries < s->status.log_entries && s->post)
        return;
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

// A child that was started again must be of the same CA, and its log must hold what was signed before: the quota is
// counted from it.
static enum ds_class check_again(ds_signer *s, const Devstamp__Signer__StatusReply *status, ds_err *e)
{
    pthread_mutex_lock(&s->mutex);
    bool first = s->status.ca_certificate.len == 0;
    bool same = first || memcmp(s->status.ca_fingerprint, status->ca_fingerprint.data, 32) == 0;
    unsigned long long had = s->status.log_entries, has = status->log_entries;
    pthread_mutex_unlock(&s->mutex);
    if (!same)
        return ds_hint((ds_fail(e, DS_POLICY, "the Sub CA's certificate was exchanged while the utility ran"), e),
                       "put the old one back, or end the utility and start it with the new one");
    if (has < had)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "the issuance log has %llu entries, and had %llu: its end was cut off", has, had),
             e),
            "find out who changed it, and put back the copy that was made last");
    return DS_OK;
}

// The first thing asked of a child; it learns the recipes' profiles by it.
static enum ds_class ask_status(ds_signer *s, const ds_child *child, Devstamp__Signer__Reply **ret,
                                enum ds_child_state *ret_state, ds_err *e)
{
    DS_CLEANUP_FREE Devstamp__Signer__Profile *profiles = ds_alloc((s->config.profile_count + 1) * sizeof *profiles);
    DS_CLEANUP_FREE Devstamp__Signer__Profile **list =
        ds_alloc((s->config.profile_count + 1) * sizeof(Devstamp__Signer__Profile *));
    Devstamp__Signer__Status body = DEVSTAMP__SIGNER__STATUS__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_STATUS;
    request.status = &body;
    put_profiles(&s->config, profiles, list);
    body.n_profile = s->config.profile_count;
    body.profile = list;
    int64_t timeout = s->config.pin == DS_PIN_PROMPT ? -1 : START_MS;
    enum ds_class rc = ds_child_ask(child, &request, timeout, ret, ret_state, e);
    if (rc)
        return rc;
    const Devstamp__Signer__StatusReply *status = (*ret)->status;
    if ((*ret)->body_case != DEVSTAMP__SIGNER__REPLY__BODY_STATUS || status->ca_fingerprint.len != 32 ||
        status->log_root.len != 32)
        rc = ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    else
        rc = check_again(s, status, e);
    if (rc) {
        devstamp__signer__reply__free_unpacked(*ret, NULL);
        *ret = NULL;
    }
    return rc;
}

// A child was silent; the mutex is held.
static enum ds_class silenced(ds_signer *s, int64_t timeout_ms, ds_err *e)
{
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

// The same, or plugged in at this moment: until it is ready it says that it has an error.
static bool is_coming(const ds_err *e)
{
    return is_away(e) || (e->cls == DS_TOKEN && e->code == CKR_DEVICE_ERROR);
}

// The PIN was refused, or nobody knows what became of it: it was noted (pin_note.h), so that every later start says the
// same. Other failures of a token, as one that is just being plugged in has them, cost no try and may pass.
static bool is_refusal(const ds_err *e)
{
    return e->code >= CKR_PIN_INCORRECT && e->code <= CKR_PIN_LOCKED;
}

// Start a child; s->starting is set and the mutex is not held, so that nobody else does and others may wait.
static enum ds_class start(ds_signer *s, bool first, ds_err *e)
{
    const ds_signer_args args = {.config = s->config};
    enum ds_child_state state = DS_CHILD_FINE;
    Devstamp__Signer__Reply *reply = NULL;
    ds_child child = {0};
    ds_post *post = NULL;
    enum ds_class rc = ds_child_start(&args, &child, e);
    if (rc)
        return rc;
    rc = ask_status(s, &child, &reply, &state, e);
    if (rc && state == DS_CHILD_SILENT)
        ds_child_kill(&child);
    else if (rc)
        ds_child_end(&child);
    else
        rc = ds_post_open(child, SIGN_MS, &post, e);
    pthread_mutex_lock(&s->mutex);
    if (rc && state == DS_CHILD_SILENT)
        (void)silenced(s, START_MS, e);
    else if (rc == DS_TOKEN && is_refusal(e))
        s->barred = true;
    if (!rc && first)
        take_status(s, reply->status);
    if (!rc) {
        take_log(s, reply->status->log_entries, &reply->status->log_root);
        s->post = post;
    }
    s->told = false;
    pthread_mutex_unlock(&s->mutex);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    return rc;
}

enum ds_class ds_signer_start(const ds_signer_config *cfg, ds_signer **ret, ds_err *e)
{
    ds_err own = DS_ERR_INIT; // the code decides what may be tried again
    ds_signer *s = ds_alloc(sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->touch, NULL);
    pthread_cond_init(&s->turn, NULL);
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
    ds_post_close(s->post);
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
    pthread_cond_destroy(&s->turn);
    pthread_mutex_destroy(&s->touch);
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

// May a child be started again now? The mutex is held.
static enum ds_class may_restart(const ds_signer *s, ds_err *e)
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
    return DS_OK;
}

// Wait until there is a child that can be asked, or start one. The mutex is held, and given back meanwhile.
static enum ds_class have_child(ds_signer *s, ds_err *e)
{
    unsigned silent = s->silent;
    bool lost = false;
    for (;;) {
        lost = s->post && ds_post_is_lost(s->post);
        if (!s->starting && !(lost && s->asking))
            break;
        pthread_cond_wait(&s->turn, &s->mutex);
    }
    if (s->silent != silent) {
        *e = s->silence;
        return e->cls;
    }
    if (s->post && !lost)
        return DS_OK;
    ds_post *old = s->post;
    s->post = NULL;
    s->starting = true;
    pthread_mutex_unlock(&s->mutex);
    ds_post_close(old);
    pthread_mutex_lock(&s->mutex);
    enum ds_class rc = may_restart(s, e);
    if (!rc) {
        pthread_mutex_unlock(&s->mutex);
        rc = start(s, false, e);
        pthread_mutex_lock(&s->mutex);
        if (rc)
            (void)ds_wrap(e, "start the signer again");
    }
    s->starting = false;
    pthread_cond_broadcast(&s->turn);
    return rc;
}

// What an answer, or its lack, says of the child; the mutex is held. All who asked a child that is gone tell so, the
// first of them counts.
static void take_note(ds_signer *s, enum ds_child_state state, ds_err *e)
{
    if (state == DS_CHILD_FINE && !s->told)
        s->silent_in_a_row = 0;
    if (state == DS_CHILD_SILENT && !s->told)
        (void)silenced(s, SIGN_MS, e);
    else if (state == DS_CHILD_SILENT)
        *e = s->silence;
    if (state == DS_CHILD_LOST) {
        if (!s->told)
            s->silent_in_a_row = 0;
        s->barred = s->barred || is_refusal(e);
        (void)ds_hint(e, "nothing is lost: the same request gives the same certificate when asked again");
    }
    s->told = s->told || state != DS_CHILD_FINE;
}

// Ask the child, started again where need be.
static enum ds_class ask(ds_signer *s, Devstamp__Signer__Request *request, Devstamp__Signer__Reply **ret, ds_err *e)
{
    enum ds_child_state state = DS_CHILD_FINE;
    pthread_mutex_lock(&s->mutex);
    enum ds_class rc = have_child(s, e);
    if (!rc) {
        s->asking++;
        pthread_mutex_unlock(&s->mutex);
        rc = ds_post_ask(s->post, request, ret, &state, e);
        pthread_mutex_lock(&s->mutex);
        take_note(s, state, e);
        s->asking--;
        if (!s->asking)
            pthread_cond_broadcast(&s->turn);
    }
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

static enum ds_class take_certificate(ds_signer *s, const Devstamp__Signer__Reply *reply, ds_buf *ret_der, ds_err *e)
{
    if (reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_SIGN || reply->sign->certificate.len == 0 ||
        reply->sign->log_root.len != 32)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    ds_buf_add(ret_der, reply->sign->certificate.data, reply->sign->certificate.len);
    pthread_mutex_lock(&s->mutex);
    take_log(s, reply->sign->log_entries, &reply->sign->log_root);
    pthread_mutex_unlock(&s->mutex);
    return DS_OK;
}

static enum ds_class sign_once(ds_signer *s, Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    Devstamp__Signer__Reply *reply = NULL;
    enum ds_class rc = ask(s, request, &reply, e);
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
    take_log(s, body->log_entries, &body->log_root);
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
    enum ds_class rc = ask(s, &request, &reply, &own);
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
    bool mine = !s->waiting && !s->waited && !s->barred && s->config.wait_ms && starts_by_itself(s);
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
    while (rc && is_coming(e) && ds_now_ms() < deadline) {
        ds_sleep_ms(LOOK_MS);
        *e = DS_ERR_INIT;
        rc = sign_once(s, request, ret_der, e);
    }
    bool in_vain = rc && is_coming(e); // what else was refused is this request's own matter
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
    bool may = !s->barred && starts_by_itself(s);
    pthread_mutex_unlock(&s->mutex);
    return may;
}

static enum ds_class sign_or_wait(ds_signer *s, Devstamp__Signer__Request *request, ds_buf *ret_der, ds_err *e)
{
    bool over = false;
    wait_for_watch(s);
    enum ds_class rc = sign_once(s, request, ret_der, e);
    // Pulled out and back already, a token only says "error" to those it knew before: a fresh child, once.
    if (rc == DS_TOKEN && e->code == CKR_DEVICE_ERROR && may_try_again(s)) {
        *e = DS_ERR_INIT;
        rc = sign_once(s, request, ret_der, e);
    }
    if (rc && is_away(e) && take_watch(s, &over))
        return watch(s, request, ret_der, e);
    if (rc && is_away(e) && over) {
        pthread_mutex_lock(&s->mutex);
        bool in_vain = s->waited;
        if (in_vain)
            *e = s->away;
        pthread_mutex_unlock(&s->mutex);
        if (in_vain)
            return e->cls;
        *e = DS_ERR_INIT;
        rc = sign_once(s, request, ret_der, e);
    }
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
    enum ds_class rc = s->status.wants_touch ? sign_in_turn(s, req, &request, ret_der, &own)
                                             : sign_or_wait(s, &request, ret_der, &own);
    if (rc && e)
        *e = own;
    return rc;
}
