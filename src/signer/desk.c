// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Many requests at once; see desk.h. One lock guards everything but the work itself: checking and signing, writing the
// log, and sending. A job is queued, then somebody's, then pending (from the decision that it may be signed until its
// end) and ready when it is signed.
#include "src/signer/desk.h"
#include "src/signer/keymaker.h"
#include "src/signer/wire.h"

#include "src/base/log.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    WORKERS_MAX = 8,
    BATCH_MAX = 256,
    GATHER_US = 2000, // how long a certificate that is ready may wait for company
    HEAD_EVERY = 256, // entries, at most, that the head beside the log is behind
};

typedef struct job {
    struct job *next, *next_pending;
    Devstamp__Signer__Request *request;
    ds_made_key made; // of a stamp
    ds_case c;
    ds_err failure;
    enum ds_class rc;
    bool pending, abandoned; // abandoned: gets no answer but the end of the signer
} job;

typedef struct job_list {
    job *first, *last;
    size_t count;
} job_list;

struct ds_desk {
    ds_issuer *issuer;
    int fd;
    pthread_mutex_t lock, sending;
    pthread_cond_t work, ready_more, settled; // settled: a pending job came to its end, or all is at rest
    job_list queue, ready;
    job *pending;
    size_t open;                         // jobs that were put and are not at their end
    bool ending, finishing, token_ended; // no new work; nothing but to commit; the token failed
    bool committing;
    pthread_t workers[WORKERS_MAX], committer;
    unsigned worker_count;
};

static void append(job_list *l, job *j)
{
    j->next = NULL;
    if (l->last)
        l->last->next = j;
    else
        l->first = j;
    l->last = j;
    l->count++;
}

static job *take_first(job_list *l)
{
    job *j = l->first;
    l->first = j->next;
    if (!l->first)
        l->last = NULL;
    l->count--;
    return j;
}

static void free_job(job *j)
{
    ds_case_free(&j->c);
    ds_made_key_free(&j->made);
    devstamp__signer__request__free_unpacked(j->request, NULL);
    free(j);
}

static void send_bytes(ds_desk *d, const ds_buf *bytes)
{
    pthread_mutex_lock(&d->sending);
    (void)!ds_wire_send_packed(d->fd, ds_buf_view(bytes), NULL); // who is gone asks again
    pthread_mutex_unlock(&d->sending);
}

static void pack_failure(uint64_t id, ds_err *failure, ds_buf *ret)
{
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    reply.id = id;
    reply.error_class = failure->cls;
    reply.error_text = failure->text;
    reply.error_hint = failure->hint;
    reply.error_code = failure->code;
    (void)!ds_wire_pack(&reply.base, ret, NULL); // texts are shorter than a message
}

enum ds_class ds_desk_send_failure(int fd, uint64_t id, ds_err *failure, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    pack_failure(id, failure, &bytes);
    return ds_wire_send_packed(fd, ds_buf_view(&bytes), e);
}

// The log's head, as answers tell it.
typedef struct head {
    uint64_t entries;
    uint8_t root[32];
} head;

static head head_now(const ds_desk *d)
{
    head h = {.entries = ds_log_entries(d->issuer->log)};
    memcpy(h.root, ds_log_root(d->issuer->log), 32);
    return h;
}

static void pack_certificate(job *j, head *h, ds_buf *ret)
{
    Devstamp__Signer__SignReply body = DEVSTAMP__SIGNER__SIGN_REPLY__INIT;
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body.certificate = (ProtobufCBinaryData){j->c.der.len, j->c.der.ptr};
    body.from_log = j->c.from_log;
    body.log_entries = h->entries;
    body.log_root = (ProtobufCBinaryData){32, h->root};
    Devstamp__Signer__MadeStamp stamp = DEVSTAMP__SIGNER__MADE_STAMP__INIT;
    stamp.sign = &body;
    stamp.encapsulated = (ProtobufCBinaryData){sizeof j->made.encapsulated, j->made.encapsulated};
    stamp.sealed = (ProtobufCBinaryData){j->made.sealed.len, j->made.sealed.ptr};
    reply.id = j->request->id;
    if (j->made.sealed.len) {
        reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_MADE_STAMP;
        reply.made_stamp = &stamp;
    } else {
        reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_SIGN;
        reply.sign = &body;
    }
    (void)!ds_wire_pack(&reply.base, ret, NULL); // the log takes no longer certificate
}

static void pack_key(const job *j, ds_made_key *made, ds_buf *ret)
{
    Devstamp__Signer__MadeKey body = DEVSTAMP__SIGNER__MADE_KEY__INIT;
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body.public_key = (ProtobufCBinaryData){made->spki.len, made->spki.ptr};
    body.encapsulated = (ProtobufCBinaryData){sizeof made->encapsulated, made->encapsulated};
    body.sealed = (ProtobufCBinaryData){made->sealed.len, made->sealed.ptr};
    reply.id = j->request->id;
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_MADE_KEY;
    reply.made_key = &body;
    (void)!ds_wire_pack(&reply.base, ret, NULL); // no key is that long
}

static void unlink_pending(ds_desk *d, job *j)
{
    job **p = &d->pending;
    while (*p != j)
        p = &(*p)->next_pending;
    *p = j->next_pending;
    j->pending = false;
}

// The job is over; the lock is held.
static void end_job(ds_desk *d, job *j)
{
    if (j->pending)
        unlink_pending(d, j);
    d->open--;
    pthread_cond_broadcast(&d->settled);
}

// Could a job that is on its way still change what this one gets? The lock is held.
static bool must_wait(const ds_desk *d, const job *j)
{
    uint64_t of_recipe = 0;
    for (const job *p = d->pending; p; p = p->next_pending) {
        if (memcmp(p->c.csr.info.public_key_digest, j->c.csr.info.public_key_digest, 32) == 0 ||
            memcmp(p->c.serial, j->c.serial, sizeof j->c.serial) == 0)
            return true;
        of_recipe += strcmp(p->c.req->recipe, j->c.req->recipe) == 0;
    }
    return of_recipe && ds_issuer_left(d->issuer, j->c.req->recipe) <= of_recipe;
}

// May it be signed? Then it is pending. The lock is held.
static enum ds_class decide(ds_desk *d, job *j, ds_err *e)
{
    while (must_wait(d, j) && !d->token_ended)
        pthread_cond_wait(&d->settled, &d->lock);
    j->abandoned = d->token_ended;
    if (j->abandoned)
        return ds_fail(e, DS_TOKEN, "the token failed");
    enum ds_class rc = ds_issuer_decide(d->issuer, &j->c, e);
    if (rc || j->c.from_log)
        return rc;
    j->pending = true;
    j->next_pending = d->pending;
    d->pending = j;
    return DS_OK;
}

// The token is done for: its sessions do not come back. What waits is not begun any more.
static void end_for_token(ds_desk *d)
{
    d->token_ended = true;
    d->ending = true;
    (void)shutdown(d->fd, SHUT_RD);
    pthread_cond_broadcast(&d->work);
    pthread_cond_broadcast(&d->settled);
}

// Answered without the log, and over.
static void answer_now(ds_desk *d, job *j)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    pthread_mutex_lock(&d->lock);
    head h = head_now(d);
    if (j->rc && j->pending)
        ds_issuer_forget(d->issuer, &j->c);
    if (j->rc == DS_TOKEN)
        end_for_token(d);
    pthread_mutex_unlock(&d->lock);
    if (j->rc && !j->abandoned)
        pack_failure(j->request->id, &j->failure, &bytes);
    else if (!j->rc)
        pack_certificate(j, &h, &bytes);
    send_bytes(d, &bytes);
    pthread_mutex_lock(&d->lock);
    end_job(d, j);
    pthread_mutex_unlock(&d->lock);
    free_job(j);
}

// A key is made with neither token nor log.
static void process_key(ds_desk *d, job *j)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_made_key made = {0};
    const ds_issuer *i = d->issuer;
    EVP_PKEY *pool_key = i->pool_key ? ds_key_private(i->pool_key) : NULL;
    bool make = j->request->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_KEY;
    enum ds_class rc = make ? ds_keymaker_make(&i->profiles, j->request->make_key, &made, &j->failure)
                            : ds_keymaker_open(&i->profiles, pool_key, j->request->open_stamp, &made, &j->failure);
    if (rc)
        pack_failure(j->request->id, &j->failure, &bytes);
    else
        pack_key(j, &made, &bytes);
    ds_made_key_free(&made);
    send_bytes(d, &bytes);
    pthread_mutex_lock(&d->lock);
    end_job(d, j);
    pthread_mutex_unlock(&d->lock);
    free_job(j);
}

static void process(ds_desk *d, ds_plain *plain, job *j)
{
    ds_err *e = &j->failure;
    const Devstamp__Signer__Request *r = j->request;
    if (r->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_KEY ||
        r->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_OPEN_STAMP) {
        process_key(d, j);
        return;
    }
    bool stamp = r->body_case == DEVSTAMP__SIGNER__REQUEST__BODY_MAKE_STAMP;
    if (stamp)
        j->rc = ds_keymaker_stamp(&d->issuer->profiles, r->make_stamp, &j->made, e);
    const Devstamp__Signer__Sign *sign = stamp ? r->make_stamp->sign : r->sign;
    if (!j->rc)
        j->rc = ds_issuer_judge(d->issuer, plain, sign, &j->c, e);
    if (!j->rc) {
        pthread_mutex_lock(&d->lock);
        j->rc = decide(d, j, e);
        pthread_mutex_unlock(&d->lock);
    }
    if (!j->rc && !j->c.from_log)
        j->rc = ds_issuer_make(d->issuer, &j->c, e);
    if (j->rc || j->c.from_log) {
        answer_now(d, j);
        return;
    }
    pthread_mutex_lock(&d->lock);
    append(&d->ready, j);
    pthread_cond_signal(&d->ready_more);
    pthread_mutex_unlock(&d->lock);
}

static void *work(void *arg)
{
    ds_desk *d = arg;
    ds_plain *plain = ds_plain_new();
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->queue.first && !d->ending)
            pthread_cond_wait(&d->work, &d->lock);
        if (d->ending)
            break;
        job *j = take_first(&d->queue);
        pthread_mutex_unlock(&d->lock);
        process(d, plain, j);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    ds_plain_free(plain);
    return NULL;
}

// Wait for certificates: half of all that were asked for, so that the others are worked on meanwhile, but not for long.
// The lock is held.
static void gather(ds_desk *d)
{
    while (!d->ready.count && !d->finishing)
        pthread_cond_wait(&d->ready_more, &d->lock);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += GATHER_US * 1000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (d->ready.count * 2 < d->open && d->ready.count < BATCH_MAX && !d->finishing)
        if (pthread_cond_timedwait(&d->ready_more, &d->lock, &until) != 0)
            break;
}

// A head that is old is no failure of the certificates just logged: it is told, and made up for with the next.
static void put_head_now_and_then(const ds_desk *d)
{
    ds_err e = DS_ERR_INIT;
    const ds_log_file *log = d->issuer->log;
    if (ds_log_entries(log) - ds_log_head_entries(log) >= HEAD_EVERY && ds_issuer_put_head(d->issuer, &e))
        ds_log(DS_LOG_WARN, "%s", e.text);
}

// All certificates of the batch to disk, then each to who asked for it. The lock is held, and given back meanwhile.
static void commit(ds_desk *d, job_list *batch)
{
    ds_err failure = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    for (job *j = batch->first; j; j = j->next)
        j->rc = ds_issuer_add(d->issuer, &j->c, &j->failure);
    pthread_mutex_unlock(&d->lock);
    enum ds_class rc = ds_log_write(d->issuer->log, &failure);
    pthread_mutex_lock(&d->lock);
    ds_log_settle(d->issuer->log, rc == DS_OK);
    head h = head_now(d);
    for (job *j = batch->first; j; j = j->next) {
        if (!j->rc && rc) {
            j->rc = rc;
            j->failure = failure;
        }
        if (j->rc)
            ds_issuer_forget(d->issuer, &j->c);
        end_job(d, j);
    }
    pthread_mutex_unlock(&d->lock);
    while (batch->first) {
        job *j = take_first(batch);
        if (j->rc)
            pack_failure(j->request->id, &j->failure, &bytes);
        else
            pack_certificate(j, &h, &bytes);
        free_job(j);
    }
    send_bytes(d, &bytes);
    put_head_now_and_then(d);
    pthread_mutex_lock(&d->lock);
}

static void *commit_all(void *arg)
{
    ds_desk *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        gather(d);
        job_list batch = d->ready;
        d->ready = (job_list){0};
        if (!batch.count)
            break;
        d->committing = true;
        commit(d, &batch);
        d->committing = false;
        pthread_cond_broadcast(&d->settled);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

// As many as keep the processors busy while some wait for the token; one where the token wants its PIN for each use.
static unsigned workers_for(const ds_issuer *i)
{
    cpu_set_t set;
    unsigned cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    if (ds_key_is_serial(i->key))
        return 1;
    return 2 * cpus < WORKERS_MAX ? 2 * cpus : WORKERS_MAX;
}

static void end_threads(ds_desk *d)
{
    pthread_mutex_lock(&d->lock);
    d->ending = true;
    pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
    for (unsigned i = 0; i < d->worker_count; i++)
        pthread_join(d->workers[i], NULL);
    pthread_mutex_lock(&d->lock);
    d->finishing = true;
    pthread_cond_broadcast(&d->ready_more);
    pthread_mutex_unlock(&d->lock);
}

static void free_desk(ds_desk *d)
{
    while (d->queue.first)
        free_job(take_first(&d->queue));
    pthread_cond_destroy(&d->settled);
    pthread_cond_destroy(&d->ready_more);
    pthread_cond_destroy(&d->work);
    pthread_mutex_destroy(&d->sending);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

enum ds_class ds_desk_open(ds_issuer *issuer, int fd, ds_desk **ret, ds_err *e)
{
    ds_desk *d = ds_alloc(sizeof *d);
    pthread_condattr_t monotonic;
    d->issuer = issuer;
    d->fd = fd;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->sending, NULL);
    pthread_cond_init(&d->work, NULL);
    pthread_cond_init(&d->ready_more, &monotonic);
    pthread_cond_init(&d->settled, NULL);
    pthread_condattr_destroy(&monotonic);
    int err = pthread_create(&d->committer, NULL, commit_all, d);
    if (err) {
        free_desk(d);
        return ds_fail_errno(e, DS_INTERNAL, err, "start a thread");
    }
    unsigned wanted = workers_for(issuer);
    while (d->worker_count < wanted && pthread_create(&d->workers[d->worker_count], NULL, work, d) == 0)
        d->worker_count++;
    if (!d->worker_count) {
        (void)ds_desk_close(d);
        return ds_fail(e, DS_INTERNAL, "threads cannot be started");
    }
    *ret = d;
    return DS_OK;
}

void ds_desk_put(ds_desk *d, Devstamp__Signer__Request *request)
{
    job *j = ds_alloc(sizeof *j);
    j->request = request;
    j->failure = (ds_err)DS_ERR_INIT;
    pthread_mutex_lock(&d->lock);
    append(&d->queue, j);
    d->open++;
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
}

static void pack_entries(uint64_t id, head *h, Devstamp__Signer__EntriesReply *body, ds_buf *ret)
{
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body->log_entries = h->entries;
    body->log_root = (ProtobufCBinaryData){32, h->root};
    reply.id = id;
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_ENTRIES;
    reply.entries = body;
    (void)!ds_wire_pack(&reply.base, ret, NULL); // PART bytes and less than 8 KiB more
}

// The head beside the log, unless it is of a longer one by now.
static enum ds_class read_head_of(const ds_log_file *log, uint64_t entries, ds_buf *ret, ds_err *e)
{
    ds_log_head kept;
    enum ds_class rc = ds_log_read_head(log, ret, e);
    if (!rc && ret->len)
        rc = ds_log_head_parse(ds_buf_view(ret), &kept, e);
    if (!rc && ret->len && kept.size > entries)
        ds_buf_clear(ret);
    return rc;
}

void ds_desk_tell_entries(ds_desk *d, const Devstamp__Signer__Request *request)
{
    enum { PART = 49152 };
    const ds_log_file *log = d->issuer->log;
    DS_CLEANUP_BUF ds_buf records = {0}, header = {0}, head_text = {0}, bytes = {0};
    ds_err failure = DS_ERR_INIT;
    pthread_mutex_lock(&d->lock);
    head h = head_now(d);
    const ds_log_span span = ds_log_find_span(log, request->entries->from, PART);
    pthread_mutex_unlock(&d->lock);
    enum ds_class rc = ds_log_read_span(log, &span, &records, &failure);
    if (!rc)
        rc = ds_log_read_header(log, &header, &failure);
    if (!rc && span.next > h.entries)
        rc = read_head_of(log, h.entries, &head_text, &failure);
    Devstamp__Signer__EntriesReply body = DEVSTAMP__SIGNER__ENTRIES_REPLY__INIT;
    body.records = (ProtobufCBinaryData){records.len, records.ptr};
    body.header = (ProtobufCBinaryData){header.len, header.ptr};
    body.head = (ProtobufCBinaryData){head_text.len, head_text.ptr};
    body.next = span.next;
    if (rc)
        pack_failure(request->id, &failure, &bytes);
    else
        pack_entries(request->id, &h, &body, &bytes);
    send_bytes(d, &bytes);
}

bool ds_desk_rest(ds_desk *d)
{
    pthread_mutex_lock(&d->lock);
    while ((d->open || d->committing) && !d->token_ended)
        pthread_cond_wait(&d->settled, &d->lock);
    bool good = !d->token_ended;
    pthread_mutex_unlock(&d->lock);
    return good;
}

bool ds_desk_close(ds_desk *d)
{
    end_threads(d);
    pthread_join(d->committer, NULL);
    bool good = !d->token_ended;
    free_desk(d);
    return good;
}
