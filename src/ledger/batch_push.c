// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Pushing: what the events of a range concern, collected; see batch.h. Devices come first, then certificates (those
// that were revoked before the live one), proofs, and the events.
#include "src/ledger/batch_int.h"
#include "src/ledger/lists.h"

#include <stdlib.h>
#include <string.h>

typedef struct pushing {
    ds_ledger *l;
    ds_batch_range range;
    ds_roll_spool *spool;
    ds_buf devices; // int64_t
} pushing;

static enum ds_class add(pushing *p, const ds_batch_entry *x, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    enum ds_class rc = ds_batch_write(x, &text, e);
    return rc ? rc : ds_roll_spool_add(p->spool, ds_buf_view(&text), e);
}

static char *text_of(ds_sql_rows *q, int column)
{
    ds_view v = ds_sql_view(q, column);
    return ds_asprintf("%.*s", (int)v.len, v.len ? (const char *)v.ptr : "");
}

static enum ds_class hash_of(pushing *p, uint64_t number, uint8_t ret[32], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    memset(ret, 0, 32);
    if (number == 0)
        return DS_OK;
    enum ds_class rc =
        ds_sql_query(&p->l->sql, "SELECT hash FROM event WHERE id = ?", DS_ARGS(DS_INT((int64_t)number)), &q, e);
    if (!rc)
        rc = ds_sql_next(&p->l->sql, q, &more, e);
    if (!rc && !more)
        return ds_fail(e, DS_STORE, "ledger: event %llu is not there", (unsigned long long)number);
    if (!rc) {
        ds_sql_blob(q, 0, ret, 32);
        ds_sql_done(q);
    }
    return rc;
}

static enum ds_class find_range(pushing *p, ds_err *e)
{
    int64_t count = 0, there = 0;
    if (ds_sql_is_pg(&p->l->sql))
        return ds_hint((ds_fail(e, DS_USAGE, "a shared database is not pushed: batches are of one station's file"), e),
                       "devstamp ledger pull takes batches over into the database");
    enum ds_class rc = ds_sql_number(&p->l->sql, "SELECT count FROM chain WHERE one = 1", NULL, 0, &count, e);
    if (!rc && p->range.from > (uint64_t)count)
        return ds_hint((ds_fail(e, DS_INPUT, "the evidence chain has %lld events, and %llu were pushed",
                                (long long)count, (unsigned long long)p->range.from),
                        e),
                       "the ledger is an older copy than the one that was pushed from: devstamp ledger check --head");
    p->range.to = (uint64_t)count;
    if (!rc)
        rc = ds_sql_number(&p->l->sql, "SELECT count(*) FROM event WHERE id > ? AND id <= ?",
                           DS_ARGS(DS_INT((int64_t)p->range.from), DS_INT(count)), 0, &there, e);
    if (!rc && (uint64_t)there != p->range.to - p->range.from)
        return ds_hint((ds_fail(e, DS_STORE, "the evidence chain has a gap"), e), "devstamp ledger check tells where");
    if (!rc)
        rc = hash_of(p, p->range.from, p->range.from_hash, e);
    return rc ? rc : hash_of(p, p->range.to, p->range.to_hash, e);
}

static enum ds_class find_devices(pushing *p, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(
        &p->l->sql, "SELECT DISTINCT device FROM event WHERE id > ? AND id <= ? AND device IS NOT NULL ORDER BY device",
        DS_ARGS(DS_INT((int64_t)p->range.from), DS_INT((int64_t)p->range.to)), &q, e);
    while (!rc && !(rc = ds_sql_next(&p->l->sql, q, &more, e)) && more) {
        int64_t id = ds_sql_int(q, 0);
        ds_buf_add(&p->devices, &id, sizeof id);
    }
    return rc;
}

static enum ds_class add_device(pushing *p, int64_t id, ds_err *e)
{
    ds_batch_entry x = {.kind = DS_BATCH_DEVICE};
    enum ds_class rc = ds_ledger_load_device(p->l, id, &x.device, e);
    return rc ? rc : add(p, &x, e);
}

#define CERTIFICATES                                                                                                 \
    "SELECT c.serial, c.key_digest, c.subject, c.state, c.not_before, c.not_after, c.reserved_at, c.signed_at, "     \
    "c.installed_at, c.registered_at, c.revoked_at, c.der, (SELECT e.text FROM event e WHERE e.device = c.device "   \
    "AND e.kind = '" DS_LEDGER_KIND_REVOKED "' AND e.id = (SELECT min(f.id) FROM event f WHERE f.device = c.device " \
    "AND f.kind = '" DS_LEDGER_KIND_REVOKED "' AND f.at >= c.revoked_at)) FROM certificate c WHERE c.device = ? "    \
    "ORDER BY CASE WHEN c.revoked_at IS NULL THEN 1 ELSE 0 END, c.id"

static enum ds_class add_certs(pushing *p, int64_t device, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&p->l->sql, CERTIFICATES, DS_ARGS(DS_INT(device)), &q, e);
    while (!rc && !(rc = ds_sql_next(&p->l->sql, q, &more, e)) && more) {
        ds_batch_entry x = {.kind = DS_BATCH_CERT,
                            .cert = {.device = device,
                                     .state = ds_sql_int(q, 3),
                                     .not_before = ds_sql_int(q, 4),
                                     .not_after = ds_sql_int(q, 5),
                                     .reserved = ds_sql_int(q, 6),
                                     .made = ds_sql_int(q, 7),
                                     .installed = ds_sql_int(q, 8),
                                     .registered = ds_sql_int(q, 9),
                                     .revoked = ds_sql_int(q, 10)}};
        ds_sql_blob(q, 0, x.cert.serial, sizeof x.cert.serial);
        ds_sql_blob(q, 1, x.cert.key, sizeof x.cert.key);
        ds_sql_text(q, 2, x.cert.subject, sizeof x.cert.subject);
        ds_view der = ds_sql_view(q, 11);
        ds_buf_add(&x.cert.der, der.ptr, der.len);
        if (x.cert.revoked)
            ds_sql_text(q, 12, x.cert.reason, sizeof x.cert.reason);
        rc = add(p, &x, e);
        ds_batch_entry_free(&x);
        if (rc)
            ds_sql_done(q);
    }
    return rc;
}

static enum ds_class add_proofs(pushing *p, int64_t device, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&p->l->sql, "SELECT at, whole, json FROM proof WHERE device = ? ORDER BY id",
                                    DS_ARGS(DS_INT(device)), &q, e);
    while (!rc && !(rc = ds_sql_next(&p->l->sql, q, &more, e)) && more) {
        ds_batch_entry x = {
            .kind = DS_BATCH_PROOF,
            .proof = {.device = device, .at = ds_sql_int(q, 0), .whole = ds_sql_int(q, 1) != 0, .json = text_of(q, 2)}};
        rc = add(p, &x, e);
        ds_batch_entry_free(&x);
        if (rc)
            ds_sql_done(q);
    }
    return rc;
}

static enum ds_class add_events(pushing *p, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(
        &p->l->sql, "SELECT id, at, device, kind, text, hash FROM event WHERE id > ? AND id <= ? ORDER BY id",
        DS_ARGS(DS_INT((int64_t)p->range.from), DS_INT((int64_t)p->range.to)), &q, e);
    while (!rc && !(rc = ds_sql_next(&p->l->sql, q, &more, e)) && more) {
        ds_batch_entry x = {.kind = DS_BATCH_EVENT,
                            .event = {.number = ds_sql_int(q, 0),
                                      .at = ds_sql_int(q, 1),
                                      .device = ds_sql_int(q, 2),
                                      .kind = text_of(q, 3),
                                      .text = text_of(q, 4)}};
        ds_sql_blob(q, 5, x.event.hash, sizeof x.event.hash);
        rc = add(p, &x, e);
        ds_batch_entry_free(&x);
        if (rc)
            ds_sql_done(q);
    }
    return rc;
}

typedef enum ds_class (*device_fn)(pushing *p, int64_t device, ds_err *e);

static enum ds_class collect(pushing *p, ds_err *e)
{
    static const device_fn each[] = {add_device, add_certs, add_proofs};
    enum ds_class rc = find_range(p, e);
    if (rc || p->range.to == p->range.from)
        return rc;
    rc = find_devices(p, e);
    for (size_t k = 0; k < sizeof each / sizeof *each; k++)
        for (size_t at = 0; !rc && at < p->devices.len; at += sizeof(int64_t)) {
            int64_t id;
            memcpy(&id, p->devices.ptr + at, sizeof id);
            rc = each[k](p, id, e);
        }
    return rc ? rc : add_events(p, e);
}

enum ds_class ds_ledger_push(ds_ledger *l, uint64_t from, ds_roll_spool *ret, char about[DS_ROLL_ABOUT_MAX],
                             ds_batch_range *ret_range, ds_err *e)
{
    pushing p = {.l = l, .range = {.from = from}, .spool = ret};
    enum ds_class rc = ds_ledger_begin(l, e); // one moment of the record
    if (rc)
        return rc;
    rc = ds_ledger_end(l, collect(&p, e), e);
    ds_buf_free(&p.devices);
    if (!rc)
        rc = ds_batch_about(&p.range, about, e);
    if (!rc)
        *ret_range = p.range;
    return rc;
}

enum ds_class ds_ledger_push_known(ds_ledger *l, uint64_t *ret, ds_err *e)
{
    int64_t events = 0;
    enum ds_class rc = ds_ledger_begin(l, e);
    if (rc)
        return rc;
    rc = ds_ledger_lists_ready(l, e);
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT events FROM batch_push WHERE station = ''", NULL, 0, &events, e);
    rc = ds_ledger_end(l, rc, e);
    *ret = (uint64_t)events;
    return rc;
}

enum ds_class ds_ledger_pushed(ds_ledger *l, const ds_batch_range *range, ds_err *e)
{
    char hex[65];
    ds_hex(range->to_hash, 32, hex);
    enum ds_class rc = ds_ledger_begin(l, e);
    if (rc)
        return rc;
    rc = ds_ledger_lists_ready(l, e);
    if (!rc)
        rc = ds_sql_run(&l->sql,
                        "INSERT INTO batch_push(station, events, head) VALUES('', ?, ?) ON CONFLICT(station) DO UPDATE "
                        "SET events = excluded.events, head = excluded.head",
                        DS_ARGS(DS_INT((int64_t)range->to), DS_TEXT(hex)), e);
    return ds_ledger_end(l, rc, e);
}
