// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who may connect, and the registration of who connects first. In the order of what it costs: sizes, names, one look-up
// by the certificate's digest; only for a certificate that passed all of these and was never seen a signature is
// checked, and only then something is written.
#include "src/base/clock.h"
#include "src/cloud/internal.h"

#include <string.h>

enum { DER_MAX = 16384, SEEN_GRAIN_S = 60 };

// Refusals of certificates that are not registered. Above it, further ones are refused before anything costly.
static const ds_rate source_rate = {.per_s = 20, .burst = 200}, ca_rate = {.per_s = 200, .burst = 2000};

typedef struct attempt {
    const ds_registry_attempt *a;
    X509 *leaf;
    ds_registry_client c;
    ds_known_ca *ca;   // which issued it, once that is known
    ds_known_ca *said; // which it says issued it
    ds_bucket *source;
    int64_t now_ms;
    bool unknown; // not registered
} attempt;

typedef struct row {
    int64_t number, ca, registered_utc, seen_utc;
    enum ds_registry_state state; // 0: not registered
} row;

static enum ds_class load(ds_registry *r, const uint8_t id[32], row *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    *ret = (row){0};
    enum ds_class rc =
        ds_sql_query(&r->sql, "SELECT number, ca, state, registered_at, last_seen FROM device WHERE id = ?",
                     DS_ARGS(DS_BLOB(id, 32)), &q, e);
    if (!rc)
        rc = ds_sql_next(&r->sql, q, &more, e);
    if (rc || !more)
        return rc;
    *ret = (row){.number = ds_sql_int(q, 0),
                 .ca = ds_sql_int(q, 1),
                 .state = (enum ds_registry_state)ds_sql_int(q, 2),
                 .registered_utc = ds_sql_int(q, 3),
                 .seen_utc = ds_sql_int(q, 4)};
    ds_sql_done(q);
    return DS_OK;
}

static enum ds_class write_seen(ds_registry *r, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < r->seen_count; i++)
        rc = ds_sql_run(&r->sql, "UPDATE device SET last_seen = ? WHERE number = ?",
                        DS_ARGS(DS_INT(r->seen[i].at_utc), DS_INT(r->seen[i].device)), e);
    return rc;
}

enum ds_class ds_registry_flush(ds_registry *r, ds_err *e)
{
    if (!r->seen_count)
        return DS_OK;
    enum ds_class rc = ds_sql_begin(&r->sql, e);
    if (!rc)
        rc = ds_sql_end(&r->sql, write_seen(r, e), e);
    if (!rc || r->seen_count == DS_SEEN_MAX) // what cannot be written must not grow
        r->seen_count = 0;
    return rc;
}

// A device gets in whether or not that can be written.
static void note_seen(ds_registry *r, const row *d, int64_t now_utc)
{
    ds_err lost = DS_ERR_INIT;
    for (size_t i = r->seen_count; i-- > 0;)
        if (r->seen[i].device == d->number) {
            r->seen[i].at_utc = now_utc;
            return;
        }
    r->seen[r->seen_count++] = (ds_seen){d->number, now_utc};
    if (r->seen_count == DS_SEEN_MAX && ds_registry_flush(r, &lost))
        r->seen_count = 0;
}

static bool limited(const attempt *t, ds_known_ca *ca)
{
    return (t->source && !ds_bucket_open(t->source, source_rate, t->now_ms)) ||
           !ds_bucket_open(&ca->refusals, ca_rate, t->now_ms);
}

static enum ds_class revoked_unseen(ds_registry *r, const attempt *t, ds_err *e)
{
    int64_t never = 0;
    enum ds_class rc = ds_sql_number(&r->sql, "SELECT count(*) FROM refused WHERE id = ?",
                                     DS_ARGS(DS_BLOB(t->c.id, 32)), 0, &never, e);
    return rc || !never ? rc : ds_fail(e, DS_POLICY, "the certificate is revoked, and was before it first connected");
}

static enum ds_class revoked_by_serial(ds_registry *r, const attempt *t, const ds_known_ca *ca, ds_err *e)
{
    uint8_t serial[DS_REGISTRY_SERIAL];
    int64_t n = 0;
    size_t len = ds_registry_serial(t->leaf, serial);
    enum ds_class rc = ds_sql_number(&r->sql, "SELECT count(*) FROM revoked_serial WHERE ca = ? AND serial = ?",
                                     DS_ARGS(DS_INT(ca->number), DS_BLOB(serial, len)), 0, &n, e);
    return rc || !n ? rc : ds_fail(e, DS_POLICY, "the certificate is revoked by its CA's list");
}

// What the log and the manifests say of it, where that is asked.
static enum ds_class judge(ds_registry *r, const attempt *t, const ds_known_ca *ca, ds_err *e)
{
    ds_expected x;
    if (!ds_registry_asks_log(ca))
        return DS_OK;
    enum ds_class rc = ds_registry_find_expected(r, ca->number, t->c.id, &x, e);
    const char *why = rc ? NULL : ds_registry_judge(ca, &x);
    return why ? ds_fail(e, DS_POLICY, "%s", why) : rc;
}

// Is it this CA's, and may it come? The signature is looked at last.
static enum ds_class try_issuer(ds_registry *r, attempt *t, ds_known_ca *ca, ds_err *e)
{
    if (!ca->info.active)
        return ds_fail(e, DS_POLICY, "the CA that issued the certificate is inactive");
    enum ds_class rc = revoked_by_serial(r, t, ca, e);
    if (!rc)
        rc = judge(r, t, ca, e);
    if (!rc && ca->info.role == DS_REGISTRY_DEVICES && !ds_registry_asks_log(ca) && limited(t, ca))
        rc = ds_fail(e, DS_POLICY, "too many unknown certificates were refused; let it try again later");
    if (!rc)
        rc = ds_admission_issuer(t->leaf, ca->cert, e);
    return rc ? rc : ds_admission_ca_at(ca->cert, t->a->now_utc, e);
}

// CAs that were renewed with their key have one name and one key identifier: any of them will do.
static enum ds_class find_issuer(ds_registry *r, attempt *t, ds_err *e)
{
    bool named = false;
    ds_err last = DS_ERR_INIT;
    const X509_NAME *issuer = X509_get_issuer_name(t->leaf);
    for (size_t i = 0; i < r->ca_count; i++) {
        ds_known_ca *ca = &r->cas[i];
        if (ca->info.role == DS_REGISTRY_ANCHOR || X509_NAME_cmp(X509_get_subject_name(ca->cert), issuer) != 0)
            continue;
        named = true;
        if (!ds_admission_names(t->leaf, ca->cert))
            continue;
        t->said = ca;
        ds_err why = DS_ERR_INIT;
        enum ds_class rc = try_issuer(r, t, ca, &why);
        if (!rc) {
            t->ca = ca;
            return DS_OK;
        }
        if (last.cls != DS_STORE)
            last = why;
    }
    if (last.cls && e)
        *e = last;
    if (last.cls)
        return last.cls;
    return ds_fail(e, DS_POLICY,
                   named ? "another CA issued the certificate" : "no registered CA issued the certificate");
}

// Who was revoked while we waited for the lock stays out: nobody looks at that again once it is registered.
static enum ds_class insert(ds_registry *r, const attempt *t, enum ds_registry_state state, ds_err *e)
{
    const ds_registry_client *c = &t->c;
    uint8_t serial[DS_REGISTRY_SERIAL];
    int64_t taken = 0;
    size_t len = ds_registry_serial(t->leaf, serial);
    enum ds_class rc = revoked_unseen(r, t, e);
    if (!rc)
        rc = revoked_by_serial(r, t, t->ca, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT count(*) FROM device WHERE name = ? AND state = 1",
                           DS_ARGS(DS_TEXT(c->name)), 0, &taken, e);
    if (!rc && taken)
        return ds_fail(e, DS_POLICY, "another certificate of the name '%s' is active", c->name);
    if (!rc)
        rc = ds_sql_run(&r->sql,
                        "INSERT INTO device(id, name, ca, serial, state, registered_at, last_seen) "
                        "VALUES(?, ?, ?, ?, ?, ?, ?)",
                        DS_ARGS(DS_BLOB(c->id, 32), DS_TEXT(c->name), DS_INT(t->ca->number), DS_BLOB(serial, len),
                                DS_INT(state), DS_INT(t->a->now_utc), DS_INT(t->a->now_utc)),
                        e);
    if (!rc)
        rc = ds_sql_run(&r->sql, "INSERT INTO certificate(device, der) VALUES(last_insert_rowid(), ?)",
                        DS_ARGS(DS_BLOB(t->a->der.ptr, t->a->der.len)), e);
    return rc;
}

static enum ds_class pending(ds_err *e)
{
    return ds_fail(e, DS_POLICY, "the certificate is pending: it waits for its activation");
}

static enum ds_class enrol(ds_registry *r, attempt *t, ds_err *e)
{
    enum ds_registry_state state =
        t->ca->info.registration == DS_REGISTRY_AWAIT ? DS_REGISTRY_PENDING : DS_REGISTRY_ACTIVE;
    const ds_rate rate = {.per_s = t->ca->info.rate, .burst = t->ca->info.rate};
    if (rate.per_s && !ds_bucket_open(&t->ca->registrations, rate, t->now_ms))
        return ds_fail(e, DS_POLICY, "its CA registered %u devices in a second; let it try again later", rate.per_s);
    enum ds_class rc = ds_sql_begin(&r->sql, e);
    if (!rc)
        rc = ds_sql_end(&r->sql, insert(r, t, state, e), e);
    if (rc)
        return rc;
    if (rate.per_s)
        ds_bucket_count(&t->ca->registrations, rate, t->now_ms);
    t->unknown = false;
    t->c.registered_utc = t->a->now_utc;
    t->c.news = state == DS_REGISTRY_PENDING ? DS_REGISTRY_STILL_PENDING : DS_REGISTRY_REGISTERED;
    return state == DS_REGISTRY_PENDING ? pending(e) : DS_OK;
}

static void note_service(ds_registry *r, const attempt *t)
{
    ds_service s = {.ca = t->ca->number};
    memcpy(s.id, t->c.id, sizeof s.id);
    memcpy(s.name, t->c.name, sizeof s.name);
    s.serial_len = ds_registry_serial(t->leaf, s.serial);
    for (size_t i = 0; i < r->service_count; i++)
        if (memcmp(r->services[i].id, s.id, sizeof s.id) == 0)
            return;
    if (r->service_count < DS_SERVICES_MAX)
        r->services[r->service_count++] = s;
    else
        r->services[r->service_oldest++ % DS_SERVICES_MAX] = s;
}

static enum ds_class admit_unknown(ds_registry *r, attempt *t, ds_err *e)
{
    t->unknown = true;
    enum ds_class rc = revoked_unseen(r, t, e);
    if (!rc)
        rc = ds_admission_profile(t->leaf, t->a->now_utc, e);
    if (!rc)
        rc = find_issuer(r, t, e);
    if (rc)
        return rc;
    memcpy(t->c.ca, t->ca->info.id, sizeof t->c.ca);
    t->c.ca_number = (unsigned)t->ca->number;
    t->c.service = t->ca->info.role == DS_REGISTRY_SERVICES;
    if (t->c.service) {
        note_service(r, t);
        return DS_OK;
    }
    if (t->ca->info.registration == DS_REGISTRY_OFF)
        return ds_fail(e, DS_POLICY, "the certificate is not registered, and its CA does not register by itself");
    return enrol(r, t, e);
}

// A clock that was ahead and was set right must not silence a device for as long as it was wrong.
static bool is_long_ago(int64_t seen_utc, int64_t now_utc)
{
    return now_utc - seen_utc >= SEEN_GRAIN_S || seen_utc - now_utc >= SEEN_GRAIN_S;
}

static enum ds_class admit_pending(ds_registry *r, attempt *t, const row *d, ds_err *e)
{
    enum ds_class rc = DS_OK;
    if (is_long_ago(d->seen_utc, t->a->now_utc)) { // told again now and then, as the first event may be lost
        rc = ds_sql_run(&r->sql, "UPDATE device SET last_seen = ? WHERE number = ?",
                        DS_ARGS(DS_INT(t->a->now_utc), DS_INT(d->number)), e);
        t->c.news = DS_REGISTRY_STILL_PENDING;
    }
    return rc ? rc : pending(e);
}

// Its signature was checked when it was registered, and its digest is that of the same bytes.
static enum ds_class admit_known(ds_registry *r, attempt *t, const row *d, ds_err *e)
{
    ds_known_ca *ca = d->ca >= 1 && (size_t)d->ca <= r->ca_count ? &r->cas[d->ca - 1] : NULL;
    if (!ca)
        return ds_fail(e, DS_STORE, "registry %s: a device is of no CA", r->sql.path);
    t->unknown = false; // refused or not, it is no stranger's flood
    if (d->state != DS_REGISTRY_ACTIVE && d->state != DS_REGISTRY_PENDING)
        return ds_fail(e, DS_POLICY, "the certificate is %s", ds_registry_state_name(d->state));
    enum ds_class rc = ds_admission_profile(t->leaf, t->a->now_utc, e);
    if (!rc && !ca->info.active) { // perhaps it was renewed
        rc = find_issuer(r, t, e);
    } else if (!rc) {
        t->ca = ca;
        rc = ds_admission_ca_at(ca->cert, t->a->now_utc, e);
        if (!rc)
            rc = judge(r, t, ca, e);
    }
    if (rc)
        return rc;
    memcpy(t->c.ca, t->ca->info.id, sizeof t->c.ca);
    t->c.ca_number = (unsigned)t->ca->number;
    t->c.registered_utc = d->registered_utc;
    if (d->state == DS_REGISTRY_PENDING)
        return admit_pending(r, t, d, e);
    if (is_long_ago(d->seen_utc, t->a->now_utc))
        note_seen(r, d, t->a->now_utc);
    return DS_OK;
}

static enum ds_class decide(ds_registry *r, attempt *t, ds_err *e)
{
    row d;
    enum ds_class rc = ds_admission_name(t->leaf, t->c.name, e);
    if (rc)
        return rc;
    if (strcmp(t->c.name, t->a->client_id) != 0)
        return ds_fail(e, DS_POLICY, "the client id is not the certificate's name '%s'", t->c.name);
    EVP_Digest(t->a->der.ptr, t->a->der.len, t->c.id, NULL, EVP_sha256(), NULL);
    rc = load(r, t->c.id, &d, e);
    if (rc)
        return rc;
    return d.state ? admit_known(r, t, &d, e) : admit_unknown(r, t, e);
}

// Parsing a certificate costs more than all that is looked up for it.
static X509 *own_copy(const ds_registry_attempt *a)
{
    const unsigned char *p = a->der.ptr;
    if (!a->der.len || a->der.len > DER_MAX)
        return NULL;
    if (a->cert)
        return X509_up_ref(a->cert) == 1 ? a->cert : NULL;
    X509 *parsed = d2i_X509(NULL, &p, (long)a->der.len);
    if (parsed && p == a->der.ptr + a->der.len)
        return parsed;
    X509_free(parsed);
    return NULL;
}

enum ds_class ds_registry_admit(ds_registry *r, const ds_registry_attempt *a, ds_registry_client *ret, ds_err *e)
{
    attempt t = {.a = a, .now_ms = ds_now_ms(), .unknown = true};
    *ret = (ds_registry_client){0};
    if (a->source)
        t.source = ds_sources_of(&r->sources, a->source);
    enum ds_class rc = ds_registry_refresh(r, e);
    if (rc)
        return rc;
    t.leaf = own_copy(a);
    rc = t.leaf ? decide(r, &t, e) : ds_fail(e, DS_POLICY, "not one X.509 certificate of a device's size");
    X509_free(t.leaf);
    *ret = t.c;
    if (rc != DS_POLICY || !t.unknown)
        return rc;
    if (t.source)
        ds_bucket_count(t.source, source_rate, t.now_ms);
    if (t.said)
        ds_bucket_count(&t.said->refusals, ca_rate, t.now_ms);
    return rc;
}
