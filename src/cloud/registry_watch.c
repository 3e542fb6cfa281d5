// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who is to be disconnected. A device's row keeps the number of its last change, so that a million others are not
// looked at; only where a CA changed its devices are gone through, a part at a time.
#include "src/base/clock.h"
#include "src/cloud/internal.h"

enum { CHANGES = 16, ROWS = 500 }; // looked at between two looks at the clock; ROWS is the LIMIT below

enum ds_class ds_registry_watch_init(ds_registry *r, ds_registry_watch *w, ds_err *e)
{
    enum ds_class rc = ds_registry_refresh(r, e);
    if (!rc)
        *w = (ds_registry_watch){.seen = r->change, .ca = SIZE_MAX, .topics_changed = true};
    return rc;
}

// Who holds the name now may be another certificate's holder: it comes again and is admitted.
static enum ds_class tell_changed(ds_registry *r, int64_t from, int64_t to, ds_registry_name_fn fn, void *arg,
                                  ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql,
                                    "SELECT name FROM device WHERE changed > ? AND changed <= ? AND changed > 0 "
                                    "AND state <> 1 ORDER BY changed",
                                    DS_ARGS(DS_INT(from), DS_INT(to)), &q, e);
    while (!rc && more) {
        char name[65];
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_sql_text(q, 0, name, sizeof name);
        fn(arg, name);
    }
    return rc;
}

static enum ds_class is_out(ds_registry *r, const ds_known_ca *ca, ds_sql_rows *q, bool *ret, ds_err *e)
{
    uint8_t id[32];
    ds_expected x;
    *ret = !ca->info.active;
    if (*ret)
        return DS_OK;
    ds_sql_blob(q, 1, id, sizeof id);
    enum ds_class rc = ds_registry_find_expected(r, ca->number, id, &x, e);
    *ret = !rc && ds_registry_judge(ca, &x);
    return rc;
}

// *next: behind the last row that was looked at; 0 where there is no further one.
static enum ds_class tell_rows(ds_registry *r, const ds_known_ca *ca, int64_t *next, ds_registry_name_fn fn, void *arg,
                               ds_err *e)
{
    ds_sql_rows *q;
    bool more = true, out = false;
    int64_t from = *next, behind = 0;
    int rows = 0;
    enum ds_class rc = ds_sql_query(&r->sql,
                                    "SELECT name, id, number, state FROM device WHERE ca = ? AND number >= ? "
                                    "ORDER BY number LIMIT 500",
                                    DS_ARGS(DS_INT(ca->number), DS_INT(from)), &q, e);
    while (!rc && more) {
        char name[65];
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        rows++;
        behind = ds_sql_int(q, 2) + 1;
        if (ds_sql_int(q, 3) != DS_REGISTRY_ACTIVE)
            continue;
        rc = is_out(r, ca, q, &out, e);
        ds_sql_text(q, 0, name, sizeof name);
        if (rc)
            ds_sql_done(q);
        else if (out)
            fn(arg, name);
    }
    if (!rc)
        *next = rows < ROWS ? 0 : behind;
    return rc;
}

// Have CAs changed since? Then everybody of now is gone through; who comes later is judged as he comes.
static void begin_scan(const ds_registry *r, ds_registry_watch *w)
{
    bool changed = false;
    w->topics_changed = true;
    for (size_t i = 0; i < r->ca_count; i++)
        changed |= r->cas[i].changed > w->seen;
    if (!changed)
        return;
    if (w->ca > r->ca_count) // else an earlier change was not gone through to the end
        w->since = w->seen;
    w->ca = 1;
    w->next = 1;
}

static enum ds_class scan_some(ds_registry *r, ds_registry_watch *w, ds_registry_name_fn fn, void *arg, ds_err *e)
{
    const ds_known_ca *ca = &r->cas[w->ca - 1];
    bool admits_all = ca->info.active && !ds_registry_asks_log(ca);
    int64_t next = w->next;
    enum ds_class rc = DS_OK;
    if (ca->changed <= w->since || admits_all)
        next = 0;
    else
        rc = tell_rows(r, ca, &next, fn, arg, e);
    if (rc)
        return rc;
    w->next = next ? next : 1;
    w->ca += next ? 0 : 1;
    return DS_OK;
}

// Services that were revoked. Once: a later certificate of that name is not to be thrown out for it.
static enum ds_class tell_services(ds_registry *r, ds_registry_name_fn fn, void *arg, ds_err *e)
{
    for (size_t i = r->service_count; i-- > 0;) {
        const ds_service *s = &r->services[i];
        int64_t revoked = 0;
        enum ds_class rc = ds_sql_number(&r->sql,
                                         "SELECT (SELECT count(*) FROM refused WHERE id = ?) + "
                                         "(SELECT count(*) FROM revoked_serial WHERE ca = ? AND serial = ?)",
                                         DS_ARGS(DS_BLOB(s->id, 32), DS_INT(s->ca), DS_BLOB(s->serial, s->serial_len)),
                                         0, &revoked, e);
        if (rc)
            return rc;
        if (!revoked)
            continue;
        fn(arg, s->name);
        r->services[i] = r->services[--r->service_count];
    }
    return DS_OK;
}

enum ds_class ds_registry_watch_next(ds_registry *r, ds_registry_watch *w, int64_t budget_ms, ds_registry_name_fn fn,
                                     void *arg, bool *ret_more, ds_err *e)
{
    int64_t until = ds_now_ms() + budget_ms;
    *ret_more = false;
    enum ds_class rc = ds_registry_refresh(r, e);
    if (!rc && w->seen < r->change) {
        begin_scan(r, w);
        rc = tell_services(r, fn, arg, e);
    }
    for (; !rc && w->seen < r->change && ds_now_ms() <= until;) {
        int64_t to = r->change - w->seen < CHANGES ? r->change : w->seen + CHANGES;
        rc = tell_changed(r, w->seen, to, fn, arg, e);
        if (!rc)
            w->seen = to;
    }
    while (!rc && w->ca <= r->ca_count && ds_now_ms() <= until)
        rc = scan_some(r, w, fn, arg, e);
    *ret_more = w->seen < r->change || w->ca <= r->ca_count;
    return rc;
}
