// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Events and proofs. Every change of a certificate and every proof leaves an event with its digest, which ties those
// rows to the evidence chain (chain.c) too.
#include "src/ledger/internal.h"
#include "src/base/clock.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { PROOF_MAX = 1 << 20 };

enum ds_class ds_ledger_event(ds_ledger *l, int64_t device, const char *kind, const char *text, ds_err *e)
{
    ds_ledger_device d;
    if (strncmp(kind, "ledger.", 7) == 0)
        return ds_fail(e, DS_INTERNAL, "events '%s' are written by the ledger itself", kind);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        if (device)
            rc = ds_ledger_load_device(l, device, &d, e);
        if (!rc)
            rc = ds_ledger_append(l, device, kind, text, e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}

typedef struct event_row {
    int64_t at_utc;
    char *kind, *text;
} event_row;

// The rows are copied before the caller sees them, so that it may use the ledger meanwhile.
static enum ds_class read_events(ds_ledger *l, int64_t device, ds_buf *rows, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc =
        device
            ? ds_sql_query(&l->sql, "SELECT at, kind, text FROM event WHERE device = ? ORDER BY id",
                           DS_ARGS(DS_INT(device)), &q, e)
            : ds_sql_query(&l->sql, "SELECT at, kind, text FROM event WHERE device IS NULL ORDER BY id", NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (rc || !more)
            break;
        event_row row = {ds_sql_int(q, 0), ds_strdup(ds_sql_str(q, 1)), ds_strdup(ds_sql_str(q, 2))};
        ds_buf_add(rows, &row, sizeof row);
    }
    return rc;
}

enum ds_class ds_ledger_events(ds_ledger *l, int64_t device, ds_ledger_event_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf rows = {0};
    ds_ledger_lock(l);
    enum ds_class rc = read_events(l, device, &rows, e);
    ds_ledger_unlock(l);
    bool go = !rc;
    for (size_t off = 0; off < rows.len; off += sizeof(event_row)) {
        event_row row;
        memcpy(&row, rows.ptr + off, sizeof row);
        go = go && fn(arg, row.at_utc, row.kind, row.text);
        free(row.kind);
        free(row.text);
    }
    return rc;
}

static enum ds_class add_proof(ds_ledger *l, const ds_ledger_device *d, bool whole, const char *json, ds_err *e)
{
    uint8_t digest[32];
    char hex[65];
    ds_sha256(json, strlen(json), digest);
    ds_hex(digest, sizeof digest, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("%s %s", whole ? "whole" : "not-whole", hex);
    ds_sql_arg id;
    enum ds_class rc = ds_ledger_new_id(l, &id, e);
    if (!rc)
        rc = ds_sql_run(&l->sql, "INSERT INTO proof(id, device, at, whole, json) VALUES(?, ?, ?, ?, ?)",
                        DS_ARGS(id, DS_INT(d->id), DS_INT(ds_utc_now()), DS_INT(whole ? 1 : 0), DS_TEXT(json)), e);
    if (!rc && whole && d->chip_id != DS_LEDGER_CHIP_WITHOUT_LOCK)
        rc = ds_sql_run(&l->sql, "UPDATE device SET locked = 1 WHERE id = ?", DS_ARGS(DS_INT(d->id)), e);
    return rc ? rc : ds_ledger_append(l, d->id, DS_LEDGER_KIND_PROOF, text, e);
}

enum ds_class ds_ledger_device_proof(ds_ledger *l, int64_t device, bool whole, const char *json, ds_err *e)
{
    ds_ledger_device d;
    if (strlen(json) > PROOF_MAX)
        return ds_fail(e, DS_INPUT, "proof: longer than %d bytes", PROOF_MAX);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = ds_ledger_load_device(l, device, &d, e);
        if (!rc)
            rc = add_proof(l, &d, whole, json, e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}

enum ds_class ds_ledger_proof_of(ds_ledger *l, int64_t device, ds_buf *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_query(&l->sql, "SELECT json FROM proof WHERE device = ? ORDER BY id DESC LIMIT 1",
                                    DS_ARGS(DS_INT(device)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && more) {
        ds_view json = ds_sql_view(q, 0);
        ds_buf_add(ret, json.ptr, json.len);
        ds_sql_done(q);
    }
    ds_ledger_unlock(l);
    return rc;
}
