// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The evidence chains walked from their beginnings, and the rows they vouch for: every certificate's states and every
// proof have their event, and every such event has its row.
#include "src/ledger/internal.h"

#include <stdio.h>
#include <string.h>

typedef struct walk {
    const char *of;   // " of station X", for a database
    uint8_t hash[32]; // of the event before
    int64_t count, id;
    bool broken;
} walk;

static void step(ds_ledger_checker *k, walk *w, ds_sql_rows *q)
{
    uint8_t want[32], got[32];
    ds_ledger_link link = {ds_sql_int(q, 1), ds_sql_int(q, 2), ds_sql_str(q, 3), ds_sql_str(q, 4)};
    ds_ledger_link_hash(w->hash, &link, want);
    ds_sql_blob(q, 5, got, sizeof got);
    w->id = ds_sql_int(q, 0);
    if (memcmp(want, got, sizeof want) != 0 && !w->broken) {
        ds_ledger_say(k, "evidence chain%s: broken at event %lld: it, or one before it, was changed or removed", w->of,
                      (long long)w->id);
        w->broken = true;
    }
    memcpy(w->hash, got, sizeof got);
    w->count++;
}

#define LINKS "SELECT id, at, coalesce(device, 0), kind, text, hash FROM event WHERE id > ? "
#define PIECE "ORDER BY id LIMIT 1000"

static enum ds_class walk_chain(ds_ledger_checker *k, const ds_ledger_chain *c, walk *w, ds_err *e)
{
    ds_sql *s = &k->l->sql;
    enum ds_class rc;
    int64_t before;
    do {
        ds_sql_rows *q;
        bool more = true;
        before = w->id;
        rc = c->station[0]
                 ? ds_sql_query(s, LINKS "AND station = ? " PIECE, DS_ARGS(DS_INT(w->id), DS_INT(c->number)), &q, e)
                 : ds_sql_query(s, LINKS PIECE, DS_ARGS(DS_INT(w->id)), &q, e);
        while (!rc && more) {
            rc = ds_sql_next(s, q, &more, e);
            if (!rc && more)
                step(k, w, q);
        }
    } while (!rc && w->id != before);
    return rc;
}

static enum ds_class check_one(ds_ledger_checker *k, const ds_ledger_chain *c, ds_err *e)
{
    DS_CLEANUP_FREE char *of = c->station[0] ? ds_asprintf(" of station %s", c->station) : ds_strdup("");
    walk w = {.of = of, .id = INT64_MIN};
    ds_ledger_chain_begin(c->station, w.hash);
    enum ds_class rc = walk_chain(k, c, &w, e);
    if (!rc && (c->count != w.count || memcmp(c->head, w.hash, 32) != 0))
        ds_ledger_say(k, "evidence chain%s: has %lld events, its end says %lld: the newest were changed or removed", of,
                      (long long)w.count, (long long)c->count);
    return rc;
}

enum ds_class ds_ledger_check_chain(ds_ledger_checker *k, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf chains = {0};
    int64_t lost = 0;
    enum ds_class rc = ds_ledger_load_chains(k->l, &chains, e);
    for (size_t off = 0; !rc && off < chains.len; off += sizeof(ds_ledger_chain)) {
        ds_ledger_chain c;
        memcpy(&c, chains.ptr + off, sizeof c);
        rc = check_one(k, &c, e);
    }
    if (!rc && ds_sql_is_pg(&k->l->sql))
        rc = ds_sql_number(&k->l->sql,
                           "SELECT count(*) FROM event e WHERE NOT EXISTS(SELECT 1 FROM chain c WHERE c.station = "
                           "e.station)",
                           NULL, 0, &lost, e);
    if (!rc && lost)
        ds_ledger_say(k, "evidence chain: %lld events are of stations whose chain was removed", (long long)lost);
    return rc;
}

// Each query selects rows (text) that lack their counterpart; the line names what is missing.
typedef struct evidence {
    const char *sql, *what;
} evidence;

// "signed 0a1b…", and perhaps where, after a space.
#define SAYS(HEX, word, id)                                                \
    "substr(e.text, 1, length('" word " ') + 2 * length(" id ")) = '" word \
    " ' || " HEX(id) " AND substr(e.text, "                                \
                     "length('" word " ') + 2 * length(" id ") + 1, 1) IN ('', ' ')"
#define STATE_EVENT(HEX, word, id, condition)                                              \
    {                                                                                      \
        "SELECT " HEX("c.serial") " FROM certificate c WHERE " condition                   \
                                  " AND NOT EXISTS(SELECT 1 FROM event e WHERE "           \
                                  "e.device = c.device AND e.kind = '" DS_LEDGER_KIND_CERT \
                                  "' AND " SAYS(HEX, word, id) ")",                        \
            "certificate %s: nothing in the evidence chain says that it was " word         \
    }
#define EVENT_STATE(HEX, word, id, condition)                                                                     \
    {                                                                                                             \
        "SELECT e.text FROM event e WHERE e.kind = '" DS_LEDGER_KIND_CERT "' AND substr(e.text, 1, length('" word \
        " ')) = '" word " ' AND NOT EXISTS(SELECT 1 FROM "                                                        \
        "certificate c WHERE c.device = e.device AND " condition " AND " SAYS(HEX, word, id) ")",                 \
            "evidence chain: a certificate was %s, and is missing or was set back"                                \
    }
#define NUMBERED                                                                                               \
    {                                                                                                          \
        "SELECT d.serial FROM device d WHERE d.serial IS NOT NULL AND NOT EXISTS(SELECT 1 FROM event e WHERE " \
        "e.device = d.id AND e.kind = '" DS_LEDGER_KIND_DEVICE "' AND e.text = 'serial number ' || d.serial)", \
            "device %s: nothing in the evidence chain says that it was given this serial number"               \
    }
#define PAIRS(HEX)                                                               \
    {                                                                            \
        NUMBERED, STATE_EVENT(HEX, "reserved", "c.serial", "1 = 1"),             \
            STATE_EVENT(HEX, "signed", "c.fingerprint", "c.state >= 2"),         \
            STATE_EVENT(HEX, "installed", "c.fingerprint", "c.state >= 3"),      \
            STATE_EVENT(HEX, "registered", "c.fingerprint", "c.state >= 4"),     \
            STATE_EVENT(HEX, "revoked", "c.serial", "c.revoked_at IS NOT NULL"), \
            EVENT_STATE(HEX, "reserved", "c.serial", "1 = 1"),                   \
            EVENT_STATE(HEX, "signed", "c.fingerprint", "c.state >= 2"),         \
            EVENT_STATE(HEX, "installed", "c.fingerprint", "c.state >= 3"),      \
            EVENT_STATE(HEX, "registered", "c.fingerprint", "c.state >= 4"),     \
            EVENT_STATE(HEX, "revoked", "c.serial", "c.revoked_at IS NOT NULL"), \
    }
enum { PAIR_COUNT = 11 };
static const evidence pairs[PAIR_COUNT] = PAIRS(DS_SQL_HEX), pg_pairs[PAIR_COUNT] = PAIRS(DS_SQL_HEX_PG);

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
        ds_ledger_say(k, "%.*s%s%s", (int)(mark - pair->what), pair->what, ds_sql_str(q, 0), mark + 2);
    }
    return rc;
}

// Does the event's text say that this proof was stored?
static bool vouches(const char *event, bool whole, ds_view json)
{
    uint8_t digest[32];
    char hex[65], text[80];
    ds_sha256(json.ptr, json.len, digest);
    ds_hex(digest, sizeof digest, hex);
    snprintf(text, sizeof text, "%s %s", whole ? "whole" : "not-whole", hex);
    return strcmp(event, text) == 0;
}

// Proofs in pieces, each with every event of its device that tells of one; a proof is known where one of them is its.
#define PROOFS                                                                                                       \
    "SELECT p.id, p.whole, p.json, e.text FROM (SELECT id, device, whole, json FROM proof WHERE id > ? ORDER BY id " \
    "LIMIT 100) p LEFT JOIN event e ON e.device = p.device AND e.kind = '" DS_LEDGER_KIND_PROOF "' ORDER BY p.id"

typedef struct proofs {
    int64_t id, count; // of the one at hand; how many there were
    bool any, known;
} proofs;

static void end_proof(ds_ledger_checker *k, const proofs *p)
{
    if (p->any && !p->known)
        ds_ledger_say(k, "proof %lld: is not what the evidence chain says was stored", (long long)p->id);
}

static enum ds_class proof_piece(ds_ledger_checker *k, proofs *p, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&k->l->sql, PROOFS, DS_ARGS(DS_INT(p->id)), &q, e);
    p->any = false;
    while (!rc && more) {
        rc = ds_sql_next(&k->l->sql, q, &more, e);
        if (rc || !more)
            break;
        if (!p->any || ds_sql_int(q, 0) != p->id) {
            end_proof(k, p);
            *p = (proofs){.id = ds_sql_int(q, 0), .count = p->count + 1, .any = true};
        }
        p->known = p->known || vouches(ds_sql_str(q, 3), ds_sql_int(q, 1) != 0, ds_sql_view(q, 2));
    }
    if (!rc)
        end_proof(k, p);
    return rc;
}

static enum ds_class check_proofs(ds_ledger_checker *k, ds_err *e)
{
    proofs p = {.id = INT64_MIN};
    int64_t events = 0;
    enum ds_class rc;
    do
        rc = proof_piece(k, &p, e);
    while (!rc && p.any);
    if (!rc)
        rc = ds_sql_number(&k->l->sql, "SELECT count(*) FROM event WHERE kind = '" DS_LEDGER_KIND_PROOF "'", NULL, 0,
                           &events, e);
    if (!rc && events > p.count)
        ds_ledger_say(k, "evidence chain: %lld proofs were stored, %lld are here", (long long)events,
                      (long long)p.count);
    return rc;
}

enum ds_class ds_ledger_check_evidence(ds_ledger_checker *k, ds_err *e)
{
    const evidence *all = ds_sql_is_pg(&k->l->sql) ? pg_pairs : pairs;
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < PAIR_COUNT; i++)
        rc = check_pairs(k, &all[i], e);
    return rc ? rc : check_proofs(k, e);
}
