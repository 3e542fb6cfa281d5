// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Stations of a database: each has a number, which its ids carry, and a chain of its own.
#include "src/ledger/internal.h"
#include "src/base/secret.h"

#include <string.h>

enum { STATIONS_MAX = 4095 };

static enum ds_class number_of(ds_ledger *l, const char *name, int64_t *ret, ds_err *e)
{
    return ds_sql_number(&l->sql, "SELECT station FROM chain WHERE name = ?", DS_ARGS(DS_TEXT(name)), 0, ret, e);
}

// A number that is free. Another station may take it at the same moment: then this transaction is run again.
static enum ds_class free_number(ds_ledger *l, int64_t *ret, ds_err *e)
{
    int64_t used = 0, taken = 1;
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT count(*) FROM chain", NULL, 0, &used, e);
    if (!rc && used >= STATIONS_MAX)
        return ds_fail(e, DS_STORE, "ledger %s: has %d stations, which is as many as it can have", l->sql.path,
                       STATIONS_MAX);
    while (!rc && taken) {
        uint16_t random;
        ds_random(&random, sizeof random);
        *ret = random % STATIONS_MAX + 1;
        rc =
            ds_sql_number(&l->sql, "SELECT count(*) FROM chain WHERE station = ?", DS_ARGS(DS_INT(*ret)), 0, &taken, e);
    }
    return rc;
}

static enum ds_class begin_chain(ds_ledger *l, const char *name, int64_t *ret, ds_err *e)
{
    uint8_t head[32];
    enum ds_class rc = number_of(l, name, ret, e);
    if (rc || *ret)
        return rc;
    rc = free_number(l, ret, e);
    ds_ledger_chain_begin(name, head);
    return rc ? rc
              : ds_sql_run(&l->sql, "INSERT INTO chain(station, name, count, head, last_id) VALUES(?, ?, 0, ?, 0)",
                           DS_ARGS(DS_INT(*ret), DS_TEXT(name), DS_BLOB(head, 32)), e);
}

enum ds_class ds_ledger_register(ds_ledger *l, const char *name, bool read_only, ds_err *e)
{
    int64_t number = 0;
    if (!name[0] || strlen(name) > 63)
        return ds_fail(e, DS_INPUT, "station '%s': a name of 1 to 63 bytes is needed in a shared ledger", name);
    ds_ledger_lock(l);
    enum ds_class rc = number_of(l, name, &number, e);
    ds_ledger_unlock(l);
    if (!rc && !number && !read_only) {
        do {
            rc = ds_ledger_begin(l, e);
            if (rc)
                return rc;
            rc = begin_chain(l, name, &number, e);
        } while (ds_ledger_again(l, &rc, e));
    }
    l->station = number;
    return rc;
}
