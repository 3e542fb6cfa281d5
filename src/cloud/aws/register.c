// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Registering the ledger's devices; see register.h.
#include "src/cloud/aws/register.h"

#include "src/base/clock.h"
#include "src/pki/cert.h"

#include <stdlib.h>
#include <string.h>

enum { REFUSED_IN_A_ROW = 20 }; // so many are no accident: a CA that is off, a policy of the service

typedef struct run {
    ds_aws *c;
    ds_ledger *l;
    const ds_aws_registration *r;
    ds_aws_registered count;
    unsigned in_a_row; // refused, each for itself
    enum ds_class rc;
    ds_err e;
} run;

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

static enum ds_class furnish(run *x, const ds_ledger_device *d, const char *arn, ds_err *e)
{
    enum ds_class rc = DS_OK;
    if (x->r->policy)
        rc = ds_aws_attach_policy(x->c, x->r->policy, arn, e);
    if (!rc && x->r->things)
        rc = ds_aws_make_thing(x->c, d->serial, arn, e);
    return rc;
}

static enum ds_class note(run *x, const ds_ledger_cert *c, const char *arn, ds_err *e)
{
    if (ds_aws_is_dry(x->c) || c->state == DS_LEDGER_REGISTERED)
        return DS_OK;
    DS_CLEANUP_FREE char *text = ds_asprintf("registered as %s", arn);
    enum ds_class rc = ds_ledger_event(x->l, c->device, "cloud.aws", text, e);
    return rc ? rc : ds_ledger_cert_registered(x->l, c->fingerprint, ds_utc_now(), e);
}

// A first connect may have been there before us, and waits to be let in: the ledger knows the certificate, so it is.
static enum ds_class let_in(run *x, const ds_ledger_cert *c, char status[24], ds_err *e)
{
    char id[65];
    if (strcmp(status, "PENDING_ACTIVATION") != 0 || x->r->inactive)
        return DS_OK;
    ds_hex(c->fingerprint, 32, id);
    enum ds_class rc = ds_aws_set_certificate(x->c, id, "ACTIVE", e);
    if (!rc)
        snprintf(status, 24, "ACTIVE");
    return rc;
}

static enum ds_class one(run *x, const ds_ledger_device *d, const ds_ledger_cert *c, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf pem = {0};
    DS_CLEANUP_FREE char *arn = NULL;
    char status[24] = "";
    bool fresh = false;
    ds_aws_device device = {.ca_pem = x->r->ca_pem, .active = !x->r->inactive};
    enum ds_class rc = pem_of(c, &pem, e);
    if (rc)
        return rc;
    device.pem = (const char *)pem.ptr;
    memcpy(device.id, c->fingerprint, sizeof device.id);
    rc = ds_aws_register_device(x->c, &device, &arn, status, &fresh, e);
    if (!rc)
        rc = let_in(x, c, status, e);
    if (rc)
        return rc;
    if (strcmp(status, "ACTIVE") != 0 && !(x->r->inactive && strcmp(status, "INACTIVE") == 0)) {
        DS_CLEANUP_FREE char *what = ds_asprintf("is %s in the cloud, and stays so", status);
        x->count.differing++;
        say(x, d, c, what);
        return DS_OK;
    }
    rc = furnish(x, d, arn, e);
    if (!rc)
        rc = note(x, c, arn, e);
    if (rc)
        return rc;
    if (fresh)
        x->count.registered++;
    else
        x->count.already++;
    return DS_OK;
}

// Does the failure concern this one alone?
static bool is_its_own(enum ds_class rc, const ds_err *e)
{
    return rc == DS_USAGE || (rc == DS_INPUT && e->code == 0) || e->code == DS_AWS_REFUSED_DEVICE;
}

static void do_one(run *x, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    x->e = DS_ERR_INIT;
    x->rc = one(x, d, c, &x->e);
    bool own = x->rc && is_its_own(x->rc, &x->e);
    x->in_a_row = own ? x->in_a_row + 1 : 0;
    x->count.failed += own;
    if (own)
        say(x, d, c, x->e.text);
    if (own && x->in_a_row < REFUSED_IN_A_ROW)
        x->rc = DS_OK;
    else if (own)
        (void)ds_wrap(&x->e, "%d in a row are refused, the last", REFUSED_IN_A_ROW);
    if (x->rc)
        (void)ds_wrap(&x->e, "device %s", d->serial);
}

static bool row(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    run *x = arg;
    if (c->state == 0)
        return true;
    if (c->revoked)
        x->count.revoked++;
    else if (c->state < DS_LEDGER_INSTALLED)
        x->count.waiting++;
    else if (c->state == DS_LEDGER_REGISTERED && !x->r->all)
        x->count.before++;
    else
        do_one(x, d, c);
    return x->rc == DS_OK;
}

enum ds_class ds_aws_register_all(ds_aws *c, ds_ledger *l, const ds_aws_registration *r, ds_aws_registered *ret,
                                  ds_err *e)
{
    run x = {.c = c, .l = l, .r = r};
    enum ds_class rc = ds_ledger_each(l, row, &x, e);
    *ret = x.count;
    if (rc || !x.rc)
        return rc;
    if (e)
        *e = x.e;
    return x.rc;
}
