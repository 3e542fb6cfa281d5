// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The registry's file, its words, its settings, and the CAs as they are kept in memory: read again when something was
// changed that may concern them; see registry.h.
#include "src/cloud/internal.h"
#include "src/cloud/topics.h"
#include "src/pki/cert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *name_in(const char *const *names, size_t count, unsigned value)
{
    return value < count ? names[value] : "unknown";
}
#define NAME_IN(names, value) name_in(names, sizeof(names) / sizeof *(names), (unsigned)(value))

const char *ds_registry_role_name(enum ds_registry_role role)
{
    static const char *const names[] = {"unknown", "devices", "services", "anchor"};
    return NAME_IN(names, role);
}

const char *ds_registry_state_name(enum ds_registry_state state)
{
    static const char *const names[] = {"unknown", "active", "inactive", "revoked", "pending"};
    return NAME_IN(names, state);
}

const char *ds_registry_registration_name(enum ds_registry_registration registration)
{
    static const char *const names[] = {"off", "auto", "pending"};
    return NAME_IN(names, registration);
}

const char *ds_registry_policy_name(enum ds_registry_policy policy)
{
    static const char *const names[] = {"unknown", "jitr", "logged", "manifest"};
    return NAME_IN(names, policy);
}

static enum ds_class open_as(const char *path, bool read_only, ds_registry **ret, ds_err *e)
{
    ds_registry *r = ds_alloc(sizeof *r);
    *r = (ds_registry){.change = -1};
    enum ds_class rc = ds_sql_open(&r->sql, path, &ds_registry_schema, read_only, e);
    if (!rc)
        rc = ds_registry_to_version(&r->sql, read_only, e);
    if (rc) {
        ds_registry_close(r);
        return rc;
    }
    *ret = r;
    return DS_OK;
}

enum ds_class ds_registry_open(const char *path, bool create, ds_registry **ret, ds_err *e)
{
    if (!create && access(path, F_OK) != 0) {
        ds_fail(e, DS_STORE, "registry %s: does not exist", path);
        return ds_hint(e, "make it with: devstamp registry init");
    }
    return open_as(path, false, ret, e);
}

enum ds_class ds_registry_open_read_only(const char *path, ds_registry **ret, ds_err *e)
{
    return open_as(path, true, ret, e);
}

void ds_registry_close(ds_registry *r)
{
    if (!r)
        return;
    ds_registry_forget(r);
    ds_sql_close(&r->sql);
    free(r);
}

void ds_registry_wait_at_most(ds_registry *r, int ms)
{
    sqlite3_busy_timeout(r->sql.db, ms);
}

enum ds_class ds_registry_count_change(ds_registry *r, int64_t *ret, ds_err *e)
{
    enum ds_class rc = ds_sql_run(&r->sql, "UPDATE setting SET change = change + 1", NULL, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT change FROM setting", NULL, 0, ret, e);
    r->stale = true;
    return rc;
}

static void free_cas(ds_known_ca *cas, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        X509_free(cas[i].cert);
        ds_buf_free(&cas[i].isolated);
    }
    free(cas);
}

void ds_registry_forget(ds_registry *r)
{
    free_cas(r->cas, r->ca_count);
    r->cas = NULL;
    r->ca_count = 0;
    r->change = -1;
}

static enum ds_class read_isolations(ds_registry *r, ds_known_ca *ca, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql, "SELECT issued_from, issued_until, state FROM isolation WHERE ca = ?",
                                    DS_ARGS(DS_INT(ca->number)), &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        const ds_isolated i = {.from_utc = ds_sql_int(q, 0),
                               .until_utc = ds_sql_int(q, 1),
                               .state = (enum ds_registry_state)ds_sql_int(q, 2)};
        ds_buf_add(&ca->isolated, &i, sizeof i);
    }
    return rc;
}

static enum ds_class read_ca(ds_registry *r, int64_t number, ds_known_ca *ret, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    enum ds_class rc = ds_sql_query(&r->sql,
                                    "SELECT id, role, active, registration, policy, rate, registered_at, log_size, "
                                    "log_key IS NOT NULL, subject, der, changed FROM ca WHERE number = ?",
                                    DS_ARGS(DS_INT(number)), &q, e);
    if (!rc)
        rc = ds_sql_next(&r->sql, q, &more, e);
    if (rc || !more)
        return rc ? rc : ds_fail(e, DS_STORE, "registry %s: a CA is gone", r->sql.path);
    *ret = (ds_known_ca){.number = number,
                         .changed = ds_sql_int(q, 11),
                         .info = {.role = (enum ds_registry_role)ds_sql_int(q, 1),
                                  .active = ds_sql_int(q, 2) != 0,
                                  .registration = (enum ds_registry_registration)ds_sql_int(q, 3),
                                  .policy = (enum ds_registry_policy)ds_sql_int(q, 4),
                                  .rate = (unsigned)ds_sql_int(q, 5),
                                  .registered_utc = ds_sql_int(q, 6),
                                  .log_size = (uint64_t)ds_sql_int(q, 7),
                                  .log_key_known = ds_sql_int(q, 8) != 0}};
    ds_sql_blob(q, 0, ret->info.id, sizeof ret->info.id);
    ds_sql_text(q, 9, ret->info.subject, sizeof ret->info.subject);
    rc = ds_cert_parse(ds_sql_view(q, 10), &ret->cert, e);
    ds_sql_done(q);
    return rc ? ds_wrap(e, "registered CA %s", ret->info.subject) : read_isolations(r, ret, e);
}

// A flood goes on while CAs are read again.
static void keep_buckets(const ds_registry *r, ds_known_ca *ca)
{
    for (size_t i = 0; i < r->ca_count; i++)
        if (r->cas[i].number == ca->number) {
            ca->refusals = r->cas[i].refusals;
            ca->registrations = r->cas[i].registrations;
        }
}

static enum ds_class reload(ds_registry *r, int64_t change, ds_err *e)
{
    int64_t count = 0; // CAs are numbered from 1 and never removed
    enum ds_class rc = ds_sql_number(&r->sql, "SELECT max(number) FROM ca", NULL, 0, &count, e);
    if (rc)
        return rc;
    size_t done = 0, all = (size_t)count;
    ds_known_ca *cas = ds_alloc((all + 1) * sizeof *cas);
    for (; !rc && done < all; done++) {
        cas[done] = (ds_known_ca){0};
        rc = read_ca(r, (int64_t)done + 1, &cas[done], e);
        if (!rc)
            keep_buckets(r, &cas[done]);
    }
    if (rc) {
        free_cas(cas, done);
        return rc;
    }
    free_cas(r->cas, r->ca_count);
    r->cas = cas;
    r->ca_count = all;
    r->change = change;
    return DS_OK;
}

enum ds_class ds_registry_refresh(ds_registry *r, ds_err *e)
{
    int64_t version = 0, change = 0;
    enum ds_class rc = ds_sql_number(&r->sql, "PRAGMA data_version", NULL, 0, &version, e);
    if (rc || (version == r->data_version && !r->stale && r->change >= 0))
        return rc;
    rc = ds_sql_number(&r->sql, "SELECT change FROM setting", NULL, 0, &change, e);
    if (!rc && change != r->change)
        rc = reload(r, change, e);
    if (rc)
        return rc;
    r->data_version = version;
    r->stale = false;
    return DS_OK;
}

static enum ds_class store_topics(ds_registry *r, const char *topics, ds_err *e)
{
    int64_t change = 0;
    enum ds_class rc = ds_registry_count_change(r, &change, e);
    return rc ? rc : ds_sql_run(&r->sql, "UPDATE setting SET topics = ?", DS_ARGS(DS_TEXT(topics)), e);
}

enum ds_class ds_registry_set_topics(ds_registry *r, const char *topics, ds_err *e)
{
    ds_topics parsed;
    enum ds_class rc = ds_topics_parse(topics, &parsed, e);
    if (!rc)
        rc = ds_sql_begin(&r->sql, e);
    return rc ? rc : ds_sql_end(&r->sql, store_topics(r, topics, e), e);
}

enum ds_class ds_registry_topics(ds_registry *r, char ret[DS_TOPICS_TEXT], ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    enum ds_class rc = ds_sql_query(&r->sql, "SELECT topics FROM setting", NULL, &q, e);
    if (!rc)
        rc = ds_sql_next(&r->sql, q, &more, e);
    if (rc || !more)
        return rc ? rc : ds_fail(e, DS_STORE, "registry %s: has no settings", r->sql.path);
    ds_sql_text(q, 0, ret, DS_TOPICS_TEXT);
    ds_sql_done(q);
    return DS_OK;
}
