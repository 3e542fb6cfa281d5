// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Check: whole records pass, every kind of gap is named, and a hand in the file shows.
#include "ledger_support.h"

#include "src/base/clock.h"

static void test_check_whole_ledger_is_silent(void **state)
{
    world *w = *state;
    lines out;
    assert_int_equal(check(w->l, &out), 0); // empty
    for (unsigned i = 1; i <= 3; i++)
        whole_device(w->l, i);
    assert_int_equal(check(w->l, &out), 0);
    assert_string_equal(out.text, "");
    reopen(w, true);
    assert_int_equal(check(w->l, &out), 0);
}

static void test_check_platform_without_lock_is_whole_and_never_locked(void **state)
{
    world *w = *state;
    lines out;
    ds_ledger_device d;
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
    whole_device(w->l, 1);
    assert_int_equal(ds_ledger_device_get(w->l, DS_LEDGER_CHIP_WITHOUT_LOCK, mac, "gauge", &d, &w->e), DS_OK);
    assert_true(check(w->l, &out) > 0);
    assert_has(out.text, "no proof of its stamp is stored");
    unsigned before = check(w->l, &out);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, true, "{}", &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), before - 1);
    assert_int_equal(ds_ledger_device_get(w->l, DS_LEDGER_CHIP_WITHOUT_LOCK, mac, "gauge", &d, &w->e), DS_OK);
    assert_false(d.locked);
}

static void test_check_names_what_is_missing(void **state)
{
    world *w = *state;
    lines out;
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    ds_ledger_device d = device_n(w->l, 1);
    uint8_t digest[32];
    char serial[64];
    assert_int_equal(ds_ledger_device_stage(w->l, d.id, "versions", &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 3);
    assert_has(out.text, "device 020000000001: has no serial number (came as far as 'versions')");
    assert_has(out.text, "has no certificate");
    assert_has(out.text, "no proof of its locked state");
    assert_int_equal(ds_ledger_device_serial(w->l, d.id, "SN{counter}", serial, &w->e), DS_OK);
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 2);
    assert_has(out.text, "device SN1 (020000000001): certificate ");
    assert_has(out.text, "is reserved");
    ds_buf der = certify(c.serial, s.key);
    SHA256(der.ptr, der.len, digest);
    assert_int_equal(ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 2);
    assert_has(out.text, "did not echo it");
    assert_int_equal(ds_ledger_cert_installed(w->l, c.id, digest, &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 1);
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, false, "{}", &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 1);
    assert_has(out.text, "newest proof is not whole");
    assert_int_equal(ds_ledger_device_proof(w->l, d.id, true, "{}", &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 0);
    assert_int_equal(ds_ledger_cert_revoke(w->l, c.id, "returned", &w->e), DS_OK);
    assert_int_equal(check(w->l, &out), 1);
    assert_has(out.text, "has no live certificate");
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

#define NO_GUARDS                                                                                                  \
    "DROP TRIGGER event_fixed; DROP TRIGGER event_kept; DROP TRIGGER certificate_forward; DROP TRIGGER "           \
    "certificate_kept; DROP TRIGGER proof_fixed; DROP TRIGGER proof_kept; DROP TRIGGER device_kept; DROP TRIGGER " \
    "device_fixed; PRAGMA foreign_keys=OFF; "
#define NO_GUARDS_PG                                                                                              \
    "DROP TRIGGER event_fixed ON event; DROP TRIGGER event_kept ON event; DROP TRIGGER certificate_forward ON "   \
    "certificate; DROP TRIGGER certificate_kept ON certificate; DROP TRIGGER proof_fixed ON proof; DROP TRIGGER " \
    "proof_kept ON proof; DROP TRIGGER device_kept ON device; DROP TRIGGER device_fixed ON device; ALTER TABLE "  \
    "certificate DROP CONSTRAINT certificate_device_fkey; ALTER TABLE event DROP CONSTRAINT event_device_fkey; "  \
    "ALTER TABLE proof DROP CONSTRAINT proof_device_fkey; "
#define EVENT(n) "(SELECT id FROM event ORDER BY id LIMIT 1 OFFSET " #n " - 1)"
#define FIRST(table) "(SELECT min(id) FROM " table ")"
#define LAST(table) "(SELECT max(id) FROM " table ")"

// In a database the ids in what is said are others: pg_line says less.
static const struct {
    const char *sql, *line, *pg_sql, *pg_line;
} tampers[] = {
    {"UPDATE event SET text = 'all was well' WHERE id = " EVENT(4), "broken at event 4", NULL, "broken at event "},
    {"UPDATE event SET at = at - 1 WHERE id = " EVENT(2), "broken at event 2", NULL, "broken at event "},
    {"UPDATE event SET device = " LAST("device") " WHERE id = " EVENT(3), "broken at event 3", NULL,
     "broken at event "},
    {"UPDATE event SET kind = 'x' WHERE id = " EVENT(1), "broken at event 1", NULL, "broken at event "},
    {"DELETE FROM event WHERE id = " EVENT(5), "broken at event 6", NULL, "broken at event "},
    {"DELETE FROM event WHERE id = " EVENT(1), "broken at event 2", NULL, "broken at event "},
    {"DELETE FROM event WHERE id = " LAST("event"), "the newest were changed or removed", NULL, NULL},
    {"UPDATE chain SET count = 3", "its end says 3", NULL, NULL},
    {"UPDATE certificate SET state = 3, registered_at = NULL WHERE id = " FIRST("certificate"), "was set back", NULL,
     NULL},
    {"DELETE FROM certificate WHERE id = " LAST("certificate"), "is missing", NULL, NULL},
    {"UPDATE certificate SET revoked_at = 1 WHERE id = " FIRST("certificate"),
     "nothing in the evidence chain says that it was revoked", NULL, NULL},
    {"UPDATE certificate SET der = x'3000' WHERE id = 1", "do not have the recorded fingerprint",
     "UPDATE certificate SET der = '\\x3000' WHERE id = " FIRST("certificate"), NULL},
    {"UPDATE certificate SET serial = zeroblob(16) WHERE id = 1", "does not carry the reserved serial number",
     "UPDATE certificate SET serial = decode(repeat('00', 16), 'hex') WHERE id = " FIRST("certificate"), NULL},
    {"UPDATE certificate SET key_digest = zeroblob(32) WHERE id = 1", "is not for the reserved public key",
     "UPDATE certificate SET key_digest = decode(repeat('00', 32), 'hex') WHERE id = " FIRST("certificate"), NULL},
    {"UPDATE proof SET json = '{}' WHERE id = " FIRST("proof"), "proof 1: is not what the evidence chain says", NULL,
     "is not what the evidence chain says"},
    {"DELETE FROM proof WHERE id = " FIRST("proof"), "2 proofs were stored, 1 are here", NULL, NULL},
    {"UPDATE device SET locked = 0 WHERE id = " FIRST("device"), "not marked locked", NULL, NULL},
    {"UPDATE device SET serial = 'L-0003' WHERE id = " LAST("device"),
     "device L-0003: nothing in the evidence chain says that it was given this serial number", NULL, NULL},
    {"DELETE FROM device WHERE id = " LAST("device"), "belongs to no device", NULL, NULL},
    {"DROP INDEX certificate_one_live; INSERT INTO certificate SELECT 9, device, state, randomblob(16), "
     "randomblob(32), csr, subject, not_before, not_after, der, randomblob(32), reserved_at, signed_at, "
     "installed_at, registered_at, revoked_at FROM certificate WHERE id = 1",
     "live certificate of device 020000000001: occurs 2 times",
     "DROP INDEX certificate_one_live; INSERT INTO certificate SELECT 9, device, state, decode(md5('a'), 'hex'), "
     "sha256('a'), csr, subject, not_before, not_after, der, sha256('b'), reserved_at, signed_at, installed_at, "
     "registered_at, revoked_at FROM certificate WHERE id = " FIRST("certificate"),
     NULL},
    {"PRAGMA legacy_alter_table=ON; CREATE TABLE copy(id INTEGER PRIMARY KEY, chip, mac, product, serial, pop, "
     "stage, locked, first_seen, last_seen); INSERT INTO copy SELECT * FROM device; DROP TABLE device; "
     "ALTER TABLE copy RENAME TO device; UPDATE device SET serial = 'L-0001'",
     "serial number L-0001: occurs 2 times",
     "ALTER TABLE device DROP CONSTRAINT device_serial_key; UPDATE device SET serial = 'L-0001'", NULL},
};

static void test_check_shows_tampering(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tampers / sizeof *tampers; i++) {
        void *own;
        lines out;
        if (on_pg() && i > 0 && i < 6)
            continue; // a broken link is found by the same walk; a schema for each costs time
        assert_int_equal(world_new(&own), 0);
        world *w = own;
        whole_device(w->l, 1);
        whole_device(w->l, 2);
        const char *act = w->pg && tampers[i].pg_sql ? tampers[i].pg_sql : tampers[i].sql;
        const char *line = w->pg && tampers[i].pg_line ? tampers[i].pg_line : tampers[i].line;
        DS_CLEANUP_FREE char *sql = ds_asprintf("%s%s", w->pg ? NO_GUARDS_PG : NO_GUARDS, act);
        tamper(w, sql);
        if (check(w->l, &out) == 0 || !strstr(out.text, line))
            fail_msg("%s: '%s' is not in '%s'", act, line, out.text);
        world_free(&own);
    }
}

static void test_check_damaged_pages_are_told(void **state)
{
    world *w = *state;
    if (w->pg)
        skip(); // a server's files are its own
    lines out = {0};
    unsigned problems = 0;
    for (unsigned i = 1; i <= 20; i++)
        whole_device(w->l, i);
    ds_ledger_close(w->l);
    w->l = NULL;
    FILE *f = fopen(w->path, "r+b");
    assert_non_null(f);
    for (long page = 20; page < 40; page++) {
        fseek(f, page * 4096 + 100, SEEK_SET);
        for (int i = 0; i < 2000; i++)
            fputc(0xA5, f);
    }
    fclose(f);
    assert_int_equal(ds_ledger_open(w->path, true, &w->l, &w->e), DS_OK);
    enum ds_class rc = ds_ledger_check(w->l, collect, &out, &problems, &w->e);
    assert_true(rc == DS_STORE || (rc == DS_OK && problems > 0));
}

// The layout of a link is fixed for ever: made here by hand, independent of the code under test.
static void test_chain_hash_layout(void **state)
{
    world *w = *state;
    sqlite3 *db;
    sqlite3_stmt *q;
    uint8_t bytes[256] = {0}, want[32], head[32];
    int64_t count, before = ds_utc_now();
    if (w->pg)
        skip(); // test_ledger_pg.c
    assert_int_equal(ds_ledger_event(w->l, 0, "fault", "token", &w->e), DS_OK);
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT at FROM event", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t at = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    assert_true(at >= before && at <= before + 5);
    for (int i = 0; i < 8; i++)
        bytes[32 + i] = (uint8_t)((uint64_t)at >> (8 * i));
    memcpy(bytes + 48,
           "\x05\0\0\0"
           "fault"
           "\x05\0\0\0"
           "token",
           18);
    SHA256(bytes, 66, want);
    assert_int_equal(ds_ledger_head(w->l, &count, head, &w->e), DS_OK);
    assert_int_equal(count, 1);
    assert_memory_equal(head, want, 32);
}

static void test_contains_finds_noted_heads_only(void **state)
{
    world *w = *state;
    uint8_t head[32], never[32] = {1};
    int64_t count;
    bool has = true;
    assert_int_equal(ds_ledger_head(w->l, &count, head, &w->e), DS_OK);
    assert_int_equal(count, 0);
    whole_device(w->l, 1);
    assert_int_equal(ds_ledger_contains(w->l, head, &has, &w->e), DS_OK);
    assert_true(has);
    assert_int_equal(ds_ledger_head(w->l, &count, head, &w->e), DS_OK);
    whole_device(w->l, 2);
    has = false;
    assert_int_equal(ds_ledger_contains(w->l, head, &has, &w->e), DS_OK);
    assert_true(has);
    assert_int_equal(ds_ledger_contains(w->l, never, &has, &w->e), DS_OK);
    assert_false(has);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_check_whole_ledger_is_silent),    TEST(test_check_platform_without_lock_is_whole_and_never_locked),
        TEST(test_check_names_what_is_missing),     cmocka_unit_test(test_check_shows_tampering),
        TEST(test_check_damaged_pages_are_told),    TEST(test_chain_hash_layout),
        TEST(test_contains_finds_noted_heads_only),
    };
    return cmocka_run_group_tests_name("ledger: check", tests, NULL, NULL);
}
