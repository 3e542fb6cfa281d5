// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a server says, in our words, and whether the transaction may be run again. Source: postgresql.org, "PostgreSQL
// Error Codes".
#include "src/ledger/pg.h"
#include "src/base/clock.h"

#include <libpq-fe.h>
#include <string.h>

static const char back_hint[] = "nothing that was confirmed is lost; run again when the database is back";

// One line of a message, without its end.
static char *first_line(const char *text)
{
    return ds_asprintf("%.*s", (int)strcspn(text, "\r\n"), text);
}

enum ds_class ds_pg_lost(ds_sql *s, ds_pg_conn *k, const char *why, ds_err *e)
{
    DS_CLEANUP_FREE char *line = first_line(why && why[0] ? why : "the connection ended");
    k->fate = k->committing ? DS_SQL_ASK : DS_SQL_AGAIN;
    if (!k->until_ms)
        k->until_ms = ds_now_ms() + s->pg->place.wait_ms;
    ds_pg_drop(k);
    k->lost = true;
    if (k->committing)
        ds_fail(e, DS_STORE, "%s %s: lost before it confirmed a change, which it may have kept: %s", s->what, s->path,
                line);
    else
        ds_fail(e, DS_STORE, "%s %s: lost: %s", s->what, s->path, line);
    return ds_hint(e, back_hint);
}

typedef enum ds_class (*words_fn)(ds_sql *s, const char *line, ds_err *e);

static enum ds_class say_conflict(ds_sql *s, const char *line, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: other stations change the same records: %s", s->what, s->path, line);
    return ds_hint(e, "nothing was changed; run again");
}

static enum ds_class say_refused(ds_sql *s, const char *line, ds_err *e)
{
    (void)s;
    return ds_fail(e, DS_POLICY, "%s", line);
}

static enum ds_class say_rights(ds_sql *s, const char *line, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: %s", s->what, s->path, line);
    return ds_hint(e, "the database's owner makes the tables (devstamp ledger init) and grants a station its rights: "
                      "docs/ledger.md");
}

static enum ds_class say_full(ds_sql *s, const char *line, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: the server lacks room: %s", s->what, s->path, line);
    return ds_hint(e, "nothing was changed; free disk space or memory on the server and run again");
}

static enum ds_class say_away(ds_sql *s, const char *line, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: %s", s->what, s->path, line);
    return ds_hint(e, back_hint);
}

static enum ds_class say_plain(ds_sql *s, const char *line, ds_err *e)
{
    return ds_fail(e, DS_STORE, "%s %s: %s", s->what, s->path, line);
}

// By the beginning of the code; the first that fits.
static const struct {
    const char *code;
    words_fn say;
    enum ds_sql_fate fate;
} kinds[] = {
    {"40001", say_conflict, DS_SQL_AGAIN}, // serialization failure
    {"40P01", say_conflict, DS_SQL_AGAIN}, // deadlock
    {"40003", say_conflict, DS_SQL_AGAIN}, // statement completion unknown (of engines that are clusters)
    {"55P03", say_conflict, DS_SQL_AGAIN}, // lock not had in time
    {"23505", say_refused, DS_SQL_AGAIN},  // unique: another station was quicker, or a second run says what it is
    {"23", say_refused, DS_SQL_FAILED},    // other constraints
    {"P0001", say_refused, DS_SQL_FAILED}, // a guard of ours
    {"42501", say_rights, DS_SQL_FAILED},
    {"42P07", say_plain, DS_SQL_AGAIN}, // the table is there: another station makes them just now
    {"53", say_full, DS_SQL_FAILED},
    {"57P", say_away, DS_SQL_AGAIN},   // shut down or starting
    {"25P03", say_away, DS_SQL_AGAIN}, // idle in transaction for too long
    {"", say_plain, DS_SQL_FAILED},
};

enum ds_class ds_pg_fail(ds_sql *s, ds_pg_conn *k, const struct pg_result *r, ds_err *e)
{
    const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE), *words = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    DS_CLEANUP_FREE char *line = first_line(words ? words : PQresultErrorMessage(r));
    size_t i = 0;
    while (strncmp(code ? code : "", kinds[i].code, strlen(kinds[i].code)) != 0)
        i++;
    k->fate = kinds[i].fate;
    if (strcmp(kinds[i].code, "40003") == 0 && k->committing)
        k->fate = DS_SQL_ASK;
    k->doubles += strcmp(kinds[i].code, "23505") == 0;
    return kinds[i].say(s, line, e);
}
