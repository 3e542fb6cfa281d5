// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a CRL is made from: certificates that were signed and revoked, when and why.
#include "src/ledger/internal.h"

// The reason is the first event of a revocation behind the one that revoked this certificate. HEX(id): how the engine
// writes bytes as hex digits.
#define REVOCATIONS(HEX)                                                                                        \
    "SELECT c.serial, c.revoked_at, c.der, (SELECT e.text FROM event e WHERE e.device = c.device AND e.kind = " \
    "'" DS_LEDGER_KIND_REVOKED                                                                                  \
    "' AND e.id > (SELECT min(r.id) FROM event r WHERE r.device = c.device AND r.kind = '" DS_LEDGER_KIND_CERT  \
    "' AND r.text = 'revoked ' || " HEX("c.serial") ") ORDER BY e.id LIMIT 1) FROM certificate c "              \
                                                    "WHERE c.revoked_at IS NOT NULL AND c.state >= 2 ORDER BY c.id"

static enum ds_class each(ds_ledger *l, ds_ledger_revocation_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(
        &l->sql, ds_sql_is_pg(&l->sql) ? REVOCATIONS(DS_SQL_HEX_PG) : REVOCATIONS(DS_SQL_HEX), NULL, &q, e);
    while (!rc && more) {
        ds_ledger_revocation row = {0};
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_sql_blob(q, 0, row.serial, sizeof row.serial);
        row.revoked_utc = ds_sql_int(q, 1);
        row.certificate = ds_sql_view(q, 2);
        ds_sql_text(q, 3, row.reason, sizeof row.reason);
        rc = fn(arg, &row, e);
        if (rc)
            ds_sql_done(q);
    }
    return rc;
}

enum ds_class ds_ledger_each_revocation(ds_ledger *l, ds_ledger_revocation_fn fn, void *arg, ds_err *e)
{
    ds_ledger_lock(l);
    enum ds_class rc = each(l, fn, arg, e);
    ds_ledger_unlock(l);
    return rc;
}
