// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The evidence chain walked from its beginning, and the rows it vouches for: every certificate's states and every proof
// have their event, and every such event has its row.
#include "src/ledger/internal.h"

#include <string.h>

typedef struct walk {
    uint8_t hash[32]; // of the event before
    int64_t count;
    bool broken;
} walk;

static const char *column_text(ds_sql_rows *q, int column)
{
    const unsigned char *text = sqlite3_column_text(q, column);
    return text ? (const char *)text : "";
}

static void step(ds_ledger_checker *k, walk *w, ds_sql_rows *q)
{
    uint8_t want[32], got[32];
    ds_ledger_link link = {ds_sql_int(q, 1), ds_sql_int(q, 2), column_text(q, 3), column_text(q, 4)};
    ds_ledger_link_hash(w->hash, &link, want);
    ds_sql_blob(q, 5, got, sizeof got);
    if (memcmp(want, got, sizeof want) != 0 && !w->broken) {
        ds_ledger_say(k, "evidence chain: broken at event %lld: it, or one before it, was changed or removed",
                      (long long)ds_sql_int(q, 0));
        w->broken = true;
    }
    memcpy(w->hash, got, sizeof got);
    w->count++;
}

enum ds_class ds_ledger_check_chain(ds_ledger_checker *k, ds_err *e)
{
    ds_ledger *l = k->l;
    walk w = {0};
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc =
        ds_sql_query(&l->sql, "SELECT id, at, ifnull(device, 0), kind, text, hash FROM event ORDER BY id", NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&l->sql, q, &more, e);
        if (!rc && more)
            step(k, &w, q);
    }
    if (rc)
        return rc;
    int64_t count = 0, same = 0;
    rc = ds_sql_number(&l->sql, "SELECT count FROM chain WHERE one = 1", NULL, -1, &count, e);
    if (!rc)
        rc = ds_sql_number(&l->sql, "SELECT head = ? FROM chain WHERE one = 1", DS_ARGS(DS_BLOB(w.hash, 32)), 0, &same,
                           e);
    if (!rc && (count != w.count || !same))
        ds_ledger_say(k, "evidence chain: has %lld events, its end says %lld: the newest were changed or removed",
                      (long long)w.count, (long long)count);
    return rc;
}

// Each query selects rows (text) that lack their counterpart; the line names what is missing.
typedef struct evidence {
    const char *sql, *what;
} evidence;

// "signed 0a1b…", and perhaps where, after a space.
#define SAYS(word, id)                                                                                \
    "substr(e.text, 1, length('" word " ') + 2 * length(" id ")) = '" word " ' || lower(hex(" id "))" \
    " AND substr(e.text, length('" word " ') + 2 * length(" id ") + 1, 1) IN ('', ' ')"
#define STATE_EVENT(word, id, condition)                                                      \
    {                                                                                         \
        "SELECT lower(hex(c.serial)) FROM certificate c WHERE " condition                     \
        " AND NOT EXISTS(SELECT 1 FROM event e WHERE "                                        \
        "e.device = c.device AND e.kind = '" DS_LEDGER_KIND_CERT "' AND " SAYS(word, id) ")", \
            "certificate %s: nothing in the evidence chain says that it was " word            \
    }
#define EVENT_STATE(word, id, condition)                                                                            \
    {                                                                                                               \
        "SELECT e.text FROM event e WHERE e.kind = '" DS_LEDGER_KIND_CERT "' AND e.text GLOB '" word " *' AND NOT " \
        "EXISTS(SELECT 1 FROM certificate c WHERE c.device = e.device AND " condition " AND " SAYS(word, id) ")",   \
            "evidence chain: a certificate was %s, and is missing or was set back"                                  \
    }

static const evidence pairs[] = {
    STATE_EVENT("reserved", "c.serial", "1"),
    STATE_EVENT("signed", "c.fingerprint", "c.state >= 2"),
    STATE_EVENT("installed", "c.fingerprint", "c.state >= 3"),
    STATE_EVENT("registered", "c.fingerprint", "c.state >= 4"),
    STATE_EVENT("revoked", "c.serial", "c.revoked_at IS NOT NULL"),
    EVENT_STATE("reserved", "c.serial", "1"),
    EVENT_STATE("signed", "c.fingerprint", "c.state >= 2"),
    EVENT_STATE("installed", "c.fingerprint", "c.state >= 3"),
    EVENT_STATE("registered", "c.fingerprint", "c.state >= 4"),
    EVENT_STATE("revoked", "c.serial", "c.revoked_at IS NOT NULL"),
};

static enum ds_class check_pairs(ds_ledger_checker *k, const evidence *pair, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&k->l->sql, pair->sql, NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&k->l->sql, q, &more, e);
        if (rc || !more)
            break;
        const char *mark = strstr(pair->what, "%s");
        ds_ledger_say(k, "%.*s%s%s", (int)(mark - pair->what), pair->what, column_text(q, 0), mark + 2);
    }
    return rc;
}

static enum ds_class proof_known(ds_ledger *l, int64_t device, bool whole, ds_view json, int64_t *ret, ds_err *e)
{
    uint8_t digest[32];
    char hex[65];
    ds_sha256(json.ptr, json.len, digest);
    ds_hex(digest, sizeof digest, hex);
    DS_CLEANUP_FREE char *text = ds_asprintf("%s %s", whole ? "whole" : "not-whole", hex);
    return ds_sql_number(
        &l->sql, "SELECT count(*) FROM event WHERE device = ? AND kind = '" DS_LEDGER_KIND_PROOF "' AND text = ?",
        DS_ARGS(DS_INT(device), DS_TEXT(text)), 0, ret, e);
}

static enum ds_class check_proofs(ds_ledger_checker *k, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    int64_t proofs = 0, events = 0;
    enum ds_class rc = ds_sql_query(&k->l->sql, "SELECT id, device, whole, json FROM proof ORDER BY id", NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&k->l->sql, q, &more, e);
        if (rc || !more)
            break;
        int64_t known = 0;
        rc = proof_known(k->l, ds_sql_int(q, 1), ds_sql_int(q, 2) != 0, ds_sql_view(q, 3), &known, e);
        if (!rc && !known)
            ds_ledger_say(k, "proof %lld: is not what the evidence chain says was stored", (long long)ds_sql_int(q, 0));
        proofs++;
    }
    if (!rc)
        rc = ds_sql_number(&k->l->sql, "SELECT count(*) FROM event WHERE kind = '" DS_LEDGER_KIND_PROOF "'", NULL, 0,
                           &events, e);
    if (!rc && events > proofs)
        ds_ledger_say(k, "evidence chain: %lld proofs were stored, %lld are here", (long long)events,
                      (long long)proofs);
    return rc;
}

enum ds_class ds_ledger_check_evidence(ds_ledger_checker *k, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < sizeof pairs / sizeof *pairs; i++)
        rc = check_pairs(k, &pairs[i], e);
    return rc ? rc : check_proofs(k, e);
}

enum ds_class ds_ledger_head(ds_ledger *l, int64_t *ret_count, uint8_t ret_hash[32], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_query(&l->sql, "SELECT count, head FROM chain WHERE one = 1", NULL, &q, e);
    if (!rc)
        rc = ds_sql_next(&l->sql, q, &more, e);
    if (!rc && !more)
        rc = ds_fail(e, DS_STORE, "ledger %s: the evidence chain has no head", l->sql.path);
    if (!rc) {
        *ret_count = ds_sql_int(q, 0);
        ds_sql_blob(q, 1, ret_hash, 32);
        ds_sql_done(q);
    }
    ds_ledger_unlock(l);
    return rc;
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
