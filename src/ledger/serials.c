// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Serial numbers that were made elsewhere; see lists.h. A product's lists make one row of positions, and claiming goes
// along it: the number of the last position that was given out is one row, which a transaction holds while it takes
// the next.
#include "src/ledger/lists.h"

#include "src/ledger/internal.h"

#include <ctype.h>
#include <string.h>

static bool acceptable(const char *serial)
{
    for (const char *p = serial; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-._:", *p))
            return false;
    return true;
}

static enum ds_class refuse_double(ds_ledger *l, const char *serial, ds_err *e)
{
    int64_t had = 0;
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT count(*) FROM serial_list WHERE serial = ?",
                                     DS_ARGS(DS_TEXT(serial)), 0, &had, e);
    if (!rc && had)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "serial number '%s' is in the list twice, or in one that was imported", serial), e),
            "nothing was imported; have the list made anew without it");
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT count(*) FROM device WHERE serial = ?", DS_ARGS(DS_TEXT(serial)), 0, &had,
                           e);
    if (!rc && had)
        return ds_hint((ds_fail(e, DS_POLICY, "serial number '%s' is a device's already", serial), e),
                       "nothing was imported; have the list made anew without it");
    return rc;
}

static enum ds_class add_all(ds_ledger *l, const ds_ledger_serials *s, const char *root, int64_t position,
                             uint64_t *ret_added, ds_err *e)
{
    char serial[64];
    enum ds_class rc;
    *ret_added = 0;
    while (!(rc = s->next(s->arg, serial, e)) && serial[0]) {
        if (!acceptable(serial))
            return ds_fail(e, DS_INPUT, "serial number '%s': letters, digits and -._: only", serial);
        rc = refuse_double(l, serial, e);
        if (!rc)
            rc = ds_sql_run(&l->sql, "INSERT INTO serial_list(product, position, serial, root) VALUES(?, ?, ?, ?)",
                            DS_ARGS(DS_TEXT(s->product), DS_INT(++position), DS_TEXT(serial), DS_TEXT(root)), e);
        if (rc)
            return rc;
        ++*ret_added;
    }
    return rc;
}

static enum ds_class add(ds_ledger *l, const ds_ledger_serials *s, const char *root, uint64_t *ret_added, ds_err *e)
{
    int64_t had = 0, last = 0;
    *ret_added = 0;
    enum ds_class rc = ds_ledger_lists_ready(l, e);
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT count(*) FROM serial_list WHERE root = ?", DS_ARGS(DS_TEXT(root)), 0, &had,
                           e);
    if (rc || had)
        return rc;
    rc = ds_sql_number(&l->sql, "SELECT max(position) FROM serial_list WHERE product = ?", DS_ARGS(DS_TEXT(s->product)),
                       0, &last, e);
    if (!rc && last == 0)
        rc = ds_sql_run(&l->sql, "INSERT INTO serial_next(product, last) VALUES(?, 0) ON CONFLICT DO NOTHING",
                        DS_ARGS(DS_TEXT(s->product)), e);
    if (!rc)
        rc = add_all(l, s, root, last, ret_added, e);
    DS_CLEANUP_FREE char *text =
        ds_asprintf("list %s of %llu serial numbers for %s", root, (unsigned long long)*ret_added, s->product);
    return rc ? rc : ds_ledger_append(l, 0, "ledger.serials", text, e);
}

enum ds_class ds_ledger_serials_add(ds_ledger *l, const ds_ledger_serials *s, uint64_t *ret_added, ds_err *e)
{
    char root[65];
    ds_hex(s->root, 32, root);
    enum ds_class rc = ds_ledger_begin(l, e);
    return rc ? rc : ds_ledger_end(l, add(l, s, root, ret_added, e), e);
}

enum ds_class ds_ledger_serials_count(ds_ledger *l, const char *product, uint64_t *ret_all, uint64_t *ret_used,
                                      ds_err *e)
{
    int64_t all = 0, used = 0;
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT max(position) FROM serial_list WHERE product = ?",
                                     DS_ARGS(DS_TEXT(product)), 0, &all, e);
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT last FROM serial_next WHERE product = ?", DS_ARGS(DS_TEXT(product)), 0,
                           &used, e);
    ds_ledger_unlock(l);
    *ret_all = (uint64_t)all;
    *ret_used = (uint64_t)used;
    return rc;
}

static enum ds_class used_up(const char *product, int64_t last, ds_err *e)
{
    if (last)
        ds_fail(e, DS_POLICY, "the serial numbers of product '%s' are used up: all %lld that were imported", product,
                (long long)last);
    else
        ds_fail(e, DS_POLICY, "no serial numbers were imported for product '%s'", product);
    return ds_hint(e, "import the next list: devstamp manifest import --ledger");
}

// The serial number in that place, "" where there is none.
static enum ds_class at(ds_ledger *l, const char *product, int64_t position, char ret[64], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    ret[0] = '\0';
    enum ds_class rc = ds_sql_query(&l->sql, "SELECT serial FROM serial_list WHERE product = ? AND position = ?",
                                    DS_ARGS(DS_TEXT(product), DS_INT(position)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && more) {
        ds_sql_text(q, 0, ret, 64);
        ds_sql_done(q);
    }
    return rc;
}

enum ds_class ds_ledger_serial_claim(ds_ledger *l, const char *product, char ret[64], ds_err *e)
{
    int64_t last = 0, owned = 1;
    enum ds_class rc = ds_ledger_lists_ready(l, e);
    if (!rc) // takes the row before it is read: two stations on one database come one after the other
        rc = ds_sql_run(&l->sql, "UPDATE serial_next SET last = last + 1 WHERE product = ?", DS_ARGS(DS_TEXT(product)),
                        e);
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT last FROM serial_next WHERE product = ?", DS_ARGS(DS_TEXT(product)), 1,
                           &last, e);
    for (int64_t i = last; !rc && owned; i++) { // over those that became a device's in another way meanwhile
        rc = at(l, product, i, ret, e);
        if (!rc && !ret[0])
            return used_up(product, i - 1, e);
        if (!rc)
            rc = ds_sql_number(&l->sql, "SELECT count(*) FROM device WHERE serial = ?", DS_ARGS(DS_TEXT(ret)), 0,
                               &owned, e);
        last = i;
    }
    if (!rc)
        rc = ds_sql_run(&l->sql, "UPDATE serial_next SET last = ? WHERE product = ?",
                        DS_ARGS(DS_INT(last), DS_TEXT(product)), e);
    return rc;
}
