// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// For the ledger's tests: a ledger of its own for each test, real keys, real requests, real certificates. The ledger is
// a file, or with DS_LEDGER_ENGINE=postgresql a database.
#ifndef DS_TEST_LEDGER_SUPPORT_H
#define DS_TEST_LEDGER_SUPPORT_H

#include "src/ledger/ledger.h"

#include "pg_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define CHIP 5

typedef struct world {
    char folder[64], path[96];
    bool pg;
    ds_ledger *l;
    ds_err e;
} world;

// Is it a database that this program is to test with?
static UNUSED bool on_pg(void)
{
    const char *engine = getenv("DS_LEDGER_ENGINE");
    return engine && strcmp(engine, "postgresql") == 0;
}

static UNUSED int world_in(void **state, bool pg)
{
    world *w = ds_alloc(sizeof *w);
    snprintf(w->folder, sizeof w->folder, "/tmp/ds-ledger-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof w->path, "%s/ledger.db", w->folder);
    w->pg = pg;
    if (w->pg)
        pg_new_place(w->path, sizeof w->path);
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
    *state = w;
    return 0;
}

static UNUSED int world_new(void **state)
{
    return world_in(state, on_pg());
}

static UNUSED int world_free(void **state)
{
    world *w = *state;
    static const char *const tails[] = {"", "-wal", "-shm", ".lock", "-journal"};
    ds_ledger_close(w->l);
    for (size_t i = 0; !w->pg && i < sizeof tails / sizeof *tails; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", w->path, tails[i]);
        unlink(name);
    }
    assert_int_equal(rmdir(w->folder), 0);
    free(w);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

static UNUSED void reopen(world *w, bool read_only)
{
    ds_ledger_close(w->l);
    w->l = NULL;
    assert_int_equal(ds_ledger_open(w->path, read_only, &w->l, &w->e), DS_OK);
}

// Run SQL beside the ledger; NULL, or what was said against it (to be freed).
static UNUSED char *try_sql(const world *w, const char *sql)
{
    sqlite3 *db;
    char *message = NULL;
    if (w->pg)
        return pg_try(w->path, sql);
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    int rc = sqlite3_exec(db, sql, NULL, NULL, &message);
    char *said = rc == SQLITE_OK ? NULL : ds_strdup(message);
    sqlite3_free(message);
    sqlite3_close(db);
    return said;
}

// Change the record behind the ledger's back, as somebody with a database tool would.
static UNUSED void tamper(world *w, const char *sql)
{
    ds_ledger_close(w->l);
    w->l = NULL;
    char *said = try_sql(w, sql);
    if (said)
        fail_msg("%s: %s", sql, said);
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
}

static UNUSED ds_ledger_device device_n(ds_ledger *l, unsigned n)
{
    uint8_t mac[6] = {0x02, 0, 0, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    ds_ledger_device d;
    ds_err e = DS_ERR_INIT;
    if (ds_ledger_device_get(l, CHIP, mac, "lamp", &d, &e))
        fail_msg("%s", e.text);
    return d;
}

// A device's key with its request.
typedef struct stamp {
    EVP_PKEY *key;
    uint8_t digest[32]; // of SubjectPublicKeyInfo
    ds_buf csr;
} stamp;

static UNUSED void key_digest(EVP_PKEY *key, uint8_t ret[32])
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    SHA256(der, (size_t)len, ret);
    OPENSSL_free(der);
}

static UNUSED stamp stamp_new(const char *name)
{
    stamp s = {.key = EVP_EC_gen("P-256")};
    X509_REQ *req = X509_REQ_new();
    unsigned char *der = NULL;
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                               0);
    X509_REQ_set_pubkey(req, s.key);
    X509_REQ_sign(req, s.key, EVP_sha256());
    int len = i2d_X509_REQ(req, &der);
    ds_buf_add(&s.csr, der, (size_t)len);
    OPENSSL_free(der);
    X509_REQ_free(req);
    key_digest(s.key, s.digest);
    return s;
}

static UNUSED void stamp_free(stamp *s)
{
    EVP_PKEY_free(s->key);
    ds_buf_free(&s->csr);
}

static UNUSED enum ds_class reserve(ds_ledger *l, int64_t device, const stamp *s, ds_ledger_cert *ret, ds_err *e)
{
    ds_ledger_reserve r = {.device = device,
                           .csr = ds_buf_view(&s->csr),
                           .public_key_digest = s->digest,
                           .subject = "CN=lamp",
                           .not_before_utc = 1700000000,
                           .not_after_utc = 1900000000};
    return ds_ledger_cert_reserve(l, &r, ret, e);
}

// What a signer would answer; signed by the key itself, which the ledger does not look at.
static UNUSED ds_buf certify(const uint8_t serial[16], EVP_PKEY *key)
{
    ds_buf out = {0};
    unsigned char *der = NULL;
    X509 *x = X509_new();
    BIGNUM *n = BN_bin2bn(serial, 16, NULL);
    BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    int len = i2d_X509(x, &der);
    ds_buf_add(&out, der, (size_t)len);
    OPENSSL_free(der);
    X509_free(x);
    return out;
}

// A device brought all the way to a registered certificate and a whole proof.
static UNUSED ds_ledger_device whole_device(ds_ledger *l, unsigned n)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger_device d = device_n(l, n);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    char text[64];
    uint8_t digest[32];
    assert_int_equal(ds_ledger_device_serial(l, d.id, "L-{counter:4}", text, &e), DS_OK);
    assert_int_equal(reserve(l, d.id, &s, &c, &e), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    SHA256(der.ptr, der.len, digest);
    assert_int_equal(ds_ledger_cert_signed(l, c.id, ds_buf_view(&der), &e), DS_OK);
    assert_int_equal(ds_ledger_cert_installed(l, c.id, digest, &e), DS_OK);
    assert_int_equal(ds_ledger_cert_registered(l, digest, 1750000000, &e), DS_OK);
    assert_int_equal(ds_ledger_device_proof(l, d.id, true, "{\"flash\":\"refused\"}", &e), DS_OK);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
    return d;
}

typedef struct lines {
    char text[8192];
    size_t len;
} lines;

static UNUSED void collect(void *arg, const char *line)
{
    lines *all = arg;
    int n = snprintf(all->text + all->len, sizeof all->text - all->len, "%s\n", line);
    assert_true(n > 0 && (size_t)n < sizeof all->text - all->len);
    all->len += (size_t)n;
}

static UNUSED unsigned check(ds_ledger *l, lines *ret)
{
    ds_err e = DS_ERR_INIT;
    unsigned problems = 0;
    *ret = (lines){0};
    if (ds_ledger_check(l, collect, ret, &problems, &e))
        fail_msg("%s", e.text);
    return problems;
}

#define assert_has(haystack, needle)                               \
    do {                                                           \
        if (!strstr((haystack), (needle)))                         \
            fail_msg("'%s' is not in '%s'", (needle), (haystack)); \
    } while (0)

#endif
