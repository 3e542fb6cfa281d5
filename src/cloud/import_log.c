// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Issuance logs for the registry; see registry_import.h. All of the log is verified before anything is written; then it
// is written in small transactions, so that the broker is not held up, and how far it got last of all.
#include "src/cloud/internal.h"
#include "src/cloud/registry_import.h"
#include "src/signer/log_head.h"
#include "src/signer/log_verify.h"

#include <openssl/err.h>
#include <string.h>

enum { BATCH = 1000 };

// What is kept of an entry: this, and the name behind it.
typedef struct item {
    uint8_t id[32];
    uint64_t entry;
    int64_t issued_utc;
    uint8_t name_len;
} item;

typedef struct import {
    int64_t ca;
    uint8_t ca_id[32];
    uint64_t had;   // entries imported before
    uint64_t limit; // the last entry that may be taken
    int64_t latest; // time of the latest entry so far
    uint8_t root[32], key[32];
    bool has_key;
    ds_log_head head;
    bool has_head;
    ds_buf items;
} import;

static enum ds_class read_state(ds_registry *r, import *m, ds_err *e)
{
    ds_sql_rows *q;
    bool more = false;
    enum ds_class rc = ds_sql_query(&r->sql, "SELECT log_size, log_time, log_root, log_key FROM ca WHERE number = ?",
                                    DS_ARGS(DS_INT(m->ca)), &q, e);
    if (!rc)
        rc = ds_sql_next(&r->sql, q, &more, e);
    if (rc || !more)
        return rc ? rc : ds_fail(e, DS_STORE, "registry %s: a CA is gone", r->sql.path);
    m->had = (uint64_t)ds_sql_int(q, 0);
    m->latest = ds_sql_int(q, 1);
    ds_sql_blob(q, 2, m->root, sizeof m->root);
    m->has_key = ds_sql_blob(q, 3, m->key, sizeof m->key);
    ds_sql_done(q);
    return DS_OK;
}

static enum ds_class read_head(const char *log, const char *path, import *m, ds_err *e)
{
    DS_CLEANUP_FREE char *beside = ds_asprintf("%s.head", log);
    enum ds_class rc = ds_log_head_read(path ? path : beside, &m->head, &m->has_head, e);
    if (rc)
        return rc;
    if (path && !m->has_head)
        return ds_fail(e, DS_INPUT, "head %s: does not exist", path);
    if (m->has_head && memcmp(m->head.ca, m->ca_id, 32) != 0)
        return ds_fail(e, DS_INPUT, "head %s: is of the log of another CA", path ? path : beside);
    m->limit = UINT64_MAX;
    if (!m->has_key)
        return DS_OK;
    if (!m->has_head || !m->head.is_signed || memcmp(m->head.key_digest, m->key, 32) != 0)
        return ds_hint((ds_fail(e, DS_POLICY, "head %s: %s", path ? path : beside,
                                !m->has_head         ? "does not exist"
                                : !m->head.is_signed ? "is not signed"
                                                     : "is signed by another key than this CA's log key"),
                        e),
                       "bring the head that lies beside the signer's log, with the log");
    m->limit = m->head.size;
    return DS_OK;
}

// A name that cannot be read is left out: the certificate is logged all the same.
static size_t name_of(ds_view der, char ret[65])
{
    ds_err why = DS_ERR_INIT;
    const unsigned char *p = der.ptr;
    X509 *cert = d2i_X509(NULL, &p, (long)der.len);
    bool good = cert && ds_admission_name(cert, ret, &why) == DS_OK;
    X509_free(cert);
    ERR_clear_error();
    return good ? strlen(ret) : 0;
}

static void gather(void *arg, const ds_log_record *record)
{
    import *m = arg;
    char name[65];
    if (record->number <= m->had || record->number > m->limit)
        return;
    if (record->signed_utc > m->latest)
        m->latest = record->signed_utc;
    size_t len = name_of(record->cert, name);
    item i = {.entry = record->number, .issued_utc = m->latest, .name_len = (uint8_t)len};
    EVP_Digest(record->cert.ptr, record->cert.len, i.id, NULL, EVP_sha256(), NULL);
    ds_buf_add(&m->items, &i, sizeof i);
    ds_buf_add(&m->items, name, len);
}

static enum ds_class verify(const char *log, import *m, ds_registry_log_result *ret, ds_err *e)
{
    ds_log_known known[2] = {{.from = "the last import", .size = m->had}, {.from = "its head", .size = m->head.size}};
    ds_log_report report;
    memcpy(known[0].root, m->root, 32);
    memcpy(known[1].root, m->head.root, 32);
    size_t first = m->had ? 0 : 1; // nothing is known of an empty log
    const ds_log_reading all = {
        .path = log, .known = known + first, .known_count = (m->has_head ? 2 : 1) - first, .each = gather, .arg = m};
    enum ds_class rc = ds_log_verify(&all, &report, e);
    if (rc)
        return rc;
    uint64_t end = report.entries < m->limit ? report.entries : m->limit;
    memcpy(m->root, end == report.entries ? report.root : m->head.root, 32);
    ret->entries = end > m->had ? end : m->had;
    ret->fresh = ret->entries - m->had;
    ret->waiting = report.entries - ret->entries;
    return DS_OK;
}

static enum ds_class write_some(ds_registry *r, const import *m, size_t *at, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (unsigned n = 0; !rc && n < BATCH && *at < m->items.len; n++) {
        item i;
        char name[65];
        memcpy(&i, m->items.ptr + *at, sizeof i);
        memcpy(name, m->items.ptr + *at + sizeof i, i.name_len);
        name[i.name_len] = '\0';
        *at += sizeof i + i.name_len;
        rc = ds_sql_run(
            &r->sql,
            "INSERT INTO expected(ca, id, entry, issued_at, name) VALUES(?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET entry = excluded.entry, issued_at = excluded.issued_at, name = excluded.name "
            "WHERE entry IS NULL",
            DS_ARGS(DS_INT(m->ca), DS_BLOB(i.id, 32), DS_INT((int64_t)i.entry), DS_INT(i.issued_utc), DS_TEXT(name)),
            e);
    }
    return rc;
}

static enum ds_class write_all(ds_registry *r, const import *m, uint64_t entries, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t at = 0; !rc && at < m->items.len;) {
        rc = ds_sql_begin(&r->sql, e);
        if (!rc)
            rc = ds_sql_end(&r->sql, write_some(r, m, &at, e), e);
    }
    if (!rc)
        rc = ds_sql_run(&r->sql,
                        "UPDATE ca SET log_size = ?2, log_root = ?3, log_time = ?4 WHERE number = ?1 AND log_size < ?2",
                        DS_ARGS(DS_INT(m->ca), DS_INT((int64_t)entries), DS_BLOB(m->root, 32), DS_INT(m->latest)), e);
    ds_registry_forget(r); // what is kept in memory names the old size
    return rc;
}

static enum ds_class run(ds_registry *r, const char *log, const char *head, import *m, ds_registry_log_result *ret,
                         ds_err *e)
{
    const ds_known_ca *ca = NULL;
    enum ds_class rc = ds_log_ca_of(log, m->ca_id, e);
    if (!rc && ds_registry_find_ca(r, m->ca_id, &ca, e))
        rc = ds_fail(e, DS_INPUT, "issuance log %s: its CA is not registered", log);
    if (!rc && ca->info.role != DS_REGISTRY_DEVICES)
        rc = ds_fail(e, DS_INPUT, "issuance log %s: its CA is not registered as a CA of devices", log);
    if (rc)
        return rc;
    m->ca = ca->number;
    memcpy(ret->ca, m->ca_id, 32);
    rc = read_state(r, m, e);
    if (!rc)
        rc = read_head(log, head, m, e);
    if (!rc)
        rc = verify(log, m, ret, e);
    return rc || !ret->fresh ? rc : write_all(r, m, ret->entries, e);
}

enum ds_class ds_registry_import_log(ds_registry *r, const char *log, const char *head, ds_registry_log_result *ret,
                                     ds_err *e)
{
import m = {0 };
    *ret = (ds_registry_log_result){0};
    enum ds_class rc = run(r, log, head, &m, ret, e);
    ds_buf_free(&m.items);
    return rc;
}
