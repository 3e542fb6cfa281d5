// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The registry's tables, and how a file of version 1 (before admission policies) becomes one of version 2: in one
// transaction, so that a cut leaves the old one. A device's row is small, because every connect reads one; its
// certificate lies apart.
#include "src/cloud/internal.h"
#include "src/ledger/sql_engine.h"
#include "src/cloud/topics.h"

#include <openssl/asn1.h>
#include <string.h>

#define SCHEMA                                                                                                        \
    "CREATE TABLE setting("                                                                                           \
    "one INTEGER PRIMARY KEY CHECK(one = 1),"                                                                         \
    "change INTEGER NOT NULL," /* counts changes that may concern who is connected */                                 \
    "topics TEXT NOT NULL) STRICT;"                                                                                   \
    "INSERT INTO setting VALUES(1, 0, '" DS_TOPICS_DEFAULT "');"                                                      \
    "CREATE TABLE ca("                                                                                                \
    "number INTEGER PRIMARY KEY,"                                                                                     \
    "id BLOB NOT NULL UNIQUE CHECK(length(id) = 32),"                                                                 \
    "role INTEGER NOT NULL CHECK(role BETWEEN 1 AND 3),"                                                              \
    "der BLOB NOT NULL,"                                                                                              \
    "subject TEXT NOT NULL,"                                                                                          \
    "active INTEGER NOT NULL DEFAULT 1 CHECK(active IN (0, 1)),"                                                      \
    "registration INTEGER NOT NULL CHECK(registration BETWEEN 0 AND 2),"                                              \
    "policy INTEGER NOT NULL DEFAULT 1 CHECK(policy BETWEEN 1 AND 3),"                                                \
    "rate INTEGER NOT NULL DEFAULT 0 CHECK(rate >= 0),"                                                               \
    "registered_at INTEGER NOT NULL,"                                                                                 \
    "log_size INTEGER NOT NULL DEFAULT 0,"                                                                            \
    "log_root BLOB CHECK(length(log_root) = 32),"                                                                     \
    "log_time INTEGER NOT NULL DEFAULT 0,"                                                                            \
    "log_key BLOB CHECK(length(log_key) = 32),"                                                                       \
    "crl_number BLOB,"                                                                                                \
    "crl_at INTEGER NOT NULL DEFAULT 0,"                                                                              \
    "changed INTEGER NOT NULL DEFAULT 0) STRICT;"                                                                     \
    "CREATE TRIGGER ca_kept BEFORE DELETE ON ca"                                                                      \
    " BEGIN SELECT RAISE(ABORT, 'a CA is never removed; make it inactive'); END;"                                     \
    "CREATE TABLE device("                                                                                            \
    "number INTEGER PRIMARY KEY,"                                                                                     \
    "id BLOB NOT NULL UNIQUE CHECK(length(id) = 32),"                                                                 \
    "name TEXT NOT NULL CHECK(name <> ''),"                                                                           \
    "ca INTEGER NOT NULL REFERENCES ca(number),"                                                                      \
    "serial BLOB NOT NULL,"                                                                                           \
    "state INTEGER NOT NULL CHECK(state BETWEEN 1 AND 4),"                                                            \
    "registered_at INTEGER NOT NULL,"                                                                                 \
    "last_seen INTEGER NOT NULL,"                                                                                     \
    "changed INTEGER NOT NULL DEFAULT 0) STRICT;"                                                                     \
    "CREATE UNIQUE INDEX device_one_active ON device(name) WHERE state = 1;"                                          \
    "CREATE INDEX device_name ON device(name);"                                                                       \
    "CREATE INDEX device_serial ON device(ca, serial);"                                                               \
    "CREATE INDEX device_ca ON device(ca);"                                                                           \
    "CREATE INDEX device_changed ON device(changed) WHERE changed > 0;"                                               \
    "CREATE TRIGGER device_fixed BEFORE UPDATE ON device WHEN NEW.number <> OLD.number OR NEW.id <> OLD.id"           \
    " OR NEW.name <> OLD.name OR NEW.ca <> OLD.ca OR NEW.serial <> OLD.serial"                                        \
    " OR NEW.registered_at <> OLD.registered_at"                                                                      \
    " OR (OLD.state = 3 AND NEW.state <> 3) OR (OLD.state <> 4 AND NEW.state = 4)"                                    \
    " BEGIN SELECT RAISE(ABORT, 'a registration is never changed, and a revoked one stays revoked'); END;"            \
    "CREATE TRIGGER device_kept BEFORE DELETE ON device"                                                              \
    " BEGIN SELECT RAISE(ABORT, 'a registration is never removed'); END;"                                             \
    "CREATE TABLE certificate("                                                                                       \
    "device INTEGER PRIMARY KEY REFERENCES device(number),"                                                           \
    "der BLOB NOT NULL) STRICT;"                                                                                      \
    "CREATE TRIGGER certificate_fixed BEFORE UPDATE ON certificate"                                                   \
    " BEGIN SELECT RAISE(ABORT, 'a certificate is never changed'); END;"                                              \
    "CREATE TRIGGER certificate_kept BEFORE DELETE ON certificate"                                                    \
    " BEGIN SELECT RAISE(ABORT, 'a certificate is never removed'); END;"                                              \
    "CREATE TABLE refused("                                                                                           \
    "id BLOB PRIMARY KEY CHECK(length(id) = 32),"                                                                     \
    "refused_at INTEGER NOT NULL) STRICT;"                                                                            \
    "CREATE TRIGGER refused_kept BEFORE DELETE ON refused"                                                            \
    " BEGIN SELECT RAISE(ABORT, 'a refusal is never removed'); END;" /* by the serial number in a CRL */              \
    "CREATE TABLE revoked_serial("                                                                                    \
    "ca INTEGER NOT NULL REFERENCES ca(number),"                                                                      \
    "serial BLOB NOT NULL,"                                                                                           \
    "revoked_at INTEGER NOT NULL,"                                                                                    \
    "PRIMARY KEY(ca, serial)) STRICT, WITHOUT ROWID;"                                                                 \
    "CREATE TRIGGER revoked_serial_kept BEFORE DELETE ON revoked_serial"                                              \
    " BEGIN SELECT RAISE(ABORT, 'a revocation is never removed'); END;" /* what an issuance log or a manifest says */ \
    "CREATE TABLE expected("                                                                                          \
    "ca INTEGER NOT NULL REFERENCES ca(number),"                                                                      \
    "id BLOB NOT NULL CHECK(length(id) = 32),"                                                                        \
    "listed INTEGER NOT NULL DEFAULT 0 CHECK(listed IN (0, 1))," /* by a manifest */                                  \
    "entry INTEGER,"                                             /* in the log */                                     \
    "issued_at INTEGER,"                                                                                              \
    "name TEXT,"                                                                                                      \
    "PRIMARY KEY(ca, id)) STRICT, WITHOUT ROWID;"                                                                     \
    "CREATE TRIGGER expected_kept BEFORE DELETE ON expected"                                                          \
    " BEGIN SELECT RAISE(ABORT, 'what was expected is never removed; revoke it'); END;"                               \
    "CREATE TABLE isolation("                                                                                         \
    "number INTEGER PRIMARY KEY,"                                                                                     \
    "ca INTEGER NOT NULL REFERENCES ca(number),"                                                                      \
    "issued_from INTEGER NOT NULL,"                                                                                   \
    "issued_until INTEGER NOT NULL CHECK(issued_until > issued_from),"                                                \
    "state INTEGER NOT NULL CHECK(state IN (2, 3)),"                                                                  \
    "set_at INTEGER NOT NULL,"                                                                                        \
    "UNIQUE(ca, issued_from, issued_until)) STRICT;"                                                                  \
    "CREATE TRIGGER isolation_fixed BEFORE UPDATE ON isolation WHEN OLD.state = 3 AND NEW.state <> 3"                 \
    " BEGIN SELECT RAISE(ABORT, 'what was revoked stays revoked'); END;"                                              \
    "CREATE TRIGGER isolation_kept BEFORE DELETE ON isolation WHEN OLD.state = 3"                                     \
    " BEGIN SELECT RAISE(ABORT, 'what was revoked stays revoked'); END;"

const ds_sql_schema ds_registry_schema = {
    .what = "registry",
    .application_id = 0x64735247, // "dsRG"
    .version = 2,
    .script = SCHEMA,
};

static const char set_aside[] = "DROP TRIGGER device_fixed; DROP TRIGGER device_kept; DROP TRIGGER refused_kept;"
                                "DROP TRIGGER ca_kept; DROP INDEX device_one_active; DROP INDEX device_name;"
                                "ALTER TABLE device RENAME TO device_1; ALTER TABLE ca RENAME TO ca_1;"
                                "ALTER TABLE refused RENAME TO refused_1;";

static const char carry_over[] =
    "INSERT INTO ca(id, role, der, subject, active, registration, registered_at)"
    " SELECT id, role, der, subject, active, auto_registration, registered_at FROM ca_1 ORDER BY registered_at, id;"
    "INSERT INTO device(number, id, name, ca, serial, state, registered_at, last_seen)"
    " SELECT d.number, d.id, d.name, ca.number, certificate_serial(d.der), d.state, d.registered_at, d.last_seen"
    " FROM device_1 d JOIN ca ON ca.id = d.ca ORDER BY d.number;"
    "INSERT INTO certificate(device, der) SELECT number, der FROM device_1 ORDER BY number;"
    "INSERT INTO refused SELECT id, refused_at FROM refused_1;"
    "DROP TABLE device_1; DROP TABLE ca_1; DROP TABLE refused_1;"
    "PRAGMA user_version=2";

size_t ds_registry_serial(const X509 *cert, uint8_t ret[DS_REGISTRY_SERIAL])
{
    const ASN1_INTEGER *n = X509_get0_serialNumber(cert);
    const unsigned char *p = ASN1_STRING_get0_data(n);
    size_t len = (size_t)ASN1_STRING_length(n);
    for (; len > 0 && *p == 0; p++)
        len--;
    if (len > DS_REGISTRY_SERIAL)
        return 0;
    if (len)
        memcpy(ret, p, len);
    return len;
}

static void sql_serial(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    uint8_t serial[DS_REGISTRY_SERIAL];
    const unsigned char *p = sqlite3_value_blob(argv[0]);
    X509 *cert = argc == 1 && p ? d2i_X509(NULL, &p, sqlite3_value_bytes(argv[0])) : NULL;
    size_t len = cert ? ds_registry_serial(cert, serial) : 0;
    X509_free(cert);
    sqlite3_result_blob(ctx, serial, (int)len, SQLITE_TRANSIENT);
}

static enum ds_class script(ds_sql *s, const char *sql, ds_err *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? DS_OK : ds_sqlite_fail(s, rc, e);
}

// Somebody else may have done it while we waited for the lock.
static enum ds_class migrate_locked(ds_sql *s, ds_err *e)
{
    int64_t version = 0, broken = 0;
    enum ds_class rc = ds_sql_number(s, "PRAGMA user_version", NULL, 0, &version, e);
    if (rc || version != 1)
        return rc;
    rc = script(s, set_aside, e);
    if (!rc)
        rc = script(s, SCHEMA, e);
    if (!rc)
        rc = script(s, carry_over, e);
    if (!rc)
        rc = ds_sql_number(s, "SELECT count(*) FROM pragma_foreign_key_check", NULL, 0, &broken, e);
    if (!rc && broken)
        rc = ds_fail(e, DS_STORE, "registry %s: %lld rows name a CA that is not there", s->path, (long long)broken);
    return rc;
}

static enum ds_class migrate(ds_sql *s, ds_err *e)
{
    enum ds_class rc = script(s, "PRAGMA foreign_keys=OFF", e);
    if (rc)
        return rc;
    sqlite3_create_function(s->db, "certificate_serial", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, sql_serial, NULL,
                            NULL);
    rc = ds_sql_begin(s, e);
    if (!rc)
        rc = ds_sql_end(s, migrate_locked(s, e), e);
    if (rc)
        return ds_wrap(e, "bring the registry to version 2");
    return script(s, "PRAGMA foreign_keys=ON", e);
}

enum ds_class ds_registry_to_version(ds_sql *s, bool read_only, ds_err *e)
{
    int64_t version = 0;
    enum ds_class rc = ds_sql_number(s, "PRAGMA user_version", NULL, 0, &version, e);
    if (rc || version == ds_registry_schema.version)
        return rc;
    if (!read_only)
        return migrate(s, e);
    ds_fail(e, DS_STORE, "registry %s: has schema %lld, and is only read here", s->path, (long long)version);
    return ds_hint(e, "start the endpoint, or run any command that changes the registry: that brings it up to date");
}
