// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Cloud and ledger held against each other; see check.h.
#include "src/cloud/aws/check.h"

#include <stdlib.h>
#include <string.h>

typedef struct item {
    uint8_t id[32];
    char status[20];
    bool met; // the ledger has it
    int64_t created_utc;
} item;

typedef struct run {
    ds_ledger *l;
    const ds_aws_checking *k;
    ds_aws_checked count;
    ds_buf items; // of item, in order of their ids
    enum ds_class rc;
    ds_err e;
} run;

static enum ds_class gather(void *arg, const json_t *j, ds_err *e)
{
    run *x = arg;
    item i = {0};
    const char *id = json_string_value(json_object_get(j, "certificateId"));
    const char *status = json_string_value(json_object_get(j, "status"));
    double created = json_number_value(json_object_get(j, "creationDate"));
    if (!id || strlen(id) != 64 || !ds_unhex(id, i.id, 32) || !status)
        return ds_fail(e, DS_NETWORK, "the list has an entry without id or status");
    snprintf(i.status, sizeof i.status, "%s", status);
    i.created_utc = created > 0 && created < 253402300799.0 ? (int64_t)created : 0;
    ds_buf_add(&x->items, &i, sizeof i);
    return DS_OK;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

static item *find(const run *x, const uint8_t id[32])
{
    return x->items.len ? bsearch(id, x->items.ptr, x->items.len / sizeof(item), sizeof(item), by_id) : NULL;
}

static void differ(run *x, const char *device, const uint8_t id[32], const char *what)
{
    char hex[65];
    ds_hex(id, 32, hex);
    x->count.differences++;
    x->k->line(x->k->arg, device, hex, what);
}

static enum ds_class update(run *x, const ds_ledger_device *d, const ds_ledger_cert *c, const item *i, ds_err *e)
{
    if (!x->k->update) {
        differ(x, d->serial, c->fingerprint,
               c->state < DS_LEDGER_INSTALLED ? "registered in the cloud, and no device confirmed that it has it"
                                              : "registered in the cloud, and the ledger does not say so");
        return DS_OK;
    }
    enum ds_class rc = ds_ledger_event(x->l, c->device, "cloud.aws", "found registered", e);
    if (!rc)
        rc = ds_ledger_cert_registered(x->l, c->fingerprint, i->created_utc, e);
    if (!rc)
        x->count.updated++;
    return rc;
}

static enum ds_class live(run *x, const ds_ledger_device *d, const ds_ledger_cert *c, ds_err *e)
{
    item *i = find(x, c->fingerprint);
    x->count.issued++;
    x->count.installed += c->state >= DS_LEDGER_INSTALLED;
    x->count.registered += c->state >= DS_LEDGER_REGISTERED;
    if (!i) {
        x->count.never_seen += c->state == DS_LEDGER_INSTALLED;
        if (c->state == DS_LEDGER_REGISTERED)
            differ(x, d->serial, c->fingerprint, "registered by the ledger's word, and not in the cloud");
        else if (c->state == DS_LEDGER_INSTALLED && !x->k->jitr)
            differ(x, d->serial, c->fingerprint, "installed, and never seen in the cloud");
        return DS_OK;
    }
    i->met = true;
    if (strcmp(i->status, "ACTIVE") != 0) {
        DS_CLEANUP_FREE char *what = ds_asprintf("is %s in the cloud, and good by the ledger's word", i->status);
        differ(x, d->serial, c->fingerprint, what);
        return DS_OK;
    }
    return c->state < DS_LEDGER_REGISTERED ? update(x, d, c, i, e) : DS_OK;
}

static bool row(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    run *x = arg;
    if (c->state >= DS_LEDGER_SIGNED && !c->revoked)
        x->rc = live(x, d, c, &x->e);
    if (x->rc)
        (void)ds_wrap(&x->e, "device %s", d->serial);
    return x->rc == DS_OK;
}

static bool revoked(void *arg, const ds_ledger_revoked *c)
{
    run *x = arg;
    item *i = find(x, c->fingerprint);
    x->count.revoked++;
    if (!i)
        return true;
    i->met = true;
    if (strcmp(i->status, "REVOKED") != 0 && strcmp(i->status, "INACTIVE") != 0) {
        DS_CLEANUP_FREE char *what = ds_asprintf("revoked in the ledger, and %s in the cloud", i->status);
        differ(x, c->serial, c->fingerprint, what);
    }
    return true;
}

static void strangers(run *x)
{
    for (size_t off = 0; off < x->items.len; off += sizeof(item)) {
        item i;
        memcpy(&i, x->items.ptr + off, sizeof i);
        if (i.met)
            continue;
        DS_CLEANUP_FREE char *what = ds_asprintf("%s in the cloud, and unknown to the ledger", i.status);
        differ(x, "", i.id, what);
    }
}

static enum ds_class compare(run *x, ds_err *e)
{
    enum ds_class rc = ds_ledger_each(x->l, row, x, e);
    if (!rc && x->rc) {
        rc = x->rc;
        if (e)
            *e = x->e;
    }
    if (!rc)
        rc = ds_ledger_each_revoked(x->l, revoked, x, e);
    if (!rc)
        strangers(x);
    return rc;
}

enum ds_class ds_aws_check(ds_aws *c, ds_ledger *l, const ds_aws_checking *k, ds_aws_checked *ret, ds_err *e)
{
    run x = {.l = l, .k = k};
    enum ds_class rc = ds_aws_each_certificate(c, k->ca_id, gather, &x, e);
    x.count.in_cloud = (unsigned)(x.items.len / sizeof(item));
    if (!rc && x.items.len)
        qsort(x.items.ptr, x.items.len / sizeof(item), sizeof(item), by_id);
    if (!rc && !ds_aws_is_dry(c))
        rc = compare(&x, e);
    *ret = x.count;
    ds_buf_free(&x.items);
    return rc;
}
