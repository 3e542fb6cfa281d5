// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a CA signed in some time, shut out; and the report of everybody who is. See registry_import.h. Nothing is
// written into the devices' rows: an isolation is judged at each connect, and so holds at once for those who never
// connected, and for what a log that is imported later says.
#include "src/base/clock.h"
#include "src/cloud/internal.h"
#include "src/cloud/registry_import.h"

#include <string.h>

static enum ds_class store(ds_registry *r, int64_t ca, const ds_registry_isolation *i, ds_err *e)
{
    int64_t change = 0;
    enum ds_class rc = ds_registry_count_change(r, &change, e);
    if (!rc && i->state == DS_REGISTRY_ACTIVE) {
        rc = ds_sql_run(&r->sql, "DELETE FROM isolation WHERE ca = ? AND issued_from = ? AND issued_until = ?",
                        DS_ARGS(DS_INT(ca), DS_INT(i->from_utc), DS_INT(i->until_utc)), e);
        if (!rc && ds_sql_changes(&r->sql) == 0)
            rc = ds_hint((ds_fail(e, DS_INPUT, "nothing of exactly these times is isolated"), e),
                         "devstamp registry report lists what is");
    } else if (!rc) {
        rc = ds_sql_run(
            &r->sql,
            "INSERT INTO isolation(ca, issued_from, issued_until, state, set_at) VALUES(?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET state = excluded.state, set_at = excluded.set_at",
            DS_ARGS(DS_INT(ca), DS_INT(i->from_utc), DS_INT(i->until_utc), DS_INT(i->state), DS_INT(ds_utc_now())), e);
    }
    if (!rc)
        rc = ds_sql_run(&r->sql, "UPDATE ca SET changed = ? WHERE number = ?", DS_ARGS(DS_INT(change), DS_INT(ca)), e);
    return rc;
}

enum ds_class ds_registry_isolate(ds_registry *r, const ds_registry_isolation *i, ds_err *e)
{
    const ds_known_ca *ca = NULL;
    enum ds_class rc = ds_registry_find_ca(r, i->ca, &ca, e);
    if (!rc && ca->info.role != DS_REGISTRY_DEVICES)
        rc = ds_fail(e, DS_INPUT, "%s: is not registered as a CA of devices", ca->info.subject);
    if (!rc && i->until_utc <= i->from_utc)
        rc = ds_fail(e, DS_INPUT, "the time ends before it begins");
    if (rc)
        return rc;
    int64_t number = ca->number;
    rc = ds_sql_begin(&r->sql, e);
    return rc ? rc : ds_sql_end(&r->sql, store(r, number, i, e), e);
}

enum ds_class ds_registry_each_isolation(ds_registry *r, ds_registry_isolation_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql,
                                    "SELECT ca.id, issued_from, issued_until, state, set_at FROM isolation i JOIN ca "
                                    "ON ca.number = i.ca ORDER BY i.number",
                                    NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_registry_isolation i = {.from_utc = ds_sql_int(q, 1),
                                   .until_utc = ds_sql_int(q, 2),
                                   .state = (enum ds_registry_state)ds_sql_int(q, 3),
                                   .set_utc = ds_sql_int(q, 4)};
        ds_sql_blob(q, 0, i.ca, sizeof i.ca);
        fn(arg, &i);
    }
    return rc;
}

static const char *why_out(const ds_known_ca *ca, enum ds_registry_state state, const ds_expected *x)
{
    if (state == DS_REGISTRY_REVOKED)
        return "the certificate is revoked";
    if (state == DS_REGISTRY_INACTIVE)
        return "the certificate is inactive";
    if (!ca->info.active)
        return "its CA is inactive";
    const char *why = ds_registry_judge(ca, x);
    if (!why && state == DS_REGISTRY_PENDING)
        why = "the certificate is pending";
    return why;
}

typedef struct telling {
    const ds_known_ca *ca;
    ds_registry_outcast_fn fn;
    void *arg;
    ds_registry_report_result *result;
} telling;

// Columns 0 to 4 of both queries below: id, name, listed, entry, issued_at.
static void read_common(ds_sql_rows *q, const telling *t, ds_registry_outcast *ret, ds_expected *ret_x)
{
    *ret_x =
        (ds_expected){.listed = ds_sql_int(q, 2) != 0, .logged = !ds_sql_is_null(q, 4), .issued_utc = ds_sql_int(q, 4)};
    *ret = (ds_registry_outcast){.entry = (uint64_t)ds_sql_int(q, 3), .issued_utc = ret_x->issued_utc};
    ds_sql_blob(q, 0, ret->id, sizeof ret->id);
    ds_sql_text(q, 1, ret->name, sizeof ret->name);
    memcpy(ret->ca, t->ca->info.id, sizeof ret->ca);
}

static enum ds_class tell_registered(ds_registry *r, const telling *t, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql,
                                    "SELECT d.id, d.name, x.listed, x.entry, x.issued_at, d.state, d.registered_at, "
                                    "d.last_seen FROM device d LEFT JOIN expected x ON x.ca = d.ca AND x.id = d.id "
                                    "WHERE d.ca = ? ORDER BY d.number",
                                    DS_ARGS(DS_INT(t->ca->number)), &q, e);
    while (!rc && more) {
        ds_registry_outcast o;
        ds_expected x;
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        read_common(q, t, &o, &x);
        o.why = why_out(t->ca, (enum ds_registry_state)ds_sql_int(q, 5), &x);
        o.registered = true;
        o.registered_utc = ds_sql_int(q, 6);
        o.last_seen_utc = ds_sql_int(q, 7);
        t->result->admitted += !o.why;
        t->result->out += o.why != NULL;
        if (o.why && t->fn)
            t->fn(t->arg, &o);
    }
    return rc;
}

// Of certificates that never connected only those are told that are out for their time: with any other reason all are.
static enum ds_class tell_unseen(ds_registry *r, const telling *t, ds_err *e)
{
    ds_sql_rows *q;
    bool more = t->ca->isolated.len > 0;
    if (!more)
        return DS_OK;
    enum ds_class rc =
        ds_sql_query(&r->sql,
                     "SELECT x.id, x.name, x.listed, x.entry, x.issued_at FROM expected x WHERE x.ca = ? "
                     "AND x.entry IS NOT NULL AND NOT EXISTS(SELECT 1 FROM device d WHERE d.id = x.id) "
                     "ORDER BY x.entry",
                     DS_ARGS(DS_INT(t->ca->number)), &q, e);
    while (!rc && more) {
        ds_registry_outcast o;
        ds_expected x;
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        read_common(q, t, &o, &x);
        o.why = ds_registry_judge(t->ca, &x);
        t->result->unseen += o.why != NULL;
        if (o.why && t->fn)
            t->fn(t->arg, &o);
    }
    return rc;
}

enum ds_class ds_registry_report(ds_registry *r, const uint8_t *ca, ds_registry_outcast_fn fn, void *arg,
                                 ds_registry_report_result *ret, ds_err *e)
{
    const ds_known_ca *only = NULL;
    *ret = (ds_registry_report_result){0};
    enum ds_class rc = ca ? ds_registry_find_ca(r, ca, &only, e) : ds_registry_refresh(r, e);
    for (size_t i = 0; !rc && i < r->ca_count; i++) {
        const telling t = {.ca = &r->cas[i], .fn = fn, .arg = arg, .result = ret};
        if (r->cas[i].info.role != DS_REGISTRY_DEVICES || (only && only != t.ca))
            continue;
        rc = tell_registered(r, &t, e);
        if (!rc)
            rc = tell_unseen(r, &t, e);
    }
    return rc;
}
