// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who is to be disconnected. A device's row keeps the number of its last change, so that a million others are not
// looked at; only where a CA changed (or what is known of its log) all rows are gone through, a part at a time.
#include "src/base/clock.h"
#include "src/cloud/internal.h"

enum { CHANGES = 16, ROWS = 500 }; // looked at between two looks at the clock

enum ds_class ds_registry_watch_init(ds_registry *r, ds_registry_watch *w, ds_err *e)
{
    enum ds_class rc = ds_registry_refresh(r, e);
    if (!rc)
        *w = (ds_registry_watch){.seen = r->change, .next = 1, .topics_changed = true};
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

static enum ds_class is_out(ds_registry *r, ds_sql_rows *q, bool *ret, ds_err *e)
{
    int64_t number = ds_sql_int(q, 1);
    uint8_t id[32];
    ds_expected x;
    *ret = true;
    if (number < 1 || (size_t)number > r->ca_count || !r->cas[number - 1].info.active)
        return DS_OK;
    const ds_known_ca *ca = &r->cas[number - 1];
    *ret = false;
    if (!ds_registry_asks_log(ca))
        return DS_OK;
    ds_sql_blob(q, 2, id, sizeof id);
    enum ds_class rc = ds_registry_find_expected(r, number, id, &x, e);
    *ret = !rc && ds_registry_judge(ca, &x);
    return rc;
}

static enum ds_class tell_rows(ds_registry *r, int64_t from, ds_registry_name_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true, out = false;
    enum ds_class rc =
        ds_sql_query(&r->sql, "SELECT name, ca, id FROM device WHERE number >= ? AND number < ? AND state = 1",
                     DS_ARGS(DS_INT(from), DS_INT(from + ROWS)), &q, e);
    while (!rc && more) {
        char name[65];
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        rc = is_out(r, q, &out, e);
        ds_sql_text(q, 0, name, sizeof name);
        if (rc)
            ds_sql_done(q);
        else if (out)
            fn(arg, name);
    }
    return rc;
}

// Have the CAs changed since? Then everybody of now is gone through; who comes later is judged as he comes.
static enum ds_class begin_scan(ds_registry *r, ds_registry_watch *w, ds_err *e)
{
    int64_t changed = 0;
    w->topics_changed = true;
    enum ds_class rc =
        ds_sql_number(&r->sql, "SELECT count(*) FROM ca WHERE changed > ?", DS_ARGS(DS_INT(w->seen)), 0, &changed, e);
    if (rc || !changed)
        return rc;
    w->next = 1;
    return ds_sql_number(&r->sql, "SELECT max(number) FROM device", NULL, 0, &w->last, e);
}

enum ds_class ds_registry_watch_next(ds_registry *r, ds_registry_watch *w, int64_t budget_ms, ds_registry_name_fn fn,
                                     void *arg, bool *ret_more, ds_err *e)
{
    int64_t until = ds_now_ms() + budget_ms;
    *ret_more = false;
    enum ds_class rc = ds_registry_refresh(r, e);
    if (!rc && w->seen < r->change)
        rc = begin_scan(r, w, e);
    for (; !rc && w->seen < r->change && ds_now_ms() <= until;) {
        int64_t to = r->change - w->seen < CHANGES ? r->change : w->seen + CHANGES;
        rc = tell_changed(r, w->seen, to, fn, arg, e);
        if (!rc)
            w->seen = to;
    }
    while (!rc && w->next <= w->last && ds_now_ms() <= until) {
        rc = tell_rows(r, w->next, fn, arg, e);
        if (!rc)
            w->next += ROWS;
    }
    *ret_more = w->seen < r->change || w->next <= w->last;
    return rc;
}
