// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One connection: made, waited for within bounds, read. A server that stands still is lost after the place's wait; one
// that was there before is waited for as long when it is away.
#include "src/ledger/pg.h"
#include "src/base/clock.h"
#include "src/base/log.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPT_MS = 10000, PAUSE_MS = 100, PAUSE_MAX_MS = 2000, READING_MS = 3600000 };

void ds_pg_drop(ds_pg_conn *k)
{
    PQfinish(k->c);
    k->c = NULL;
    k->pending = 0;
    k->statement_count = 0;
}

// False where the time is up.
static bool wait_for(PGconn *c, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd p = {.fd = PQsocket(c), .events = events};
        int left = ds_ms_left(deadline_ms);
        int n = poll(&p, 1, left);
        if (n > 0 || (n < 0 && errno != EINTR))
            return true; // an error is libpq's to tell
        if (n == 0 && left == 0)
            return false;
    }
}

static bool dial(PGconn *c, int64_t deadline_ms)
{
    PostgresPollingStatusType st = PGRES_POLLING_WRITING;
    while (st != PGRES_POLLING_OK) {
        if (st == PGRES_POLLING_FAILED || !wait_for(c, st == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ms))
            return false;
        st = PQconnectPoll(c);
    }
    return true;
}

// The next result; NULL and true at the end of a command. False where the connection is no more.
static bool read_result(PGconn *c, int64_t deadline_ms, PGresult **ret, const char **why)
{
    for (;;) {
        int unsent = PQflush(c);
        if (unsent >= 0 && !PQisBusy(c)) {
            *ret = PQgetResult(c);
            if (PQstatus(c) == CONNECTION_OK)
                return true;
            PQclear(*ret);
        }
        bool in_time = unsent < 0 || PQstatus(c) != CONNECTION_OK ||
                       wait_for(c, (short)(POLLIN | (unsent ? POLLOUT : 0)), deadline_ms);
        if (unsent < 0 || PQstatus(c) != CONNECTION_OK || !in_time || !PQconsumeInput(c)) {
            *why = in_time ? PQerrorMessage(c) : "no answer in time";
            return false;
        }
    }
}

// What every session is told. An engine that does not know a setting goes without it.
static bool set_up(PGconn *c, bool read_only, int64_t deadline_ms)
{
    static const char *const settings[] = {
        "SET default_transaction_read_only = on",
        ("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', "
         "'local')"),
        "SET lock_timeout = '20s'", // a station that stands still holds nobody up for ever
        "SET idle_in_transaction_session_timeout = '30s'",
    };
    for (size_t i = read_only ? 0 : 1; i < sizeof settings / sizeof *settings; i++) {
        PGresult *r = NULL;
        const char *why;
        bool known = true;
        if (!PQsendQuery(c, settings[i]))
            return false;
        do {
            PQclear(r);
            if (!read_result(c, deadline_ms, &r, &why))
                return false;
            known = known && (!r || PQresultStatus(r) != PGRES_FATAL_ERROR);
        } while (r);
        if (!known && i == 0)
            return false;
    }
    return true;
}

static void log_notice(void *arg, const char *text)
{
    (void)arg;
    ds_log(DS_LOG_INFO, "PostgreSQL: %.*s", (int)strcspn(text, "\r\n"), text);
}

// Of several hosts libpq goes from one that is silent to the next by itself only where it waits itself, each for the
// place's connect_timeout.
static bool reach(ds_pg *p, ds_pg_conn *k, int64_t *deadline_ms)
{
    const char *const *keys = (const char *const *)p->place.keys, *const *values = (const char *const *)p->place.values;
    k->c = p->place.many ? PQconnectdbParams(keys, values, 0) : PQconnectStartParams(keys, values, 0);
    if (k->c)
        PQsetNoticeProcessor(k->c, log_notice, NULL);
    if (!k->c || PQstatus(k->c) == CONNECTION_BAD)
        return false;
    if (!p->place.many)
        return dial(k->c, *deadline_ms);
    *deadline_ms = ds_now_ms() + ATTEMPT_MS;
    return true;
}

static bool connect_once(ds_pg *p, ds_pg_conn *k, int64_t deadline_ms, char **ret_why)
{
    ds_pg_drop(k);
    bool good = reach(p, k, &deadline_ms) && PQsetnonblocking(k->c, 1) == 0 &&
                set_up(k->c, p->read_only, deadline_ms) && PQenterPipelineMode(k->c);
    if (good)
        return true;
    const char *words = k->c ? PQerrorMessage(k->c) : "no memory";
    *ret_why = ds_asprintf("%.*s", (int)strcspn(words, "\r\n"), words[0] ? words : "no answer in time");
    ds_pg_drop(k);
    return false;
}

static enum ds_class fail_away(ds_sql *s, const char *why, ds_err *e)
{
    ds_fail(e, DS_STORE, "%s %s: %s", s->what, s->path, why);
    return ds_hint(e, s->pg->reached ? "nothing that was confirmed is lost; run again when the database is back"
                                     : "check that the database runs, the place's host, port and names, and the "
                                       "password file");
}

// The database was there and is not now: pause until it is back or the wait is over.
static enum ds_class reconnect(ds_sql *s, ds_pg_conn *k, ds_err *e)
{
    int64_t pause = PAUSE_MS;
    bool told = false;
    if (!k->until_ms)
        k->until_ms = ds_now_ms() + s->pg->place.wait_ms;
    for (;;) {
        DS_CLEANUP_FREE char *why = NULL;
        int64_t deadline = ds_now_ms() + ATTEMPT_MS;
        if (connect_once(s->pg, k, deadline < k->until_ms ? deadline : k->until_ms, &why))
            break;
        if (ds_ms_left(k->until_ms) == 0) {
            k->fate = DS_SQL_FAILED;
            return fail_away(s, why, e);
        }
        if (!told)
            ds_log(DS_LOG_WARN, "%s %s: away; waiting up to %d s", s->what, s->path,
                   (ds_ms_left(k->until_ms) + 999) / 1000);
        told = true;
        ds_sleep_ms(pause < ds_ms_left(k->until_ms) ? pause : ds_ms_left(k->until_ms));
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
    if (told)
        ds_log(DS_LOG_WARN, "%s %s: back", s->what, s->path);
    return DS_OK;
}

// An idle connection that has something to say was ended by the server.
static void notice_end(ds_pg_conn *k)
{
    if (k->pending || !wait_for(k->c, POLLIN, 0))
        return;
    if (!PQconsumeInput(k->c) || PQstatus(k->c) != CONNECTION_OK)
        ds_pg_drop(k);
}

enum ds_class ds_pg_ensure(ds_sql *s, ds_pg_conn *k, ds_err *e)
{
    DS_CLEANUP_FREE char *why = NULL;
    ds_pg *p = s->pg;
    if (k->c && !k->in_transaction)
        notice_end(k);
    if (k->c)
        return DS_OK;
    int64_t limit = p->place.wait_ms < ATTEMPT_MS ? p->place.wait_ms : ATTEMPT_MS;
    if (!k->until_ms && connect_once(p, k, ds_now_ms() + limit, &why))
        return DS_OK;
    return p->reached ? reconnect(s, k, e) : fail_away(s, why, e);
}

enum ds_class ds_pg_send(ds_sql *s, ds_pg_conn *k, const char *sql, ds_err *e)
{
    if (!k->c || !PQsendQueryParams(k->c, sql, 0, NULL, NULL, NULL, NULL, 1))
        return ds_pg_lost(s, k, k->c ? PQerrorMessage(k->c) : "", e);
    k->pending++;
    return DS_OK;
}

// A statement that was prepared in a batch that failed may not be there.
static void end_batch(ds_pg_conn *k, bool failed)
{
    size_t kept = 0;
    for (size_t i = 0; i < k->statement_count; i++)
        if (!failed || k->statements[i].batch != k->batch)
            k->statements[kept++] = k->statements[i];
    k->statement_count = kept;
    k->batch++;
    k->pending = 0;
    k->until_ms = 0;
}

static enum ds_class take_result(ds_sql *s, ds_pg_conn *k, PGresult *r, PGresult **last, ds_err *e)
{
    switch (PQresultStatus(r)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        PQclear(*last);
        *last = r;
        return DS_OK;
    case PGRES_PIPELINE_ABORTED: // behind the one that failed
        PQclear(r);
        return DS_OK;
    default: {
        enum ds_class rc = ds_pg_fail(s, k, r, e);
        PQclear(r);
        return rc;
    }
    }
}

enum ds_class ds_pg_sync(ds_sql *s, ds_pg_conn *k, struct pg_result **ret, ds_err *e)
{
    // A reading transaction (check) has queries over whole tables, and holds nobody up.
    bool patient = k->in_transaction && !k->writing && s->pg->place.wait_ms < READING_MS;
    int64_t deadline = ds_now_ms() + (patient ? READING_MS : s->pg->place.wait_ms);
    PGresult *last = NULL;
    enum ds_class rc = DS_OK;
    if (!k->c || !PQpipelineSync(k->c))
        return ds_pg_lost(s, k, k->c ? PQerrorMessage(k->c) : "", e);
    for (bool end = false; !end;) {
        PGresult *r = NULL;
        const char *why = "";
        if (!read_result(k->c, deadline, &r, &why)) {
            PQclear(last);
            if (ds_now_ms() >= deadline)
                k->until_ms = deadline;
            return ds_pg_lost(s, k, why, e);
        }
        end = r && PQresultStatus(r) == PGRES_PIPELINE_SYNC;
        if (end || (r && rc))
            PQclear(r);
        else if (r)
            rc = take_result(s, k, r, &last, e);
    }
    end_batch(k, rc != DS_OK);
    if (last)
        k->changes = strtoll(PQcmdTuples(last), NULL, 10);
    if (rc || !ret) {
        PQclear(last);
        return rc;
    }
    *ret = last;
    return DS_OK;
}
