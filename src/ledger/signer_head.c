// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Size and root hash of each signer's issuance log, written into the evidence chain: the log alone cannot show that its
// end was cut off and grew anew, or that it was begun anew; this record can, since a later log must prove that the one
// recorded is its beginning (RFC 9162, 2.1.4). An event's text is
// "<CA's fingerprint, 64 hex digits> <entries> <root hash, 64 hex digits> rfc9162"; without the last word it is of a
// log of the first format, and its hash is the newest entry's: of that, only the number of entries can be compared.
#include "src/ledger/internal.h"

#include "src/pki/merkle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CA_DIGITS = 64, HEAD_TEXT = 64 + 1 + 20 + 1 + 64 + 8 + 1 };

static const char hint[] =
    "keep the log as it is and find out who changed it; put back the copy that was made last. Where "
    "none is left, make a new Sub CA: its log begins anew";

static enum ds_class refuse(ds_err *e)
{
    return ds_hint(e, hint);
}

// The newest record of a CA's log: of several, as entries only grow, the one with the most.
typedef struct record {
    char ca[CA_DIGITS + 1];
    uint64_t entries;
    char text[HEAD_TEXT + 1];
} record;

static record *record_of(const ds_buf *records, const char *ca)
{
    for (size_t off = 0; off < records->len; off += sizeof(record)) {
        record *r = (record *)(void *)(records->ptr + off);
        if (strcmp(r->ca, ca) == 0)
            return r;
    }
    return NULL;
}

static void take_record(ds_buf *records, const char *text)
{
    record r = {.entries = 0};
    snprintf(r.ca, sizeof r.ca, "%s", text);
    snprintf(r.text, sizeof r.text, "%s", text);
    if (strlen(text) > CA_DIGITS)
        r.entries = strtoull(text + CA_DIGITS + 1, NULL, 10);
    record *had = record_of(records, r.ca);
    if (!had)
        ds_buf_add(records, &r, sizeof r);
    else if (r.entries >= had->entries)
        *had = r;
}

#define RECORDS "SELECT text FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER "' "

// Records of this station alone, where a database has several: each runs beside the others, so that what another one
// has recorded may be newer than what this one just asked the signer for. own false, or a reader: of all of them.
// Events of no device are few and have their index.
static enum ds_class load_records(ds_ledger *l, bool own, ds_buf *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = own && l->station ? ds_sql_query(&l->sql, RECORDS "AND station = ? ORDER BY id",
                                                        DS_ARGS(DS_INT(l->station)), &q, e)
                                         : ds_sql_query(&l->sql, RECORDS "ORDER BY id", NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (!rc && more)
            take_record(ret, ds_sql_str(q, 0));
    }
    return rc;
}

// Entries recorded of all logs but that of one CA ("": of all).
static int64_t total(const ds_buf *records, const char *but_ca)
{
    uint64_t sum = 0;
    for (size_t off = 0; off < records->len; off += sizeof(record)) {
        record r;
        memcpy(&r, records->ptr + off, sizeof r);
        sum += strcmp(r.ca, but_ca) == 0 ? 0 : r.entries;
    }
    return (int64_t)sum;
}

typedef struct known {
    uint64_t entries;
    bool recorded, has_root;
    uint8_t root[32];
} known;

static enum ds_class read_known(const ds_ledger *l, const ds_buf *records, const char *ca, known *ret, ds_err *e)
{
    char hex[65] = "", word[9] = "";
    const record *r = record_of(records, ca);
    *ret = (known){0};
    if (!r)
        return DS_OK;
    int fields = sscanf(r->text, "%*64s %" SCNu64 " %64s %8s", &ret->entries, hex, word);
    if (fields < 2 || !ds_unhex(hex, ret->root, 32))
        return ds_fail(e, DS_STORE, "ledger %s: the record of the issuance log cannot be read", l->sql.path);
    ret->recorded = true;
    ret->has_root = fields == 3 && ret->entries && strcmp(word, "rfc9162") == 0;
    return DS_OK;
}

static bool follows(const ds_ledger_log *log, const known *had)
{
    const ds_merkle_claim claim = {had->entries, had->root, log->entries, log->root, log->proof, log->proof_count};
    ds_hasher *h = ds_hasher_new();
    bool good = ds_merkle_consistent(&claim, h);
    ds_hasher_free(h);
    return good;
}

static enum ds_class compare(const ds_ledger_log *log, const known *had, ds_err *e)
{
    if (log->entries < had->entries) {
        ds_fail(e, DS_POLICY, "the issuance log has %" PRIu64 " entries, and had %" PRIu64 ": its end was cut off",
                log->entries, had->entries);
        return refuse(e);
    }
    if (!had->has_root || (log->entries == had->entries && memcmp(log->root, had->root, 32) == 0))
        return DS_OK;
    if (log->entries == had->entries) {
        ds_fail(e, DS_POLICY, "the issuance log's entry %" PRIu64 " is another than it was, or one before it",
                log->entries);
        return refuse(e);
    }
    if (log->from != had->entries)
        return ds_fail(e, DS_INTERNAL, "the issuance log's proof begins at %" PRIu64 " instead of %" PRIu64, log->from,
                       had->entries);
    if (follows(log, had))
        return DS_OK;
    ds_fail(e, DS_POLICY,
            "the issuance log has %" PRIu64 " entries, and its first %" PRIu64
            " are not those that it had: its end was "
            "cut off or changed before it grew",
            log->entries, had->entries);
    return refuse(e);
}

// Whatever this station signed, as the ledger knows it, stands in some CA's log.
static enum ds_class count(ds_ledger *l, const ds_buf *records, const char *ca, uint64_t entries, ds_err *e)
{
#define SIGNED "SELECT count(*) FROM certificate WHERE state >= 2 AND " DS_LEDGER_OF_SIGNER
    int64_t has = 0, others = total(records, ca);
    enum ds_class rc = l->station ? ds_sql_number(&l->sql, SIGNED " AND " DS_LEDGER_OF_STATION " = ?",
                                                  DS_ARGS(DS_INT(l->station)), 0, &has, e)
                                  : ds_sql_number(&l->sql, SIGNED, NULL, 0, &has, e);
    if (rc || has <= others || (uint64_t)(has - others) <= entries)
        return rc;
    ds_fail(e, DS_POLICY, "the issuance log has %" PRIu64 " entries, the ledger %lld certificates that were signed",
            entries, (long long)(has - others));
    return refuse(e);
}

// Is there nothing to tell? Of an empty log there is not; but whose signer a station of a database uses is told by its
// last record (station.c), so that a change of it is written down whatever that log has.
static enum ds_class is_told(ds_ledger *l, const ds_ledger_log *log, const known *had, const char *ca, bool *ret,
                             ds_err *e)
{
    char last[65] = "";
    *ret = log->entries == had->entries && (had->has_root || !had->recorded || !log->entries);
    if (!*ret || !ds_sql_is_pg(&l->sql))
        return DS_OK;
    enum ds_class rc = ds_ledger_ca_of(l, l->station, last, e);
    *ret = !last[0] || strcmp(last, ca) == 0;
    return rc;
}

static enum ds_class take(ds_ledger *l, const ds_ledger_log *log, const char *ca, const char *text, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf records = {0};
    known had;
    enum ds_class rc = load_records(l, true, &records, e);
    if (!rc)
        rc = read_known(l, &records, ca, &had, e);
    if (!rc)
        rc = compare(log, &had, e);
    if (!rc)
        rc = count(l, &records, ca, log->entries, e);
    bool told = false;
    if (!rc)
        rc = is_told(l, log, &had, ca, &told, e);
    return rc || told ? rc : ds_ledger_append(l, 0, DS_LEDGER_KIND_SIGNER, text, e);
}

enum ds_class ds_ledger_signer_head(ds_ledger *l, const ds_ledger_log *log, ds_err *e)
{
    char ca[CA_DIGITS + 1], root[65], text[HEAD_TEXT];
    if (log->entries > INT64_MAX)
        return ds_fail(e, DS_INPUT, "issuance log of %" PRIu64 " entries", log->entries);
    ds_hex(log->ca, 32, ca);
    ds_hex(log->root, 32, root);
    snprintf(text, sizeof text, "%s %" PRIu64 " %s rfc9162", ca, log->entries, root);
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = take(l, log, ca, text, e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}

enum ds_class ds_ledger_signer_known(ds_ledger *l, const uint8_t ca[32], uint64_t *ret_entries, uint8_t ret_root[32],
                                     bool *ret_has_root, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf records = {0};
    char text[CA_DIGITS + 1];
    known had = {0};
    ds_hex(ca, 32, text);
    ds_ledger_lock(l);
    enum ds_class rc = load_records(l, true, &records, e);
    ds_ledger_unlock(l);
    if (!rc)
        rc = read_known(l, &records, text, &had, e);
    if (rc)
        return rc;
    *ret_entries = had.entries;
    *ret_has_root = had.has_root;
    memcpy(ret_root, had.root, 32);
    return DS_OK;
}

// Certificates that were signed before the log was recorded last, by the order of each chain.
#define SIGNED_EVENT                                                                                         \
    "v.kind = '" DS_LEDGER_KIND_CERT "' AND substr(v.text, 1, 7) = 'signed ' AND v.text NOT LIKE '% from a " \
    "pool' AND v.text NOT LIKE '% of a batch' AND v.text NOT LIKE '% elsewhere, %'"
#define LAST_RECORD "max(id) FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER "'"
#define SIGNED_BEFORE_RECORD "SELECT count(*) FROM event v WHERE " SIGNED_EVENT " AND v.id < (SELECT " LAST_RECORD ")"
#define SIGNED_BEFORE_RECORD_PG                                                                                  \
    "SELECT count(*) FROM event v JOIN (SELECT station AS of, " LAST_RECORD " GROUP BY station) r(of, last) ON " \
    "r.of = v.station WHERE " SIGNED_EVENT " AND v.id < r.last"

// Each certificate of a log is one of this ledger's: signed, or reserved where the station was killed before it heard.
enum ds_class ds_ledger_check_signer(ds_ledger_checker *k, ds_err *e)
{
    ds_sql *s = &k->l->sql;
    DS_CLEANUP_BUF ds_buf records = {0};
    int64_t has = 0, before = 0;
    enum ds_class rc = load_records(k->l, false, &records, e);
    int64_t entries = total(&records, "");
    if (!rc)
        rc = ds_sql_number(s, "SELECT count(*) FROM certificate WHERE " DS_LEDGER_OF_SIGNER, NULL, 0, &has, e);
    if (!rc)
        rc = ds_sql_number(s, ds_sql_is_pg(s) ? SIGNED_BEFORE_RECORD_PG : SIGNED_BEFORE_RECORD, NULL, 0, &before, e);
    if (rc)
        return rc;
    if (entries > has)
        ds_ledger_say(k,
                      "signer: %lld certificate%s signed that this ledger does not know: the issuance log has %lld "
                      "entries, the ledger %lld certificates",
                      (long long)(entries - has), entries - has == 1 ? " was" : "s were", (long long)entries,
                      (long long)has);
    if (entries < before)
        ds_ledger_say(k, "signer: its issuance log was recorded with %lld entries after %lld certificates were signed",
                      (long long)entries, (long long)before);
    return DS_OK;
}
