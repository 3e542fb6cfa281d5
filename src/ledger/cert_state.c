// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A certificate's way: reserved -> signed -> installed -> registered, each step a transaction of its own that also
// leaves an event. What was reserved decides the certificate; one that does not carry the reserved serial number and
// key is not taken.
#include "src/ledger/internal.h"
#include "src/base/clock.h"

#include <string.h>

enum { CERT_MAX = 65536 };

// Append "<what> <hex of id>" ("signed 0a1b…"), the form in which check looks for what happened to a certificate.
static enum ds_class note(ds_ledger *l, int64_t device, const char *what, const uint8_t *id, size_t len, ds_err *e)
{
    char hex[65];
    ds_hex(id, len, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("%s %s", what, hex);
    return ds_ledger_append(l, device, DS_LEDGER_KIND_CERT, text, e);
}

static enum ds_class load_id(ds_ledger *l, int64_t id, ds_ledger_cert *ret, ds_err *e)
{
    bool found;
    enum ds_class rc =
        ds_ledger_load_cert(l, DS_LEDGER_CERT_COLUMNS "WHERE id = ?" DS_SQL_LOCK, DS_INT(id), ret, &found, e);
    if (!rc && !found)
        rc = ds_fail(e, DS_INPUT, "the ledger knows no certificate %lld", (long long)id);
    return rc;
}

static enum ds_class set_signed(ds_ledger *l, const ds_ledger_cert *c, ds_view der, ds_err *e)
{
    uint8_t fingerprint[32];
    ds_sha256(der.ptr, der.len, fingerprint);
    if (c->state >= DS_LEDGER_SIGNED) {
        if (memcmp(fingerprint, c->fingerprint, sizeof fingerprint) == 0)
            return DS_OK;
        return ds_fail(e, DS_POLICY, "another certificate was already signed for this reservation");
    }
    // A revoked reservation takes it too: whatever was signed is known here, and stays revoked.
    enum ds_class rc = ds_ledger_match(der, c->serial, c->public_key_digest, e);
    if (!rc)
        rc = ds_sql_run(
            &l->sql, "UPDATE certificate SET state = 2, der = ?, fingerprint = ?, signed_at = ? WHERE id = ?",
            DS_ARGS(DS_BLOB(der.ptr, der.len), DS_BLOB(fingerprint, 32), DS_INT(ds_utc_now()), DS_INT(c->id)), e);
    return rc ? rc : note(l, c->device, "signed", fingerprint, sizeof fingerprint, e);
}

enum ds_class ds_ledger_cert_signed(ds_ledger *l, int64_t cert, ds_view der, ds_err *e)
{
    ds_ledger_cert c = {0};
    if (!der.len || der.len > CERT_MAX)
        return ds_fail(e, DS_INPUT, "certificate of %zu bytes", der.len);
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = load_id(l, cert, &c, e);
        if (!rc)
            rc = set_signed(l, &c, der, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_ledger_cert_free(&c);
    return rc;
}

static enum ds_class set_installed(ds_ledger *l, const ds_ledger_cert *c, const uint8_t digest[32], ds_err *e)
{
    if (c->state < DS_LEDGER_SIGNED)
        return ds_fail(e, DS_POLICY, "the certificate was not signed yet");
    if (memcmp(digest, c->fingerprint, 32) != 0) {
        ds_fail(e, DS_POLICY, "the device echoed a digest that is not this certificate's");
        return ds_hint(e, "write the certificate again; if it repeats, set the device aside");
    }
    if (c->state >= DS_LEDGER_INSTALLED)
        return DS_OK;
    if (c->revoked)
        return ds_fail(e, DS_POLICY, "the certificate was revoked");
    enum ds_class rc = ds_sql_run(&l->sql, "UPDATE certificate SET state = 3, installed_at = ? WHERE id = ?",
                                  DS_ARGS(DS_INT(ds_utc_now()), DS_INT(c->id)), e);
    return rc ? rc : note(l, c->device, "installed", c->fingerprint, 32, e);
}

enum ds_class ds_ledger_cert_installed(ds_ledger *l, int64_t cert, const uint8_t digest[32], ds_err *e)
{
    ds_ledger_cert c = {0};
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = load_id(l, cert, &c, e);
        if (!rc)
            rc = set_installed(l, &c, digest, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_ledger_cert_free(&c);
    return rc;
}

// A device that authenticated with its certificate has it: where the echo was lost to a crash, installed is made up
// for.
static enum ds_class set_registered(ds_ledger *l, const ds_ledger_cert *c, int64_t at_utc, ds_err *e)
{
    if (c->state >= DS_LEDGER_REGISTERED)
        return DS_OK;
    if (c->revoked)
        return ds_fail(e, DS_POLICY, "the certificate was revoked");
    enum ds_class rc = DS_OK;
    if (c->state < DS_LEDGER_INSTALLED)
        rc = note(l, c->device, "installed", c->fingerprint, 32, e);
    if (!rc)
        rc = ds_sql_run(
            &l->sql,
            "UPDATE certificate SET state = 4, installed_at = coalesce(installed_at, ?1), registered_at = ?1 "
            "WHERE id = ?2",
            DS_ARGS(DS_INT(at_utc), DS_INT(c->id)), e);
    return rc ? rc : note(l, c->device, "registered", c->fingerprint, 32, e);
}

enum ds_class ds_ledger_cert_registered(ds_ledger *l, const uint8_t fingerprint[32], int64_t at_utc, ds_err *e)
{
    ds_ledger_cert c = {0};
    bool found = false;
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = ds_ledger_load_cert(l, DS_LEDGER_CERT_COLUMNS "WHERE fingerprint = ?" DS_SQL_LOCK,
                                 DS_BLOB(fingerprint, 32), &c, &found, e);
        if (!rc && !found)
            rc = ds_fail(e, DS_INPUT, "the ledger knows no such certificate");
        if (!rc)
            rc = set_registered(l, &c, at_utc, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_ledger_cert_free(&c);
    return rc;
}

static enum ds_class set_revoked(ds_ledger *l, const ds_ledger_cert *c, const char *reason, ds_err *e)
{
    if (c->revoked)
        return DS_OK;
    enum ds_class rc = ds_sql_run(&l->sql, "UPDATE certificate SET revoked_at = ? WHERE id = ?",
                                  DS_ARGS(DS_INT(ds_utc_now()), DS_INT(c->id)), e);
    if (!rc)
        rc = note(l, c->device, "revoked", c->serial, sizeof c->serial, e);
    return rc ? rc : ds_ledger_append(l, c->device, DS_LEDGER_KIND_REVOKED, reason, e);
}

enum ds_class ds_ledger_cert_revoke(ds_ledger *l, int64_t cert, const char *reason, ds_err *e)
{
    ds_ledger_cert c = {0};
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = load_id(l, cert, &c, e);
        if (!rc)
            rc = set_revoked(l, &c, reason, e);
    } while (ds_ledger_again(l, &rc, e));
    ds_ledger_cert_free(&c);
    return rc;
}

static enum ds_class read_revoked(ds_ledger *l, ds_buf *rows, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc =
        ds_sql_query(&l->sql,
                     "SELECT c.fingerprint, coalesce(d.serial, '') FROM certificate c JOIN device d ON d.id "
                     "= c.device WHERE c.revoked_at IS NOT NULL AND c.state >= 2 ORDER BY c.id",
                     NULL, &q, e);
    while (!rc && more) {
        ds_ledger_revoked row = {0};
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_sql_blob(q, 0, row.fingerprint, sizeof row.fingerprint);
        ds_sql_text(q, 1, row.serial, sizeof row.serial);
        ds_buf_add(rows, &row, sizeof row);
    }
    return rc;
}

enum ds_class ds_ledger_each_revoked(ds_ledger *l, ds_ledger_revoked_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf rows = {0};
    ds_ledger_lock(l);
    enum ds_class rc = read_revoked(l, &rows, e);
    ds_ledger_unlock(l);
    bool go = !rc;
    for (size_t off = 0; go && off < rows.len; off += sizeof(ds_ledger_revoked)) {
        ds_ledger_revoked row;
        memcpy(&row, rows.ptr + off, sizeof row);
        go = fn(arg, &row);
    }
    return rc;
}
