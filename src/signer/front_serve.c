// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a station may ask for; see front_serve.h. Every request is made anew from the fields that are known, so that
// nothing else of what a station sent reaches the signer process.
#include "src/signer/front_serve.h"

#include "src/base/log.h"
#include "src/signer/client.h"
#include "src/signer/quota.h"

#include <stdlib.h>
#include <string.h>

typedef Devstamp__Signer__Request request_t;
typedef Devstamp__Signer__Reply reply_t;

static bool may_use(const ds_front_station *s, const char *recipe)
{
    for (size_t i = 0; i < s->recipe_count; i++)
        if (strcmp(s->recipes[i], recipe) == 0)
            return true;
    return false;
}

static enum ds_class refuse_recipe(const ds_front_station *s, const char *recipe, ds_err *e)
{
    return ds_hint(
        (ds_fail(e, DS_POLICY, "station %s may not ask for certificates of recipe \"%.63s\"", s->name, recipe), e),
        "the officer names what a station may ask for in the signer's configuration");
}

enum ds_class ds_front_check_device(const ds_front_station *s, const char *serial, ds_err *e)
{
    if (!s->first || (ds_quota_compare(serial, s->first) >= 0 && ds_quota_compare(serial, s->last) <= 0))
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "station %s may have serial numbers %s to %s, not \"%.63s\"", s->name,
                            s->first, s->last, serial),
                    e),
                   "the officer gives each station its range in the signer's configuration");
}

// What differs, in words; NULL: nothing that certificates show.
static const char *difference(const ds_signer_profile *ours, const Devstamp__Signer__Profile *theirs)
{
    if ((uint32_t)ours->key_type != theirs->key_type)
        return "the key's type";
    if (strcmp(ours->subject, theirs->subject) != 0)
        return "the subject";
    if (ours->days != theirs->days)
        return "the days of validity";
    if (strcmp(ours->serial_format, theirs->serial_format) != 0)
        return "the serial numbers' format";
    if (strcmp(ours->subject_alt_uri, theirs->subject_alt_uri) != 0)
        return "the alternative name";
    return (uint32_t)ours->origin != theirs->origin ? "who makes the key" : NULL;
}

// What a station believes of a recipe, and what the signer judges by: told before a device is touched. A product may
// have several recipes, for its chips.
static enum ds_class compare_profile(const ds_front_case *c, const Devstamp__Signer__Profile *theirs, ds_err *e)
{
    const char *differs = NULL;
    for (size_t i = 0; i < c->config->profile_count; i++) {
        const ds_signer_profile *ours = &c->config->profiles[i];
        if (strcmp(ours->recipe, theirs->recipe) != 0 || !may_use(c->station, theirs->recipe))
            continue;
        const char *one = difference(ours, theirs);
        if (!one)
            return DS_OK;
        if (!differs || (uint32_t)ours->key_type == theirs->key_type)
            differs = one;
    }
    if (!differs)
        return refuse_recipe(c->station, theirs->recipe, e);
    return ds_hint(
        (ds_fail(e, DS_POLICY, "recipe \"%.63s\" is not the signer's: %s differs", theirs->recipe, differs), e),
        "give both the same recipe");
}

// The quota of recipes that this station has nothing to do with is none of its business.
static void keep_own_quota(const ds_front_station *s, Devstamp__Signer__StatusReply *status)
{
    size_t kept = 0;
    for (size_t i = 0; i < status->n_quota; i++) {
        if (may_use(s, status->quota[i]->recipe))
            status->quota[kept++] = status->quota[i];
        else
            devstamp__signer__quota__free_unpacked(status->quota[i], NULL);
    }
    status->n_quota = kept;
}

static enum ds_class answer_status(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    Devstamp__Signer__Status body = DEVSTAMP__SIGNER__STATUS__INIT;
    request_t request = DEVSTAMP__SIGNER__REQUEST__INIT;
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < asked->status->n_profile; i++)
        rc = compare_profile(c, asked->status->profile[i], e);
    if (rc)
        return rc;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_STATUS;
    request.status = &body;
    rc = ds_client_ask(c->signer, &request, ret, e);
    if (rc)
        return rc;
    if ((*ret)->body_case != DEVSTAMP__SIGNER__REPLY__BODY_STATUS)
        return ds_fail(e, DS_INTERNAL, "the signer process answered something else");
    keep_own_quota(c->station, (*ret)->status);
    (*ret)->status->connections = c->station->connections;
    return DS_OK;
}

// A reply as if it had been received: its parts are its own.
static reply_t *signed_reply(ds_signer *s, const ds_buf *der)
{
    reply_t *reply = ds_alloc(sizeof *reply);
    Devstamp__Signer__SignReply *body = ds_alloc(sizeof *body);
    devstamp__signer__reply__init(reply);
    devstamp__signer__sign_reply__init(body);
    body->certificate.data = ds_alloc(der->len);
    body->certificate.len = der->len;
    memcpy(body->certificate.data, der->ptr, der->len);
    body->log_root.data = ds_alloc(32);
    body->log_root.len = 32;
    ds_client_log(s, &body->log_entries, body->log_root.data);
    reply->body_case = DEVSTAMP__SIGNER__REPLY__BODY_SIGN;
    reply->sign = body;
    return reply;
}

static enum ds_class answer_sign(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    const Devstamp__Signer__Sign *sign = asked->sign;
    DS_CLEANUP_BUF ds_buf der = {0};
    if (!may_use(c->station, sign->recipe))
        return refuse_recipe(c->station, sign->recipe, e);
    if (sign->serial.len != 16)
        return ds_fail(e, DS_INPUT, "the serial number has %zu bytes instead of 16", sign->serial.len);
    const ds_sign_request request = {
        .csr = {sign->csr.data, sign->csr.len},
        .serial = sign->serial.data,
        .not_before_utc = sign->not_before_utc,
        .not_after_utc = sign->not_after_utc,
        .subject = sign->subject,
        .key_type = (int)(sign->key_type & 0xffff),
        .subject_alt_uri = sign->subject_alt_uri,
        .recipe = sign->recipe,
        .device_serial = sign->device_serial,
        .mac = sign->mac,
        .on_touch = c->on_touch,
        .arg = c->arg,
    };
    enum ds_class rc = ds_front_check_device(c->station, sign->device_serial, e);
    if (!rc)
        rc = ds_signer_sign(c->signer, &request, &der, e);
    if (!rc)
        *ret = signed_reply(c->signer, &der);
    return rc;
}

// Keys the signer makes, or opens out of a pool's stamp, go sealed to the device: neither this process nor the station
// can read them.
static enum ds_class answer_make_key(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    Devstamp__Signer__MakeKey body = DEVSTAMP__SIGNER__MAKE_KEY__INIT;
    request_t request = DEVSTAMP__SIGNER__REQUEST__INIT;
    if (!may_use(c->station, asked->make_key->recipe))
        return refuse_recipe(c->station, asked->make_key->recipe, e);
    body.recipe = asked->make_key->recipe;
    body.key_type = asked->make_key->key_type;
    body.transport_key = asked->make_key->transport_key;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_KEY;
    request.make_key = &body;
    return ds_client_ask(c->signer, &request, ret, e);
}

static enum ds_class answer_open_stamp(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    Devstamp__Signer__OpenStamp body = DEVSTAMP__SIGNER__OPEN_STAMP__INIT;
    request_t request = DEVSTAMP__SIGNER__REQUEST__INIT;
    if (!may_use(c->station, asked->open_stamp->recipe))
        return refuse_recipe(c->station, asked->open_stamp->recipe, e);
    body.recipe = asked->open_stamp->recipe;
    body.public_key_digest = asked->open_stamp->public_key_digest;
    body.encapsulated = asked->open_stamp->encapsulated;
    body.sealed = asked->open_stamp->sealed;
    body.transport_key = asked->open_stamp->transport_key;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_OPEN_STAMP;
    request.open_stamp = &body;
    return ds_client_ask(c->signer, &request, ret, e);
}

static enum ds_class answer_consistency(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    Devstamp__Signer__Consistency body = DEVSTAMP__SIGNER__CONSISTENCY__INIT;
    request_t request = DEVSTAMP__SIGNER__REQUEST__INIT;
    if (!c->station->log && !c->station->recipe_count)
        return ds_hint((ds_fail(e, DS_POLICY, "station %s may not ask for the log's proofs", c->station->name), e),
                       "the officer says who may in the signer's configuration: it takes recipes, or log: true");
    body.from = asked->consistency->from;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_CONSISTENCY;
    request.consistency = &body;
    return ds_client_ask(c->signer, &request, ret, e);
}

static enum ds_class answer_revoke(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    Devstamp__Signer__Revoke body = DEVSTAMP__SIGNER__REVOKE__INIT;
    request_t request = DEVSTAMP__SIGNER__REQUEST__INIT;
    const ds_front_station *s = c->station;
    if (s->revoke == DS_FRONT_REVOKE_NONE || (s->revoke == DS_FRONT_REVOKE_OWN && !s->recipe_count))
        return ds_hint((ds_fail(e, DS_POLICY, "station %s may not revoke", s->name), e),
                       "the officer says who may in the signer's configuration");
    DS_CLEANUP_FREE char **recipes = ds_alloc((s->recipe_count + 1) * sizeof *recipes);
    for (size_t i = 0; i < s->recipe_count; i++)
        recipes[i] = ds_client_text(s->recipes[i]);
    body.serial = asked->revoke->serial;
    body.reason = asked->revoke->reason;
    body.by = ds_client_text(s->name);
    body.n_recipe = s->revoke == DS_FRONT_REVOKE_OWN ? s->recipe_count : 0;
    body.recipe = recipes;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_REVOKE;
    request.revoke = &body;
    return ds_client_ask(c->signer, &request, ret, e);
}

static enum ds_class answer_entries(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e)
{
    Devstamp__Signer__Entries body = DEVSTAMP__SIGNER__ENTRIES__INIT;
    request_t request = DEVSTAMP__SIGNER__REQUEST__INIT;
    if (!c->station->log)
        return ds_hint((ds_fail(e, DS_POLICY, "station %s may not read the issuance log", c->station->name), e),
                       "the officer says who may in the signer's configuration");
    body.from = asked->entries->from;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_ENTRIES;
    request.entries = &body;
    return ds_client_ask(c->signer, &request, ret, e);
}

enum ds_class ds_front_answer(const ds_front_case *c, const Devstamp__Signer__Request *request,
                              Devstamp__Signer__Reply **ret, ds_err *e)
{
    static const struct {
        Devstamp__Signer__Request__BodyCase body;
        enum ds_class (*answer)(const ds_front_case *c, const request_t *asked, reply_t **ret, ds_err *e);
        const char *what;
    } known[] = {
        {DEVSTAMP__SIGNER__REQUEST__BODY_STATUS, answer_status, "status"},
        {DEVSTAMP__SIGNER__REQUEST__BODY_SIGN, answer_sign, "sign"},
        {DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_KEY, answer_make_key, "make a key"},
        {DEVSTAMP__SIGNER__REQUEST__BODY_OPEN_STAMP, answer_open_stamp, "open a stamp"},
        {DEVSTAMP__SIGNER__REQUEST__BODY_CONSISTENCY, answer_consistency, "consistency"},
        {DEVSTAMP__SIGNER__REQUEST__BODY_REVOKE, answer_revoke, "revoke"},
        {DEVSTAMP__SIGNER__REQUEST__BODY_ENTRIES, answer_entries, "log entries"},
    };
    *ret = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].body != request->body_case)
            continue;
        enum ds_class rc = known[i].answer(c, request, ret, e);
        if (rc && *ret) {
            devstamp__signer__reply__free_unpacked(*ret, NULL);
            *ret = NULL;
        }
        if (rc)
            ds_front_complain(c->complaints, c->station->name, known[i].what, e->text);
        else
            ds_log(DS_LOG_INFO, "station %s: %s", c->station->name, known[i].what);
        return rc;
    }
    return ds_fail(e, DS_INPUT, "the signer was asked for something it does not do for stations elsewhere");
}
