// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The entries of batches as canonical JSON; see batch_int.h. A text that is no UTF-8 is written as hex digits under its
// name with "_hex", so that the evidence chain's hashes can be computed again.
#include "src/ledger/batch_int.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { DER_MAX = 65536, TEXT_MAX = 1 << 20 };

void ds_batch_entry_free(ds_batch_entry *x)
{
    ds_buf_free(&x->cert.der);
    free(x->proof.json);
    free(x->event.kind);
    free(x->event.text);
    *x = (ds_batch_entry){.kind = DS_BATCH_DEVICE};
}

static void put_hex(json_t *o, const char *key, const void *bytes, size_t len)
{
    DS_CLEANUP_FREE char *text = ds_alloc(2 * len + 1);
    ds_hex(bytes, len, text);
    json_object_set_new(o, key, json_string(text));
}

static void put_text(json_t *o, const char *key, const char *text)
{
    json_t *s = json_string(text);
    DS_CLEANUP_FREE char *name = ds_asprintf("%s_hex", key);
    if (s)
        json_object_set_new(o, key, s);
    else
        put_hex(o, name, text, strlen(text));
}

// What is not (yet) is left out.
static void put_number(json_t *o, const char *key, int64_t n)
{
    if (n)
        json_object_set_new(o, key, json_integer(n));
}

static json_t *write_device(const ds_ledger_device *d)
{
    json_t *o = json_pack("{s:s,s:i}", "entry", "device", "chip", (int)d->chip_id);
    put_number(o, "id", d->id);
    put_hex(o, "mac", d->mac, sizeof d->mac);
    put_text(o, "product", d->product);
    put_text(o, "serial", d->serial);
    put_text(o, "stage", d->stage);
    put_number(o, "locked", d->locked);
    put_number(o, "first_seen", d->first_seen_utc);
    put_number(o, "last_seen", d->last_seen_utc);
    return o;
}

static json_t *write_cert(const ds_batch_cert *c)
{
    json_t *o = json_pack("{s:s}", "entry", "certificate");
    put_number(o, "device", c->device);
    put_hex(o, "serial", c->serial, sizeof c->serial);
    put_hex(o, "key", c->key, sizeof c->key);
    put_text(o, "subject", c->subject);
    put_text(o, "reason", c->reason);
    put_number(o, "state", c->state);
    put_number(o, "not_before", c->not_before);
    put_number(o, "not_after", c->not_after);
    put_number(o, "reserved", c->reserved);
    put_number(o, "signed", c->made);
    put_number(o, "installed", c->installed);
    put_number(o, "registered", c->registered);
    put_number(o, "revoked", c->revoked);
    put_hex(o, "der", c->der.ptr, c->der.len);
    return o;
}

static json_t *write_proof(const ds_batch_proof *p)
{
    json_t *o = json_pack("{s:s}", "entry", "proof");
    put_number(o, "device", p->device);
    put_number(o, "at", p->at);
    put_number(o, "whole", p->whole);
    put_text(o, "json", p->json);
    return o;
}

static json_t *write_event(const ds_batch_event *v)
{
    json_t *o = json_pack("{s:s}", "entry", "event");
    put_number(o, "number", v->number);
    put_number(o, "at", v->at);
    put_number(o, "device", v->device);
    put_text(o, "kind", v->kind);
    put_text(o, "text", v->text);
    put_hex(o, "hash", v->hash, sizeof v->hash);
    return o;
}

enum ds_class ds_batch_write(const ds_batch_entry *x, ds_buf *ret, ds_err *e)
{
    json_t *o = x->kind == DS_BATCH_DEVICE  ? write_device(&x->device)
                : x->kind == DS_BATCH_CERT  ? write_cert(&x->cert)
                : x->kind == DS_BATCH_PROOF ? write_proof(&x->proof)
                                            : write_event(&x->event);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(o);
    if (!text)
        return ds_fail(e, DS_INTERNAL, "an entry of a batch cannot be written");
    ds_buf_add(ret, text, strlen(text));
    free(text);
    return DS_OK;
}

static bool take_number(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *ret)
{
    const json_t *n = json_object_get(o, key);
    *ret = json_integer_value(n);
    return (!n || json_is_integer(n)) && *ret >= min && *ret <= max;
}

static bool take_hex(const json_t *o, const char *key, void *ret, size_t len)
{
    const json_t *s = json_object_get(o, key);
    return json_is_string(s) && json_string_length(s) == 2 * len && ds_unhex(json_string_value(s), ret, len);
}

static bool take_hex_buf(const json_t *o, const char *key, size_t max, ds_buf *ret)
{
    const json_t *s = json_object_get(o, key);
    size_t len = json_string_length(s);
    if (!json_is_string(s) || len % 2 || len / 2 > max)
        return false;
    ds_buf_resize(ret, len / 2, 0);
    return len == 0 || ds_unhex(json_string_value(s), ret->ptr, len / 2);
}

// Either spelling; the caller frees. NULL: neither, or a zero in it.
static char *take_any(const json_t *o, const char *key)
{
    const json_t *s = json_object_get(o, key);
    DS_CLEANUP_FREE char *name = ds_asprintf("%s_hex", key);
    DS_CLEANUP_BUF ds_buf bytes = {0};
    if (s)
        return json_is_string(s) && json_string_length(s) <= TEXT_MAX &&
                       strlen(json_string_value(s)) == json_string_length(s)
                   ? ds_strdup(json_string_value(s))
                   : NULL;
    if (!take_hex_buf(o, name, TEXT_MAX, &bytes) || bytes.len == 0 || memchr(bytes.ptr, '\0', bytes.len))
        return NULL;
    return ds_asprintf("%.*s", (int)bytes.len, (const char *)bytes.ptr);
}

static bool take_text(const json_t *o, const char *key, char *ret, size_t cap)
{
    DS_CLEANUP_FREE char *text = take_any(o, key);
    if (!text || strlen(text) >= cap)
        return false;
    memcpy(ret, text, strlen(text) + 1);
    return true;
}

static bool take_device(const json_t *o, ds_ledger_device *d)
{
    int64_t chip, locked;
    bool good = take_number(o, "id", 1, INT64_MAX, &d->id) && take_number(o, "chip", 0, UINT16_MAX, &chip) &&
                take_hex(o, "mac", d->mac, sizeof d->mac) && take_text(o, "product", d->product, sizeof d->product) &&
                take_text(o, "serial", d->serial, sizeof d->serial) &&
                take_text(o, "stage", d->stage, sizeof d->stage) && take_number(o, "locked", 0, 1, &locked) &&
                take_number(o, "first_seen", 0, INT64_MAX, &d->first_seen_utc) &&
                take_number(o, "last_seen", 0, INT64_MAX, &d->last_seen_utc);
    d->chip_id = good ? (uint16_t)chip : 0;
    d->locked = good && locked;
    return good;
}

static bool take_cert(const json_t *o, ds_batch_cert *c)
{
    bool good = take_number(o, "device", 1, INT64_MAX, &c->device) && take_hex(o, "serial", c->serial, 16) &&
                take_hex(o, "key", c->key, 32) && take_text(o, "subject", c->subject, sizeof c->subject) &&
                c->subject[0] && take_text(o, "reason", c->reason, sizeof c->reason) &&
                take_number(o, "state", DS_LEDGER_RESERVED, DS_LEDGER_REGISTERED, &c->state) &&
                take_number(o, "not_before", INT64_MIN, INT64_MAX, &c->not_before) &&
                take_number(o, "not_after", INT64_MIN, INT64_MAX, &c->not_after) &&
                take_number(o, "reserved", 0, INT64_MAX, &c->reserved) &&
                take_number(o, "signed", 0, INT64_MAX, &c->made) &&
                take_number(o, "installed", 0, INT64_MAX, &c->installed) &&
                take_number(o, "registered", 0, INT64_MAX, &c->registered) &&
                take_number(o, "revoked", 0, INT64_MAX, &c->revoked) && take_hex_buf(o, "der", DER_MAX, &c->der);
    return good && (c->state >= DS_LEDGER_SIGNED) == (c->der.len > 0 && c->made > 0) &&
           (c->state >= DS_LEDGER_INSTALLED) == (c->installed > 0) &&
           (c->state >= DS_LEDGER_REGISTERED) == (c->registered > 0) && c->reserved > 0;
}

static bool take_proof(const json_t *o, ds_batch_proof *p)
{
    int64_t whole = 0;
    p->json = take_any(o, "json");
    bool good = p->json && take_number(o, "device", 1, INT64_MAX, &p->device) &&
                take_number(o, "at", 0, INT64_MAX, &p->at) && take_number(o, "whole", 0, 1, &whole);
    p->whole = whole;
    return good;
}

static bool take_event(const json_t *o, ds_batch_event *v)
{
    v->kind = take_any(o, "kind");
    v->text = take_any(o, "text");
    return v->kind && v->text && take_number(o, "number", 1, INT64_MAX, &v->number) &&
           take_number(o, "at", INT64_MIN, INT64_MAX, &v->at) && take_number(o, "device", 0, INT64_MAX, &v->device) &&
           take_hex(o, "hash", v->hash, 32);
}

static bool take(const json_t *o, ds_batch_entry *x)
{
    static const char *const names[] = {"device", "certificate", "proof", "event"};
    const char *name = json_string_value(json_object_get(o, "entry"));
    for (int k = 0; name && k < 4; k++)
        if (strcmp(names[k], name) == 0) {
            x->kind = (enum ds_batch_kind)k;
            return x->kind == DS_BATCH_DEVICE  ? take_device(o, &x->device)
                   : x->kind == DS_BATCH_CERT  ? take_cert(o, &x->cert)
                   : x->kind == DS_BATCH_PROOF ? take_proof(o, &x->proof)
                                               : take_event(o, &x->event);
        }
    return false;
}

enum ds_class ds_batch_parse(ds_view entry, ds_batch_entry *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    json_error_t why;
    ds_batch_entry x = {.kind = DS_BATCH_DEVICE};
    json_t *o = json_loadb((const char *)entry.ptr, entry.len, JSON_REJECT_DUPLICATES, &why);
    bool good = take(o, &x);
    json_decref(o);
    good = good && !ds_batch_write(&x, &again, NULL) && again.len == entry.len &&
           memcmp(again.ptr, entry.ptr, entry.len) == 0;
    if (!good) {
        ds_batch_entry_free(&x);
        return ds_fail(e, DS_INPUT, "an entry is not as a batch's must be, or not in its one spelling");
    }
    *ret = x;
    return DS_OK;
}

enum ds_class ds_batch_about(const ds_batch_range *r, char ret[DS_ROLL_ABOUT_MAX], ds_err *e)
{
    json_t *o = json_pack("{s:I,s:I}", "from", (json_int_t)r->from, "to", (json_int_t)r->to);
    put_hex(o, "from_hash", r->from_hash, 32);
    put_hex(o, "to_hash", r->to_hash, 32);
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
    json_decref(o);
    if (!text)
        return ds_fail(e, DS_INTERNAL, "what a batch says of itself cannot be written");
    memcpy(ret, text, strlen(text) + 1);
    free(text);
    return DS_OK;
}

enum ds_class ds_batch_about_parse(const char *about, ds_batch_range *ret, ds_err *e)
{
    json_error_t why;
    int64_t from, to;
    json_t *o = json_loads(about, 0, &why);
    bool good = json_is_object(o) && take_number(o, "from", 0, INT64_MAX - 1, &from) &&
                take_number(o, "to", from + 1, INT64_MAX, &to) && take_hex(o, "from_hash", ret->from_hash, 32) &&
                take_hex(o, "to_hash", ret->to_hash, 32);
    json_decref(o);
    if (!good)
        return ds_fail(e, DS_INPUT, "what the batch says of itself cannot be read");
    ret->from = (uint64_t)from;
    ret->to = (uint64_t)to;
    return DS_OK;
}
