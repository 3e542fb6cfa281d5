// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The length and newest hash of each signer's issuance log, written into the evidence chain: the log's own chain cannot
// show that its end was cut off, or that it was begun anew; this record can. An event's text is
// "<CA's fingerprint, 64 hex digits> <entries> <hash of the newest entry, 64 hex digits>".
#include "src/ledger/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CA_DIGITS = 64, HEAD_TEXT = 64 + 1 + 20 + 1 + 64 + 1 };

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

static enum ds_class compare(ds_ledger *l, const char *ca, uint64_t entries, const char *text, uint64_t *ret_had,
                             ds_err *e)
{
    int64_t had = 0, same = 0;
    enum ds_class rc = ds_sql_number(&l->sql, RECORDED "AND substr(text, 1, 64) = ?", DS_ARGS(DS_TEXT(ca)), 0, &had, e);
    if (!rc)
        rc = ds_sql_number(&l->sql,
                           "SELECT count(*) FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER
                           "' AND text = ?",
                           DS_ARGS(DS_TEXT(text)), 0, &same, e);
    if (rc)
        return rc;
    *ret_had = (uint64_t)had;
    if (entries < *ret_had) {
        ds_fail(e, DS_POLICY, "the issuance log has %" PRIu64 " entries, and had %" PRIu64 ": its end was cut off",
                entries, *ret_had);
        return refuse(e);
    }
    if (entries == *ret_had && had && !same) {
        ds_fail(e, DS_POLICY, "the issuance log's entry %" PRIu64 " is another than it was: its end was replaced",
                entries);
        return refuse(e);
    }
    return DS_OK;
}

// Whatever this ledger knows as signed stands in some CA's log.
static enum ds_class count(ds_ledger *l, const char *ca, uint64_t entries, ds_err *e)
{
    int64_t has = 0, others = 0;
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT count(*) FROM certificate WHERE state >= 2", NULL, 0, &has, e);
    if (!rc)
        rc = total(l, ca, &others, e);
    if (rc || has <= others || (uint64_t)(has - others) <= entries)
        return rc;
    ds_fail(e, DS_POLICY, "the issuance log has %" PRIu64 " entries, the ledger %lld certificates that were signed",
            entries, (long long)(has - others));
    return refuse(e);
}

static enum ds_class take(ds_ledger *l, const char *ca, uint64_t entries, const char *text, ds_err *e)
{
    uint64_t had = 0;
    enum ds_class rc = compare(l, ca, entries, text, &had, e);
    if (!rc)
        rc = count(l, ca, entries, e);
    return rc || entries == had ? rc : ds_ledger_append(l, 0, DS_LEDGER_KIND_SIGNER, text, e);
}

enum ds_class ds_ledger_signer_head(ds_ledger *l, const uint8_t ca[32], uint64_t entries, const uint8_t head[32],
                                    ds_err *e)
{
    char ca_text[CA_DIGITS + 1], head_text[65], text[HEAD_TEXT];
    if (entries > INT64_MAX)
        return ds_fail(e, DS_INPUT, "issuance log of %" PRIu64 " entries", entries);
    ds_hex(ca, 32, ca_text);
    ds_hex(head, 32, head_text);
    snprintf(text, sizeof text, "%s %" PRIu64 " %s", ca_text, entries, head_text);
    enum ds_class rc = ds_ledger_begin(l, e);
    return rc ? rc : ds_ledger_end(l, take(l, ca_text, entries, text, e), e);
}

#define SIGNED_BEFORE_RECORD                                                                                       \
    "SELECT count(*) FROM event WHERE kind = '" DS_LEDGER_KIND_CERT "' AND text GLOB 'signed *' AND id < (SELECT " \
    "max(id) FROM event WHERE device IS NULL AND kind = '" DS_LEDGER_KIND_SIGNER "')"

// Each certificate of a log is one of this ledger's: signed, or reserved where the station was killed before it heard.
enum ds_class ds_ledger_check_signer(ds_ledger_checker *k, ds_err *e)
{
    ds_sql *s = &k->l->sql;
    int64_t entries = 0, known = 0, before = 0;
    enum ds_class rc = total(k->l, "", &entries, e);
    if (!rc)
        rc = ds_sql_number(s, "SELECT count(*) FROM certificate", NULL, 0, &known, e);
    if (!rc)
        rc = ds_sql_number(s, SIGNED_BEFORE_RECORD, NULL, 0, &before, e);
    if (rc)
        return rc;
    if (entries > known)
        ds_ledger_say(k,
                      "signer: %lld certificate%s signed that this ledger does not know: the issuance log has %lld "
                      "entries, the ledger %lld certificates",
                      (long long)(entries - known), entries - known == 1 ? " was" : "s were", (long long)entries,
                      (long long)known);
    if (entries < before)
        ds_ledger_say(k, "signer: its issuance log was recorded with %lld entries after %lld certificates were signed",
                      (long long)entries, (long long)before);
    return DS_OK;
}
