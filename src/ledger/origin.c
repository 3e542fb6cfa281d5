// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys that devices did not make: which device was given which, and by whom, in the evidence chain. An event's text is
// "<origin> <SHA-256 of the SubjectPublicKeyInfo, 64 hex digits>".
#include "src/ledger/internal.h"

#include <string.h>

static enum ds_class load(ds_ledger *l, int64_t device, const uint8_t digest[32], char ret[16], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    char hex[65], text[16 + 65] = "";
    ds_hex(digest, 32, hex);
    enum ds_class rc = ds_sql_query(&l->sql,
                                    "SELECT text FROM event WHERE device = ? AND kind = '" DS_LEDGER_KIND_KEY
                                    "' AND text LIKE '% ' || ? ORDER BY id LIMIT 1",
                                    DS_ARGS(DS_INT(device), DS_TEXT(hex)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && more) {
        ds_sql_text(q, 0, text, sizeof text);
        ds_sql_done(q);
    }
    size_t len = strcspn(text, " ");
    if (!rc && len >= 16)
        rc = ds_fail(e, DS_STORE, "ledger %s: the record of a key cannot be read", l->sql.path);
    if (rc)
        return rc;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return DS_OK;
}

static enum ds_class give(ds_ledger *l, int64_t device, const char *origin, const uint8_t digest[32], ds_err *e)
{
    ds_ledger_device d;
    char known[16], hex[65];
    enum ds_class rc = ds_ledger_load_device(l, device, &d, e);
    if (!rc)
        rc = load(l, device, digest, known, e);
    if (rc)
        return rc;
    if (known[0])
        return strcmp(known, origin) == 0
                   ? DS_OK
                   : ds_fail(e, DS_POLICY, "this key was written down before as made by: %s", known);
    ds_hex(digest, 32, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("%s %s", origin, hex);
    return ds_ledger_append(l, device, DS_LEDGER_KIND_KEY, text, e);
}

enum ds_class ds_ledger_key_given(ds_ledger *l, int64_t device, const char *origin, const uint8_t public_key_digest[32],
                                  ds_err *e)
{
    if (!origin[0] || strlen(origin) >= 16 || strchr(origin, ' '))
        return ds_fail(e, DS_INTERNAL, "'%s' is no origin of a key", origin);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = give(l, device, origin, public_key_digest, e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}

enum ds_class ds_ledger_key_origin(ds_ledger *l, int64_t device, const uint8_t public_key_digest[32], char ret[16],
                                   ds_err *e)
{
    ds_ledger_lock(l);
    enum ds_class rc = load(l, device, public_key_digest, ret, e);
    ds_ledger_unlock(l);
    return rc;
}
