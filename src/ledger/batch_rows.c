// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The rows that a batch brings; see batch_int.h. Who is who is decided by chip and address; what contradicts this
// ledger is refused by name. Each certificate and proof leaves the events here that any other does, those of
// certificates with "of a batch" behind them, since this ledger's signer did not make them.
#include "src/ledger/batch_int.h"

#include <stdio.h>
#include <string.h>

static void name_of(const ds_ledger_device *d, char ret[96])
{
    char mac[13];
    ds_hex(d->mac, sizeof d->mac, mac);
    snprintf(ret, 96, "%s%s%s%s", mac, d->serial[0] ? " (" : "", d->serial, d->serial[0] ? ")" : "");
}

static enum ds_class conflict(ds_err *e)
{
    return ds_hint(e, "nothing was taken over; two devices have one identity, or one of the ledgers was changed: set "
                      "both aside and call the officer");
}

static enum ds_class find_id(ds_ledger *l, const ds_ledger_device *d, int64_t *ret, ds_err *e)
{
    return ds_sql_number(&l->sql, "SELECT id FROM device WHERE chip = ? AND mac = ?",
                         DS_ARGS(DS_INT(d->chip_id), DS_BLOB(d->mac, 6)), 0, ret, e);
}

static enum ds_class serial_is_free(ds_ledger *l, const ds_ledger_device *d, int64_t id, ds_err *e)
{
    int64_t owner = 0;
    ds_ledger_device other;
    char here[96], there[96];
    if (!d->serial[0])
        return DS_OK;
    enum ds_class rc =
        ds_sql_number(&l->sql, "SELECT id FROM device WHERE serial = ?", DS_ARGS(DS_TEXT(d->serial)), 0, &owner, e);
    if (rc || !owner || owner == id)
        return rc;
    rc = ds_ledger_load_device(l, owner, &other, e);
    if (rc)
        return rc;
    name_of(&other, here);
    name_of(d, there);
    ds_fail(e, DS_POLICY, "serial number '%s' is of device %s here, and of %s in the batch", d->serial, here, there);
    return conflict(e);
}

static ds_sql_arg optional_text(const char *text)
{
    return text[0] ? DS_TEXT(text) : DS_NULL_ARG;
}

static ds_sql_arg optional_time(int64_t utc)
{
    return utc ? DS_INT(utc) : DS_NULL_ARG;
}

// As of any device that is given one.
static enum ds_class note_serial(ds_ledger *l, int64_t id, const char *serial, ds_err *e)
{
    DS_CLEANUP_FREE char *text = ds_asprintf("serial number %s", serial);
    return serial[0] ? ds_ledger_append(l, id, DS_LEDGER_KIND_DEVICE, text, e) : DS_OK;
}

static enum ds_class insert_device(ds_ledger *l, const ds_ledger_device *d, int64_t *ret_id, ds_err *e)
{
    ds_sql_arg number;
    enum ds_class rc = ds_ledger_new_id(l, &number, e);
    if (!rc)
        rc = ds_sql_run(
            &l->sql,
            "INSERT INTO device(id, chip, mac, product, serial, stage, locked, first_seen, last_seen) VALUES(?, ?, ?, "
            "?, ?, ?, ?, ?, ?)",
            DS_ARGS(number, DS_INT(d->chip_id), DS_BLOB(d->mac, 6), DS_TEXT(d->product), optional_text(d->serial),
                    DS_TEXT(d->stage), DS_INT(d->locked), DS_INT(d->first_seen_utc), DS_INT(d->last_seen_utc)),
            e);
    if (!rc)
        rc = find_id(l, d, ret_id, e);
    if (!rc)
        rc = ds_ledger_append(l, *ret_id, DS_LEDGER_KIND_DEVICE, "came in a batch", e);
    return rc ? rc : note_serial(l, *ret_id, d->serial, e);
}

// What is newer there becomes so here; what is given once and for good stays.
static enum ds_class update_device(ds_ledger *l, const ds_ledger_device *d, const ds_ledger_device *had, ds_err *e)
{
    char here[96];
    bool newer = d->last_seen_utc > had->last_seen_utc, numbered = d->serial[0] && !had->serial[0];
    if (d->serial[0] && had->serial[0] && strcmp(d->serial, had->serial) != 0) {
        name_of(had, here);
        ds_fail(e, DS_POLICY, "device %s has the serial number '%s' in the batch", here, d->serial);
        return conflict(e);
    }
    if (!newer && !numbered && d->locked <= had->locked && d->first_seen_utc >= had->first_seen_utc)
        return DS_OK;
    enum ds_class rc = ds_sql_run(
        &l->sql,
        "UPDATE device SET product = ?, serial = ?, stage = ?, locked = ?, first_seen = ?, last_seen = ? WHERE id = ?",
        DS_ARGS(DS_TEXT(numbered ? d->product : had->product), optional_text(numbered ? d->serial : had->serial),
                DS_TEXT(newer ? d->stage : had->stage), DS_INT(d->locked || had->locked),
                DS_INT(d->first_seen_utc < had->first_seen_utc ? d->first_seen_utc : had->first_seen_utc),
                DS_INT(newer ? d->last_seen_utc : had->last_seen_utc), DS_INT(had->id)),
        e);
    return rc || !numbered ? rc : note_serial(l, had->id, d->serial, e);
}

enum ds_class ds_batch_put_device(ds_ledger *l, const ds_ledger_device *d, int64_t *ret_id, bool *ret_fresh, ds_err *e)
{
    ds_ledger_device had;
    int64_t id = 0;
    enum ds_class rc = find_id(l, d, &id, e);
    if (!rc)
        rc = serial_is_free(l, d, id, e);
    if (rc)
        return rc;
    *ret_fresh = !id;
    if (!id)
        return insert_device(l, d, ret_id, e);
    *ret_id = id;
    rc = ds_ledger_load_device(l, id, &had, e);
    return rc ? rc : update_device(l, d, &had, e);
}

static enum ds_class note(ds_ledger *l, int64_t device, const char *what, const uint8_t *id, size_t len,
                          const char *more, ds_err *e)
{
    char hex[65];
    ds_hex(id, len, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("%s %s%s", what, hex, more);
    return ds_ledger_append(l, device, DS_LEDGER_KIND_CERT, text, e);
}

// The events of what is new: states from one to another, and the revocation.
static enum ds_class note_states(ds_ledger *l, int64_t device, const ds_batch_cert *c, int64_t from, bool revoked,
                                 ds_err *e)
{
    static const char *const names[] = {"", "reserved", "signed", "installed", "registered"};
    uint8_t fingerprint[32];
    enum ds_class rc = DS_OK;
    ds_sha256(c->der.ptr, c->der.len, fingerprint);
    for (int64_t s = from + 1; !rc && s <= c->state; s++)
        rc = s == DS_LEDGER_RESERVED ? note(l, device, names[s], c->serial, 16, " of a batch", e)
                                     : note(l, device, names[s], fingerprint, 32, " of a batch", e);
    if (!rc && revoked)
        rc = note(l, device, "revoked", c->serial, 16, "", e);
    return rc || !revoked ? rc : ds_ledger_append(l, device, DS_LEDGER_KIND_REVOKED, c->reason, e);
}

static enum ds_class refuse_cert(ds_ledger *l, int64_t device, const char *why, ds_err *e)
{
    ds_ledger_device d;
    char name[96];
    enum ds_class rc = ds_ledger_load_device(l, device, &d, e);
    if (rc)
        return rc;
    name_of(&d, name);
    ds_fail(e, DS_POLICY, "device %s: %s", name, why);
    return conflict(e);
}

static enum ds_class insert_cert(ds_ledger *l, int64_t device, const ds_batch_cert *c, ds_err *e)
{
    uint8_t fingerprint[32];
    bool made = c->state >= DS_LEDGER_SIGNED;
    int64_t same = 0, live = 0;
    ds_sha256(c->der.ptr, c->der.len, fingerprint);
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT device FROM certificate WHERE serial = ?",
                                     DS_ARGS(DS_BLOB(c->serial, 16)), 0, &same, e);
    if (!rc && same)
        return refuse_cert(l, same, "the serial number of its certificate is another certificate's in the batch", e);
    if (!rc && !c->revoked)
        rc = ds_sql_number(&l->sql, "SELECT count(*) FROM certificate WHERE device = ? AND revoked_at IS NULL",
                           DS_ARGS(DS_INT(device)), 0, &live, e);
    if (!rc && live)
        return refuse_cert(l, device, "it has a live certificate here, and one for another key in the batch", e);
    ds_sql_arg number = DS_NULL_ARG;
    if (!rc)
        rc = ds_ledger_new_id(l, &number, e);
    if (!rc)
        rc = ds_sql_run(
            &l->sql,
            "INSERT INTO certificate(id, device, state, serial, key_digest, csr, subject, not_before, not_after, "
            "der, fingerprint, reserved_at, signed_at, installed_at, registered_at, revoked_at) VALUES(?, ?, ?, "
            "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            DS_ARGS(number, DS_INT(device), DS_INT(c->state), DS_BLOB(c->serial, 16), DS_BLOB(c->key, 32),
                    DS_BLOB("", 0), DS_TEXT(c->subject), DS_INT(c->not_before), DS_INT(c->not_after),
                    made ? DS_BLOB(c->der.ptr, c->der.len) : DS_NULL_ARG, made ? DS_BLOB(fingerprint, 32) : DS_NULL_ARG,
                    DS_INT(c->reserved), optional_time(c->made), optional_time(c->installed),
                    optional_time(c->registered), optional_time(c->revoked)),
            e);
    return rc ? rc : note_states(l, device, c, 0, c->revoked != 0, e);
}

// A reservation that was corrected before it was signed.
static enum ds_class correct(ds_ledger *l, const ds_batch_cert *c, const ds_ledger_cert *had, ds_err *e)
{
    if (had->state != DS_LEDGER_RESERVED || had->revoked)
        return DS_OK;
    return ds_sql_run(&l->sql, "UPDATE certificate SET subject = ?, not_before = ?, not_after = ? WHERE id = ?",
                      DS_ARGS(DS_TEXT(c->subject), DS_INT(c->not_before), DS_INT(c->not_after), DS_INT(had->id)), e);
}

static int64_t first_of(int64_t here, int64_t there)
{
    return here ? here : there;
}

static enum ds_class advance(ds_ledger *l, const ds_batch_cert *c, const ds_ledger_cert *had, ds_err *e)
{
    uint8_t fingerprint[32];
    int64_t revoked = 0;
    ds_sha256(c->der.ptr, c->der.len, fingerprint);
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT revoked_at FROM certificate WHERE id = ?",
                                     DS_ARGS(DS_INT(had->id)), 0, &revoked, e);
    if (!rc && c->state > (int64_t)had->state)
        rc = correct(l, c, had, e);
    if (!rc && c->state > (int64_t)had->state)
        rc = ds_sql_run(&l->sql,
                        "UPDATE certificate SET state = ?, der = ?, fingerprint = ?, signed_at = ?, installed_at = ?, "
                        "registered_at = ? WHERE id = ?",
                        DS_ARGS(DS_INT(c->state), DS_BLOB(c->der.ptr, c->der.len), DS_BLOB(fingerprint, 32),
                                DS_INT(first_of(had->signed_utc, c->made)),
                                optional_time(first_of(had->installed_utc, c->installed)),
                                optional_time(first_of(had->registered_utc, c->registered)), DS_INT(had->id)),
                        e);
    if (!rc && c->revoked && !revoked)
        rc = ds_sql_run(&l->sql, "UPDATE certificate SET revoked_at = ? WHERE id = ?",
                        DS_ARGS(DS_INT(c->revoked), DS_INT(had->id)), e);
    return rc ? rc : note_states(l, had->device, c, (int64_t)had->state, c->revoked && !revoked, e);
}

// The key is known here.
static enum ds_class compare(ds_ledger *l, int64_t device, const ds_batch_cert *c, const ds_ledger_cert *had, ds_err *e)
{
    if (had->device != device)
        return refuse_cert(l, had->device, "its public key is another device's in the batch", e);
    if (memcmp(had->serial, c->serial, 16) != 0)
        return refuse_cert(l, device, "its public key has one certificate here, and another in the batch", e);
    if (had->certificate.len && c->der.len &&
        (had->certificate.len != c->der.len || memcmp(had->certificate.ptr, c->der.ptr, c->der.len) != 0))
        return refuse_cert(l, device, "its certificate here is another than in the batch", e);
    return DS_OK;
}

enum ds_class ds_batch_put_cert(ds_ledger *l, int64_t device, const ds_batch_cert *c, bool *ret_fresh,
                                bool *ret_advanced, ds_err *e)
{
    ds_ledger_cert had = {0};
    bool found = false;
    enum ds_class rc = !c->der.len ? DS_OK
                       : ds_ledger_is_elsewhere(c->serial)
                           ? ds_ledger_match_key(ds_buf_view(&c->der), c->key, e)
                           : ds_ledger_match(ds_buf_view(&c->der), c->serial, c->key, e);
    if (!rc)
        rc = ds_ledger_load_cert(l, DS_LEDGER_CERT_COLUMNS "WHERE key_digest = ?" DS_SQL_LOCK, DS_BLOB(c->key, 32),
                                 &had, &found, e);
    *ret_fresh = !found;
    *ret_advanced = found && (c->state > (int64_t)had.state || (c->revoked && !had.revoked));
    if (!rc && found)
        rc = compare(l, device, c, &had, e);
    if (!rc && found && *ret_advanced)
        rc = advance(l, c, &had, e);
    else if (!rc && !found)
        rc = insert_cert(l, device, c, e);
    ds_ledger_cert_free(&had);
    return rc;
}

enum ds_class ds_batch_put_proof(ds_ledger *l, int64_t device, const ds_batch_proof *p, ds_err *e)
{
    int64_t had = 0;
    uint8_t digest[32];
    char hex[65];
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT count(*) FROM proof WHERE device = ? AND at = ? AND json = ?",
                                     DS_ARGS(DS_INT(device), DS_INT(p->at), DS_TEXT(p->json)), 0, &had, e);
    if (rc || had)
        return rc;
    ds_sha256(p->json, strlen(p->json), digest);
    ds_hex(digest, sizeof digest, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("%s %s", p->whole ? "whole" : "not-whole", hex);
    ds_sql_arg number;
    rc = ds_ledger_new_id(l, &number, e);
    if (!rc)
        rc = ds_sql_run(&l->sql, "INSERT INTO proof(id, device, at, whole, json) VALUES(?, ?, ?, ?, ?)",
                        DS_ARGS(number, DS_INT(device), DS_INT(p->at), DS_INT(p->whole), DS_TEXT(p->json)), e);
    return rc ? rc : ds_ledger_append(l, device, DS_LEDGER_KIND_PROOF, text, e);
}
