// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Pulling: a batch taken over in one transaction; see batch.h. A station's events are kept as they were, beside this
// ledger's own chain, so that its chain can be computed again from its beginning.
#include "src/ledger/batch_int.h"
#include "src/ledger/lists.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct device_here { // a device's number there and here
    int64_t there, here;
} device_here;

typedef struct pulling {
    ds_ledger *l;
    char station[65];
    ds_buf devices; // of device_here, numbers there upwards: as a batch has them
    uint64_t next;  // event
    uint8_t hash[32];
    ds_ledger_pulled done;
} pulling;

static enum ds_class no_batch(ds_err *e, const char *why)
{
    return ds_fail(e, DS_INPUT, "the batch is not made as one is: %s", why);
}

static int by_number(const void *key, const void *at)
{
    const int64_t *there = key;
    const device_here *d = at;
    return *there < d->there ? -1 : *there > d->there;
}

static enum ds_class device_of(const pulling *p, int64_t there, int64_t *ret, ds_err *e)
{
    const device_here *d =
        p->devices.len ? bsearch(&there, p->devices.ptr, p->devices.len / sizeof *d, sizeof *d, by_number) : NULL;
    if (!d)
        return no_batch(e, "something is of a device that it does not have");
    *ret = d->here;
    return DS_OK;
}

static enum ds_class take_device(pulling *p, const ds_ledger_device *d, ds_err *e)
{
    device_here last = {0}, one = {.there = d->id};
    bool fresh = false;
    if (p->devices.len)
        memcpy(&last, p->devices.ptr + p->devices.len - sizeof last, sizeof last);
    if (d->id <= last.there)
        return no_batch(e, "its devices are not in order");
    enum ds_class rc = ds_batch_put_device(p->l, d, &one.here, &fresh, e);
    if (rc)
        return rc;
    ds_buf_add(&p->devices, &one, sizeof one);
    p->done.devices += fresh;
    return DS_OK;
}

static enum ds_class take_cert(pulling *p, const ds_batch_cert *c, ds_err *e)
{
    int64_t device = 0;
    bool fresh = false, advanced = false;
    enum ds_class rc = device_of(p, c->device, &device, e);
    if (!rc)
        rc = ds_batch_put_cert(p->l, device, c, &fresh, &advanced, e);
    p->done.certificates += !rc && fresh;
    p->done.advanced += !rc && advanced;
    return rc;
}

static enum ds_class take_proof(pulling *p, const ds_batch_proof *proof, ds_err *e)
{
    int64_t device = 0;
    enum ds_class rc = device_of(p, proof->device, &device, e);
    return rc ? rc : ds_batch_put_proof(p->l, device, proof, e);
}

// A text that is no UTF-8, which not every database keeps, is kept as "\\x" and hex digits; so is one that begins so.
static char *stored_text(const char *text)
{
    json_t *valid = strncmp(text, "\\x", 2) == 0 ? NULL : json_string(text);
    char *out = valid ? ds_strdup(text) : ds_alloc(2 * strlen(text) + 3);
    if (!valid) {
        memcpy(out, "\\x", 2);
        ds_hex((const uint8_t *)text, strlen(text), out + 2);
    }
    json_decref(valid);
    return out;
}

static char *text_of(ds_sql_rows *q, int column)
{
    ds_view v = ds_sql_view(q, column);
    char *text = ds_asprintf("%.*s", (int)v.len, v.len ? (const char *)v.ptr : "");
    size_t len = strlen(text) / 2 - (text[0] != '\0');
    if (strncmp(text, "\\x", 2) != 0)
        return text;
    char *plain = ds_alloc(len + 1);
    if (!ds_unhex(text + 2, (uint8_t *)plain, len))
        plain[0] = '\0'; // it was changed: its hash will tell
    free(text);
    return plain;
}

// The hash of the station's event with that number, as it is here; *ret_has false where it is not.
static enum ds_class stored(pulling *p, uint64_t number, uint8_t ret[32], bool *ret_has, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    char hex[65] = "";
    enum ds_class rc = ds_sql_query(&p->l->sql, "SELECT hash FROM batch_event WHERE station = ? AND position = ?",
                                    DS_ARGS(DS_TEXT(p->station), DS_INT((int64_t)number)), &q, e);
    if (!rc)
        rc = ds_sql_next(&p->l->sql, q, &more, e);
    if (!rc && more) {
        ds_sql_text(q, 0, hex, sizeof hex);
        ds_sql_done(q);
    }
    *ret_has = ds_unhex(hex, ret, 32);
    return rc;
}

static enum ds_class refuse_chain(ds_err *e, uint64_t number)
{
    ds_fail(e, DS_POLICY, "event %llu of the station's evidence chain is another than the one that is known here",
            (unsigned long long)number);
    return ds_hint(e, "nothing was taken over; the station's ledger was changed, or begun anew: call the officer");
}

static enum ds_class take_event(pulling *p, const ds_batch_event *v, ds_err *e)
{
    uint8_t hash[32];
    char hex[65];
    bool has = false;
    const ds_ledger_link link = {v->at, v->device, v->kind, v->text};
    ds_ledger_link_hash(p->hash, &link, hash);
    if ((uint64_t)v->number != p->next || memcmp(hash, v->hash, 32) != 0)
        return no_batch(e, "its events make no chain");
    memcpy(p->hash, hash, 32);
    enum ds_class rc = stored(p, p->next, hash, &has, e);
    if (!rc && has && memcmp(hash, v->hash, 32) != 0)
        return refuse_chain(e, p->next);
    p->next++;
    if (rc || has)
        return rc;
    ds_hex(v->hash, 32, hex);
    p->done.events++;
    DS_CLEANUP_FREE char *kind = stored_text(v->kind);
    DS_CLEANUP_FREE char *text = stored_text(v->text);
    return ds_sql_run(
        &p->l->sql,
        "INSERT INTO batch_event(station, position, at, device, kind, text, hash) VALUES(?, ?, ?, ?, ?, ?, ?)",
        DS_ARGS(DS_TEXT(p->station), DS_INT(v->number), DS_INT(v->at), DS_INT(v->device), DS_TEXT(kind), DS_TEXT(text),
                DS_TEXT(hex)),
        e);
}

static enum ds_class take_entry(pulling *p, ds_view entry, ds_err *e)
{
    ds_batch_entry x;
    enum ds_class rc = ds_batch_parse(entry, &x, e);
    if (rc)
        return rc;
    switch (x.kind) {
    case DS_BATCH_DEVICE:
        rc = take_device(p, &x.device, e);
        break;
    case DS_BATCH_CERT:
        rc = take_cert(p, &x.cert, e);
        break;
    case DS_BATCH_PROOF:
        rc = take_proof(p, &x.proof, e);
        break;
    case DS_BATCH_EVENT:
    default:
        rc = take_event(p, &x.event, e);
    }
    ds_batch_entry_free(&x);
    return rc;
}

static void read_link(ds_sql_rows *q, ds_batch_event *ret)
{
    char hex[65];
    *ret = (ds_batch_event){.number = ds_sql_int(q, 0), .at = ds_sql_int(q, 1), .device = ds_sql_int(q, 2)};
    ret->kind = text_of(q, 3);
    ret->text = text_of(q, 4);
    ds_sql_text(q, 5, hex, sizeof hex);
    if (!ds_unhex(hex, ret->hash, 32))
        memset(ret->hash, 0, 32);
}

static bool follows(const uint8_t before[32], const ds_batch_event *v)
{
    uint8_t hash[32];
    const ds_ledger_link link = {v->at, v->device, v->kind, v->text};
    ds_ledger_link_hash(before, &link, hash);
    return memcmp(hash, v->hash, 32) == 0;
}

#define EVENTS "SELECT position, at, device, kind, text, hash FROM batch_event WHERE station = ? AND position >= ? "

// A later batch that came first goes on where this one ends?
static enum ds_class check_next(pulling *p, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    enum ds_class rc =
        ds_sql_query(&p->l->sql, EVENTS "AND position <= ? ORDER BY position",
                     DS_ARGS(DS_TEXT(p->station), DS_INT((int64_t)p->next), DS_INT((int64_t)p->next)), &q, e);
    if (!rc)
        rc = ds_sql_next(&p->l->sql, q, &more, e);
    if (rc || !more)
        return rc;
    ds_batch_entry x = {.kind = DS_BATCH_EVENT};
    read_link(q, &x.event);
    ds_sql_done(q);
    if (!follows(p->hash, &x.event))
        rc = refuse_chain(e, p->next);
    ds_batch_entry_free(&x);
    return rc;
}

static enum ds_class begin_chain(pulling *p, ds_err *e)
{
    static const uint8_t none[32];
    uint8_t hash[32];
    bool has = false;
    const ds_batch_range *r = &p->done.range;
    if (r->from == 0 && memcmp(r->from_hash, none, 32) != 0)
        return no_batch(e, "its events make no chain");
    enum ds_class rc = r->from ? stored(p, r->from, hash, &has, e) : DS_OK;
    if (!rc && has && memcmp(hash, r->from_hash, 32) != 0)
        return refuse_chain(e, r->from);
    p->next = r->from + 1;
    memcpy(p->hash, r->from_hash, 32);
    return rc;
}

static enum ds_class take_all(pulling *p, ds_roll_files *f, ds_err *e)
{
    ds_roll_block *b = ds_alloc(sizeof *b);
    enum ds_class rc = ds_ledger_lists_ready(p->l, e);
    if (!rc)
        rc = begin_chain(p, e);
    for (uint64_t i = 0; !rc && i < f->blocks; i++) {
        rc = ds_roll_load(f, i, b, e);
        for (unsigned k = 0; !rc && k < b->count; k++) {
            rc = take_entry(p, b->entry[k], e);
            if (rc)
                (void)ds_wrap(e, "entry %llu", (unsigned long long)(i * DS_ROLL_BLOCK + k + 1));
        }
    }
    free(b);
    if (!rc && (p->next != p->done.range.to + 1 || memcmp(p->hash, p->done.range.to_hash, 32) != 0))
        rc = no_batch(e, "its events are not those that it names");
    return rc ? rc : check_next(p, e);
}

enum ds_class ds_ledger_pull(ds_ledger *l, ds_roll_files *f, ds_ledger_pulled *ret, ds_err *e)
{
    pulling p = {.l = l};
    if (f->head.kind != DS_STATEMENT_BATCH)
        return ds_fail(e, DS_INPUT, "it is a %s, and no ledger batch", ds_statement_name(f->head.kind));
    if (f->missing)
        return ds_fail(e, DS_INPUT, "the batch is not whole");
    ds_hex(f->signature.key_id, 32, p.station);
    enum ds_class rc = ds_batch_about_parse(f->head.about, &p.done.range, e);
    if (rc)
        return rc;
    do {
        ds_buf_clear(&p.devices);
        p.done = (ds_ledger_pulled){.range = p.done.range};
        rc = ds_ledger_begin(l, e);
        if (rc)
            break;
        rc = take_all(&p, f, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_buf_free(&p.devices);
    if (!rc)
        *ret = p.done;
    return rc;
}

static enum ds_class walk_chain(ds_ledger *l, ds_ledger_station *s, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&l->sql, EVENTS "ORDER BY position", DS_ARGS(DS_TEXT(s->key), DS_INT(1)), &q, e);
    while (!rc && !(rc = ds_sql_next(&l->sql, q, &more, e)) && more) {
        ds_batch_entry x = {.kind = DS_BATCH_EVENT};
        read_link(q, &x.event);
        bool next = (uint64_t)x.event.number == s->last + 1; // behind a gap nothing is known of what it follows
        if (next && !s->broken && !follows(s->head, &x.event))
            s->broken = (uint64_t)x.event.number;
        s->events++;
        s->last = (uint64_t)x.event.number;
        memcpy(s->head, x.event.hash, 32);
        ds_batch_entry_free(&x);
    }
    return rc;
}

static enum ds_class stations(ds_ledger *l, ds_buf *keys, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true, has = false;
    enum ds_class rc = ds_ledger_lists_have(l, "batch_event", &has, e);
    if (rc || !has)
        return rc;
    rc = ds_sql_query(&l->sql, "SELECT DISTINCT station FROM batch_event ORDER BY station", NULL, &q, e);
    while (!rc && !(rc = ds_sql_next(&l->sql, q, &more, e)) && more) {
        ds_ledger_station s = {.events = 0};
        ds_sql_text(q, 0, s.key, sizeof s.key);
        ds_buf_add(keys, &s, sizeof s);
    }
    return rc;
}

enum ds_class ds_ledger_each_station(ds_ledger *l, ds_ledger_station_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf keys = {0};
    ds_ledger_lock(l);
    enum ds_class rc = stations(l, &keys, e);
    for (size_t at = 0; !rc && at < keys.len; at += sizeof(ds_ledger_station)) {
        ds_ledger_station s;
        memcpy(&s, keys.ptr + at, sizeof s);
        rc = walk_chain(l, &s, e);
        if (!rc)
            fn(arg, &s);
    }
    ds_ledger_unlock(l);
    return rc;
}
