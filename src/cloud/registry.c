// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The registry's file and its CAs; see registry.h.
#include "src/cloud/internal.h"
#include "src/base/clock.h"
#include "src/pki/cert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCHEMA                                                                                                     \
    "CREATE TABLE ca("                                                                                             \
    "id BLOB PRIMARY KEY CHECK(length(id) = 32),"                                                                  \
    "role INTEGER NOT NULL CHECK(role BETWEEN 1 AND 3),"                                                           \
    "der BLOB NOT NULL,"                                                                                           \
    "subject TEXT NOT NULL,"                                                                                       \
    "active INTEGER NOT NULL DEFAULT 1 CHECK(active IN (0, 1)),"                                                   \
    "auto_registration INTEGER NOT NULL CHECK(auto_registration IN (0, 1)),"                                       \
    "registered_at INTEGER NOT NULL) STRICT;"                                                                      \
    "CREATE TABLE device("                                                                                         \
    "number INTEGER PRIMARY KEY,"                                                                                  \
    "id BLOB NOT NULL UNIQUE CHECK(length(id) = 32),"                                                              \
    "name TEXT NOT NULL CHECK(name <> ''),"                                                                        \
    "ca BLOB NOT NULL REFERENCES ca(id),"                                                                          \
    "state INTEGER NOT NULL CHECK(state BETWEEN 1 AND 3),"                                                         \
    "der BLOB NOT NULL,"                                                                                           \
    "registered_at INTEGER NOT NULL,"                                                                              \
    "last_seen INTEGER NOT NULL) STRICT;"                                                                          \
    "CREATE UNIQUE INDEX device_one_active ON device(name) WHERE state = 1;"                                       \
    "CREATE INDEX device_name ON device(name);"                                                                    \
    "CREATE TRIGGER device_fixed BEFORE UPDATE ON device WHEN NEW.number <> OLD.number OR NEW.id <> OLD.id"        \
    " OR NEW.name <> OLD.name OR NEW.ca <> OLD.ca OR NEW.der <> OLD.der OR NEW.registered_at <> OLD.registered_at" \
    " OR (OLD.state = 3 AND NEW.state <> 3)"                                                                       \
    " BEGIN SELECT RAISE(ABORT, 'a registration is never changed, and a revoked one stays revoked'); END;"         \
    "CREATE TRIGGER device_kept BEFORE DELETE ON device"                                                           \
    " BEGIN SELECT RAISE(ABORT, 'a registration is never removed'); END;"                                          \
    "CREATE TABLE refused("                                                                                        \
    "id BLOB PRIMARY KEY CHECK(length(id) = 32),"                                                                  \
    "refused_at INTEGER NOT NULL) STRICT;"                                                                         \
    "CREATE TRIGGER refused_kept BEFORE DELETE ON refused"                                                         \
    " BEGIN SELECT RAISE(ABORT, 'a refusal is never removed'); END;"                                               \
    "CREATE TRIGGER ca_kept BEFORE DELETE ON ca"                                                                   \
    " BEGIN SELECT RAISE(ABORT, 'a CA is never removed; make it inactive'); END;"

static const ds_sql_schema schema = {
    .what = "registry",
    .application_id = 0x64735247, // "dsRG"
    .version = 1,
    .script = SCHEMA,
};

const char *ds_registry_role_name(enum ds_registry_role role)
{
    static const char *const names[] = {"unknown", "devices", "services", "anchor"};
    return (size_t)role < sizeof names / sizeof *names ? names[role] : "unknown";
}

const char *ds_registry_state_name(enum ds_registry_state state)
{
    static const char *const names[] = {"unknown", "active", "inactive", "revoked"};
    return (size_t)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static enum ds_class open_as(const char *path, bool read_only, ds_registry **ret, ds_err *e)
{
    ds_registry *r = ds_alloc(sizeof *r);
    enum ds_class rc = ds_sql_open(&r->sql, path, &schema, read_only, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "PRAGMA data_version", NULL, 0, &r->data_version, e);
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
    ds_sql_close(&r->sql);
    free(r);
}

static enum ds_class insert_ca(ds_registry *r, X509 *ca, enum ds_registry_role role, bool auto_registration,
                               uint8_t ret_id[32], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf der = {0};
    ds_cert_info info;
    int64_t had = 0;
    enum ds_class rc = ds_cert_der(ca, &der, e);
    if (!rc)
        rc = ds_cert_describe(ca, &info, e);
    if (!rc)
        rc = ds_sql_number(&r->sql, "SELECT role FROM ca WHERE id = ?", DS_ARGS(DS_BLOB(info.fingerprint, 32)), 0, &had,
                           e);
    if (rc)
        return rc;
    memcpy(ret_id, info.fingerprint, 32);
    if (had && had != (int64_t)role)
        return ds_fail(e, DS_POLICY, "%s: is registered already, as %s", info.subject,
                       ds_registry_role_name((enum ds_registry_role)had));
    if (had)
        return ds_sql_run(&r->sql, "UPDATE ca SET auto_registration = ? WHERE id = ?",
                          DS_ARGS(DS_INT(auto_registration ? 1 : 0), DS_BLOB(info.fingerprint, 32)), e);
    return ds_sql_run(
        &r->sql, "INSERT INTO ca(id, role, der, subject, auto_registration, registered_at) VALUES(?, ?, ?, ?, ?, ?)",
        DS_ARGS(DS_BLOB(info.fingerprint, 32), DS_INT(role), DS_BLOB(der.ptr, der.len), DS_TEXT(info.subject),
                DS_INT(auto_registration ? 1 : 0), DS_INT(ds_utc_now())),
        e);
}

enum ds_class ds_registry_add_ca(ds_registry *r, ds_view certificate, enum ds_registry_role role,
                                 bool auto_registration, uint8_t ret_id[32], ds_err *e)
{
    uint8_t id[32];
    DS_CLEANUP_X509 X509 *ca = NULL;
    if (ds_cert_parse(certificate, &ca, e))
        return DS_INPUT;
    if (ds_admission_ca(ca, e)) {
        if (e)
            e->cls = DS_INPUT;
        return DS_INPUT;
    }
    enum ds_class rc = ds_sql_begin(&r->sql, e);
    if (rc)
        return rc;
    rc = ds_sql_end(&r->sql, insert_ca(r, ca, role, auto_registration, id, e), e);
    if (!rc)
        memcpy(ret_id, id, sizeof id);
    return rc;
}

enum ds_class ds_registry_set_ca(ds_registry *r, const uint8_t id[32], bool active, ds_err *e)
{
    enum ds_class rc = ds_sql_run(&r->sql, "UPDATE ca SET active = ? WHERE id = ?",
                                  DS_ARGS(DS_INT(active ? 1 : 0), DS_BLOB(id, 32)), e);
    if (!rc && ds_sql_changes(&r->sql) == 0)
        rc = ds_fail(e, DS_INPUT, "the registry knows no such CA");
    return rc;
}

enum ds_class ds_registry_each_ca(ds_registry *r, ds_registry_ca_fn fn, void *arg, ds_err *e)
{
    ds_sql_rows *q;
    bool more = true;
    enum ds_class rc = ds_sql_query(&r->sql,
                                    "SELECT id, role, active, auto_registration, registered_at, subject, der FROM ca "
                                    "ORDER BY registered_at, id",
                                    NULL, &q, e);
    while (!rc && more) {
        rc = ds_sql_next(&r->sql, q, &more, e);
        if (rc || !more)
            break;
        ds_registry_ca ca = {.role = (enum ds_registry_role)ds_sql_int(q, 1),
                             .active = ds_sql_int(q, 2) != 0,
                             .auto_registration = ds_sql_int(q, 3) != 0,
                             .registered_utc = ds_sql_int(q, 4),
                             .der = ds_sql_view(q, 6)};
        ds_sql_blob(q, 0, ca.id, sizeof ca.id);
        ds_sql_text(q, 5, ca.subject, sizeof ca.subject);
        if (!fn(arg, &ca)) {
            ds_sql_done(q);
            break;
        }
    }
    return rc;
}

enum ds_class ds_registry_changed(ds_registry *r, bool *ret, ds_err *e)
{
    int64_t now = 0;
    enum ds_class rc = ds_sql_number(&r->sql, "PRAGMA data_version", NULL, 0, &now, e);
    if (!rc) {
        *ret = now != r->data_version;
        r->data_version = now;
    }
    return rc;
}
