// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates of a pool: made elsewhere before their device was known, taken over as a device's in one transaction.
// Their events are those of any certificate; "from a pool" behind them says that no signer of this station made them.
#include "src/ledger/internal.h"
#include "src/base/clock.h"

#include <string.h>

#define BY_KEY DS_LEDGER_CERT_COLUMNS "WHERE key_digest = ?" DS_SQL_LOCK
#define LIVE DS_LEDGER_CERT_COLUMNS "WHERE device = ? AND revoked_at IS NULL"

static enum ds_class note(ds_ledger *l, const ds_ledger_adopt *a, const char *what, const uint8_t *id, size_t len,
                          ds_err *e)
{
    char hex[65];
    ds_hex(id, len, hex);
    DS_CLEANUP_FREE char *text =
        ds_asprintf("%s %s%s%s from a pool", what, hex, a->slot ? " at slot " : "", a->slot ? a->slot : "");
    return ds_ledger_append(l, a->device, DS_LEDGER_KIND_CERT, text, e);
}

static enum ds_class insert(ds_ledger *l, const ds_ledger_adopt *a, ds_err *e)
{
    uint8_t fingerprint[32];
    ds_sha256(a->certificate.ptr, a->certificate.len, fingerprint);
    int64_t now = ds_utc_now();
    ds_sql_arg id;
    enum ds_class rc = ds_ledger_new_id(l, &id, e);
    if (!rc)
        rc = ds_sql_run(
            &l->sql,
            "INSERT INTO certificate(id, device, state, serial, key_digest, csr, subject, not_before, not_after, der, "
            "fingerprint, reserved_at, signed_at) VALUES(?1, ?2, 2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
            DS_ARGS(id, DS_INT(a->device), DS_BLOB(a->serial, 16), DS_BLOB(a->public_key_digest, 32), DS_BLOB("", 0),
                    DS_TEXT(a->subject), DS_INT(a->not_before_utc), DS_INT(a->not_after_utc),
                    DS_BLOB(a->certificate.ptr, a->certificate.len), DS_BLOB(fingerprint, 32), DS_INT(now)),
            e);
    if (!rc)
        rc = note(l, a, "reserved", a->serial, 16, e);
    return rc ? rc : note(l, a, "signed", fingerprint, 32, e);
}

static enum ds_class insert_new(ds_ledger *l, const ds_ledger_adopt *a, ds_err *e)
{
    ds_ledger_cert live = {0};
    bool found = false;
    enum ds_class rc = ds_ledger_load_cert(l, LIVE, DS_INT(a->device), &live, &found, e);
    if (!rc && found)
        rc = ds_ledger_refuse_live(&live, e);
    ds_ledger_cert_free(&live);
    return rc ? rc : insert(l, a, e);
}

// The key is known.
static enum ds_class accept(ds_ledger *l, const ds_ledger_adopt *a, const ds_ledger_cert *had, ds_err *e)
{
    if (had->device != a->device)
        return ds_ledger_refuse_owner(l, had->device, e);
    if (had->revoked)
        return ds_hint((ds_fail(e, DS_POLICY, "the certificate of the device's stamp was revoked"), e),
                       "set the device aside: its serial number has no other stamp");
    if (had->certificate.len != a->certificate.len ||
        memcmp(had->certificate.ptr, a->certificate.ptr, a->certificate.len) != 0)
        return ds_fail(e, DS_POLICY, "the ledger has another certificate for the key of the device's stamp");
    return DS_OK;
}

static enum ds_class adopt(ds_ledger *l, const ds_ledger_adopt *a, ds_ledger_cert *ret, ds_err *e)
{
    const ds_sql_arg key = DS_BLOB(a->public_key_digest, 32);
    ds_ledger_device d;
    ds_ledger_cert had = {0};
    bool found = false;
    enum ds_class rc = ds_ledger_load_device(l, a->device, &d, e);
    if (!rc)
        rc = ds_ledger_load_cert(l, BY_KEY, key, &had, &found, e);
    if (!rc)
        rc = found ? accept(l, a, &had, e) : insert_new(l, a, e);
    ds_ledger_cert_free(&had);
    return rc ? rc : ds_ledger_load_cert(l, BY_KEY, key, ret, &found, e);
}

enum ds_class ds_ledger_cert_adopt(ds_ledger *l, const ds_ledger_adopt *a, ds_ledger_cert *ret, ds_err *e)
{
    ds_ledger_cert c = {0};
    if (!a->subject[0] || strlen(a->subject) >= sizeof c.subject)
        return ds_fail(e, DS_INPUT, "subject: must have 1 to %zu bytes", sizeof c.subject - 1);
    enum ds_class rc = ds_ledger_match(a->certificate, a->serial, a->public_key_digest, e);
    if (rc)
        return rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = adopt(l, a, &c, e);
    } while (ds_ledger_again(l, &rc, e));
    if (rc)
        ds_ledger_cert_free(&c);
    else
        *ret = c;
    return rc;
}
