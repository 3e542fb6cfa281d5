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

enum ds_class ds_ledger_ca_of(ds_ledger *l, int64_t station, char ret[65], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    ret[0] = '\0';
    enum ds_class rc = ds_sql_query(&l->sql,
                                    "SELECT text FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER
                                    "' AND station = ? ORDER BY id DESC LIMIT 1",
                                    DS_ARGS(DS_INT(station)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && more) {
        ds_sql_text(q, 0, ret, 65);
        ds_sql_done(q);
    }
    return rc;
}

static enum ds_class refuse_take_over(ds_ledger *l, int64_t station, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf chains = {0};
    const char *name = "that is gone";
    ds_ledger_chain c;
    enum ds_class rc = ds_ledger_load_chains(l, &chains, e);
    for (size_t off = 0; off < chains.len; off += sizeof c) {
        memcpy(&c, chains.ptr + off, sizeof c);
        if (c.number != station)
            continue;
        name = c.station;
        break;
    }
    if (rc)
        return rc;
    ds_fail(e, DS_POLICY, "the certificate was reserved by station %s, whose signer may have signed it", name);
    return ds_hint(e,
                   "finish the device there; or revoke the reservation (devstamp ledger revoke) and erase the device's "
                   "flash, so that it makes another key");
}

enum ds_class ds_ledger_may_take_over(ds_ledger *l, const ds_ledger_cert *c, ds_err *e)
{
    char theirs[65], ours[65];
    int64_t station = ds_ledger_station_of(c->id);
    if (!ds_sql_is_pg(&l->sql) || station == l->station)
        return DS_OK;
    enum ds_class rc = ds_ledger_ca_of(l, station, theirs, e);
    if (!rc)
        rc = ds_ledger_ca_of(l, l->station, ours, e);
    if (rc)
        return rc;
    bool one_log = !c->elsewhere && theirs[0] && strcmp(theirs, ours) == 0; // it gives out what it has
    return one_log ? DS_OK : refuse_take_over(l, station, e);
}
