// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Which release bundles were used, in the evidence chain, so that an older one does not come back unseen. An event's
// text is "<chip> <release> <digest, 64 hex digits> <product>".
#include "src/ledger/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 16 + 20 + 64 + 64 + 4 };

typedef struct used {
    uint64_t newest, last;                 // 0: none
    uint8_t newest_digest[32], digest[32]; // of the newest release, as used last; of the last one used
} used;

static bool parse(const char *text, const ds_ledger_bundle *b, uint64_t *ret_release, uint8_t ret_digest[32])
{
    char chip[16], digest[65];
    int at = 0;
    return sscanf(text, "%15s %" SCNu64 " %64s %n", chip, ret_release, digest, &at) == 3 && at > 0 &&
           strcmp(chip, b->chip) == 0 && strcmp(text + at, b->product) == 0 && ds_unhex(digest, ret_digest, 32);
}

static enum ds_class load(ds_ledger *l, const ds_ledger_bundle *b, used *ret, ds_err *e)
{
    ds_sql_rows *q = NULL;
    bool more = false;
    *ret = (used){.newest = 0};
    enum ds_class rc = ds_sql_query(&l->sql, "SELECT text FROM event WHERE device IS NULL AND kind = ? ORDER BY id",
                                    DS_ARGS(DS_TEXT(DS_LEDGER_KIND_BUNDLE)), &q, e);
    while (!rc && !(rc = ds_sql_next(&l->sql, q, &more, e)) && more) {
        char text[TEXT_MAX + 1];
        uint64_t release = 0;
        uint8_t digest[32];
        ds_sql_text(q, 0, text, sizeof text);
        if (!parse(text, b, &release, digest))
            continue;
        ret->last = release;
        memcpy(ret->digest, digest, 32);
        if (release < ret->newest)
            continue;
        ret->newest = release;
        memcpy(ret->newest_digest, digest, 32);
    }
    return rc;
}

static enum ds_class judge(const ds_ledger_bundle *b, const used *u, ds_err *e)
{
    if (b->allow_older || b->release > u->newest)
        return DS_OK;
    if (b->release < u->newest)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "release %" PRIu64 " of %s is older than %" PRIu64 ", which was used here",
                     b->release, b->product, u->newest),
             e),
            "use the newest bundle; an officer who wants the older one says allow_older in the station file");
    if (memcmp(b->digest, u->newest_digest, 32) != 0)
        return ds_hint(
            (ds_fail(e, DS_POLICY, "another bundle was used here as release %" PRIu64 " of %s", b->release, b->product),
             e),
            "give each bundle a release number of its own");
    return DS_OK;
}

static enum ds_class use(ds_ledger *l, const ds_ledger_bundle *b, ds_err *e)
{
    char digest[65], text[TEXT_MAX + 1];
    used u;
    enum ds_class rc = load(l, b, &u, e);
    if (!rc)
        rc = judge(b, &u, e);
    if (rc || (u.last == b->release && memcmp(u.digest, b->digest, 32) == 0))
        return rc;
    ds_hex(b->digest, 32, digest);
    snprintf(text, sizeof text, "%s %" PRIu64 " %s %s", b->chip, b->release, digest, b->product);
    return ds_ledger_append(l, 0, DS_LEDGER_KIND_BUNDLE, text, e);
}

enum ds_class ds_ledger_use_bundle(ds_ledger *l, const ds_ledger_bundle *b, ds_err *e)
{
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        rc = use(l, b, e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}
