// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Devices in the registry: listed, activated, set inactive or revoked; and certificates that were revoked before they
// ever connected, of which nothing but the id may be known.
#include "src/base/clock.h"
#include "src/cloud/internal.h"

static enum ds_class refused(ds_registry *r, const uint8_t id[32], bool *ret, ds_err *e)
{
    int64_t n = 0;
    enum ds_class rc =
        ds_sql_number(&r->sql, "SELECT count(*) FROM refused WHERE id = ?", DS_ARGS(DS_BLOB(id, 32)), 0, &n, e);
    *ret = n > 0;
    return rc;
}

enum ds_class ds_registry_each(ds_registry *r, ds_registry_device_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_registry_flush(r, e);
    if (!rc)
        rc = ds_sql_query(&r->sql,
                          "SELECT d.id, ca.id, name, state, d.registered_at, last_seen FROM device d JOIN ca "
                          "ON ca.number = d.ca ORDER BY d.number",
                          NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_registry_device d = {.state = (enum ds_registry_state)ds_sql_int(q, 3),
                                .registered_utc = ds_sql_int(q, 4),
                                .last_seen_utc = ds_sql_int(q, 5)};
        ds_sql_blob(q, 0, d.id, sizeof d.id);
        ds_sql_blob(q, 1, d.ca, sizeof d.ca);
        ds_sql_text(q, 2, d.name, sizeof d.name);
        if (!fn(arg, &d)) {
            ds_sql_done(q);
            break;
        }
    }
    return rc;
}

// Of this name the one that is let in, where there is one; else the newest that may be yet. Which of several is to be
// let in is not guessed: anybody whose certificate waits may have made his the newest.
static enum ds_class named(ds_registry *r, const char *name, enum ds_registry_state state, int64_t *ret, ds_err *e)
{
    int64_t waiting = 0;
    enum ds_class rc = ds_sql_number(
        &r->sql, "SELECT number FROM device WHERE name = ? ORDER BY state = 1 DESC, state = 3, number DESC LIMIT 1",
        DS_ARGS(DS_TEXT(name)), 0, ret, e);
    if (!rc && state == DS_REGISTRY_ACTIVE)
        rc = ds_sql_number(&r->sql, "SELECT count(*) FROM device WHERE name = ? AND state <> 3", DS_ARGS(DS_TEXT(name)),
                           0, &waiting, e);
    if (rc || waiting <= 1)
        return rc;
    return ds_hint(
        (ds_fail(e, DS_POLICY, "device '%s': %lld certificates of that name are not revoked", name, (long long)waiting),
         e),
        "name the one by its id (devstamp registry list --json)");
}

static enum ds_class number_of(ds_registry *r, const char *key, enum ds_registry_state state, int64_t *ret, ds_err *e)
{
    uint8_t id[32];
    if (ds_unhex(key, id, sizeof id))
        return ds_sql_number(&r->sql, "SELECT number FROM device WHERE id = ?", DS_ARGS(DS_BLOB(id, 32)), 0, ret, e);
    return named(r, key, state, ret, e);
}

// The state of a certificate that never connected: revoked or nothing.
static enum ds_class set_unseen(ds_registry *r, const char *key, enum ds_registry_state state, ds_err *e)
{
    uint8_t id[32];
    bool never = false;
    if (!ds_unhex(key, id, sizeof id)) {
        ds_fail(e, DS_INPUT, "the registry knows no device '%s'", key);
        return ds_hint(e, "a certificate that never connected has no name here: give its id (devstamp ledger show)");
    }
    int64_t change = 0; // it may be a service's that is connected
    enum ds_class rc = state == DS_REGISTRY_REVOKED ? ds_registry_count_change(r, &change, e) : DS_OK;
    if (!rc && state == DS_REGISTRY_REVOKED)
        return ds_sql_run(&r->sql, "INSERT OR IGNORE INTO refused(id, refused_at) VALUES(?, ?)",
                          DS_ARGS(DS_BLOB(id, 32), DS_INT(ds_utc_now())), e);
    if (!rc)
        rc = refused(r, id, &never, e);
    if (!rc && never)
        return ds_fail(e, DS_POLICY, "device '%s': a revoked certificate stays revoked", key);
    return rc ? rc : ds_fail(e, DS_INPUT, "the registry knows no device '%s'", key);
}

static enum ds_class set_state(ds_registry *r, const char *key, enum ds_registry_state state, ds_err *e)
{
    int64_t number = 0, others = 0, now = 0, change = 0;
    enum ds_class rc = number_of(r, key, state, &number, e);
    if (!rc && !number)
        return set_unseen(r, key, state, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT state FROM device WHERE number = ?", DS_ARGS(DS_INT(number)), 0, &now, e);
    if (!rc && now == DS_REGISTRY_REVOKED && state != DS_REGISTRY_REVOKED)
        return ds_fail(e, DS_POLICY, "device '%s': a revoked certificate stays revoked", key);
    if (!rc && state == DS_REGISTRY_ACTIVE)
        rc = ds_sql_number(&r->sql,
                           "SELECT count(*) FROM device d JOIN device o ON o.name = d.name AND o.number <> d.number "
                           "AND o.state = 1 WHERE d.number = ?",
                           DS_ARGS(DS_INT(number)), 0, &others, e);
    if (!rc && others)
        return ds_fail(e, DS_POLICY, "device '%s': another certificate of that name is active", key);
    if (!rc)
        rc = ds_registry_count_change(r, &change, e);
    return rc ? rc
              : ds_sql_run(&r->sql, "UPDATE device SET state = ?, changed = ? WHERE number = ?",
                           DS_ARGS(DS_INT(state), DS_INT(change), DS_INT(number)), e);
}

enum ds_class ds_registry_set_device(ds_registry *r, const char *name_or_id, enum ds_registry_state state, ds_err *e)
{
    if (state == DS_REGISTRY_PENDING)
        return ds_fail(e, DS_INPUT, "no device is made pending: it is so until it is activated");
    enum ds_class rc = ds_sql_begin(&r->sql, e);
    return rc ? rc : ds_sql_end(&r->sql, set_state(r, name_or_id, state, e), e);
}

enum ds_class ds_registry_revoke(ds_registry *r, const uint8_t id[32], bool *ret_fresh, ds_err *e)
{
    char key[65];
    int64_t known = 0; // what is said of it before it connected counts for nothing once it is registered
    enum ds_class rc = ds_sql_number(&r->sql,
                                     "SELECT ifnull((SELECT state = 3 FROM device WHERE id = ?1), (SELECT count(*) "
                                     "FROM refused WHERE id = ?1))",
                                     DS_ARGS(DS_BLOB(id, 32)), 0, &known, e);
    if (!rc)
        *ret_fresh = !known;
    if (rc || known)
        return rc;
    ds_hex(id, 32, key);
    return ds_registry_set_device(r, key, DS_REGISTRY_REVOKED, e);
}

enum ds_class ds_registry_each_unseen(ds_registry *r, ds_registry_unseen_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql, "SELECT id, refused_at FROM refused ORDER BY refused_at, id", NULL, &q, e);
    while (!rc && more) {
        uint8_t id[32];
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_sql_blob(q, 0, id, sizeof id);
        fn(arg, id, ds_sql_int(q, 1));
    }
    return rc;
}
