// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates of a CA elsewhere, which chooses serial number and validity itself and tells nobody what it signed: each
// request is written down before it goes out ("asked <number> of <CA>"), and what comes back is taken over. How many it
// signed beyond that is not known here; how often it was asked is.
#include "src/ledger/internal.h"
#include "src/base/clock.h"

#include <string.h>

enum { CERT_MAX = 65536, NUMBER_DIGITS = 32 };

static enum ds_class load(ds_ledger *l, int64_t id, ds_ledger_cert *ret, ds_err *e)
{
    bool found = false;
    enum ds_class rc =
        ds_ledger_load_cert(l, DS_LEDGER_CERT_COLUMNS "WHERE id = ?" DS_SQL_LOCK, DS_INT(id), ret, &found, e);
    if (!rc && !found)
        rc = ds_fail(e, DS_INPUT, "the ledger knows no certificate %lld", (long long)id);
    if (!rc && !ret->elsewhere)
        rc = ds_fail(e, DS_POLICY, "the certificate was reserved for this station's signer");
    return rc;
}

static enum ds_class count_asked(ds_ledger *l, const ds_ledger_cert *c, int64_t *ret, ds_err *e)
{
    char hex[NUMBER_DIGITS + 1];
    ds_hex(c->serial, sizeof c->serial, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("asked %s of ", hex);
    return ds_sql_number(&l->sql,
                         "SELECT count(*) FROM event WHERE device = ? AND kind = '" DS_LEDGER_KIND_CERT
                         "' AND substr(text, 1, 42) = ?",
                         DS_ARGS(DS_INT(c->device), DS_TEXT(text)), 0, ret, e);
}

static enum ds_class note_asked(ds_ledger *l, const ds_ledger_cert *c, const char *of, int64_t *ret_before, ds_err *e)
{
    if (c->state != DS_LEDGER_RESERVED || c->revoked)
        return ds_fail(e, DS_POLICY, "the certificate is not reserved any more");
    char hex[NUMBER_DIGITS + 1];
    ds_hex(c->serial, sizeof c->serial, hex);
    enum ds_class rc = count_asked(l, c, ret_before, e);
    DS_CLEANUP_FREE char *text = ds_asprintf("asked %s of %s", hex, of);
    return rc ? rc : ds_ledger_append(l, c->device, DS_LEDGER_KIND_CERT, text, e);
}

enum ds_class ds_ledger_cert_asked(ds_ledger *l, int64_t cert, const char *of, unsigned *ret_before, ds_err *e)
{
    ds_ledger_cert c = {0};
    int64_t before = 0;
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        before = 0;
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = load(l, cert, &c, e);
        if (!rc)
            rc = note_asked(l, &c, of, &before, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_ledger_cert_free(&c);
    if (!rc)
        *ret_before = (unsigned)before;
    return rc;
}

// "signed <fingerprint> elsewhere, serial number <hex>, asked 2 times"
static enum ds_class note_signed(ds_ledger *l, const ds_ledger_cert *c, const ds_ledger_received *r,
                                 const uint8_t fingerprint[32], ds_err *e)
{
    char hex[65];
    int64_t asked = 0;
    enum ds_class rc = count_asked(l, c, &asked, e);
    ds_hex(fingerprint, 32, hex);
    DS_CLEANUP_FREE char *text =
        ds_asprintf("signed %s elsewhere, serial number %s, asked %lld times%s", hex, r->serial, (long long)asked,
                    asked > 1 ? ": as many may have been signed" : "");
    return rc ? rc : ds_ledger_append(l, c->device, DS_LEDGER_KIND_CERT, text, e);
}

// The request goes with the reservation: who counts the signer's certificates goes by it. In two statements, since what
// a signed certificate says does not change.
static enum ds_class take(ds_ledger *l, const ds_ledger_cert *c, const ds_ledger_received *r, ds_err *e)
{
    uint8_t fingerprint[32];
    ds_sha256(r->certificate.ptr, r->certificate.len, fingerprint);
    if (c->state > DS_LEDGER_RESERVED && memcmp(fingerprint, c->fingerprint, sizeof fingerprint) == 0)
        return DS_OK;
    if (c->state > DS_LEDGER_RESERVED)
        return ds_fail(e, DS_POLICY, "another certificate was already taken for this reservation");
    if (c->revoked)
        return ds_fail(e, DS_POLICY, "the reservation was given up");
    enum ds_class rc = ds_ledger_match_key(r->certificate, c->public_key_digest, e);
    if (!rc)
        rc = ds_sql_run(&l->sql, "UPDATE certificate SET csr = ?, not_before = ?, not_after = ? WHERE id = ?",
                        DS_ARGS(DS_BLOB("", 0), DS_INT(r->not_before_utc), DS_INT(r->not_after_utc), DS_INT(c->id)), e);
    if (!rc)
        rc = ds_sql_run(&l->sql,
                        "UPDATE certificate SET state = 2, der = ?, fingerprint = ?, signed_at = ? WHERE id = ?",
                        DS_ARGS(DS_BLOB(r->certificate.ptr, r->certificate.len), DS_BLOB(fingerprint, 32),
                                DS_INT(ds_utc_now()), DS_INT(c->id)),
                        e);
    return rc ? rc : note_signed(l, c, r, fingerprint, e);
}

enum ds_class ds_ledger_cert_received(ds_ledger *l, int64_t cert, const ds_ledger_received *r, ds_err *e)
{
    ds_ledger_cert c = {0};
    if (!r->certificate.len || r->certificate.len > CERT_MAX)
        return ds_fail(e, DS_INPUT, "certificate of %zu bytes", r->certificate.len);
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = load(l, cert, &c, e);
        if (!rc)
            rc = take(l, &c, r, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_ledger_cert_free(&c);
    return rc;
}
