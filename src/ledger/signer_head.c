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
#include <string.h>

enum { CA_DIGITS = 64, HEAD_TEXT = 64 + 1 + 20 + 1 + 64 + 8 + 1 };

// Entries of a log only grow, so that the greatest is the newest. Events of no device are few and have their index.
#define RECORDED                                                                                     \
    "SELECT max(CAST(substr(text, 66) AS INTEGER)) AS n FROM event WHERE device IS NULL AND kind = " \
    "'" DS_LEDGER_KIND_SIGNER "' "

static const char hint[] =
    "keep the log as it is and find out who changed it; put back the copy that was made last. Where "
    "none is left, make a new Sub CA: its log begins anew";

static enum ds_class refuse(ds_err *e)
{
    return ds_hint(e, hint);
}

// Entries recorded of all logs but that of one CA ("": of all).
static enum ds_class total(ds_ledger *l, const char *but_ca, int64_t *ret, ds_err *e)
{
    return ds_sql_number(&l->sql,
                         "SELECT sum(n) FROM (" RECORDED "AND substr(text, 1, 64) <> ? GROUP BY substr(text, 1, 64))",
                         DS_ARGS(DS_TEXT(but_ca)), 0, ret, e);
}

typedef struct known {
    uint64_t entries;
    bool recorded, has_root;
    uint8_t root[32];
} known;

#define NEWEST                                                                                             \
    "SELECT text FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER "' AND substr(text, " \
    "1, 64) = ? ORDER BY CAST(substr(text, 66) AS INTEGER) DESC, id DESC LIMIT 1"

static enum ds_class load_known(ds_ledger *l, const char *ca, known *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    char text[HEAD_TEXT + 1] = "", hex[65] = "", word[9] = "";
    *ret = (known){0};
    enum ds_class rc = ds_sql_query(&l->sql, NEWEST, DS_ARGS(DS_TEXT(ca)), &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (rc || !more)
        return rc;
    ds_sql_text(q, 0, text, sizeof text);
    ds_sql_done(q);
    int fields = sscanf(text, "%*64s %" SCNu64 " %64s %8s", &ret->entries, hex, word);
    if (fields < 2 || !ds_unhex(hex, ret->root, 32))
        return ds_fail(e, DS_STORE, "ledger %s: the record of the issuance log cannot be read", l->sql.path);
    ret->recorded = true;
    ret->has_root = fields == 3 && strcmp(word, "rfc9162") == 0;
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

// Whatever this ledger knows as signed stands in some CA's log.
static enum ds_class count(ds_ledger *l, const char *ca, uint64_t entries, ds_err *e)
{
    int64_t has = 0, others = 0;
    enum ds_class rc = ds_sql_number(
        &l->sql, "SELECT count(*) FROM certificate WHERE state >= 2 AND " DS_LEDGER_OF_SIGNER, NULL, 0, &has, e);
    if (!rc)
        rc = total(l, ca, &others, e);
    if (rc || has <= others || (uint64_t)(has - others) <= entries)
        return rc;
    ds_fail(e, DS_POLICY, "the issuance log has %" PRIu64 " entries, the ledger %lld certificates that were signed",
            entries, (long long)(has - others));
    return refuse(e);
}

static enum ds_class take(ds_ledger *l, const ds_ledger_log *log, const char *ca, const char *text, ds_err *e)
{
    known had;
    enum ds_class rc = load_known(l, ca, &had, e);
    if (!rc)
        rc = compare(log, &had, e);
    if (!rc)
        rc = count(l, ca, log->entries, e);
    bool told =
        log->entries == had.entries && (had.has_root || !had.recorded); // of an empty log there is nothing to tell
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
    enum ds_class rc = ds_ledger_begin(l, e);
    return rc ? rc : ds_ledger_end(l, take(l, log, ca, text, e), e);
}

enum ds_class ds_ledger_signer_known(ds_ledger *l, const uint8_t ca[32], uint64_t *ret_entries, uint8_t ret_root[32],
                                     bool *ret_has_root, ds_err *e)
{
    char text[CA_DIGITS + 1];
    known had = {0};
    ds_hex(ca, 32, text);
    ds_ledger_lock(l);
    enum ds_class rc = load_known(l, text, &had, e);
    ds_ledger_unlock(l);
    if (rc)
        return rc;
    *ret_entries = had.entries;
    *ret_has_root = had.has_root;
    memcpy(ret_root, had.root, 32);
    return DS_OK;
}

#define SIGNED_BEFORE_RECORD                                                          \
    "SELECT count(*) FROM event WHERE kind = '" DS_LEDGER_KIND_CERT                   \
    "' AND text GLOB 'signed *' AND text NOT GLOB '* from a pool' AND text NOT GLOB " \
    "'* of a batch' AND id < (SELECT "                                                \
    "max(id) FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER "')"

// Each certificate of a log is one of this ledger's: signed, or reserved where the station was killed before it heard.
enum ds_class ds_ledger_check_signer(ds_ledger_checker *k, ds_err *e)
{
    ds_sql *s = &k->l->sql;
    int64_t entries = 0, has = 0, before = 0;
    enum ds_class rc = total(k->l, "", &entries, e);
    if (!rc)
        rc = ds_sql_number(s, "SELECT count(*) FROM certificate WHERE " DS_LEDGER_OF_SIGNER, NULL, 0, &has, e);
    if (!rc)
        rc = ds_sql_number(s, SIGNED_BEFORE_RECORD, NULL, 0, &before, e);
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
