// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificates that are expected: announced by a manifest, or named by an issuance log; and what that means for
// whether one of them may be connected.
#include "src/cloud/internal.h"

#include <string.h>

static enum ds_class announce(ds_registry *r, int64_t ca, const uint8_t (*ids)[32], size_t count, size_t *ret_fresh,
                              ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < count; i++) {
        rc = ds_sql_run(&r->sql,
                        "INSERT INTO expected(ca, id, listed) VALUES(?, ?, 1) "
                        "ON CONFLICT DO UPDATE SET listed = 1 WHERE listed = 0",
                        DS_ARGS(DS_INT(ca), DS_BLOB(ids[i], 32)), e);
        if (!rc)
            *ret_fresh += sqlite3_changes(r->sql.db) > 0;
    }
    return rc;
}

enum ds_class ds_registry_expect(ds_registry *r, const uint8_t ca[32], const uint8_t (*ids)[32], size_t count,
                                 size_t *ret_fresh, ds_err *e)
{
    const ds_known_ca *known = NULL;
    size_t fresh = 0;
    if (count > DS_REGISTRY_EXPECT_MAX)
        return ds_fail(e, DS_INPUT, "more than %d certificates at once", DS_REGISTRY_EXPECT_MAX);
    enum ds_class rc = ds_registry_find_ca(r, ca, &known, e);
    if (!rc && known->info.role != DS_REGISTRY_DEVICES)
        rc = ds_fail(e, DS_INPUT, "%s: is not registered as a CA of devices", known->info.subject);
    if (rc)
        return rc;
    int64_t number = known->number;
    rc = ds_sql_begin(&r->sql, e);
    if (!rc)
        rc = ds_sql_end(&r->sql, announce(r, number, ids, count, &fresh, e), e);
    if (!rc && ret_fresh)
        *ret_fresh = fresh;
    return rc;
}

enum ds_class ds_registry_find_expected(ds_registry *r, int64_t ca, const uint8_t id[32], ds_expected *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    *ret = (ds_expected){0};
    enum ds_class rc = ds_sql_query(&r->sql, "SELECT listed, issued_at FROM expected WHERE ca = ? AND id = ?",
                                    DS_ARGS(DS_INT(ca), DS_BLOB(id, 32)), &q, e);
    if (!rc)
        rc = ds_sql_next(&r->sql, q, &more, e);
    if (rc || !more)
        return rc;
    *ret =
        (ds_expected){.listed = ds_sql_int(q, 0) != 0, .logged = !ds_sql_is_null(q, 1), .issued_utc = ds_sql_int(q, 1)};
    ds_sql_done(q);
    return DS_OK;
}

bool ds_registry_asks_log(const ds_known_ca *ca)
{
    return ca->info.policy != DS_REGISTRY_JITR || ca->isolated.len > 0;
}

const char *ds_registry_judge(const ds_known_ca *ca, const ds_expected *x)
{
    if (ca->info.policy == DS_REGISTRY_LOGGED && !x->logged)
        return "the certificate is not in its CA's issuance log";
    if (ca->info.policy == DS_REGISTRY_MANIFEST && !x->listed)
        return "the certificate is in no manifest";
    // Not before is the word of whoever signed, thief or not: only the log tells when.
    if (ca->isolated.len && !x->logged)
        return "its CA is isolated for a time, and the certificate is not in the issuance log";
    for (size_t at = 0; at < ca->isolated.len; at += sizeof(ds_isolated)) {
        ds_isolated i;
        memcpy(&i, ca->isolated.ptr + at, sizeof i);
        if (x->issued_utc >= i.from_utc && x->issued_utc < i.until_utc)
            return i.state == DS_REGISTRY_REVOKED ? "the certificate is of a time that is revoked"
                                                  : "the certificate is of a time that is held back";
    }
    return NULL;
}
