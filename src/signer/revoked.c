// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The log of revocations; see revoked.h.
#include "src/signer/revoked.h"

#include "src/base/clock.h"
#include "src/pki/crl.h"
#include "src/pki/der.h"
#include "src/pki/tlv.h"
#include "src/signer/log_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// An INTEGER that is not negative.
static void add_integer(ds_buf *out, uint64_t v)
{
    uint8_t bytes[9] = {0};
    size_t first = 8;
    for (size_t i = 8; i > 0; i--, v >>= 8)
        if ((bytes[i] = (uint8_t)v) != 0)
            first = i;
    first -= bytes[first] & 0x80 ? 1 : 0;
    ds_der_add(out, DS_TLV_INTEGER, bytes + first, 9 - first);
}

static bool take_integer(ds_view *rest, uint64_t *ret)
{
    ds_view body;
    if (!ds_tlv_take(rest, DS_TLV_INTEGER, &body) || body.len == 0 || body.len > 8 || body.ptr[0] & 0x80)
        return false;
    *ret = 0;
    for (size_t i = 0; i < body.len; i++)
        *ret = *ret << 8 | body.ptr[i];
    return true;
}

static bool read_entry(ds_view entry, ds_revocation *ret)
{
    ds_view fields, by;
    uint64_t at = 0, reason = 0;
    if (!ds_tlv_take(&entry, DS_TLV_SEQUENCE, &fields) || entry.len || !take_integer(&fields, &at) ||
        !take_integer(&fields, &reason) || !ds_tlv_take(&fields, DS_TLV_UTF8, &by) || fields.len ||
        at > INT64_C(253402300799) || reason > 10 || by.len >= sizeof ret->by)
        return false;
    ret->revoked_utc = (int64_t)at;
    ret->reason = (int)reason;
    memcpy(ret->by, by.ptr, by.len);
    ret->by[by.len] = '\0';
    return true;
}

enum ds_class ds_revoked_open(const char *path, ds_issuer *i, ds_err *e)
{
    i->revoked_path = ds_asprintf("%s.revoked", path);
    DS_CLEANUP_FREE char *head = ds_asprintf("%s.head", i->revoked_path);
    if (access(i->revoked_path, F_OK) != 0 && access(head, F_OK) != 0) // a head without its log is told of
        return DS_OK;
    enum ds_class rc = ds_log_open(i->revoked_path, i->info.fingerprint, &i->revoked, e);
    return rc ? ds_wrap(e, "revocations") : DS_OK;
}

static enum ds_class look_up(const ds_issuer *i, const uint8_t serial[16], ds_revocation *ret, bool *ret_found,
                             ds_err *e)
{
    const ds_log_entry *entry = i->revoked ? ds_log_by_serial(i->revoked, serial) : NULL;
    DS_CLEANUP_BUF ds_buf body = {0};
    *ret_found = entry != NULL;
    if (!entry)
        return DS_OK;
    enum ds_class rc = ds_log_read(i->revoked, entry, &body, e);
    if (rc)
        return rc;
    *ret = (ds_revocation){0};
    memcpy(ret->serial, serial, 16);
    return read_entry(ds_buf_view(&body), ret)
               ? DS_OK
               : ds_fail(e, DS_STORE, "an entry of %s is no revocation", i->revoked_path);
}

enum ds_class ds_revoked_check(const ds_issuer *i, const uint8_t serial[16], ds_err *e)
{
    ds_revocation r;
    bool found = false;
    char at[21];
    enum ds_class rc = look_up(i, serial, &r, &found, e);
    if (rc || !found)
        return rc;
    ds_utc_format(r.revoked_utc, at);
    return ds_hint(
        (ds_fail(e, DS_POLICY, "this certificate was revoked on %s (%s) by %s", at, ds_crl_reason_name(r.reason), r.by),
         e),
        "revoke it in the ledger too (devstamp ledger revoke) and let the device make a new key");
}

// May those who ask for these recipes alone have it?
static enum ds_class check_recipe(const ds_issuer *i, const Devstamp__Signer__Revoke *req, const ds_log_entry *entry,
                                  char ret[DS_LOG_RECIPE], ds_err *e)
{
    const char *recipe = ds_log_recipe_of(i->log, entry);
    snprintf(ret, DS_LOG_RECIPE, "%s", recipe);
    for (size_t n = 0; n < req->n_recipe; n++)
        if (strcmp(req->recipe[n], recipe) == 0)
            return DS_OK;
    return req->n_recipe
               ? ds_fail(e, DS_POLICY, "the certificate is of recipe \"%s\", which %s may not revoke", recipe, req->by)
               : DS_OK;
}

static enum ds_class add(ds_issuer *i, const ds_log_entry *entry, const ds_revocation *r, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf body = {0}, whole = {0};
    enum ds_class rc = i->revoked ? DS_OK : ds_log_open(i->revoked_path, i->info.fingerprint, &i->revoked, e);
    add_integer(&body, (uint64_t)r->revoked_utc);
    add_integer(&body, (uint64_t)r->reason);
    ds_der_add(&body, DS_TLV_UTF8, r->by, strlen(r->by));
    ds_der_add(&whole, DS_TLV_SEQUENCE, body.ptr, body.len);
    const ds_log_certificate c = {entry->serial, entry->public_key_digest, r->recipe, ds_buf_view(&whole)};
    if (!rc)
        rc = ds_log_append(i->revoked, &c, e);
    if (!rc)
        rc = ds_log_put_head(i->revoked, NULL, e);
    return rc ? ds_wrap(e, "revocations") : DS_OK;
}

enum ds_class ds_issuer_revoke(ds_issuer *i, const Devstamp__Signer__Revoke *req, ds_revocation *ret, bool *ret_before,
                               ds_err *e)
{
    char hex[33];
    if (req->serial.len != 16)
        return ds_fail(e, DS_INPUT, "the serial number has %zu bytes instead of 16", req->serial.len);
    if (req->reason > 10 || (req->reason && strcmp(ds_crl_reason_name((int)req->reason), "unspecified") == 0))
        return ds_fail(e, DS_INPUT, "%u is no reason to revoke for good", req->reason);
    if (!req->by[0] || strlen(req->by) >= sizeof ret->by)
        return ds_fail(e, DS_INPUT, "who asks has a name of 1 to 63 bytes");
    ds_hex(req->serial.data, 16, hex);
    const ds_log_entry *entry = ds_log_by_serial(i->log, req->serial.data);
    if (!entry)
        return ds_hint((ds_fail(e, DS_POLICY, "no certificate of serial number %s is in the issuance log", hex), e),
                       "revoke it where it was signed");
    ds_revocation r = {.revoked_utc = ds_utc_now(), .reason = (int)req->reason};
    memcpy(r.serial, entry->serial, 16);
    snprintf(r.by, sizeof r.by, "%s", req->by);
    enum ds_class rc = check_recipe(i, req, entry, r.recipe, e);
    if (!rc)
        rc = look_up(i, entry->serial, &r, ret_before, e);
    if (!rc && !*ret_before)
        rc = add(i, entry, &r, e);
    if (!rc)
        *ret = r;
    return rc;
}

enum ds_class ds_revoke_here(const char *certificate, const char *log, const uint8_t serial[16], int reason,
                             const char *by, ds_revocation *ret, bool *ret_before, ds_err *e)
{
    ds_issuer i = {0};
    uint8_t copy[16];
    char name[64];
    Devstamp__Signer__Revoke req = DEVSTAMP__SIGNER__REVOKE__INIT;
    memcpy(copy, serial, sizeof copy);
    snprintf(name, sizeof name, "%s", by);
    req.serial = (ProtobufCBinaryData){sizeof copy, copy};
    req.reason = (uint32_t)reason;
    req.by = name;
    enum ds_class rc = ds_cert_read(certificate, &i.ca, e);
    if (!rc)
        rc = ds_cert_describe(i.ca, &i.info, e);
    if (!rc)
        rc = ds_log_open(log, i.info.fingerprint, &i.log, e);
    if (!rc)
        rc = ds_revoked_open(log, &i, e);
    if (!rc)
        rc = ds_issuer_revoke(&i, &req, ret, ret_before, e);
    ds_issuer_close(&i);
    return rc;
}

typedef struct reading {
    ds_revoked_fn fn;
    void *arg;
    ds_err *e;
    enum ds_class rc;
} reading;

static void each(void *arg, const ds_log_record *record)
{
    reading *r = arg;
    ds_revocation one = {0};
    if (r->rc)
        return;
    memcpy(one.serial, record->serial, 16);
    snprintf(one.recipe, sizeof one.recipe, "%s", record->recipe);
    if (read_entry(record->cert, &one))
        r->rc = r->fn(r->arg, &one, r->e);
    else
        r->rc = ds_fail(r->e, DS_STORE, "entry %llu is no revocation", (unsigned long long)record->number);
}

enum ds_class ds_revoked_each(const char *path, const uint8_t ca[32], ds_revoked_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_FREE char *head_path = ds_asprintf("%s.head", path);
    reading r = {fn, arg, e, DS_OK};
    ds_log_head head;
    ds_log_known known = {.from = head_path};
    ds_log_report report;
    bool found = false;
    enum ds_class rc = ds_log_head_read(head_path, &head, &found, e);
    if (!rc && found) {
        known.size = head.size;
        memcpy(known.root, head.root, 32);
    }
    const ds_log_reading all = {.path = path, .known = &known, .known_count = found, .each = each, .arg = &r};
    if (!rc)
        rc = ds_log_verify(&all, &report, e);
    if (!rc && memcmp(report.ca, ca, 32) != 0)
        rc = ds_fail(e, DS_INPUT, "it is of another CA");
    if (!rc)
        rc = r.rc;
    return rc ? ds_wrap(e, "revocations %s", path) : DS_OK;
}
