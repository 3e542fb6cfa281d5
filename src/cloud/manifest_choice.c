// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Which devices a manifest lists, and collecting them; see manifest.h.
#include "src/cloud/manifest.h"

#include "src/base/clock.h"
#include "src/cloud/manifest_int.h"

#include <jansson.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD_AT_ONCE = 1000 };

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text[0])
        json_object_set_new(o, key, json_string(text));
}

enum ds_class ds_manifest_about(const ds_manifest_choice *c, char ret[DS_ROLL_ABOUT_MAX], ds_err *e)
{
    char hex[65] = "";
    json_t *o = json_object();
    if (c->by_ca)
        ds_hex(c->ca_id, 32, hex);
    set_text(o, "ca", hex);
    set_text(o, "product", c->product);
    set_text(o, "name", c->name);
    if (c->from_utc)
        json_object_set_new(o, "from", json_integer(c->from_utc));
    if (c->until_utc)
        json_object_set_new(o, "until", json_integer(c->until_utc));
    if (c->not_installed)
        json_object_set_new(o, "not_installed", json_true());
    if (c->fresh)
        json_object_set_new(o, "new", json_true());
    if (c->serial_count || c->only)
        json_object_set_new(o, "only", json_true());
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
    json_decref(o);
    size_t len = text ? strlen(text) : DS_ROLL_ABOUT_MAX;
    bool good = len < DS_ROLL_ABOUT_MAX;
    if (good)
        memcpy(ret, text, len + 1);
    free(text);
    return good ? DS_OK : ds_fail(e, DS_INPUT, "product or name is not UTF-8");
}

static bool take_text(const json_t *o, const char *key, char *ret, size_t cap)
{
    const json_t *s = json_object_get(o, key);
    size_t len = json_string_length(s);
    if (!s)
        return true;
    if (!json_is_string(s) || len >= cap)
        return false;
    memcpy(ret, json_string_value(s), len + 1);
    return true;
}

static bool take_time(const json_t *o, const char *key, int64_t *ret)
{
    const json_t *n = json_object_get(o, key);
    *ret = json_integer_value(n);
    return !n || (json_is_integer(n) && *ret > 0);
}

enum ds_class ds_manifest_choice_parse(const char *about, ds_manifest_choice *ret, ds_err *e)
{
    json_error_t why;
    char hex[65] = "";
    ds_manifest_choice c = {.product = ""};
    json_t *o = json_loads(about, 0, &why);
    bool good = json_is_object(o) && take_text(o, "ca", hex, sizeof hex) &&
                take_text(o, "product", c.product, sizeof c.product) && take_text(o, "name", c.name, sizeof c.name) &&
                take_time(o, "from", &c.from_utc) && take_time(o, "until", &c.until_utc);
    c.not_installed = json_is_true(json_object_get(o, "not_installed"));
    c.fresh = json_is_true(json_object_get(o, "new"));
    c.only = json_is_true(json_object_get(o, "only"));
    json_decref(o);
    c.by_ca = hex[0] != '\0';
    if (!good || (c.by_ca && !ds_unhex(hex, c.ca_id, 32)))
        return ds_fail(e, DS_INPUT, "what the manifest says of its choice cannot be read");
    *ret = c;
    return DS_OK;
}

// A ledger does not ask who signed: its rows may come from a batch, or from whoever may write to a database.
static bool is_of_ca(ds_view der, X509 *ca)
{
    const unsigned char *p = der.ptr;
    DS_CLEANUP_X509 X509 *x = d2i_X509(NULL, &p, (long)der.len);
    return x && X509_check_issued(ca, x) == X509_V_OK && X509_verify(x, X509_get0_pubkey(ca)) == 1;
}

bool ds_manifest_fits(const ds_manifest_choice *c, const ds_ledger_entry *x)
{
    return x->serial[0] && (!c->product[0] || strcmp(c->product, x->product) == 0) && x->signed_utc >= c->from_utc &&
           (!c->until_utc || x->signed_utc < c->until_utc) && (!c->ca || is_of_ca(x->certificate, c->ca));
}

typedef struct collecting {
    ds_ledger *l;
    const ds_manifest_choice *c;
    ds_roll_spool *spool;
    const char **sorted; // the serial numbers that were named
    bool *found;
} collecting;

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

// Is it one of those that were named? It is then found.
static bool is_named(collecting *k, const char *serial)
{
    if (!k->sorted)
        return true;
    const char **at = bsearch(&serial, k->sorted, k->c->serial_count, sizeof *k->sorted, by_text);
    if (at)
        k->found[at - k->sorted] = true;
    return at;
}

static enum ds_class collect_one(void *arg, const ds_ledger_entry *x, ds_err *e)
{
    collecting *k = arg;
    DS_CLEANUP_BUF ds_buf entry = {0};
    uint8_t root[32];
    bool known = false;
    if (x->revoked_utc || (x->state < DS_LEDGER_INSTALLED && !k->c->not_installed) || !ds_manifest_fits(k->c, x) ||
        !is_named(k, x->serial))
        return DS_OK;
    enum ds_class rc = k->c->fresh ? ds_ledger_exported(k->l, k->c->name, x->fingerprint, &known, root, e) : DS_OK;
    if (rc || known)
        return rc;
    rc = ds_listed_write(x, &entry, e);
    return rc ? rc : ds_roll_spool_add(k->spool, ds_buf_view(&entry), e);
}

static enum ds_class all_found(const collecting *k, ds_err *e)
{
    for (size_t i = 0; k->sorted && i < k->c->serial_count; i++)
        if (!k->found[i] && (i == 0 || strcmp(k->sorted[i], k->sorted[i - 1]) != 0))
            return ds_hint(
                (ds_fail(e, DS_INPUT, "no device with serial number '%s' is among those to be listed", k->sorted[i]),
                 e),
                "devstamp ledger show tells its state: it must have a live certificate that its device has echoed");
    return DS_OK;
}

enum ds_class ds_manifest_collect(ds_ledger *l, const ds_manifest_choice *c, ds_roll_spool *ret, ds_err *e)
{
    collecting k = {.l = l, .c = c, .spool = ret};
    if (c->serial_count) {
        k.sorted = ds_alloc(c->serial_count * sizeof *k.sorted);
        k.found = ds_alloc(c->serial_count * sizeof *k.found);
        memcpy(k.sorted, c->serial, c->serial_count * sizeof *k.sorted);
        qsort(k.sorted, c->serial_count, sizeof *k.sorted, by_text);
    }
    enum ds_class rc = ds_ledger_walk(l, NULL, NULL, collect_one, &k, e);
    if (!rc)
        rc = all_found(&k, e);
    free(k.sorted);
    free(k.found);
    return rc;
}

enum ds_class ds_manifest_record(ds_ledger *l, const ds_manifest_choice *c, ds_roll_spool *s, ds_err *e)
{
    ds_roll_head head;
    uint8_t(*list)[32] = ds_alloc(RECORD_AT_ONCE * sizeof *list);
    size_t n = 0;
    ds_roll_spool_measure(s, &head);
    enum ds_class rc = DS_OK;
    for (uint64_t i = 0; !rc && i < head.count; i++) {
        ds_view entry;
        ds_listed d = {.serial = ""};
        rc = ds_roll_spool_next(s, &entry, e);
        if (!rc)
            rc = ds_listed_parse(entry, &d, e);
        if (!rc)
            memcpy(list[n++], d.fingerprint, 32);
        ds_listed_free(&d);
        if (!rc && (n == RECORD_AT_ONCE || i + 1 == head.count)) {
            rc = ds_ledger_export_add(l, c->name, head.root, (const uint8_t(*)[32])list, n, e);
            n = 0;
        }
    }
    free(list);
    return rc;
}
