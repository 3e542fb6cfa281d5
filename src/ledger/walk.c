// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Walking the certificates by their fingerprints; see walk.h. A page at a time is copied under the lock, so that slots
// are not held up by a long list.
#include "src/ledger/walk.h"

#include "src/ledger/internal.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 256 };

#define PAGE_OF                                                                                                     \
    "SELECT c.fingerprint, d.serial, d.product, c.state, c.signed_at, c.revoked_at, c.der FROM certificate c JOIN " \
    "device d ON d.id = c.device WHERE c.fingerprint > ? ORDER BY c.fingerprint LIMIT 256"

typedef struct page {
    size_t count;
    ds_ledger_entry entry[PAGE];
    size_t len[PAGE]; // of the certificates, one behind the other in bytes
    ds_buf bytes;
} page;

static enum ds_class load(ds_ledger *l, ds_view after, page *p, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    p->count = 0;
    ds_buf_clear(&p->bytes);
    enum ds_class rc = ds_sql_query(&l->sql, PAGE_OF, DS_ARGS(DS_BLOB(after.ptr, after.len)), &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (rc || !more)
            break;
        if (p->count == PAGE) { // never, by LIMIT
            ds_sql_done(q);
            break;
        }
        ds_ledger_entry *x = &p->entry[p->count];
        *x = (ds_ledger_entry){.state = (enum ds_ledger_state)ds_sql_int(q, 3),
                               .signed_utc = ds_sql_int(q, 4),
                               .revoked_utc = ds_sql_int(q, 5)};
        ds_sql_blob(q, 0, x->fingerprint, sizeof x->fingerprint);
        ds_sql_text(q, 1, x->serial, sizeof x->serial);
        ds_sql_text(q, 2, x->product, sizeof x->product);
        ds_view der = ds_sql_view(q, 6);
        ds_buf_add(&p->bytes, der.ptr, der.len);
        p->len[p->count++] = der.len;
    }
    return rc;
}

static enum ds_class tell(page *p, const uint8_t *before, ds_ledger_entry_fn fn, void *arg, bool *ret_more, ds_err *e)
{
    enum ds_class rc = DS_OK;
    size_t at = 0;
    for (size_t i = 0; !rc && i < p->count && *ret_more; i++) {
        ds_ledger_entry *x = &p->entry[i];
        x->certificate = (ds_view){p->bytes.ptr + at, p->len[i]};
        at += p->len[i];
        if (before && memcmp(x->fingerprint, before, 32) >= 0)
            *ret_more = false;
        else
            rc = fn(arg, x, e);
    }
    return rc;
}

enum ds_class ds_ledger_walk(ds_ledger *l, const uint8_t *after, const uint8_t *before, ds_ledger_entry_fn fn,
                             void *arg, ds_err *e)
{
    page *p = ds_alloc(sizeof *p);
    uint8_t last[32] = {0};
    ds_view from = {last, 0}; // no bytes: before all
    bool more = true;
    enum ds_class rc = DS_OK;
    if (after) {
        memcpy(last, after, 32);
        from.len = 32;
    }
    while (!rc && more) {
        ds_ledger_lock(l);
        rc = load(l, from, p, e);
        ds_ledger_unlock(l);
        if (rc)
            break;
        more = p->count == PAGE;
        bool go = true;
        rc = tell(p, before, fn, arg, &go, e);
        more = more && go;
        if (more) {
            memcpy(last, p->entry[PAGE - 1].fingerprint, 32);
            from.len = 32;
        }
    }
    ds_buf_free(&p->bytes);
    free(p);
    return rc;
}
