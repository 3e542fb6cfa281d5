// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The evidence chain: each event holds SHA-256(hash of the one before | its own fields), and the table chain holds
// count and newest hash, so that a removed, edited or reordered event shows. A file has one chain. A database has one
// for each station, so that stations do not wait for each other; its first link is hashed over the station's name. The
// same row gives a station its ids (docs/decisions/0015-ledger-on-postgresql.md).
#include "src/ledger/internal.h"
#include "src/base/clock.h"

#include <string.h>
#include <time.h>

enum { EVENT_TEXT_MAX = 16384 };

// An id: 41 bits of milliseconds since 2020, 12 of the station, 10 that count. One station's only grow, whatever its
// clock does; those of several are in order of their clocks.
enum { STATION_SHIFT = 10, TIME_SHIFT = 22, TIME_BITS = 41 };
static const int64_t EPOCH_MS = 1577836800000;

static void put_le64(ds_buf *b, int64_t v)
{
    ds_buf_add_le32(b, (uint32_t)((uint64_t)v));
    ds_buf_add_le32(b, (uint32_t)((uint64_t)v >> 32));
}

static void put_text(ds_buf *b, const char *text)
{
    size_t len = strlen(text);
    ds_buf_add_le32(b, (uint32_t)len);
    ds_buf_add(b, text, len);
}

void ds_ledger_link_hash(const uint8_t previous[32], const ds_ledger_link *link, uint8_t ret[32])
{
    DS_CLEANUP_BUF ds_buf b = {0};
    ds_buf_add(&b, previous, 32);
    put_le64(&b, link->at_utc);
    put_le64(&b, link->device);
    put_text(&b, link->kind);
    put_text(&b, link->text);
    ds_sha256(b.ptr, b.len, ret);
}

void ds_ledger_chain_begin(const char *station, uint8_t ret[32])
{
    DS_CLEANUP_BUF ds_buf b = {0};
    memset(ret, 0, 32);
    if (!station[0])
        return;
    put_text(&b, "devstamp chain of a station");
    put_text(&b, station);
    ds_sha256(b.ptr, b.len, ret);
}

// What a chain's row says of its end. In a database's transaction the row is locked and read once, kept here, and
// written once at the end: until then the chain is ours.
typedef struct tip {
    int64_t count, last_id;
    uint8_t head[32];
    bool known, changed;
} tip;
_Static_assert(sizeof(tip) <= DS_PG_SCRATCH, "a tip fits");

static enum ds_class read_tip(ds_ledger *l, tip *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    *ret = (tip){0};
    enum ds_class rc =
        ds_sql_is_pg(&l->sql)
            ? ds_sql_query(&l->sql, "SELECT count, last_id, head FROM chain WHERE station = ?" DS_SQL_LOCK,
                           DS_ARGS(DS_INT(l->station)), &q, e)
            : ds_sql_query(&l->sql, "SELECT count, 0, head FROM chain WHERE one = 1", NULL, &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (rc)
        return rc;
    ret->known = more && ds_sql_blob(q, 2, ret->head, 32);
    if (more) {
        ret->count = ds_sql_int(q, 0);
        ret->last_id = ds_sql_int(q, 1);
        ds_sql_done(q);
    }
    return ret->known ? DS_OK : ds_fail(e, DS_STORE, "ledger %s: the evidence chain has no head", l->sql.path);
}

// *ret is where a change of it is kept; own where there is no such place.
static enum ds_class load_tip(ds_ledger *l, tip *own, tip **ret, ds_err *e)
{
    tip *kept = ds_sql_is_pg(&l->sql) ? ds_pg_scratch(&l->sql) : NULL;
    *ret = kept ? kept : own;
    return kept && kept->known ? DS_OK : read_tip(l, *ret, e);
}

enum ds_class ds_ledger_write_tip(ds_ledger *l, ds_err *e)
{
    const tip *t = ds_sql_is_pg(&l->sql) ? ds_pg_scratch(&l->sql) : NULL;
    if (!t || !t->changed)
        return DS_OK;
    return ds_sql_run(&l->sql, "UPDATE chain SET count = ?, head = ?, last_id = ? WHERE station = ?",
                      DS_ARGS(DS_INT(t->count), DS_BLOB(t->head, 32), DS_INT(t->last_id), DS_INT(l->station)), e);
}

static int64_t id_after(int64_t last, int64_t station)
{
    const int64_t least = station << STATION_SHIFT; // a clock before 2020 gives no other station's id
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - EPOCH_MS;
    int64_t first = ms > 0 && ms < INT64_C(1) << TIME_BITS ? ms << TIME_SHIFT | least : 0;
    if (last < least)
        last = least;
    if (first > last)
        return first;
    if ((last + 1) & ((1 << STATION_SHIFT) - 1))
        return last + 1;
    return ((last >> TIME_SHIFT) + 1) << TIME_SHIFT | least;
}

enum ds_class ds_ledger_new_id(ds_ledger *l, ds_sql_arg *ret, ds_err *e)
{
    tip own, *t;
    *ret = DS_NULL_ARG;
    if (!ds_sql_is_pg(&l->sql))
        return DS_OK;
    enum ds_class rc = load_tip(l, &own, &t, e);
    if (rc)
        return rc;
    t->last_id = id_after(t->last_id, l->station);
    t->changed = true;
    *ret = DS_INT(t->last_id);
    return DS_OK;
}

static enum ds_class add_to_file(ds_ledger *l, const ds_ledger_link *link, const uint8_t hash[32], ds_err *e)
{
    enum ds_class rc = ds_sql_run(&l->sql, "INSERT INTO event(at, device, kind, text, hash) VALUES(?, ?, ?, ?, ?)",
                                  DS_ARGS(DS_INT(link->at_utc), link->device ? DS_INT(link->device) : DS_NULL_ARG,
                                          DS_TEXT(link->kind), DS_TEXT(link->text), DS_BLOB(hash, 32)),
                                  e);
    return rc ? rc
              : ds_sql_run(&l->sql, "UPDATE chain SET count = count + 1, head = ? WHERE one = 1",
                           DS_ARGS(DS_BLOB(hash, 32)), e);
}

static enum ds_class add_to_database(ds_ledger *l, tip *t, const ds_ledger_link *link, const uint8_t hash[32],
                                     ds_err *e)
{
    t->last_id = id_after(t->last_id, l->station);
    t->count++;
    t->changed = true;
    memcpy(t->head, hash, 32);
    ds_pg_mark(&l->sql, hash);
    return ds_sql_run(&l->sql,
                      "INSERT INTO event(id, station, at, device, kind, text, hash) VALUES(?, ?, ?, ?, ?, ?, ?)",
                      DS_ARGS(DS_INT(t->last_id), DS_INT(l->station), DS_INT(link->at_utc),
                              link->device ? DS_INT(link->device) : DS_NULL_ARG, DS_TEXT(link->kind),
                              DS_TEXT(link->text), DS_BLOB(hash, 32)),
                      e);
}

// What a database cannot keep as text: bytes that are not UTF-8 (RFC 3629) become '?'.
static void make_utf8(char *text)
{
    unsigned char *p = (unsigned char *)text;
    while (*p) {
        static const struct {
            unsigned char mask, lead, more, second_min, second_max;
        } forms[] = {{0x80, 0x00, 0, 0, 0},       {0xE0, 0xC0, 1, 0x80, 0xBF}, {0xFF, 0xE0, 2, 0xA0, 0xBF},
                     {0xFF, 0xED, 2, 0x80, 0x9F}, {0xF0, 0xE0, 2, 0x80, 0xBF}, {0xFF, 0xF0, 3, 0x90, 0xBF},
                     {0xFF, 0xF4, 3, 0x80, 0x8F}, {0xFC, 0xF0, 3, 0x80, 0xBF}};
        size_t f = 0, len = 1;
        while (f < sizeof forms / sizeof *forms && (*p & forms[f].mask) != forms[f].lead)
            f++;
        bool good = f < sizeof forms / sizeof *forms && *p != 0xC0 && *p != 0xC1;
        for (; good && len <= forms[f].more; len++)
            good = len == 1 ? p[1] >= forms[f].second_min && p[1] <= forms[f].second_max : (p[len] & 0xC0) == 0x80;
        if (!good) {
            *p = '?';
            len = 1;
        }
        p += len;
    }
}

enum ds_class ds_ledger_append(ds_ledger *l, int64_t device, const char *kind, const char *text, ds_err *e)
{
    DS_CLEANUP_FREE char *cut = ds_asprintf("%.*s", EVENT_TEXT_MAX, text);
    bool pg = ds_sql_is_pg(&l->sql);
    uint8_t hash[32];
    tip own, *t;
    if (pg)
        make_utf8(cut);
    enum ds_class rc = load_tip(l, &own, &t, e);
    if (rc)
        return rc;
    const ds_ledger_link link = {ds_utc_now(), device, kind, cut};
    ds_ledger_link_hash(t->head, &link, hash);
    return pg ? add_to_database(l, t, &link, hash, e) : add_to_file(l, &link, hash, e);
}

enum ds_class ds_ledger_committed(ds_ledger *l, const uint8_t hash[32], bool *ret, ds_err *e)
{
    tip t;
    int64_t n = 0;
    enum ds_class rc = ds_sql_begin(&l->sql, e);
    if (rc)
        return rc;
    // What is still on its way holds the chain's row: behind its lock the answer is final.
    rc = read_tip(l, &t, e);
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT count(*) FROM event WHERE hash = ?", DS_ARGS(DS_BLOB(hash, 32)), 0, &n, e);
    rc = ds_sql_end(&l->sql, rc, e);
    if (!rc)
        *ret = n > 0;
    return rc;
}

enum ds_class ds_ledger_head(ds_ledger *l, int64_t *ret_count, uint8_t ret_hash[32], ds_err *e)
{
    tip t = {0};
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_is_pg(&l->sql) && !l->station ? DS_OK : read_tip(l, &t, e);
    ds_ledger_unlock(l);
    if (rc)
        return rc;
    *ret_count = t.count;
    memset(ret_hash, 0, 32);
    if (t.count)
        memcpy(ret_hash, t.head, 32);
    return DS_OK;
}

enum ds_class ds_ledger_contains(ds_ledger *l, const uint8_t hash[32], bool *ret, ds_err *e)
{
    static const uint8_t zero[32];
    int64_t n = 0;
    ds_ledger_lock(l);
    enum ds_class rc =
        ds_sql_number(&l->sql, "SELECT count(*) FROM event WHERE hash = ?", DS_ARGS(DS_BLOB(hash, 32)), 0, &n, e);
    ds_ledger_unlock(l);
    if (!rc)
        *ret = n > 0 || memcmp(hash, zero, sizeof zero) == 0;
    return rc;
}

enum ds_class ds_ledger_load_chains(ds_ledger *l, ds_buf *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&l->sql,
                                    ds_sql_is_pg(&l->sql) ? "SELECT count, head, name, station FROM chain ORDER BY name"
                                                          : "SELECT count, head, '', 0 FROM chain WHERE one = 1",
                                    NULL, &q, e);
    while (!rc && more) {
        ds_ledger_chain c = {0};
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (rc || !more)
            break;
        c.count = ds_sql_int(q, 0);
        ds_sql_blob(q, 1, c.head, sizeof c.head);
        ds_sql_text(q, 2, c.station, sizeof c.station);
        c.number = ds_sql_int(q, 3);
        ds_buf_add(ret, &c, sizeof c);
    }
    return rc;
}

enum ds_class ds_ledger_each_head(ds_ledger *l, ds_ledger_head_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf chains = {0};
    ds_ledger_lock(l);
    enum ds_class rc = ds_ledger_load_chains(l, &chains, e);
    ds_ledger_unlock(l);
    for (size_t off = 0; !rc && off < chains.len; off += sizeof(ds_ledger_chain)) {
        static const uint8_t zero[32];
        ds_ledger_chain c;
        memcpy(&c, chains.ptr + off, sizeof c);
        fn(arg, c.station, c.count, c.count ? c.head : zero);
    }
    return rc;
}
