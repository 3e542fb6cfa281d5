// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Devices in the registry: admitted and registered at first connect, listed, set inactive or revoked; and certificates
// that were revoked before they ever connected, of which nothing but the id may be known.
#include "src/cloud/internal.h"
#include "src/base/clock.h"
#include "src/pki/cert.h"

#include <string.h>

enum { DER_MAX = 16384, SEEN_GRAIN_S = 60 };

// The active CA that issued the certificate. One that is switched off is told apart from a stranger.
typedef struct issuer_search {
    X509 *leaf;
    int64_t now_utc;
    bool found, inactive;
    ds_registry_ca ca; // der is gone after the search
    ds_err why;
} issuer_search;

static bool try_issuer(void *arg, const ds_registry_ca *ca)
{
    issuer_search *s = arg;
    ds_err why = DS_ERR_INIT;
    DS_CLEANUP_X509 X509 *cert = NULL;
    if (ca->role == DS_REGISTRY_ANCHOR || ds_cert_parse(ca->der, &cert, &why))
        return true;
    if (X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(s->leaf)) != 0)
        return true;
    if (ds_admission_issuer(s->leaf, cert, s->now_utc, &why)) {
        s->why = why;
        return true;
    }
    if (!ca->active) {
        s->inactive = true;
        return true;
    }
    s->found = true;
    s->ca = *ca;
    return false;
}

static enum ds_class find_issuer(ds_registry *r, issuer_search *s, ds_err *e)
{
    enum ds_class rc = ds_registry_each_ca(r, try_issuer, s, e);
    if (rc || s->found)
        return rc;
    if (s->inactive)
        return ds_fail(e, DS_POLICY, "the CA that issued the certificate is inactive");
    if (s->why.cls)
        return ds_fail(e, DS_POLICY, "%s", s->why.text);
    return ds_fail(e, DS_POLICY, "no registered CA issued the certificate");
}

static enum ds_class load(ds_registry *r, const uint8_t id[32], enum ds_registry_state *ret, int64_t *ret_seen,
                          ds_err *e)
{
    const ds_sql_arg key = DS_BLOB(id, 32);
    int64_t state = 0;
    enum ds_class rc = ds_sql_number(&r->sql, "SELECT state FROM device WHERE id = ?", DS_ARGS(key), 0, &state, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT last_seen FROM device WHERE id = ?", DS_ARGS(key), 0, ret_seen, e);
    *ret = (enum ds_registry_state)state;
    return rc;
}

static enum ds_class refused(ds_registry *r, const uint8_t id[32], bool *ret, ds_err *e)
{
    int64_t n = 0;
    enum ds_class rc =
        ds_sql_number(&r->sql, "SELECT count(*) FROM refused WHERE id = ?", DS_ARGS(DS_BLOB(id, 32)), 0, &n, e);
    *ret = n > 0;
    return rc;
}

static enum ds_class insert(ds_registry *r, const ds_registry_client *c, ds_view der, int64_t now_utc, ds_err *e)
{
    int64_t taken = 0;
    enum ds_class rc = ds_sql_number(&r->sql, "SELECT count(*) FROM device WHERE name = ? AND state = 1",
                                     DS_ARGS(DS_TEXT(c->name)), 0, &taken, e);
    if (!rc && taken)
        return ds_fail(e, DS_POLICY, "another certificate of the name '%s' is active", c->name);
    if (rc)
        return rc;
    return ds_sql_run(
        &r->sql, "INSERT INTO device(id, name, ca, state, der, registered_at, last_seen) VALUES(?, ?, ?, 1, ?, ?, ?)",
        DS_ARGS(DS_BLOB(c->id, 32), DS_TEXT(c->name), DS_BLOB(c->ca, 32), DS_BLOB(der.ptr, der.len), DS_INT(now_utc),
                DS_INT(now_utc)),
        e);
}

// A device that comes again costs one read a minute's worth of connects, and not a disk sync each.
static enum ds_class record(ds_registry *r, ds_registry_client *c, const ds_registry_ca *ca, ds_view der,
                            int64_t now_utc, ds_err *e)
{
    enum ds_registry_state state;
    int64_t seen = 0;
    enum ds_class rc = load(r, c->id, &state, &seen, e);
    if (rc)
        return rc;
    if (state && state != DS_REGISTRY_ACTIVE)
        return ds_fail(e, DS_POLICY, "the certificate is %s", ds_registry_state_name(state));
    if (state && now_utc - seen < SEEN_GRAIN_S)
        return DS_OK;
    if (state)
        return ds_sql_run(&r->sql, "UPDATE device SET last_seen = ? WHERE id = ?",
                          DS_ARGS(DS_INT(now_utc), DS_BLOB(c->id, 32)), e);
    bool never = false;
    rc = refused(r, c->id, &never, e);
    if (rc || never)
        return rc ? rc : ds_fail(e, DS_POLICY, "the certificate is revoked, and was before it first connected");
    if (!ca->auto_registration)
        return ds_fail(e, DS_POLICY, "the certificate is not registered, and its CA does not register by itself");
    rc = ds_sql_begin(&r->sql, e);
    if (rc)
        return rc;
    rc = ds_sql_end(&r->sql, insert(r, c, der, now_utc, e), e);
    c->fresh = !rc;
    return rc;
}

enum ds_class ds_registry_admit(ds_registry *r, ds_view der, const char *client_id, int64_t now_utc,
                                ds_registry_client *ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *leaf = NULL;
    ds_registry_client c = {0};
    const unsigned char *p = der.ptr;
    if (!der.len || der.len > DER_MAX || !(leaf = d2i_X509(NULL, &p, (long)der.len)) || p != der.ptr + der.len)
        return ds_fail(e, DS_POLICY, "not one X.509 certificate");
    issuer_search s = {.leaf = leaf, .now_utc = now_utc};
    enum ds_class rc = ds_admission_profile(leaf, now_utc, e);
    if (!rc)
        rc = ds_admission_name(leaf, c.name, e);
    if (!rc)
        rc = find_issuer(r, &s, e);
    if (rc)
        return rc;
    if (strcmp(c.name, client_id) != 0)
        return ds_fail(e, DS_POLICY, "the client id is not the certificate's name '%s'", c.name);
    EVP_Digest(der.ptr, der.len, c.id, NULL, EVP_sha256(), NULL);
    memcpy(c.ca, s.ca.id, sizeof c.ca);
    c.service = s.ca.role == DS_REGISTRY_SERVICES;
    if (!c.service)
        rc = record(r, &c, &s.ca, der, now_utc, e);
    if (!rc)
        *ret = c;
    return rc;
}

enum ds_class ds_registry_each(ds_registry *r, ds_registry_device_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(
        &r->sql, "SELECT id, ca, name, state, registered_at, last_seen FROM device ORDER BY number", NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_registry_device d = {.state = (enum ds_registry_state)ds_sql_int(q, 3),
                                .registered_utc = ds_sql_int(q, 4),
                                .last_seen_utc = ds_sql_int(q, 5)};
        ds_sql_blob(q, 0, d.id, sizeof d.id);
        ds_sql_blob(q, 1, d.ca, sizeof d.ca);
        ds_sql_text(q, 2, d.name, sizeof d.name);
        if (!fn(arg, &d)) {
            ds_sql_done(q);
            break;
        }
    }
    return rc;
}

static enum ds_class number_of(ds_registry *r, const char *key, int64_t *ret, ds_err *e)
{
    uint8_t id[32];
    if (ds_unhex(key, id, sizeof id))
        return ds_sql_number(&r->sql, "SELECT number FROM device WHERE id = ?", DS_ARGS(DS_BLOB(id, 32)), 0, ret, e);
    return ds_sql_number(&r->sql, "SELECT max(number) FROM device WHERE name = ?", DS_ARGS(DS_TEXT(key)), 0, ret, e);
}

// The state of a certificate that never connected: revoked or nothing.
static enum ds_class set_unseen(ds_registry *r, const char *key, enum ds_registry_state state, ds_err *e)
{
    uint8_t id[32];
    bool never = false;
    if (!ds_unhex(key, id, sizeof id)) {
        ds_fail(e, DS_INPUT, "the registry knows no device '%s'", key);
        return ds_hint(e, "a certificate that never connected has no name here: give its id (devstamp ledger show)");
    }
    if (state == DS_REGISTRY_REVOKED)
        return ds_sql_run(&r->sql, "INSERT OR IGNORE INTO refused(id, refused_at) VALUES(?, ?)",
                          DS_ARGS(DS_BLOB(id, 32), DS_INT(ds_utc_now())), e);
    enum ds_class rc = refused(r, id, &never, e);
    if (!rc && never)
        return ds_fail(e, DS_POLICY, "device '%s': a revoked certificate stays revoked", key);
    return rc ? rc : ds_fail(e, DS_INPUT, "the registry knows no device '%s'", key);
}

static enum ds_class set_state(ds_registry *r, const char *key, enum ds_registry_state state, ds_err *e)
{
    int64_t number = 0, others = 0, now = 0;
    enum ds_class rc = number_of(r, key, &number, e);
    if (!rc && !number)
        return set_unseen(r, key, state, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT state FROM device WHERE number = ?", DS_ARGS(DS_INT(number)), 0, &now, e);
    if (!rc && now == DS_REGISTRY_REVOKED && state != DS_REGISTRY_REVOKED)
        return ds_fail(e, DS_POLICY, "device '%s': a revoked certificate stays revoked", key);
    if (!rc && state == DS_REGISTRY_ACTIVE)
        rc = ds_sql_number(&r->sql,
                           "SELECT count(*) FROM device d JOIN device o ON o.name = d.name AND o.number <> d.number "
                           "AND o.state = 1 WHERE d.number = ?",
                           DS_ARGS(DS_INT(number)), 0, &others, e);
    if (!rc && others)
        return ds_fail(e, DS_POLICY, "device '%s': another certificate of that name is active", key);
    return rc ? rc
              : ds_sql_run(&r->sql, "UPDATE device SET state = ? WHERE number = ?",
                           DS_ARGS(DS_INT(state), DS_INT(number)), e);
}

enum ds_class ds_registry_set_device(ds_registry *r, const char *name_or_id, enum ds_registry_state state, ds_err *e)
{
    enum ds_class rc = ds_sql_begin(&r->sql, e);
    return rc ? rc : ds_sql_end(&r->sql, set_state(r, name_or_id, state, e), e);
}

enum ds_class ds_registry_revoke(ds_registry *r, const uint8_t id[32], bool *ret_fresh, ds_err *e)
{
    char key[65];
    int64_t known = 0;
    enum ds_class rc = ds_sql_number(&r->sql,
                                     "SELECT (SELECT count(*) FROM refused WHERE id = ?1) + (SELECT count(*) FROM "
                                     "device WHERE id = ?1 AND state = 3)",
                                     DS_ARGS(DS_BLOB(id, 32)), 0, &known, e);
    if (!rc)
        *ret_fresh = !known;
    if (rc || known)
        return rc;
    ds_hex(id, 32, key);
    return ds_registry_set_device(r, key, DS_REGISTRY_REVOKED, e);
}

enum ds_class ds_registry_each_unseen(ds_registry *r, ds_registry_unseen_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql, "SELECT id, refused_at FROM refused ORDER BY refused_at, id", NULL, &q, e);
    while (!rc && more) {
        uint8_t id[32];
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_sql_blob(q, 0, id, sizeof id);
        fn(arg, id, ds_sql_int(q, 1));
    }
    return rc;
}

enum ds_class ds_registry_each_refused(ds_registry *r, ds_registry_name_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc =
        ds_sql_query(&r->sql,
                     "SELECT DISTINCT name FROM device d WHERE NOT EXISTS(SELECT 1 FROM device a JOIN ca "
                     "ON ca.id = a.ca WHERE a.name = d.name AND a.state = 1 AND ca.active = 1)",
                     NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        char name[65];
        ds_sql_text(q, 0, name, sizeof name);
        fn(arg, name);
    }
    return rc;
}
