// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The way to a signer on another computer; see remote.h. While it works on a request it says so every few seconds
// (Wait), so that a computer that is gone is told from a token that is slow.
#include "src/signer/remote.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/signer/address.h"
#include "src/signer/child.h"
#include "src/signer/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CONNECT_MS = 5000,
    HANDSHAKE_MS = 10000,
    SEND_MS = 10000,
    SILENT_MS = 20000, // the signer's other side says something every 5 s
    PAUSE_MS = 500,
    CONNECTIONS_MAX = 64,
};

typedef struct line {
    struct line *next;
    int fd;
    ds_tls *tls;
    bool used; // a request was answered on it
} line;

struct ds_remote {
    pthread_mutex_t mutex;
    pthread_cond_t returned;
    char *address;
    ds_address where;
    ds_tls_side *side;
    ds_remote_greeting greeting;
    line *idle;
    unsigned open, limit;
    bool waiting; // it was told that the line waits
};

enum ds_class ds_remote_new(const ds_signer_remote *where, const ds_remote_greeting *greeting, ds_remote **ret,
                            ds_err *e)
{
    const ds_tls_self self = {where->certificate, where->key, where->module, where->pin_file};
    ds_remote *r = ds_alloc(sizeof *r);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->returned, NULL);
    r->address = ds_strdup(where->address);
    r->greeting = *greeting;
    r->limit = 1;
    enum ds_class rc = ds_address_parse(where->address, &r->where, e);
    if (!rc)
        rc = ds_tls_client(&self, where->ca, &r->side, e);
    if (rc) {
        ds_remote_free(r);
        return rc;
    }
    *ret = r;
    return DS_OK;
}

static void hang_up(line *l)
{
    ds_tls_free(l->tls);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}

static void drop_idle(ds_remote *r)
{
    while (r->idle) {
        line *l = r->idle;
        r->idle = l->next;
        hang_up(l);
        r->open--;
    }
}

void ds_remote_free(ds_remote *r)
{
    if (!r)
        return;
    drop_idle(r);
    ds_tls_side_free(r->side);
    ds_address_free(&r->where);
    free(r->address);
    pthread_cond_destroy(&r->returned);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

// The answer, whatever comes before it.
static enum ds_class receive(line *l, const ds_remote_patience *patience, Devstamp__Signer__Reply **ret, ds_err *e)
{
    const ds_tls_wait wait = {.idle_ms = SILENT_MS, .whole_ms = SILENT_MS, .max = DS_WIRE_MAX};
    DS_CLEANUP_BUF ds_buf bytes = {0};
    for (;;) {
        enum ds_wire_met met = DS_WIRE_MESSAGE;
        enum ds_class rc = ds_tls_recv(l->tls, &wait, &bytes, &met, e);
        if (rc)
            return rc;
        if (met == DS_WIRE_LATE)
            return ds_fail(e, DS_NETWORK, "no answer within %d s", SILENT_MS / 1000);
        if (met == DS_WIRE_END)
            return ds_fail(e, DS_NETWORK, "the signer closed the connection");
        Devstamp__Signer__Reply *reply = devstamp__signer__reply__unpack(NULL, bytes.len, bytes.ptr);
        if (!reply)
            return ds_fail(e, DS_NETWORK, "the signer's answer cannot be read");
        if (reply->error_class || reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_WAIT) {
            *ret = reply;
            return DS_OK;
        }
        if (reply->wait->touch && patience->on_touch)
            patience->on_touch(patience->arg);
        devstamp__signer__reply__free_unpacked(reply, NULL);
    }
}

// One question, one answer; *ret NULL on a failure of the way.
static enum ds_class converse(line *l, const Devstamp__Signer__Request *request, const ds_remote_patience *patience,
                              Devstamp__Signer__Reply **ret, ds_err *e)
{
    enum ds_class rc = ds_tls_send(l->tls, &request->base, ds_now_ms() + SEND_MS, e);
    return rc && rc != DS_NETWORK ? rc : receive(l, patience, ret, e); // what it said before it closed tells more
}

// What an answer reports, as a failure.
static enum ds_class judge(const Devstamp__Signer__Reply *reply, ds_err *e)
{
    return reply->error_class ? ds_child_reported(reply, e) : DS_OK;
}

static enum ds_class greet(ds_remote *r, line *l, ds_err *e)
{
    const ds_remote_patience none = {0};
    Devstamp__Signer__Reply *reply = NULL;
    uint64_t known = r->greeting.known(r->greeting.arg);
    enum ds_class rc = converse(l, r->greeting.greet, &none, &reply, e);
    if (!rc)
        rc = judge(reply, e);
    if (!rc && reply->body_case != DEVSTAMP__SIGNER__REPLY__BODY_STATUS)
        rc = ds_fail(e, DS_NETWORK, "the signer's answer cannot be read");
    if (!rc)
        rc = r->greeting.welcome(r->greeting.arg, known, reply->status, e);
    if (!rc) {
        uint32_t limit = reply->status->connections;
        pthread_mutex_lock(&r->mutex);
        r->limit = limit < 1 ? 1 : limit > CONNECTIONS_MAX ? CONNECTIONS_MAX : limit;
        pthread_cond_broadcast(&r->returned);
        pthread_mutex_unlock(&r->mutex);
    }
    if (reply)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    return rc;
}

static enum ds_class dial(ds_remote *r, line **ret, ds_err *e)
{
    line *l = ds_alloc(sizeof *l);
    l->fd = -1;
    enum ds_class rc = ds_address_connect(&r->where, ds_now_ms() + CONNECT_MS, &l->fd, e);
    if (!rc)
        rc = ds_tls_open(r->side, l->fd, r->where.host, &l->tls, e);
    if (!rc)
        rc = ds_tls_handshake(l->tls, ds_now_ms() + HANDSHAKE_MS, e);
    if (!rc)
        rc = greet(r, l, e);
    if (rc) {
        hang_up(l);
        return rc;
    }
    *ret = l;
    return DS_OK;
}

// An idle connection, or NULL: one may be opened, and is counted.
static line *take(ds_remote *r)
{
    pthread_mutex_lock(&r->mutex);
    while (!r->idle && r->open >= r->limit)
        pthread_cond_wait(&r->returned, &r->mutex);
    line *l = r->idle;
    if (l)
        r->idle = l->next;
    else
        r->open++;
    pthread_mutex_unlock(&r->mutex);
    return l;
}

// l NULL: it is gone.
static void give_back(ds_remote *r, line *l)
{
    pthread_mutex_lock(&r->mutex);
    if (l) {
        l->next = r->idle;
        r->idle = l;
        r->waiting = false;
    } else {
        r->open--;
        drop_idle(r); // as old as the one that broke
    }
    pthread_cond_broadcast(&r->returned);
    pthread_mutex_unlock(&r->mutex);
}

// *ret_stale: the connection was an old one, and a new one may do at once. *ret NULL: the way failed, or it was closed
// to us.
static enum ds_class ask_once(ds_remote *r, const Devstamp__Signer__Request *request,
                              const ds_remote_patience *patience, Devstamp__Signer__Reply **ret, bool *ret_stale,
                              ds_err *e)
{
    line *l = take(r);
    *ret_stale = l != NULL;
    enum ds_class rc = l ? DS_OK : dial(r, &l, e);
    if (!rc)
        rc = converse(l, request, patience, ret, e);
    if (rc && l)
        hang_up(l);
    give_back(r, rc ? NULL : l);
    return rc;
}

static void say_waiting(ds_remote *r, const ds_err *e, int64_t left_ms)
{
    pthread_mutex_lock(&r->mutex);
    bool told = r->waiting;
    r->waiting = true;
    pthread_mutex_unlock(&r->mutex);
    if (!told)
        ds_log(DS_LOG_WARN, "signer %s: %s: the line waits up to %d s for it", r->address, e->text,
               (int)(left_ms / 1000));
}

enum ds_class ds_remote_ask(ds_remote *r, Devstamp__Signer__Request *request, const ds_remote_patience *patience,
                            Devstamp__Signer__Reply **ret, ds_err *e)
{
    int64_t deadline_ms = ds_now_ms() + patience->wait_ms;
    *ret = NULL;
    for (;;) {
        bool stale = false;
        *e = DS_ERR_INIT;
        enum ds_class rc = ask_once(r, request, patience, ret, &stale, e);
        if (!rc)
            break;
        int64_t left_ms = deadline_ms - ds_now_ms();
        if (rc != DS_NETWORK || (left_ms <= 0 && !stale)) {
            (void)ds_wrap(e, "signer %s", r->address);
            return rc == DS_NETWORK
                       ? ds_hint(e, "see that it runs and can be reached; nothing is lost: the same request "
                                    "gives the same certificate when asked again")
                       : rc;
        }
        if (stale)
            continue;
        say_waiting(r, e, left_ms);
        ds_sleep_ms(PAUSE_MS);
    }
    enum ds_class rc = judge(*ret, e);
    if (rc) {
        (void)ds_wrap(e, "signer %s", r->address);
        devstamp__signer__reply__free_unpacked(*ret, NULL);
        *ret = NULL;
    }
    return rc;
}
