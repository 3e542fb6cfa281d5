// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the endpoint saw, carried into the ledger; what the ledger revoked, carried back.
#include "src/cloud/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct sync {
    ds_ledger *l;
    ds_registry *r;
    ds_registry_name_fn line;
    void *arg;
    ds_registry_sync_result result;
} sync;

static bool gather(void *arg, const ds_registry_device *d)
{
    ds_buf_add(arg, d, sizeof *d);
    return true;
}

static void say(const sync *s, const char *name, const uint8_t fingerprint[32], const char *what)
{
    char id[65];
    ds_hex(fingerprint, 32, id);
    DS_CLEANUP_FREE char *text = ds_asprintf("device %s (certificate %s): %s", name, id, what);
    if (s->line)
        s->line(s->arg, text);
}

static bool gather_revoked(void *arg, const ds_ledger_revoked *c)
{
    ds_buf_add(arg, c, sizeof *c);
    return true;
}

// Every certificate the ledger revoked, connected or not: one that is still in a drawer must not get in later.
static enum ds_class carry_revocations(sync *s, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf revoked = {0};
    enum ds_class rc = ds_ledger_each_revoked(s->l, gather_revoked, &revoked, e);
    for (size_t off = 0; !rc && off < revoked.len; off += sizeof(ds_ledger_revoked)) {
        ds_ledger_revoked c;
        bool fresh = false;
        memcpy(&c, revoked.ptr + off, sizeof c);
        rc = ds_registry_revoke(s->r, c.fingerprint, &fresh, e);
        if (rc || !fresh)
            continue;
        s->result.revoked++;
        say(s, c.serial, c.fingerprint, "revoked by the ledger; refused from now on");
    }
    return rc;
}

static enum ds_class one(sync *s, const ds_registry_device *d, ds_err *e)
{
    ds_ledger_cert c = {0};
    if (d->state == DS_REGISTRY_PENDING)
        return DS_OK; // nobody has taken it in yet
    enum ds_class rc = ds_ledger_cert_find(s->l, d->id, &c, e);
    if (rc)
        return rc;
    enum ds_ledger_state state = c.state;
    bool revoked = c.revoked;
    ds_ledger_cert_free(&c);
    if (state == 0) {
        s->result.unknown++;
        say(s, d->name, d->id, "registered here, and the ledger does not know it");
        return DS_OK;
    }
    if (revoked)
        return DS_OK; // carried before
    if (state == DS_LEDGER_REGISTERED) {
        s->result.already++;
        return DS_OK;
    }
    rc = ds_ledger_cert_registered(s->l, d->id, d->registered_utc, e);
    if (!rc)
        s->result.marked++;
    return rc;
}

enum ds_class ds_registry_sync(ds_registry *r, ds_ledger *l, ds_registry_name_fn line, void *arg,
                               ds_registry_sync_result *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf devices = {0}; // copied first: both records are used while we go through them
    sync s = {.l = l, .r = r, .line = line, .arg = arg};
    enum ds_class rc = carry_revocations(&s, e);
    if (!rc)
        rc = ds_registry_each(r, gather, &devices, e);
    for (size_t off = 0; !rc && off < devices.len; off += sizeof(ds_registry_device)) {
        ds_registry_device d;
        memcpy(&d, devices.ptr + off, sizeof d);
        rc = one(&s, &d, e);
        if (rc)
            ds_wrap(e, "device %s", d.name);
    }
    *ret = s.result;
    return rc;
}
