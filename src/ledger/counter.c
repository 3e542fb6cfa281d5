// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The numbers of {counter}: one after the other in a file. In a database each station takes them in blocks, so that
// stations of one product do not wait for each other at every device; a block that is not used up waits for the
// station's next run.
#include "src/ledger/internal.h"

enum { BLOCK = 16 };

// The station's block of this product; *ret_next 0 where it has none or it is used up.
static enum ds_class load_block(ds_ledger *l, const char *product, int64_t *ret_next, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    *ret_next = 0;
    enum ds_class rc =
        ds_sql_query(&l->sql, "SELECT next, last FROM counter_block WHERE product = ? AND station = ?" DS_SQL_LOCK,
                     DS_ARGS(DS_TEXT(product), DS_INT(l->station)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && more) {
        if (ds_sql_int(q, 0) <= ds_sql_int(q, 1))
            *ret_next = ds_sql_int(q, 0);
        ds_sql_done(q);
    }
    return rc;
}

// The product's row, locked: another thread of this station may have taken a block while we waited for it.
static enum ds_class lock_counter(ds_ledger *l, const char *product, int64_t *ret_last, ds_err *e)
{
    enum ds_class rc =
        ds_sql_run(&l->sql, "INSERT INTO counter(product, last) VALUES(?, 0) ON CONFLICT(product) DO NOTHING",
                   DS_ARGS(DS_TEXT(product)), e);
    return rc ? rc
              : ds_sql_number(&l->sql, "SELECT last FROM counter WHERE product = ?" DS_SQL_LOCK,
                              DS_ARGS(DS_TEXT(product)), 0, ret_last, e);
}

static enum ds_class take_block(ds_ledger *l, const char *product, int64_t *ret_next, ds_err *e)
{
    int64_t last = 0;
    enum ds_class rc = lock_counter(l, product, &last, e);
    if (!rc)
        rc = load_block(l, product, ret_next, e);
    if (rc || *ret_next)
        return rc;
    *ret_next = last + 1;
    rc = ds_sql_run(&l->sql, "UPDATE counter SET last = ? WHERE product = ?",
                    DS_ARGS(DS_INT(last + BLOCK), DS_TEXT(product)), e);
    return rc ? rc
              : ds_sql_run(&l->sql,
                           "INSERT INTO counter_block(product, station, next, last) VALUES(?1, ?2, ?3, ?4) ON "
                           "CONFLICT(product, station) DO UPDATE SET next = ?3, last = ?4",
                           DS_ARGS(DS_TEXT(product), DS_INT(l->station), DS_INT(*ret_next), DS_INT(last + BLOCK)), e);
}

enum ds_class ds_ledger_counter_next(ds_ledger *l, const char *product, int64_t *ret, ds_err *e)
{
    int64_t n = 0;
    enum ds_class rc;
    if (ds_sql_is_pg(&l->sql)) {
        rc = load_block(l, product, &n, e);
        if (!rc && !n)
            rc = take_block(l, product, &n, e);
    } else {
        rc = ds_sql_number(&l->sql, "SELECT last FROM counter WHERE product = ?", DS_ARGS(DS_TEXT(product)), 0, &n, e);
        n++;
    }
    *ret = n;
    return rc;
}

enum ds_class ds_ledger_counter_take(ds_ledger *l, const char *product, int64_t number, ds_err *e)
{
    if (ds_sql_is_pg(&l->sql))
        return ds_sql_run(&l->sql, "UPDATE counter_block SET next = ? WHERE product = ? AND station = ?",
                          DS_ARGS(DS_INT(number + 1), DS_TEXT(product), DS_INT(l->station)), e);
    return ds_sql_run(&l->sql,
                      "INSERT INTO counter(product, last) VALUES(?1, ?2) ON CONFLICT(product) DO UPDATE SET last = ?2",
                      DS_ARGS(DS_TEXT(product), DS_INT(number)), e);
}
