// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates: found, and reserved: everything that decides one is written down before the signer is asked, under a
// fresh serial number. The same device with the same key gets the same reservation for ever; until it is signed, what
// it says may be corrected.
#include "src/ledger/internal.h"
#include "src/base/clock.h"
#include "src/base/secret.h"

#include <string.h>

enum { CSR_MAX = 65536 };
static const int64_t NO_EXPIRY = 253402300799; // RFC 5280, 4.1.2.5: 99991231235959Z

void ds_ledger_cert_free(ds_ledger_cert *c)
{
    if (!c)
        return;
    ds_buf_free(&c->csr);
    ds_buf_free(&c->certificate);
}

void ds_ledger_cert_clear(ds_ledger_cert *c)
{
    ds_ledger_cert_free(c);
    *c = (ds_ledger_cert){0};
}

static void read_row(ds_sql_rows *q, ds_ledger_cert *ret)
{
    *ret = (ds_ledger_cert){
        .id = ds_sql_int(q, 0),
        .device = ds_sql_int(q, 1),
        .state = (enum ds_ledger_state)ds_sql_int(q, 2),
        .not_before_utc = ds_sql_int(q, 5),
        .not_after_utc = ds_sql_int(q, 6),
        .reserved_utc = ds_sql_int(q, 9),
        .signed_utc = ds_sql_int(q, 10),
        .installed_utc = ds_sql_int(q, 11),
        .registered_utc = ds_sql_int(q, 12),
        .revoked = !ds_sql_is_null(q, 13),
    };
    ds_sql_blob(q, 3, ret->serial, sizeof ret->serial);
    ret->elsewhere = ds_ledger_is_elsewhere(ret->serial);
    ds_sql_blob(q, 4, ret->public_key_digest, sizeof ret->public_key_digest);
    ds_sql_text(q, 7, ret->subject, sizeof ret->subject);
    ds_sql_blob(q, 8, ret->fingerprint, sizeof ret->fingerprint);
    ds_view csr = ds_sql_view(q, 14);
    ds_buf_add(&ret->csr, csr.ptr, csr.len);
    ds_view der = ds_sql_view(q, 15);
    ds_buf_add(&ret->certificate, der.ptr, der.len);
}

enum ds_class ds_ledger_load_cert(ds_ledger *l, const char *sql, ds_sql_arg key, ds_ledger_cert *ret, bool *found,
                                  ds_err *e)
{
    ds_sql_rows *q;
    *found = false;
    enum ds_class rc = ds_sql_query(&l->sql, sql, DS_ARGS(key), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, found, e);
    if (!rc && *found) {
        read_row(q, ret);
        ds_sql_done(q);
    }
    return rc;
}

static enum ds_class load_live(ds_ledger *l, int64_t device, ds_ledger_cert *ret, bool *found, ds_err *e)
{
    return ds_ledger_load_cert(l, DS_LEDGER_CERT_COLUMNS "WHERE device = ? AND revoked_at IS NULL", DS_INT(device), ret,
                               found, e);
}

enum ds_class ds_ledger_refuse_owner(ds_ledger *l, int64_t owner, ds_err *e)
{
    ds_ledger_device d;
    char mac[13];
    if (ds_ledger_load_device(l, owner, &d, e))
        return e ? e->cls : DS_STORE;
    ds_hex(d.mac, 6, mac);
    ds_fail(e, DS_POLICY, "this public key was already shown by device %s (%s)", mac,
            d.serial[0] ? d.serial : "no serial number");
    return ds_hint(e, "two devices with one key: one is a copy, or its random generator is broken; set it aside");
}

enum ds_class ds_ledger_refuse_live(const ds_ledger_cert *live, ds_err *e)
{
    ds_fail(e, DS_POLICY, "the device has a live certificate (%s) for another key", ds_ledger_state_name(live->state));
    return ds_hint(
        e, "its first key is lost for good (flash erased): devstamp ledger revoke. If not, two devices show one "
           "address: set both aside and call the officer");
}

// "<what> <serial number>[ at slot <slot>][ for <CA>]<more>"
static enum ds_class note_reserve(ds_ledger *l, const ds_ledger_reserve *r, const char *what, const uint8_t serial[16],
                                  const char *more, ds_err *e)
{
    char hex[33];
    ds_hex(serial, 16, hex);
    DS_CLEANUP_FREE char *text =
        ds_asprintf("%s %s%s%s%s%s%s", what, hex, r->slot ? " at slot " : "", r->slot ? r->slot : "",
                    r->asked_of ? " for " : "", r->asked_of ? r->asked_of : "", more);
    return ds_ledger_append(l, r->device, DS_LEDGER_KIND_CERT, text, e);
}

// The station counts validity from now at each run: what is demanded is its length, or that it has no end.
static bool same_validity(const ds_ledger_reserve *r, const ds_ledger_cert *had)
{
    if (r->not_after_utc == NO_EXPIRY || had->not_after_utc == NO_EXPIRY)
        return r->not_after_utc == had->not_after_utc;
    return r->not_after_utc - r->not_before_utc == had->not_after_utc - had->not_before_utc;
}

static enum ds_class correct(ds_ledger *l, const ds_ledger_reserve *r, const ds_ledger_cert *had, ds_err *e)
{
    enum ds_class rc =
        ds_sql_run(&l->sql, "UPDATE certificate SET csr = ?, subject = ?, not_before = ?, not_after = ? WHERE id = ?",
                   DS_ARGS(DS_BLOB(r->csr.ptr, r->csr.len), DS_TEXT(r->subject), DS_INT(r->not_before_utc),
                           DS_INT(r->not_after_utc), DS_INT(had->id)),
                   e);
    DS_CLEANUP_FREE char *more = ds_asprintf(": %s, now %s", had->subject, r->subject);
    return rc ? rc : note_reserve(l, r, "corrected", had->serial, more, e);
}

static enum ds_class reuse(ds_ledger *l, const ds_ledger_reserve *r, const ds_ledger_cert *had, ds_err *e)
{
    if (had->device != r->device)
        return ds_ledger_refuse_owner(l, had->device, e);
    if (had->revoked) {
        ds_fail(e, DS_POLICY, "the certificate for this public key was revoked");
        return ds_hint(e, "let the device make a new key");
    }
    if (had->state == DS_LEDGER_RESERVED && had->elsewhere != (r->asked_of != NULL)) {
        ds_fail(e, DS_POLICY, "this key's certificate was asked of %s, which may have signed it",
                had->elsewhere ? "a CA elsewhere" : "the signer");
        return ds_hint(e, "finish it with the station file it was begun with, or give it up (devstamp ledger revoke) "
                          "and erase its flash");
    }
    if (had->state == DS_LEDGER_RESERVED && !had->csr.len) { // requests do not travel: it is one of a batch
        ds_fail(e, DS_POLICY, "the certificate's reservation came in a batch: the signer there may have signed it");
        return ds_hint(e, "finish the device at its station and pull that station's next batch; or revoke the "
                          "reservation (devstamp ledger revoke) and erase the device's flash, so that it makes "
                          "another key");
    }
    bool same_subject = strcmp(had->subject, r->subject) == 0;
    if (had->state > DS_LEDGER_RESERVED && !same_subject) {
        ds_fail(e, DS_POLICY, "the certificate was signed as %s, and %s is demanded", had->subject, r->subject);
        return ds_hint(e, "use the recipe it was begun with, or revoke (devstamp ledger revoke) and erase its flash");
    }
    if (had->state > DS_LEDGER_RESERVED)
        return DS_OK;
    enum ds_class rc = ds_ledger_may_take_over(l, had, e);
    if (rc || (same_subject && same_validity(r, had)))
        return rc;
    return correct(l, r, had, e);
}

static enum ds_class insert(ds_ledger *l, const ds_ledger_reserve *r, ds_err *e)
{
    uint8_t serial[16];
    do { // RFC 5280 4.1.2.2: positive; the top bit stays clear and the first byte is not zero, so that DER has 16 bytes
        ds_random(serial, sizeof serial);
        serial[0] &= 0x7F;
        if (r->asked_of)
            serial[0] |= 0x80; // no certificate's: the CA chooses that
    } while (serial[0] == 0);
    ds_sql_arg id;
    enum ds_class rc = ds_ledger_new_id(l, &id, e);
    if (!rc)
        rc = ds_sql_run(&l->sql,
                        "INSERT INTO certificate(id, device, state, serial, key_digest, csr, subject, not_before, "
                        "not_after, reserved_at) VALUES(?, ?, 1, ?, ?, ?, ?, ?, ?, ?)",
                        DS_ARGS(id, DS_INT(r->device), DS_BLOB(serial, sizeof serial),
                                DS_BLOB(r->public_key_digest, 32), DS_BLOB(r->csr.ptr, r->csr.len), DS_TEXT(r->subject),
                                DS_INT(r->not_before_utc), DS_INT(r->not_after_utc), DS_INT(ds_utc_now())),
                        e);
    return rc ? rc : note_reserve(l, r, "reserved", serial, "", e);
}

#define BY_KEY DS_LEDGER_CERT_COLUMNS "WHERE key_digest = ?" DS_SQL_LOCK

static enum ds_class reserve_new(ds_ledger *l, const ds_ledger_reserve *r, ds_err *e)
{
    ds_ledger_cert live = {0};
    bool found = false;
    enum ds_class rc = load_live(l, r->device, &live, &found, e);
    ds_ledger_cert_free(&live);
    if (!rc && found)
        rc = ds_ledger_refuse_live(&live, e);
    return rc ? rc : insert(l, r, e);
}

static enum ds_class reserve(ds_ledger *l, const ds_ledger_reserve *r, ds_ledger_cert *ret, ds_err *e)
{
    const ds_sql_arg key = DS_BLOB(r->public_key_digest, 32);
    ds_ledger_device d;
    ds_ledger_cert had = {0};
    bool found = false;
    enum ds_class rc = ds_ledger_load_device(l, r->device, &d, e);
    if (!rc)
        rc = ds_ledger_load_cert(l, BY_KEY, key, &had, &found, e);
    if (!rc)
        rc = found ? reuse(l, r, &had, e) : reserve_new(l, r, e);
    ds_ledger_cert_free(&had);
    return rc ? rc : ds_ledger_load_cert(l, BY_KEY, key, ret, &found, e);
}

enum ds_class ds_ledger_cert_reserve(ds_ledger *l, const ds_ledger_reserve *r, ds_ledger_cert *ret, ds_err *e)
{
    ds_ledger_cert c = {0};
    if (!r->csr.len || r->csr.len > CSR_MAX)
        return ds_fail(e, DS_INPUT, "certificate request of %zu bytes", r->csr.len);
    if (!r->subject[0] || strlen(r->subject) >= sizeof c.subject)
        return ds_fail(e, DS_INPUT, "subject: must have 1 to %zu bytes", sizeof c.subject - 1);
    if (r->not_after_utc <= r->not_before_utc)
        return ds_fail(e, DS_INPUT, "certificate would end before it begins");
    enum ds_class rc;
    do {
        ds_ledger_cert_clear(&c);
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = reserve(l, r, &c, e);
    } while (ds_ledger_again(l, &rc, e));
    if (rc)
        ds_ledger_cert_free(&c);
    else
        *ret = c;
    return rc;
}

enum ds_class ds_ledger_cert_of(ds_ledger *l, int64_t device, ds_ledger_cert *ret, ds_err *e)
{
    ds_ledger_cert c = {0};
    bool found;
    ds_ledger_lock(l);
    enum ds_class rc = load_live(l, device, &c, &found, e);
    ds_ledger_unlock(l);
    if (rc)
        return rc;
    if (!found)
        return ds_fail(e, DS_INPUT, "the device has no live certificate");
    *ret = c;
    return DS_OK;
}

enum ds_class ds_ledger_load_newest(ds_ledger *l, int64_t device, ds_ledger_cert *ret, ds_err *e)
{
    bool found;
    return ds_ledger_load_cert(
        l, DS_LEDGER_CERT_COLUMNS "WHERE device = ? ORDER BY revoked_at IS NOT NULL, id DESC LIMIT 1", DS_INT(device),
        ret, &found, e);
}

enum ds_class ds_ledger_cert_newest(ds_ledger *l, int64_t device, ds_ledger_cert *ret, ds_err *e)
{
    ds_ledger_cert c = {0};
    ds_ledger_lock(l);
    enum ds_class rc = ds_ledger_load_newest(l, device, &c, e);
    ds_ledger_unlock(l);
    if (!rc)
        *ret = c;
    return rc;
}

enum ds_class ds_ledger_cert_find(ds_ledger *l, const uint8_t fingerprint[32], ds_ledger_cert *ret, ds_err *e)
{
    ds_ledger_cert c = {0};
    bool found;
    ds_ledger_lock(l);
    enum ds_class rc =
        ds_ledger_load_cert(l, DS_LEDGER_CERT_COLUMNS "WHERE fingerprint = ?", DS_BLOB(fingerprint, 32), &c, &found, e);
    ds_ledger_unlock(l);
    if (!rc)
        *ret = c;
    return rc;
}

enum ds_class ds_ledger_key_owner(ds_ledger *l, const uint8_t public_key_digest[32], int64_t *ret_device, ds_err *e)
{
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT device FROM certificate WHERE key_digest = ?",
                                     DS_ARGS(DS_BLOB(public_key_digest, 32)), 0, ret_device, e);
    ds_ledger_unlock(l);
    return rc;
}
