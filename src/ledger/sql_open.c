// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening and making an SQLite file; see sql.h. The file is made with mode 0600 before SQLite sees it, so that SQLite
// gives its -wal and -shm files the same mode.
#include "src/ledger/sql_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum ds_class make_private(ds_sql *s, ds_err *e)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s %s", s->what, s->path);
    close(fd);
    return DS_OK;
}

static enum ds_class open_file(ds_sql *s, bool read_only, ds_err *e)
{
    if (read_only && access(s->path, R_OK) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s %s", s->what, s->path);
    if (!read_only && make_private(s, e))
        return DS_STORE;
    int flags = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(s->path, &s->db, flags, NULL);
    if (rc != SQLITE_OK)
        return ds_sqlite_fail(s, rc, e);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, 5000);
    // A damaged or hostile file must not run code of its own choice.
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return DS_OK;
}

static enum ds_class script(ds_sql *s, const char *sql, ds_err *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? DS_OK : ds_sqlite_fail(s, rc, e);
}

// One transaction, so that a cut leaves an empty file, which is filled the next time.
static enum ds_class fill(ds_sql *s, const ds_sql_schema *schema, ds_err *e)
{
    DS_CLEANUP_FREE char *marks =
        ds_asprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", (int)schema->application_id, schema->version);
    enum ds_class rc = ds_sql_begin(s, e);
    if (rc)
        return rc;
    int64_t tables = 0; // somebody may have filled it while we waited for the lock
    rc = ds_sql_number(s, "SELECT count(*) FROM sqlite_schema", NULL, 0, &tables, e);
    if (!rc && !tables)
        rc = script(s, schema->script, e);
    if (!rc && !tables)
        rc = script(s, marks, e);
    return ds_sql_end(s, rc, e);
}

static enum ds_class recognise(ds_sql *s, const ds_sql_schema *schema, ds_err *e)
{
    int64_t id = 0, version = 0;
    enum ds_class rc = ds_sql_number(s, "PRAGMA application_id", NULL, 0, &id, e);
    if (!rc)
        rc = ds_sql_number(s, "PRAGMA user_version", NULL, 0, &version, e);
    if (rc)
        return rc;
    if (id != schema->application_id)
        return ds_fail(e, DS_STORE, "%s %s: is no %s", s->what, s->path, s->what);
    if (version > schema->version) {
        ds_fail(e, DS_STORE, "%s %s: has schema %lld, this program knows up to %d", s->what, s->path,
                (long long)version, schema->version);
        return ds_hint(e, "use the devstamp version that wrote it, or a newer one");
    }
    if (version < 1)
        return ds_fail(e, DS_STORE, "%s %s: has no schema version", s->what, s->path);
    return DS_OK;
}

static enum ds_class set_up(ds_sql *s, const ds_sql_schema *schema, bool read_only, ds_err *e)
{
    int64_t tables = 0;
    enum ds_class rc = ds_sql_number(s, "SELECT count(*) FROM sqlite_schema", NULL, 0, &tables, e);
    if (rc)
        return rc;
    if (!read_only && tables)
        rc = recognise(s, schema, e); // before anything is changed in a file that may not be ours
    if (!rc && !read_only)
        rc = script(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON", e);
    if (!rc && !read_only && !tables)
        rc = fill(s, schema, e);
    return rc ? rc : recognise(s, schema, e);
}

enum ds_class ds_sql_open(ds_sql *s, const char *path, const ds_sql_schema *schema, bool read_only, ds_err *e)
{
    *s = (ds_sql){.engine = &ds_sqlite_engine, .path = ds_strdup(path), .what = schema->what};
    s->sqlite = ds_alloc(sizeof *s->sqlite);
    enum ds_class rc = open_file(s, read_only, e);
    if (!rc)
        rc = set_up(s, schema, read_only, e);
    if (rc)
        ds_sql_close(s);
    return rc;
}
