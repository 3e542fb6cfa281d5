// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Registering the ledger's devices; see register.h.
#include "src/cloud/aws/register.h"

#include "src/base/clock.h"
#include "src/pki/cert.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { REFUSED_IN_A_ROW = 20 }; // so many are no accident: a CA that is off, a policy of the service

typedef struct job {
    ds_ledger_device device;
    ds_ledger_cert cert; // its certificate is ours, the request is left out
} job;

// What the threads share, under the mutex from count on.
typedef struct run {
    ds_ledger *l;
    const ds_aws_registration *r;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    ds_aws_registered count;
    unsigned in_a_row; // refused, each for itself
    enum ds_class rc;  // what ends the run
    ds_err e;
    job queue[DS_AWS_JOBS]; // the next ones, from first on
    size_t first, waiting;
    bool complete; // no more will come
} run;

typedef struct worker {
    run *x;
    ds_aws *c;
    pthread_t thread;
    bool started;
} worker;

// With the mutex.
static void say(const run *x, const ds_ledger_device *d, const ds_ledger_cert *c, const char *what)
{
    char id[65];
    ds_hex(c->fingerprint, 32, id);
    x->r->line(x->r->arg, d->serial, id, what);
}

static enum ds_class pem_of(const ds_ledger_cert *c, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    enum ds_class rc = ds_cert_parse(ds_buf_view(&c->certificate), &cert, e);
    if (!rc)
        rc = ds_cert_pem(cert, ret, e);
    if (!rc)
        ds_buf_add_u8(ret, 0);
    return rc;
}

static enum ds_class furnish(const worker *w, const ds_ledger_device *d, const char *arn, ds_err *e)
{
    enum ds_class rc = DS_OK;
    if (w->x->r->policy)
        rc = ds_aws_attach_policy(w->c, w->x->r->policy, arn, e);
    if (!rc && w->x->r->things)
        rc = ds_aws_make_thing(w->c, d->serial, arn, e);
    return rc;
}

static enum ds_class note(const worker *w, const ds_ledger_cert *c, const char *arn, ds_err *e)
{
    if (ds_aws_is_dry(w->c) || c->state == DS_LEDGER_REGISTERED)
        return DS_OK;
    DS_CLEANUP_FREE char *text = ds_asprintf("registered as %s", arn);
    enum ds_class rc = ds_ledger_event(w->x->l, c->device, "cloud.aws", text, e);
    return rc ? rc : ds_ledger_cert_registered(w->x->l, c->fingerprint, ds_utc_now(), e);
}

// A first connect may have been there before us, and waits to be let in: the ledger knows the certificate, so it is.
static enum ds_class let_in(const worker *w, const ds_ledger_cert *c, char status[24], ds_err *e)
{
    char id[65];
    if (strcmp(status, "PENDING_ACTIVATION") != 0 || w->x->r->inactive)
        return DS_OK;
    ds_hex(c->fingerprint, 32, id);
    enum ds_class rc = ds_aws_set_certificate(w->c, id, "ACTIVE", e);
    if (!rc)
        snprintf(status, 24, "ACTIVE");
    return rc;
}

// What came of one.
typedef struct outcome {
    bool fresh, differs;
    char status[24];
} outcome;

static enum ds_class one(const worker *w, const job *j, outcome *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf pem = {0};
    DS_CLEANUP_FREE char *arn = NULL;
    const ds_aws_registration *r = w->x->r;
    ds_aws_device device = {.ca_pem = r->ca_pem, .active = !r->inactive};
    enum ds_class rc = pem_of(&j->cert, &pem, e);
    if (rc)
        return rc;
    device.pem = (const char *)pem.ptr;
    memcpy(device.id, j->cert.fingerprint, sizeof device.id);
    rc = ds_aws_register_device(w->c, &device, &arn, ret->status, &ret->fresh, e);
    if (!rc)
        rc = let_in(w, &j->cert, ret->status, e);
    if (rc)
        return rc;
    ret->differs = strcmp(ret->status, "ACTIVE") != 0 && !(r->inactive && strcmp(ret->status, "INACTIVE") == 0);
    if (ret->differs)
        return DS_OK;
    rc = furnish(w, &j->device, arn, e);
    return rc ? rc : note(w, &j->cert, arn, e);
}

// Does the failure concern this one alone?
static bool is_its_own(enum ds_class rc, const ds_err *e)
{
    return rc == DS_USAGE || (rc == DS_INPUT && e->code == 0) || e->code == DS_AWS_REFUSED_DEVICE;
}

static void record_success(run *x, const job *j, const outcome *o)
{
    x->in_a_row = 0;
    if (o->differs) {
        DS_CLEANUP_FREE char *what = ds_asprintf("is %s in the cloud, and stays so", o->status);
        x->count.differing++;
        say(x, &j->device, &j->cert, what);
    } else if (o->fresh) {
        x->count.registered++;
    } else {
        x->count.already++;
    }
}

// The first failure that ends the run is the one that is told.
static void record_failure(run *x, const job *j, enum ds_class rc, ds_err *e)
{
    bool own = is_its_own(rc, e);
    if (own) {
        x->count.failed++;
        x->in_a_row++;
        say(x, &j->device, &j->cert, e->text);
        if (x->in_a_row < REFUSED_IN_A_ROW)
            return;
        (void)ds_wrap(e, "%d in a row are refused, the last", REFUSED_IN_A_ROW);
    }
    if (x->rc)
        return;
    (void)ds_wrap(e, "device %s", j->device.serial);
    x->e = *e;
    x->rc = rc;
}

// ---- Threads

// The next one; false where none will come.
static bool take(run *x, job *ret)
{
    pthread_mutex_lock(&x->mutex);
    while (!x->waiting && !x->complete && !x->rc)
        pthread_cond_wait(&x->changed, &x->mutex);
    bool taken = x->waiting && !x->rc;
    if (taken) {
        *ret = x->queue[x->first];
        x->first = (x->first + 1) % DS_AWS_JOBS;
        x->waiting--;
        pthread_cond_broadcast(&x->changed);
    }
    pthread_mutex_unlock(&x->mutex);
    return taken;
}

static void *work(void *arg)
{
    const worker *w = arg;
    run *x = w->x;
    job j;
    while (take(x, &j)) {
        ds_err e = DS_ERR_INIT;
        outcome o = {0};
        enum ds_class rc = one(w, &j, &o, &e);
        pthread_mutex_lock(&x->mutex);
        if (rc)
            record_failure(x, &j, rc, &e);
        else
            record_success(x, &j, &o);
        pthread_cond_broadcast(&x->changed);
        pthread_mutex_unlock(&x->mutex);
        ds_ledger_cert_free(&j.cert);
    }
    return NULL;
}

// With the mutex.
static void put(run *x, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    while (x->waiting == DS_AWS_JOBS && !x->rc)
        pthread_cond_wait(&x->changed, &x->mutex);
    if (x->rc)
        return;
    job *j = &x->queue[(x->first + x->waiting) % DS_AWS_JOBS];
    *j = (job){.device = *d, .cert = *c};
    j->cert.csr = (ds_buf){0};
    j->cert.certificate = (ds_buf){0};
    ds_buf_add(&j->cert.certificate, c->certificate.ptr, c->certificate.len);
    x->waiting++;
    pthread_cond_broadcast(&x->changed);
}

static bool row(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    run *x = arg;
    if (c->state == 0)
        return true;
    pthread_mutex_lock(&x->mutex);
    if (c->revoked)
        x->count.revoked++;
    else if (c->state < DS_LEDGER_INSTALLED)
        x->count.waiting++;
    else if (c->state == DS_LEDGER_REGISTERED && !x->r->all)
        x->count.before++;
    else
        put(x, d, c);
    bool go = x->rc == DS_OK;
    pthread_mutex_unlock(&x->mutex);
    return go;
}

static enum ds_class start(worker *w, run *x, ds_aws *c, ds_err *e)
{
    *w = (worker){.x = x, .c = c};
    int err = pthread_create(&w->thread, NULL, work, w);
    w->started = err == 0;
    return err ? ds_fail_errno(e, DS_INTERNAL, err, "start a thread") : DS_OK;
}

static void finish(run *x, worker workers[DS_AWS_JOBS])
{
    pthread_mutex_lock(&x->mutex);
    x->complete = true;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->mutex);
    for (size_t i = 0; i < DS_AWS_JOBS; i++)
        if (workers[i].started)
            pthread_join(workers[i].thread, NULL);
    for (; x->waiting; x->waiting--, x->first = (x->first + 1) % DS_AWS_JOBS)
        ds_ledger_cert_free(&x->queue[x->first].cert);
    pthread_cond_destroy(&x->changed);
    pthread_mutex_destroy(&x->mutex);
}

enum ds_class ds_aws_register_all(ds_aws *const *clients, size_t client_count, ds_ledger *l,
                                  const ds_aws_registration *r, ds_aws_registered *ret, ds_err *e)
{
    run x = {.l = l, .r = r, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    worker workers[DS_AWS_JOBS] = {0};
    enum ds_class rc = client_count >= 1 && client_count <= DS_AWS_JOBS ? DS_OK : ds_fail(e, DS_INTERNAL, "clients");
    for (size_t i = 0; !rc && i < client_count; i++)
        rc = start(&workers[i], &x, clients[i], e);
    if (!rc)
        rc = ds_ledger_each(l, row, &x, e);
    finish(&x, workers);
    *ret = x.count;
    if (rc || !x.rc)
        return rc;
    if (e)
        *e = x.e;
    return x.rc;
}
