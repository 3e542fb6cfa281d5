// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The tables of lists and batches, and what was exported; see lists.h and walk.h.
#include "src/ledger/lists.h"

#include "src/ledger/internal.h"
#include "src/ledger/walk.h"

#include <string.h>

static const char *const tables[] = {DS_LEDGER_LIST_TABLES};

enum ds_class ds_ledger_lists_ready(ds_ledger *l, ds_err *e)
{
    enum ds_class rc = DS_OK;
    if (ds_sql_is_pg(&l->sql)) // its schema has them
        return DS_OK;
    for (size_t i = 0; !rc && i < sizeof tables / sizeof *tables; i++)
        rc = ds_sql_run(&l->sql, tables[i], NULL, e);
    return rc;
}

enum ds_class ds_ledger_lists_have(ds_ledger *l, const char *table, bool *ret, ds_err *e)
{
    int64_t n = 1;
    enum ds_class rc =
        ds_sql_is_pg(&l->sql)
            ? DS_OK
            : ds_sql_number(&l->sql, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?",
                            DS_ARGS(DS_TEXT(table)), 0, &n, e);
    *ret = n > 0;
    return rc;
}

enum ds_class ds_ledger_export_add(ds_ledger *l, const char *name, const uint8_t root[32], const uint8_t (*list)[32],
                                   size_t count, ds_err *e)
{
    char of[65], hex[65];
    ds_hex(root, 32, of);
    enum ds_class rc = ds_ledger_begin(l, e);
    if (rc)
        return rc;
    rc = ds_ledger_lists_ready(l, e);
    for (size_t i = 0; !rc && i < count; i++) {
        ds_hex(list[i], 32, hex);
        rc = ds_sql_run(&l->sql,
                        "INSERT INTO manifest_export(name, fingerprint, root) VALUES(?, ?, ?) ON CONFLICT DO NOTHING",
                        DS_ARGS(DS_TEXT(name), DS_TEXT(hex), DS_TEXT(of)), e);
    }
    return ds_ledger_end(l, rc, e);
}

static enum ds_class exported(ds_ledger *l, const char *name, const char *fingerprint, char root[65], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false, has = false;
    root[0] = '\0';
    enum ds_class rc = ds_ledger_lists_have(l, "manifest_export", &has, e);
    if (rc || !has)
        return rc;
    rc = ds_sql_query(&l->sql, "SELECT root FROM manifest_export WHERE name = ? AND fingerprint = ?",
                      DS_ARGS(DS_TEXT(name), DS_TEXT(fingerprint)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && more) {
        ds_sql_text(q, 0, root, 65);
        ds_sql_done(q);
    }
    return rc;
}

enum ds_class ds_ledger_exported(ds_ledger *l, const char *name, const uint8_t fingerprint[32], bool *ret,
                                 uint8_t ret_root[32], ds_err *e)
{
    char hex[65], root[65];
    ds_hex(fingerprint, 32, hex);
    ds_ledger_lock(l);
    enum ds_class rc = exported(l, name, hex, root, e);
    ds_ledger_unlock(l);
    if (!rc)
        *ret = ds_unhex(root, ret_root, 32);
    return rc;
}
