// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Requests out, answers in; see post.h.
#include "src/signer/post.h"
#include "src/signer/wire.h"

#include "src/base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

// Of one who asks; lives on the caller's stack.
typedef struct call {
    struct call *next; // in the order they were sent
    uint64_t id;
    int64_t since_ms; // it was sent, or one before it was answered
    pthread_cond_t over;
    bool done;
    Devstamp__Signer__Reply *reply; // NULL: none will come
} call;

// How long others may still wait for their answers once the child told of a token's failure.
enum { LAST_MS = 5000 };

struct ds_post {
    ds_child child;
    int fd;
    int64_t silent_ms;
    pthread_t receiver;
    pthread_mutex_t lock, sending; // sending: one message at a time, and the socket stays open
    call *first;
    call **end;
    uint64_t last_id;
    bool lost, silent;
    bool told;      // the child said why it ends
    bool closed;    // the socket is the receiver's to close, and nobody else's any more
    ds_err failure; // what the child said last before it went
};

// When the first of them has waited for too long; -1 where nobody waits. The lock is held.
static int64_t next_deadline(const ds_post *p)
{
    int64_t deadline = -1;
    for (const call *c = p->first; c; c = c->next)
        if (deadline < 0 || c->since_ms + p->silent_ms < deadline)
            deadline = c->since_ms + p->silent_ms;
    return deadline;
}

static void end_call(call *c, Devstamp__Signer__Reply *reply)
{
    c->reply = reply;
    c->done = true;
    pthread_cond_signal(&c->over);
}

// The child ends after such a failure, by itself or not: what it still works on may hang behind the same token.
static void note_failure(ds_post *p, const Devstamp__Signer__Reply *reply)
{
    if (reply->error_class != DS_TOKEN || p->lost)
        return;
    p->lost = true;
    p->told = true;
    (void)ds_child_reported(reply, &p->failure);
    if (p->silent_ms > LAST_MS)
        p->silent_ms = LAST_MS;
}

static void deliver(ds_post *p, Devstamp__Signer__Reply *reply)
{
    pthread_mutex_lock(&p->lock);
    int64_t now = ds_now_ms();
    note_failure(p, reply);
    call **at = &p->first;
    while (*at && (*at)->id < reply->id)
        at = &(*at)->next;
    call *c = *at && (*at)->id == reply->id ? *at : NULL;
    if (c) {
        *at = c->next;
        if (!c->next)
            p->end = at;
        for (call *later = *at; later; later = later->next)
            later->since_ms = now;
        end_call(c, reply);
    }
    pthread_mutex_unlock(&p->lock);
    if (!c)
        devstamp__signer__reply__free_unpacked(reply, NULL);
}

// Answers until the child is gone or silent, or told that it ends and nobody waits any more.
static void receive_all(ds_post *p)
{
    enum { IDLE_MS = 1000 }; // a request that comes while nothing is waited for sets its deadline within that
    ds_wire_reader reader = {.fd = p->fd};
    for (;;) {
        ds_view bytes = {0};
        enum ds_wire_met met = DS_WIRE_MESSAGE;
        pthread_mutex_lock(&p->lock);
        int64_t deadline = next_deadline(p), now = ds_now_ms();
        bool silent = deadline >= 0 && now >= deadline, over = p->lost && !p->first;
        p->silent = silent;
        pthread_mutex_unlock(&p->lock);
        if (silent || over)
            break;
        if (deadline < 0 || deadline > now + IDLE_MS)
            deadline = now + IDLE_MS;
        if (ds_wire_next(&reader, deadline, &bytes, &met, NULL) || met == DS_WIRE_END)
            break;
        if (met == DS_WIRE_LATE)
            continue;
        Devstamp__Signer__Reply *reply = devstamp__signer__reply__unpack(NULL, bytes.len, bytes.ptr);
        if (!reply)
            break;
        deliver(p, reply);
    }
    ds_buf_free(&reader.bytes);
}

static void *receive(void *arg)
{
    ds_post *p = arg;
    receive_all(p);
    pthread_mutex_lock(&p->lock);
    p->lost = true;
    p->closed = true;
    if (!p->failure.cls)
        (void)ds_fail(&p->failure, DS_TOKEN, "the signer process ended while it was asked");
    (void)shutdown(p->fd, SHUT_RDWR); // lets those go who are about to send
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_lock(&p->sending);
    if (p->silent)
        ds_child_kill(&p->child);
    else
        ds_child_end(&p->child);
    pthread_mutex_unlock(&p->sending);
    pthread_mutex_lock(&p->lock); // it is gone before anybody is told
    while (p->first) {
        call *c = p->first;
        p->first = c->next;
        end_call(c, NULL);
    }
    p->end = &p->first;
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

enum ds_class ds_post_open(ds_child child, int64_t silent_ms, ds_post **ret, ds_err *e)
{
    ds_post *p = ds_alloc(sizeof *p);
    p->child = child;
    p->fd = child.fd;
    p->silent_ms = silent_ms;
    p->end = &p->first;
    p->failure = (ds_err)DS_ERR_INIT;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->sending, NULL);
    int err = pthread_create(&p->receiver, NULL, receive, p);
    if (err) {
        ds_child_end(&p->child);
        pthread_mutex_destroy(&p->sending);
        pthread_mutex_destroy(&p->lock);
        free(p);
        return ds_fail_errno(e, DS_INTERNAL, err, "start a thread");
    }
    *ret = p;
    return DS_OK;
}

void ds_post_close(ds_post *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    if (!p->closed)
        (void)shutdown(p->fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->receiver, NULL);
    pthread_mutex_destroy(&p->sending);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

bool ds_post_is_lost(ds_post *p)
{
    pthread_mutex_lock(&p->lock);
    bool lost = p->lost;
    pthread_mutex_unlock(&p->lock);
    return lost;
}

// Numbered and sent in one order; the calls' list has it too. false: there is nobody to send it to.
static bool send_call(ds_post *p, call *c, Devstamp__Signer__Request *request, ds_buf *bytes, ds_err *e)
{
    pthread_mutex_lock(&p->sending);
    pthread_mutex_lock(&p->lock);
    bool good = !p->lost;
    c->id = request->id = ++p->last_id;
    if (good)
        good = !ds_wire_pack(&request->base, bytes, e);
    if (good) {
        c->since_ms = ds_now_ms();
        *p->end = c;
        p->end = &c->next;
    }
    pthread_mutex_unlock(&p->lock);
    if (good)
        (void)!ds_wire_send_packed(p->fd, ds_buf_view(bytes), NULL); // where it fails the receiver learns it too
    pthread_mutex_unlock(&p->sending);
    return good;
}

enum ds_class ds_post_ask(ds_post *p, Devstamp__Signer__Request *request, Devstamp__Signer__Reply **ret,
                          enum ds_child_state *ret_state, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    call c = {0};
    pthread_cond_init(&c.over, NULL);
    bool sent = send_call(p, &c, request, &bytes, e);
    pthread_mutex_lock(&p->lock);
    while (sent && !c.done)
        pthread_cond_wait(&c.over, &p->lock);
    bool lost = p->lost;
    *ret_state = p->silent && !p->told ? DS_CHILD_SILENT : lost ? DS_CHILD_LOST : DS_CHILD_FINE;
    if (!c.reply && lost)
        *e = p->failure;
    pthread_mutex_unlock(&p->lock);
    pthread_cond_destroy(&c.over);
    if (!c.reply)
        return e->cls; // also where the request was too long to be sent
    enum ds_class rc = ds_child_judge(c.reply, ret_state, e);
    if (rc)
        devstamp__signer__reply__free_unpacked(c.reply, NULL);
    else
        *ret = c.reply;
    return rc;
}
