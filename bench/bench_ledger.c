// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What bench/ledger.py measures with.
//
//   bench_ledger load PLACE FIRST COUNT    COUNT whole devices from number FIRST, in transactions of 1000
//   bench_ledger find PLACE COUNT SAMPLES  look-ups of random devices among the first COUNT, by each key
// A device is made from its number: its row, a registered certificate of 700 bytes, and the six events that vouch for
// them. Each prints one line of JSON.
#include "src/base/clock.h"
#include "src/ledger/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1000, DER = 700 };

static _Noreturn void die(const char *what, const ds_err *e)
{
    fprintf(stderr, "%s: %s\n", what, e ? e->text : "");
    exit(1);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

typedef struct made {
    uint8_t mac[6], number[16], key[32], der[DER], fingerprint[32];
    char serial[32];
} made;

static void digest(const char *what, uint64_t n, uint8_t ret[32])
{
    char text[48];
    int len = snprintf(text, sizeof text, "%s %" PRIu64, what, n);
    ds_sha256(text, (size_t)len, ret);
}

static void make(uint64_t n, made *m)
{
    uint8_t block[32];
    for (int i = 0; i < 6; i++)
        m->mac[i] = (uint8_t)(n * 2654435761u >> (8 * (5 - i)));
    snprintf(m->serial, sizeof m->serial, "SN-%09" PRIu64, n);
    digest("number", n, block);
    memcpy(m->number, block, 16);
    m->number[0] = 1 | (m->number[0] & 0x7f);
    digest("key", n, m->key);
    for (size_t off = 0; off < DER; off += 32) {
        digest("certificate", n * 32 + off / 32, block);
        memcpy(m->der + off, block, DER - off < 32 ? DER - off : 32);
    }
    ds_sha256(m->der, DER, m->fingerprint);
}

static enum ds_class note(ds_ledger *l, int64_t device, const char *word, const uint8_t *id, size_t len, ds_err *e)
{
    char hex[65], text[96];
    ds_hex(id, len, hex);
    snprintf(text, sizeof text, "%s %s", word, hex);
    return ds_ledger_append(l, device, DS_LEDGER_KIND_CERT, text, e);
}

static enum ds_class add_rows(ds_ledger *l, const made *m, int64_t now, ds_sql_arg device, ds_sql_arg cert, ds_err *e)
{
    enum ds_class rc = ds_sql_run(&l->sql,
                                  "INSERT INTO device(id, chip, mac, product, serial, stage, locked, first_seen, "
                                  "last_seen) VALUES(?1, 5, ?2, 'lamp', ?3, 'proof', 1, ?4, ?4)",
                                  DS_ARGS(device, DS_BLOB(m->mac, 6), DS_TEXT(m->serial), DS_INT(now)), e);
    return rc ? rc
              : ds_sql_run(&l->sql,
                           "INSERT INTO certificate(id, device, state, serial, key_digest, csr, subject, not_before, "
                           "not_after, der, fingerprint, reserved_at, signed_at, installed_at, registered_at) "
                           "VALUES(?1, ?2, 4, ?3, ?4, ?5, 'CN=lamp', ?6, ?7, ?8, ?9, ?6, ?6, ?6, ?6)",
                           DS_ARGS(cert, device, DS_BLOB(m->number, 16), DS_BLOB(m->key, 32), DS_BLOB("csr", 3),
                                   DS_INT(now), DS_INT(now + 1), DS_BLOB(m->der, DER), DS_BLOB(m->fingerprint, 32)),
                           e);
}

static enum ds_class add(ds_ledger *l, uint64_t n, ds_err *e)
{
    made m;
    ds_sql_arg device, cert;
    char text[80];
    make(n, &m);
    snprintf(text, sizeof text, "serial number %s", m.serial);
    enum ds_class rc = ds_ledger_new_id(l, &device, e);
    if (!rc)
        rc = ds_ledger_new_id(l, &cert, e);
    if (device.kind == DS_SQL_NULL) // a file: in the order of their numbers
        device = DS_INT((int64_t)n + 1);
    if (!rc)
        rc = add_rows(l, &m, ds_utc_now(), device, cert, e);
    if (!rc)
        rc = ds_ledger_append(l, device.number, DS_LEDGER_KIND_DEVICE, "first seen", e);
    if (!rc)
        rc = ds_ledger_append(l, device.number, DS_LEDGER_KIND_DEVICE, text, e);
    static const char *const words[] = {"reserved", "signed", "installed", "registered"};
    for (int i = 0; !rc && i < 4; i++)
        rc = note(l, device.number, words[i], i ? m.fingerprint : m.number, i ? 32 : 16, e);
    return rc;
}

static enum ds_class add_batch(ds_ledger *l, uint64_t first, uint64_t count, ds_err *e)
{
    enum ds_class rc;
    do {
        rc = ds_ledger_begin(l, e);
        if (rc)
            return rc;
        for (uint64_t n = first; !rc && n < first + count; n++)
            rc = add(l, n, e);
    } while (ds_ledger_again(l, &rc, e));
    return rc;
}

static int load(const char *place, uint64_t first, uint64_t count)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger *l;
    if (ds_ledger_open_as(place, "bench", false, &l, &e))
        die(place, &e);
    double begin = seconds();
    for (uint64_t n = 0; n < count; n += BATCH)
        if (add_batch(l, first + n, count - n < BATCH ? count - n : BATCH, &e))
            die("load", &e);
    double took = seconds() - begin;
    ds_ledger_close(l);
    printf("{\"devices\": %" PRIu64 ", \"seconds\": %.3f}\n", count, took);
    return 0;
}

typedef enum ds_class (*find_fn)(ds_ledger *l, const made *m, ds_err *e);

static enum ds_class by_serial(ds_ledger *l, const made *m, ds_err *e)
{
    ds_ledger_device d;
    return ds_ledger_find(l, m->serial, &d, e);
}

static enum ds_class by_mac(ds_ledger *l, const made *m, ds_err *e)
{
    char hex[13];
    ds_ledger_device d;
    ds_hex(m->mac, 6, hex);
    return ds_ledger_find(l, hex, &d, e);
}

static enum ds_class by_fingerprint(ds_ledger *l, const made *m, ds_err *e)
{
    ds_ledger_cert c = {0};
    enum ds_class rc = ds_ledger_cert_find(l, m->fingerprint, &c, e);
    bool found = c.state != 0;
    ds_ledger_cert_free(&c);
    return rc ? rc : found ? DS_OK : ds_fail(e, DS_INPUT, "not found");
}

static enum ds_class by_key(ds_ledger *l, const made *m, ds_err *e)
{
    int64_t owner = 0;
    enum ds_class rc = ds_ledger_key_owner(l, m->key, &owner, e);
    return rc ? rc : owner ? DS_OK : ds_fail(e, DS_INPUT, "not found");
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int find(const char *place, uint64_t count, size_t samples)
{
    static const struct {
        const char *name;
        find_fn find;
    } ways[] = {{"serial", by_serial}, {"mac", by_mac}, {"fingerprint", by_fingerprint}, {"key", by_key}};
    ds_err e = DS_ERR_INIT;
    ds_ledger *l;
    double *us = ds_alloc(samples * sizeof *us);
    if (ds_ledger_open(place, true, &l, &e))
        die(place, &e);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        uint64_t state = 88172645463325252u + w;
        for (size_t i = 0; i < samples; i++) {
            made m;
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            make(state % count, &m);
            double begin = seconds();
            if (ways[w].find(l, &m, &e))
                die(ways[w].name, &e);
            us[i] = (seconds() - begin) * 1e6;
        }
        qsort(us, samples, sizeof *us, compare);
        printf("%s\"%s\": {\"p50_us\": %.0f, \"p99_us\": %.0f}%s", w ? ", " : "{", ways[w].name, us[samples / 2],
               us[samples * 99 / 100], w + 1 == sizeof ways / sizeof *ways ? "}\n" : "");
    }
    ds_ledger_close(l);
    free(us);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: bench_ledger load PLACE FIRST COUNT | find PLACE COUNT SAMPLES", NULL);
    uint64_t a = strtoull(argv[3], NULL, 10), b = strtoull(argv[4], NULL, 10);
    return strcmp(argv[1], "load") == 0 ? load(argv[2], a, b) : find(argv[2], a, (size_t)b);
}
