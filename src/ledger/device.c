// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Devices: who was seen, what was given to each once and for good (serial number, proof of possession), how far it
// came.
#include "src/ledger/internal.h"
#include "src/base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS "SELECT id, chip, mac, product, serial, pop, stage, locked, first_seen, last_seen FROM device "

static void read_row(ds_sql_rows *q, ds_ledger_device *ret)
{
    *ret = (ds_ledger_device){
        .id = ds_sql_int(q, 0),
        .chip_id = (uint16_t)ds_sql_int(q, 1),
        .locked = ds_sql_int(q, 7) != 0,
        .first_seen_utc = ds_sql_int(q, 8),
        .last_seen_utc = ds_sql_int(q, 9),
    };
    ds_sql_blob(q, 2, ret->mac, sizeof ret->mac);
    ds_sql_text(q, 3, ret->product, sizeof ret->product);
    ds_sql_text(q, 4, ret->serial, sizeof ret->serial);
    ds_sql_text(q, 5, ret->pop, sizeof ret->pop);
    ds_sql_text(q, 6, ret->stage, sizeof ret->stage);
}

static enum ds_class load(ds_ledger *l, const char *sql, const ds_sql_arg *args, ds_ledger_device *ret, bool *found,
                          ds_err *e)
{
    ds_sql_rows *q;
    *found = false;
    enum ds_class rc = ds_sql_query(&l->sql, sql, args, &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, found, e);
    if (!rc && *found) {
        read_row(q, ret);
        ds_sql_done(q);
    }
    return rc;
}

enum ds_class ds_ledger_load_device(ds_ledger *l, int64_t id, ds_ledger_device *ret, ds_err *e)
{
    bool found;
    enum ds_class rc = load(l, COLUMNS "WHERE id = ?" DS_SQL_LOCK, DS_ARGS(DS_INT(id)), ret, &found, e);
    if (!rc && !found)
        rc = ds_fail(e, DS_INPUT, "the ledger knows no device %lld", (long long)id);
    return rc;
}

typedef struct device_key {
    uint16_t chip_id;
    const uint8_t *mac;
    const char *product;
} device_key;

static enum ds_class insert(ds_ledger *l, const device_key *key, int64_t now, ds_err *e)
{
    ds_sql_arg id;
    enum ds_class rc = ds_ledger_new_id(l, &id, e);
    if (rc)
        return rc;
    return ds_sql_run(
        &l->sql, "INSERT INTO device(id, chip, mac, product, first_seen, last_seen) VALUES(?, ?, ?, ?, ?, ?)",
        DS_ARGS(id, DS_INT(key->chip_id), DS_BLOB(key->mac, 6), DS_TEXT(key->product), DS_INT(now), DS_INT(now)), e);
}

#define BY_ADDRESS COLUMNS "WHERE chip = ? AND mac = ?" DS_SQL_LOCK

// Inside a transaction. The product follows the recipe until a serial number or a certificate was made for it.
static enum ds_class get(ds_ledger *l, const device_key *key, ds_ledger_device *ret, ds_err *e)
{
    const ds_sql_arg mac = DS_BLOB(key->mac, 6);
    int64_t now = ds_utc_now();
    bool found = false, there = false;
    enum ds_class rc = load(l, BY_ADDRESS, DS_ARGS(DS_INT(key->chip_id), mac), ret, &found, e);
    if (!rc && found)
        rc = ds_sql_run(&l->sql,
                        "UPDATE device SET last_seen = CASE WHEN last_seen < ?1 THEN ?1 ELSE last_seen END, product = "
                        "CASE WHEN serial IS NULL AND NOT EXISTS(SELECT 1 FROM certificate c WHERE c.device = "
                        "device.id) THEN ?2 ELSE product END WHERE id = ?3",
                        DS_ARGS(DS_INT(now), DS_TEXT(key->product), DS_INT(ret->id)), e);
    else if (!rc)
        rc = insert(l, key, now, e);
    if (!rc)
        rc = load(l, BY_ADDRESS, DS_ARGS(DS_INT(key->chip_id), mac), ret, &there, e);
    if (!rc && !there)
        rc = ds_fail(e, DS_STORE, "ledger %s: the device that was just written is not there", l->sql.path);
    return rc || found ? rc : ds_ledger_append(l, ret->id, DS_LEDGER_KIND_DEVICE, "first seen", e);
}

enum ds_class ds_ledger_device_get(ds_ledger *l, uint16_t chip_id, const uint8_t mac[6], const char *product,
                                   ds_ledger_device *ret, ds_err *e)
{
    ds_ledger_device d;
    if (strlen(product) >= sizeof d.product)
        return ds_fail(e, DS_INPUT, "product name longer than %zu bytes", sizeof d.product - 1);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = get(l, &(device_key){chip_id, mac, product}, &d, e);
    } while (ds_ledger_again(l, &rc, e));
    if (!rc)
        *ret = d;
    return rc;
}

static enum ds_class set_pop(ds_ledger *l, ds_ledger_device *d, const char *candidate, ds_err *e)
{
    if (d->pop[0])
        return DS_OK;
    memcpy(d->pop, candidate, strlen(candidate) + 1);
    return ds_sql_run(&l->sql, "UPDATE device SET pop = ? WHERE id = ?", DS_ARGS(DS_TEXT(candidate), DS_INT(d->id)), e);
}

enum ds_class ds_ledger_device_pop(ds_ledger *l, int64_t device, const char *candidate, char ret[64], ds_err *e)
{
    ds_ledger_device d;
    if (!candidate[0] || strlen(candidate) >= sizeof d.pop)
        return ds_fail(e, DS_INPUT, "proof of possession: must have 1 to %zu bytes", sizeof d.pop - 1);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = ds_ledger_load_device(l, device, &d, e);
        if (!rc)
            rc = set_pop(l, &d, candidate, e);
    } while (ds_ledger_again(l, &rc, e));
    if (!rc)
        memcpy(ret, d.pop, sizeof d.pop);
    return rc;
}

enum ds_class ds_ledger_device_stage(ds_ledger *l, int64_t device, const char *stage, ds_err *e)
{
    ds_ledger_device d;
    if (strlen(stage) >= sizeof d.stage)
        return ds_fail(e, DS_INPUT, "stage '%s': longer than %zu bytes", stage, sizeof d.stage - 1);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = ds_ledger_load_device(l, device, &d, e);
        if (!rc && strcmp(d.stage, stage) != 0)
            rc = ds_sql_run(&l->sql, "UPDATE device SET stage = ? WHERE id = ?",
                            DS_ARGS(DS_TEXT(stage), DS_INT(device)), e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}

// "aa:bb:cc:dd:ee:ff", with '-' as well, or 12 hex digits.
static bool parse_mac(const char *text, uint8_t ret[6])
{
    char digits[13];
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if ((*p == ':' || *p == '-') && n > 0 && n % 2 == 0 && isxdigit((unsigned char)p[1]))
            continue;
        if (n == 12 || !isxdigit((unsigned char)*p))
            return false;
        digits[n++] = *p;
    }
    digits[n] = '\0';
    return n == 12 && ds_unhex(digits, ret, 6);
}

// A file's index is on (chip, mac): each chip there is, found by one step in it, then that chip's address. A database's
// is on (mac, chip).
#define CHIPS                                                                                                        \
    "WITH RECURSIVE kind(chip) AS (SELECT min(chip) FROM device UNION ALL SELECT (SELECT min(d.chip) FROM device d " \
    "WHERE d.chip > kind.chip) FROM kind WHERE kind.chip IS NOT NULL) "
#define OF_ANY_CHIP "WHERE mac = ? AND chip IN (SELECT k.chip FROM kind k WHERE k.chip IS NOT NULL)"
#define COUNT "SELECT count(*) FROM device "

static enum ds_class find_mac(ds_ledger *l, const char *key, const uint8_t mac[6], ds_ledger_device *ret, ds_err *e)
{
    const bool pg = ds_sql_is_pg(&l->sql);
    const ds_sql_arg *args = DS_ARGS(DS_BLOB(mac, 6));
    int64_t same = 0;
    bool found = false;
    enum ds_class rc = ds_sql_number(&l->sql, pg ? COUNT "WHERE mac = ?" : CHIPS COUNT OF_ANY_CHIP, args, 0, &same, e);
    if (!rc && same > 1)
        return ds_fail(e, DS_INPUT, "%lld devices of different chips have the address %s", (long long)same, key);
    if (!rc)
        rc = load(l, pg ? COLUMNS "WHERE mac = ?" : CHIPS COLUMNS OF_ANY_CHIP, args, ret, &found, e);
    if (!rc && !found)
        return ds_fail(e, DS_INPUT, "the ledger knows no device with the address %s", key);
    return rc;
}

static enum ds_class find(ds_ledger *l, const char *key, ds_ledger_device *ret, ds_err *e)
{
    uint8_t mac[6];
    bool found;
    enum ds_class rc = load(l, COLUMNS "WHERE serial = ?", DS_ARGS(DS_TEXT(key)), ret, &found, e);
    if (rc || found)
        return rc;
    return parse_mac(key, mac) ? find_mac(l, key, mac, ret, e)
                               : ds_fail(e, DS_INPUT, "the ledger knows no device '%s'", key);
}

enum ds_class ds_ledger_find(ds_ledger *l, const char *serial_or_mac, ds_ledger_device *ret, ds_err *e)
{
    ds_ledger_lock(l);
    enum ds_class rc = find(l, serial_or_mac, ret, e);
    ds_ledger_unlock(l);
    return rc;
}

// The next ids behind one.
static enum ds_class read_ids(ds_ledger *l, int64_t behind, ds_buf *ids, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    ds_buf_clear(ids);
    enum ds_class rc = ds_sql_query(&l->sql, "SELECT id FROM device WHERE id > ? ORDER BY id LIMIT 1000",
                                    DS_ARGS(DS_INT(behind)), &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (rc || !more)
            break;
        int64_t id = ds_sql_int(q, 0);
        ds_buf_add(ids, &id, sizeof id);
    }
    return rc;
}

static enum ds_class one_row(ds_ledger *l, int64_t id, ds_ledger_device *d, ds_ledger_cert *c, ds_err *e)
{
    ds_ledger_lock(l);
    enum ds_class rc = ds_ledger_load_device(l, id, d, e);
    if (!rc)
        rc = ds_ledger_load_newest(l, id, c, e);
    ds_ledger_unlock(l);
    return rc;
}

// Row by row under the lock, the callback outside it: it may use the ledger, and slots are not held up by a long list.
static enum ds_class each(ds_ledger *l, const ds_buf *ids, ds_ledger_row_fn fn, void *arg, bool *go, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t off = 0; !rc && *go && off < ids->len; off += sizeof(int64_t)) {
        int64_t id;
        ds_ledger_device d;
        ds_ledger_cert c = {0};
        memcpy(&id, ids->ptr + off, sizeof id);
        rc = one_row(l, id, &d, &c, e);
        if (!rc)
            *go = fn(arg, &d, &c);
        ds_ledger_cert_free(&c);
    }
    return rc;
}

enum ds_class ds_ledger_each(ds_ledger *l, ds_ledger_row_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf ids = {0};
    int64_t behind = 0;
    bool go = true;
    enum ds_class rc = DS_OK;
    while (!rc && go) {
        ds_ledger_lock(l);
        rc = read_ids(l, behind, &ids, e);
        ds_ledger_unlock(l);
        if (rc || !ids.len)
            break;
        memcpy(&behind, ids.ptr + ids.len - sizeof behind, sizeof behind);
        rc = each(l, &ids, fn, arg, &go, e);
    }
    return rc;
}
