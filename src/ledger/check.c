// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Is the record whole? First the file, then the evidence chains, then every certificate's bytes, then every device.
#include "src/ledger/internal.h"

#include <stdio.h>
#include <string.h>

void ds_ledger_say(ds_ledger_checker *k, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    k->problems++;
    if (k->fn)
        k->fn(k->arg, line);
}

typedef void (*row_fn)(ds_ledger_checker *k, ds_sql_rows *q);

static enum ds_class each_row(ds_ledger_checker *k, const char *sql, row_fn fn, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&k->l->sql, sql, NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&k->l->sql, q, &more, e);
        if (!rc && more)
            fn(k, q);
    }
    return rc;
}

// A long table in pieces. sql takes the id behind which a piece begins; the id is its first column.
static enum ds_class each_piece(ds_ledger_checker *k, const char *sql, row_fn fn, ds_err *e)
{
    int64_t behind = INT64_MIN, before;
    enum ds_class rc;
    do {
        ds_sql_rows *q;
        bool more = true;
        before = behind;
        rc = ds_sql_query(&k->l->sql, sql, DS_ARGS(DS_INT(behind)), &q, e);
        while (!rc && more) {
            rc = ds_sql_next(&k->l->sql, q, &more, e);
            if (rc || !more)
                break;
            behind = ds_sql_int(q, 0);
            fn(k, q);
        }
    } while (!rc && behind != before);
    return rc;
}

static void integrity_row(ds_ledger_checker *k, ds_sql_rows *q)
{
    char text[256];
    ds_sql_text(q, 0, text, sizeof text);
    if (strcmp(text, "ok") != 0)
        ds_ledger_say(k, "file: %s", text);
}

static void foreign_row(ds_ledger_checker *k, ds_sql_rows *q)
{
    char table[64];
    ds_sql_text(q, 0, table, sizeof table);
    ds_ledger_say(k, "file: row %lld of %s belongs to no device", (long long)ds_sql_int(q, 1), table);
}

static void double_row(ds_ledger_checker *k, ds_sql_rows *q)
{
    char what[64], which[128];
    ds_sql_text(q, 0, what, sizeof what);
    ds_sql_text(q, 1, which, sizeof which);
    ds_ledger_say(k, "%s %s: occurs %lld times", what, which, (long long)ds_sql_int(q, 2));
}

// Rows whose device is gone; a schema that forbids it can be changed.
#define FOREIGN                                                                                                     \
    "SELECT 'certificate', c.id FROM certificate c WHERE NOT EXISTS(SELECT 1 FROM device d WHERE d.id = c.device) " \
    "UNION ALL SELECT 'event', v.id FROM event v WHERE v.device IS NOT NULL AND NOT EXISTS(SELECT 1 FROM device d " \
    "WHERE d.id = v.device) UNION ALL SELECT 'proof', p.id FROM proof p WHERE NOT EXISTS(SELECT 1 FROM device d "   \
    "WHERE d.id = p.device)"

// The schema forbids these; a schema can be changed.
#define DOUBLES(HEX)                                                                                               \
    "SELECT 'serial number', serial, count(*) FROM device WHERE serial IS NOT NULL GROUP BY serial HAVING "        \
    "count(*) > 1 UNION ALL "                                                                                      \
    "SELECT 'device address', " HEX(                                                                               \
        "mac") ", count(*) FROM device GROUP BY chip, mac HAVING count(*) > 1 "                                    \
               "UNION ALL "                                                                                        \
               "SELECT 'certificate serial', " HEX(                                                                \
                   "serial") ", count(*) FROM certificate GROUP BY serial HAVING count(*) "                        \
                             "> 1 UNION ALL "                                                                      \
                             "SELECT 'public key', " HEX(                                                          \
                                 "key_digest") ", count(*) FROM certificate GROUP BY key_digest HAVING count(*) "  \
                                               "> 1 UNION ALL "                                                    \
                                               "SELECT 'live certificate of device', " HEX(                        \
                                                   "d.mac") ", count(*) FROM certificate c JOIN device d ON d.id " \
                                                            "= c.device WHERE c.revoked_at IS NULL GROUP BY "      \
                                                            "c.device, d.mac HAVING count(*) > 1"

#define CERTIFICATES \
    "SELECT id, serial, key_digest, fingerprint, der, state FROM certificate WHERE id > ? ORDER BY id LIMIT 1000"

static void certificate_row(ds_ledger_checker *k, ds_sql_rows *q)
{
    uint8_t serial[16], key[32], fingerprint[32], digest[32];
    char hex[33];
    ds_err why = DS_ERR_INIT;
    ds_sql_blob(q, 1, serial, sizeof serial);
    ds_sql_blob(q, 2, key, sizeof key);
    ds_sql_blob(q, 3, fingerprint, sizeof fingerprint);
    ds_view der = ds_sql_view(q, 4);
    ds_hex(serial, sizeof serial, hex);
    if (ds_sql_int(q, 5) < DS_LEDGER_SIGNED)
        return;
    ds_sha256(der.ptr, der.len, digest);
    enum ds_class rc =
        ds_ledger_is_elsewhere(serial) ? ds_ledger_match_key(der, key, &why) : ds_ledger_match(der, serial, key, &why);
    if (memcmp(digest, fingerprint, sizeof digest) != 0)
        ds_ledger_say(k, "certificate %s: its bytes do not have the recorded fingerprint", hex);
    else if (rc)
        ds_ledger_say(k, "certificate %s: %s", hex, why.text);
}

// id, mac, serial, stage, locked, state of the live certificate, its serial, newest proof's wholeness, any certificate,
// chip
#define DEVICES                                                                                             \
    "SELECT d.id, d.mac, coalesce(d.serial, ''), d.stage, d.locked, coalesce(c.state, 0), c.serial,"        \
    " (SELECT p.whole FROM proof p WHERE p.device = d.id ORDER BY p.id DESC LIMIT 1),"                      \
    " EXISTS(SELECT 1 FROM certificate x WHERE x.device = d.id), d.chip"                                    \
    " FROM (SELECT id, mac, serial, stage, locked, chip FROM device WHERE id > ? ORDER BY id LIMIT 1000) d" \
    " LEFT JOIN certificate c ON c.device = d.id AND c.revoked_at IS NULL ORDER BY d.id"

typedef struct device_facts {
    char name[96], stage[16], cert[33];
    enum ds_ledger_state state;
    bool elsewhere, numbered, locked, can_lock, proved, proof_whole, any_certificate;
} device_facts;

static void read_device(ds_sql_rows *q, device_facts *f)
{
    uint8_t mac[6], cert[16];
    char hex[13], serial[64];
    ds_sql_blob(q, 1, mac, sizeof mac);
    ds_sql_text(q, 2, serial, sizeof serial);
    ds_sql_text(q, 3, f->stage, sizeof f->stage);
    ds_sql_blob(q, 6, cert, sizeof cert);
    ds_hex(mac, sizeof mac, hex);
    ds_hex(cert, sizeof cert, f->cert);
    f->elsewhere = ds_ledger_is_elsewhere(cert);
    f->numbered = serial[0] != '\0';
    if (f->numbered)
        snprintf(f->name, sizeof f->name, "%s (%s)", serial, hex);
    else
        snprintf(f->name, sizeof f->name, "%s", hex);
    f->locked = ds_sql_int(q, 4) != 0;
    f->state = (enum ds_ledger_state)ds_sql_int(q, 5);
    f->proved = !ds_sql_is_null(q, 7);
    f->proof_whole = ds_sql_int(q, 7) != 0;
    f->any_certificate = ds_sql_int(q, 8) != 0;
    f->can_lock = ds_sql_int(q, 9) != DS_LEDGER_CHIP_WITHOUT_LOCK;
}

static void check_device_certificate(ds_ledger_checker *k, const device_facts *f)
{
    switch (f->state) {
    case DS_LEDGER_RESERVED:
        ds_ledger_say(k, "device %s: certificate %s is reserved and not recorded as signed%s; provision it again",
                      f->name, f->cert, f->elsewhere ? " (whether the CA elsewhere signed it is not known here)" : "");
        return;
    case DS_LEDGER_SIGNED:
        ds_ledger_say(k, "device %s: certificate %s is signed, but the device did not echo it; provision it again",
                      f->name, f->cert);
        return;
    case DS_LEDGER_INSTALLED:
    case DS_LEDGER_REGISTERED:
        return;
    default:
        ds_ledger_say(k, "device %s: has no %scertificate (came as far as '%s')", f->name,
                      f->any_certificate ? "live " : "", f->stage[0] ? f->stage : "nothing");
    }
}

static void device_row(ds_ledger_checker *k, ds_sql_rows *q)
{
    device_facts f = {0};
    read_device(q, &f);
    if (!f.numbered)
        ds_ledger_say(k, "device %s: has no serial number (came as far as '%s')", f.name,
                      f.stage[0] ? f.stage : "nothing");
    check_device_certificate(k, &f);
    if (!f.proved)
        ds_ledger_say(k, "device %s: no proof of its %s is stored (came as far as '%s')", f.name,
                      f.can_lock ? "locked state" : "stamp", f.stage[0] ? f.stage : "nothing");
    else if (!f.proof_whole)
        ds_ledger_say(k, "device %s: its newest proof is not whole", f.name);
    else if (f.can_lock != f.locked)
        ds_ledger_say(k, "device %s: has a whole proof and is %s", f.name,
                      f.can_lock ? "not marked locked" : "marked locked, which its platform cannot be");
}

static enum ds_class run(ds_ledger_checker *k, ds_err *e)
{
    bool pg = ds_sql_is_pg(&k->l->sql);
    enum ds_class rc = pg ? DS_OK : each_row(k, "PRAGMA integrity_check(20)", integrity_row, e);
    if (!rc)
        rc = each_row(k, FOREIGN, foreign_row, e);
    if (!rc)
        rc = ds_ledger_check_chain(k, e);
    if (!rc)
        rc = ds_ledger_check_evidence(k, e);
    if (!rc)
        rc = ds_ledger_check_signer(k, e);
    if (!rc)
        rc = each_row(k, pg ? DOUBLES(DS_SQL_HEX_PG) : DOUBLES(DS_SQL_HEX), double_row, e);
    if (!rc)
        rc = each_piece(k, CERTIFICATES, certificate_row, e);
    return rc ? rc : each_piece(k, DEVICES, device_row, e);
}

enum ds_class ds_ledger_check(ds_ledger *l, void (*fn)(void *arg, const char *line), void *arg, unsigned *ret_problems,
                              ds_err *e)
{
    ds_ledger_checker k = {.l = l, .fn = fn, .arg = arg};
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_begin_read(&l->sql, e); // one moment of the record, whoever writes meanwhile
    if (!rc)
        rc = ds_sql_end(&l->sql, run(&k, e), e);
    ds_ledger_unlock(l);
    if (!rc)
        *ret_problems = k.problems;
    return rc;
}
