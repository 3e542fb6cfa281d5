// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's child and what is asked of it; see client.h. One that died is started again where its PIN can be had
// again without anybody's help; but never where a login was tried and failed, because that would try a PIN twice.
//
// A token that hangs must not hold the line: a child that is silent for SIGN_MS is killed, all who ask it fail with the
// same words at once, as do all who come within PAUSE_MS; then it is started again. One that is silent twice in a row
// is not.
#include "src/signer/client.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <stdio.h>
#include <string.h>

// A signature takes a token two seconds at most; one that wants to be touched waits 15 for that.
enum { START_MS = 60000, SIGN_MS = 20000, PAUSE_MS = 10000, SILENT_MAX = 2 };

void ds_client_take_status(ds_signer *s, const Devstamp__Signer__StatusReply *status)
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
void ds_client_take_log(ds_signer *s, uint64_t entries, const ProtobufCBinaryData *root)
{
    if (entries < s->status.log_entries && (s->post || s->remote))
        return;
    s->status.log_entries = entries;
    memcpy(s->status.log_root, root->data, sizeof s->status.log_root);
}

void ds_client_log(ds_signer *s, uint64_t *ret_entries, uint8_t ret_root[32])
{
    pthread_mutex_lock(&s->mutex);
    *ret_entries = s->status.log_entries;
    memcpy(ret_root, s->status.log_root, 32);
    pthread_mutex_unlock(&s->mutex);
}

// protobuf-c wants everything writable and only reads it.
char *ds_client_text(const char *s)
{
    char *p = NULL;
    memcpy(&p, &s, sizeof p);
    return p;
}

ProtobufCBinaryData ds_client_binary(const uint8_t *bytes, size_t len)
{
    ProtobufCBinaryData data = {.len = len};
    memcpy(&data.data, &bytes, sizeof bytes); // protobuf-c wants it writable and only reads
    return data;
}

void ds_client_put_profiles(const ds_signer_config *c, Devstamp__Signer__Profile *wire,
                            Devstamp__Signer__Profile **list)
{
    for (size_t i = 0; i < c->profile_count; i++) {
        const ds_signer_profile *p = &c->profiles[i];
        wire[i] = (Devstamp__Signer__Profile)DEVSTAMP__SIGNER__PROFILE__INIT;
        wire[i].recipe = ds_client_text(p->recipe);
        wire[i].subject = ds_client_text(p->subject);
        wire[i].serial_format = ds_client_text(p->serial_format);
        wire[i].subject_alt_uri = ds_client_text(p->subject_alt_uri);
        wire[i].key_type = (uint32_t)p->key_type;
        wire[i].days = p->days;
        wire[i].origin = (uint32_t)p->origin;
        if (p->digest)
            wire[i].digest = ds_client_binary(p->digest, 32);
        list[i] = &wire[i];
    }
}

// A child that was started again must be of the same CA, and its log must hold what was signed before: the quota is
// counted from it.
enum ds_class ds_client_check_again(ds_signer *s, uint64_t had, const Devstamp__Signer__StatusReply *status, ds_err *e)
{
    pthread_mutex_lock(&s->mutex);
    bool first = s->status.ca_certificate.len == 0;
    bool same = first || memcmp(s->status.ca_fingerprint, status->ca_fingerprint.data, 32) == 0;
    pthread_mutex_unlock(&s->mutex);
    if (!same)
        return ds_hint((ds_fail(e, DS_POLICY, "the Sub CA's certificate was exchanged while the utility ran"), e),
                       "put the old one back, or end the utility and start it with the new one");
    if (status->log_entries < had)
        return ds_hint((ds_fail(e, DS_POLICY, "the issuance log has %llu entries, and had %llu: its end was cut off",
                                (unsigned long long)status->log_entries, (unsigned long long)had),
                        e),
                       "find out who changed it, and put back the copy that was made last");
    return DS_OK;
}

static uint64_t known_entries(ds_signer *s)
{
    uint64_t entries = 0;
    uint8_t root[32];
    ds_client_log(s, &entries, root);
    return entries;
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
    ds_client_put_profiles(&s->config, profiles, list);
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
        rc = ds_client_check_again(s, known_entries(s), status, e);
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
bool ds_client_is_away(const ds_err *e)
{
    return e->cls == DS_TOKEN &&
           (e->code == CKR_TOKEN_NOT_PRESENT || e->code == CKR_DEVICE_REMOVED || e->code == CKR_TOKEN_NOT_RECOGNIZED);
}

// The same, or plugged in at this moment: until it is ready it says that it has an error.
bool ds_client_is_coming(const ds_err *e)
{
    return ds_client_is_away(e) || (e->cls == DS_TOKEN && e->code == CKR_DEVICE_ERROR);
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
        ds_client_take_status(s, reply->status);
    if (!rc) {
        ds_client_take_log(s, reply->status->log_entries, &reply->status->log_root);
        s->post = post;
    }
    s->told = false;
    pthread_mutex_unlock(&s->mutex);
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    return rc;
}

bool ds_client_starts_by_itself(const ds_signer *s)
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
    if (!ds_client_starts_by_itself(s))
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
        if (rc && ds_client_is_coming(e))
            e->code = CKR_TOKEN_NOT_PRESENT; // an error at the very start: it is not ready, to be waited for as if away
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
enum ds_class ds_client_ask(ds_signer *s, Devstamp__Signer__Request *request, Devstamp__Signer__Reply **ret, ds_err *e)
{
    enum ds_child_state state = DS_CHILD_FINE;
    if (s->est)
        return ds_fail(e, DS_USAGE, "an EST server gives certificates and nothing else");
    if (s->remote)
        return ds_client_ask_remote(s, request, NULL, ret, e);
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

enum ds_class ds_client_start(ds_signer *s, ds_err *e)
{
    if (s->config.est)
        return ds_client_start_est(s, e);
    if (s->config.remote)
        return ds_client_start_remote(s, e);
    return start(s, true, e);
}
