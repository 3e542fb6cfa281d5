// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a CA's devices need to be admitted: its policy, a state, an announcement; the limits on unknown certificates;
// and a registry of the first version, which had none of these.
#include "cloud_support.h"

#include "src/cloud/internal.h"

static void id_of(const party *d, uint8_t ret[32])
{
    SHA256(d->der.ptr, d->der.len, ret);
}

static void change_sub(place *p, const ds_registry_ca_change *c)
{
    uint8_t ca[32];
    id_of(&p->sub, ca);
    assert_int_equal(ds_registry_set_ca(p->r, ca, c, &p->e), DS_OK);
}

static const ds_registry_ca_change by_manifest = {.policy = &(const enum ds_registry_policy){DS_REGISTRY_MANIFEST}};
static const ds_registry_ca_change by_log = {.policy = &(const enum ds_registry_policy){DS_REGISTRY_LOGGED}};

static void test_manifest_admits_the_announced_only(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN2", &p->sub), before = make_device("SN3", &p->sub);
    ds_registry_client c;
    uint8_t ca[32], ids[2][32];
    size_t fresh = 9;
    id_of(&p->sub, ca);
    id_of(&a, ids[0]);
    memset(ids[1], 7, 32);
    assert_int_equal(admit_at(p, &before, "SN3", NOW, &c), DS_OK);
    change_sub(p, &by_manifest);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "in no manifest");
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 2, &fresh, &p->e), DS_OK);
    assert_int_equal(fresh, 2);
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 2, &fresh, &p->e), DS_OK);
    assert_int_equal(fresh, 0);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_POLICY);
    assert_int_equal(admit_at(p, &before, "SN3", NOW, &c), DS_POLICY); // that it was there once does not help
    change_sub(p, &by_log);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY); // a manifest is no log
    assert_has(p->e.text, "issuance log");
    party *all[] = {&a, &b, &before};
    for (size_t i = 0; i < 3; i++)
        party_free(all[i]);
}

static void test_expect_refuses_what_is_no_ca_of_devices(void **state)
{
    place *p = *state;
    uint8_t ca[32] = {0}, ids[1][32] = {{0}};
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 1, NULL, &p->e), DS_INPUT);
    id_of(&p->ops, ca);
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 1, NULL, &p->e), DS_INPUT);
    id_of(&p->sub, ca);
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, DS_REGISTRY_EXPECT_MAX + 1, NULL, &p->e),
                     DS_INPUT);
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 0, NULL, &p->e), DS_OK);
}

// What another CA's manifest says of a certificate says nothing of it.
static void test_announcement_counts_for_its_ca_alone(void **state)
{
    place *p = *state;
    party other = make_ca("Other CA", NULL), a = make_device("SN1", &p->sub);
    ds_registry_client c;
    uint8_t ca[32], ids[1][32];
    assert_int_equal(
        ds_registry_add_ca(p->r, ds_buf_view(&other.der), DS_REGISTRY_DEVICES, DS_REGISTRY_AUTO, ca, &p->e), DS_OK);
    id_of(&a, ids[0]);
    change_sub(p, &by_manifest);
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 1, NULL, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    id_of(&p->sub, ca);
    assert_int_equal(ds_registry_expect(p->r, ca, (const uint8_t(*)[32])ids, 1, NULL, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    party_free(&other);
    party_free(&a);
}

static void test_pending_device_waits_for_its_activation(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), twin = make_device("SN1", &p->sub);
    ds_registry_client c;
    change_sub(p, &(ds_registry_ca_change){.registration = &(const enum ds_registry_registration){DS_REGISTRY_AWAIT}});
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "pending");
    assert_int_equal(c.news, DS_REGISTRY_STILL_PENDING);
    assert_string_equal(c.name, "SN1");
    assert_int_equal(registered(p), 1);
    assert_int_equal(admit_at(p, &a, "SN1", NOW + 5, &c), DS_POLICY);
    assert_int_equal(c.news, DS_REGISTRY_NOTHING); // told a moment ago
    assert_int_equal(admit_at(p, &a, "SN1", NOW + 60, &c), DS_POLICY);
    assert_int_equal(c.news, DS_REGISTRY_STILL_PENDING);
    assert_int_equal(c.registered_utc, NOW);
    assert_int_equal(admit_at(p, &twin, "SN1", NOW + 61, &c), DS_POLICY);
    char id[65];
    uint8_t digest[32];
    id_of(&a, digest);
    ds_hex(digest, 32, id);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_PENDING, &p->e), DS_INPUT);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_ACTIVE, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW + 62, &c), DS_OK);
    assert_int_equal(c.news, DS_REGISTRY_NOTHING);
    assert_int_equal(admit_at(p, &twin, "SN1", NOW + 63, &c), DS_POLICY);
    party_free(&a);
    party_free(&twin);
}

static void set_id(place *p, const party *d, enum ds_registry_state state)
{
    char hex[65];
    uint8_t id[32];
    id_of(d, id);
    ds_hex(id, sizeof id, hex);
    assert_int_equal(ds_registry_set_device(p->r, hex, state, &p->e), DS_OK);
}

// A name means who is let in by it, not who came last; and nobody becomes active by having come last.
static void test_name_means_the_active_certificate(void **state)
{
    place *p = *state;
    party good = make_device("SN1", &p->sub), other = make_device("SN1", &p->sub);
    ds_registry_client c;
    assert_int_equal(admit_at(p, &good, "SN1", NOW, &c), DS_OK);
    set_id(p, &good, DS_REGISTRY_INACTIVE);
    change_sub(p, &(ds_registry_ca_change){.registration = &(const enum ds_registry_registration){DS_REGISTRY_AWAIT}});
    assert_int_equal(admit_at(p, &other, "SN1", NOW, &c), DS_POLICY); // pending, and the newest
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_ACTIVE, &p->e), DS_POLICY);
    assert_has(p->e.text, "2 certificates of that name");
    set_id(p, &good, DS_REGISTRY_ACTIVE);
    assert_int_equal(admit_at(p, &good, "SN1", NOW, &c), DS_OK);
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &good, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "revoked");
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_ACTIVE, &p->e), DS_OK); // the one that is left
    assert_int_equal(admit_at(p, &other, "SN1", NOW, &c), DS_OK);
    party_free(&good);
    party_free(&other);
}

static bool see_last(void *arg, const ds_registry_device *d)
{
    assert_int_equal(d->last_seen_utc, *(int64_t *)arg);
    return true;
}

// The endpoint's clock a year ahead and a year behind: what it cannot judge it refuses, and nothing stays of it when
// the clock is right again.
static void test_clock_wrong_by_a_year(void **state)
{
    place *p = *state;
    recipe r = device_recipe("SN1", &p->sub);
    r.start = -100;
    r.end = 3 * YEAR;
    party a = certify_party(&r), b = make_device("SN2", &p->sub);
    ds_registry_client c;
    change_sub(p, &(ds_registry_ca_change){.registration = &(const enum ds_registry_registration){DS_REGISTRY_AWAIT}});
    assert_int_equal(admit_at(p, &b, "SN2", NOW + YEAR - 10, &c), DS_POLICY); // pending since the wrong time
    assert_int_equal(c.news, DS_REGISTRY_STILL_PENDING);
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_POLICY);
    assert_int_equal(c.news, DS_REGISTRY_STILL_PENDING); // and told again, not in a year
    assert_int_equal(ds_registry_set_device(p->r, "SN2", DS_REGISTRY_ACTIVE, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW + 61, &c), DS_OK);
    change_sub(p, &(ds_registry_ca_change){.registration = &(const enum ds_registry_registration){DS_REGISTRY_AUTO}});
    assert_int_equal(admit_at(p, &a, "SN1", NOW - YEAR, &c), DS_POLICY);
    assert_has(p->e.text, "not valid yet");
    assert_int_equal(admit_at(p, &b, "SN2", NOW + YEAR + 10, &c), DS_POLICY);
    assert_has(p->e.text, "expired");
    assert_int_equal(registered(p), 1);
    assert_int_equal(ds_registry_each(p->r, see_last, (int64_t[]){NOW + 61}, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_OK);
    party_free(&a);
    party_free(&b);
}

static void test_rate_bounds_new_devices_of_a_ca(void **state)
{
    place *p = *state;
    ds_registry_client c;
    unsigned in = 0;
    party d[8];
    change_sub(p, &(ds_registry_ca_change){.rate = &(const unsigned){3}});
    for (unsigned i = 0; i < 8; i++) {
        char name[8];
        snprintf(name, sizeof name, "SN%u", i);
        d[i] = make_device(name, &p->sub);
    }
    for (unsigned i = 0; i < 8; i++) {
        char name[8];
        snprintf(name, sizeof name, "SN%u", i);
        if (admit_at(p, &d[i], name, NOW, &c) == DS_OK)
            in++;
        else
            assert_has(p->e.text, "in a second");
    }
    assert_in_range(in, 3, 7); // more than three where this takes longer than a third of a second
    assert_int_equal(registered(p), in);
    assert_int_equal(admit_at(p, &d[0], "SN0", NOW, &c), DS_OK); // who is known is not new
    for (unsigned i = 0; i < 8; i++)
        party_free(&d[i]);
}

static enum ds_class admit_from(place *p, const party *d, const char *id, const char *source)
{
    ds_registry_client c;
    p->e = DS_ERR_INIT;
    return ds_registry_admit(p->r, &(ds_registry_attempt){ds_buf_view(&d->der), NULL, id, source, NOW}, &c, &p->e);
}

// However long this test is held up, nothing of it has drained away.
static void keep_full(place *p, const char *source)
{
    ds_sources_of(&p->r->sources, source)->spent = INT64_C(1) << 40;
}

// A flood from one address shuts that address's unknown certificates out, and nobody else's.
static void test_flood_of_bad_certificates_costs_its_source(void **state)
{
    place *p = *state;
    party known = make_device("SN1", &p->sub), late = make_device("SN2", &p->sub), later = make_device("SN4", &p->sub),
          thief = p->sub;
    thief.key = EVP_EC_gen("P-256");
    party bad = make_device("SN3", &thief);
    assert_int_equal(admit_from(p, &known, "SN1", "192.0.2.1"), DS_OK);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(admit_from(p, &bad, "SN3", "192.0.2.1"), DS_POLICY);
    assert_true(ds_sources_of(&p->r->sources, "192.0.2.1")->spent > 0);
    keep_full(p, "192.0.2.1");
    assert_int_equal(admit_from(p, &bad, "SN3", "192.0.2.1"), DS_POLICY);
    assert_has(p->e.text, "too many");
    keep_full(p, "192.0.2.1");
    assert_int_equal(admit_from(p, &late, "SN2", "192.0.2.1"), DS_POLICY);
    assert_has(p->e.text, "too many");
    assert_int_equal(admit_from(p, &known, "SN1", "192.0.2.1"), DS_OK);
    assert_int_equal(admit_from(p, &late, "SN2", "192.0.2.2"), DS_OK);
    // A registered device that was switched off and goes on trying is no flood.
    assert_int_equal(ds_registry_set_device(p->r, "SN2", DS_REGISTRY_INACTIVE, &p->e), DS_OK);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(admit_from(p, &late, "SN2", "192.0.2.3"), DS_POLICY);
    assert_int_equal(admit_from(p, &later, "SN4", "192.0.2.3"), DS_OK);
    EVP_PKEY_free(thief.key);
    party *all[] = {&known, &late, &later, &bad};
    for (size_t i = 0; i < 4; i++)
        party_free(all[i]);
}

static void sql(sqlite3 *db, const char *text)
{
    char *why = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
}

static void put(sqlite3 *db, const char *text, const party *x, const party *ca, int64_t state)
{
    sqlite3_stmt *s;
    uint8_t id[32], issuer[32];
    id_of(x, id);
    id_of(ca, issuer);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &s, NULL), SQLITE_OK);
    sqlite3_bind_blob(s, 1, id, 32, SQLITE_TRANSIENT);
    sqlite3_bind_blob(s, 2, x->der.ptr, (int)x->der.len, SQLITE_TRANSIENT);
    sqlite3_bind_int64(s, 3, state);
    if (sqlite3_bind_parameter_count(s) > 3)
        sqlite3_bind_blob(s, 4, issuer, 32, SQLITE_TRANSIENT);
    assert_int_equal(sqlite3_step(s), SQLITE_DONE);
    sqlite3_finalize(s);
}

// The tables as the first version made them.
static const char version_1[] =
    "CREATE TABLE ca("
    "id BLOB PRIMARY KEY CHECK(length(id) = 32),"
    "role INTEGER NOT NULL CHECK(role BETWEEN 1 AND 3),"
    "der BLOB NOT NULL,"
    "subject TEXT NOT NULL,"
    "active INTEGER NOT NULL DEFAULT 1 CHECK(active IN (0, 1)),"
    "auto_registration INTEGER NOT NULL CHECK(auto_registration IN (0, 1)),"
    "registered_at INTEGER NOT NULL) STRICT;"
    "CREATE TABLE device("
    "number INTEGER PRIMARY KEY,"
    "id BLOB NOT NULL UNIQUE CHECK(length(id) = 32),"
    "name TEXT NOT NULL CHECK(name <> ''),"
    "ca BLOB NOT NULL REFERENCES ca(id),"
    "state INTEGER NOT NULL CHECK(state BETWEEN 1 AND 3),"
    "der BLOB NOT NULL,"
    "registered_at INTEGER NOT NULL,"
    "last_seen INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX device_one_active ON device(name) WHERE state = 1;"
    "CREATE INDEX device_name ON device(name);"
    "CREATE TRIGGER device_fixed BEFORE UPDATE ON device WHEN NEW.number <> OLD.number OR NEW.id <> OLD.id"
    " OR NEW.name <> OLD.name OR NEW.ca <> OLD.ca OR NEW.der <> OLD.der OR NEW.registered_at <> OLD.registered_at"
    " OR (OLD.state = 3 AND NEW.state <> 3)"
    " BEGIN SELECT RAISE(ABORT, 'a registration is never changed, and a revoked one stays revoked'); END;"
    "CREATE TRIGGER device_kept BEFORE DELETE ON device"
    " BEGIN SELECT RAISE(ABORT, 'a registration is never removed'); END;"
    "CREATE TABLE refused("
    "id BLOB PRIMARY KEY CHECK(length(id) = 32),"
    "refused_at INTEGER NOT NULL) STRICT;"
    "CREATE TRIGGER refused_kept BEFORE DELETE ON refused"
    " BEGIN SELECT RAISE(ABORT, 'a refusal is never removed'); END;"
    "CREATE TRIGGER ca_kept BEFORE DELETE ON ca"
    " BEGIN SELECT RAISE(ABORT, 'a CA is never removed; make it inactive'); END;";

static void make_version_1(const char *path, const place *p, const party *a, const party *b, const party *never)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sql(db, version_1);
    sql(db, "PRAGMA journal_mode=WAL; PRAGMA application_id=1685279303; PRAGMA user_version=1");
    static const char ca[] = "INSERT INTO ca(id, role, der, subject, auto_registration, registered_at) "
                             "VALUES(?1, ?3, ?2, 'CN=x', ?3 = 1, 100)";
    static const char device[] = "INSERT INTO device(id, name, ca, state, der, registered_at, last_seen) "
                                 "VALUES(?1, 'SN' || ?3, ?4, ?3, ?2, 200, 300)";
    put(db, ca, &p->root, &p->root, DS_REGISTRY_ANCHOR);
    put(db, ca, &p->sub, &p->sub, DS_REGISTRY_DEVICES);
    put(db, ca, &p->ops, &p->ops, DS_REGISTRY_SERVICES);
    put(db, device, a, &p->sub, DS_REGISTRY_ACTIVE);
    put(db, device, b, &p->sub, DS_REGISTRY_REVOKED);
    put(db, "INSERT INTO refused(id, refused_at) VALUES(?1, ?3 + length(?2) * 0)", never, never, 400);
    sqlite3_close(db);
}

static bool see_migrated(void *arg, const ds_registry_device *d)
{
    const place *p = arg;
    uint8_t ca[32];
    id_of(&p->sub, ca);
    assert_memory_equal(d->ca, ca, 32);
    assert_int_equal(d->registered_utc, 200);
    assert_int_equal(d->last_seen_utc, 300);
    return true;
}

static void test_registry_of_version_1_is_brought_up_to_date(void **state)
{
    place *p = *state;
    char path[160], tail[192];
    party a = make_device("SN1", &p->sub), b = make_device("SN3", &p->sub), never = make_device("SN4", &p->sub),
          fresh = make_device("SN5", &p->sub);
    ds_registry *mine = p->r, *old = NULL;
    ds_registry_client c;
    snprintf(path, sizeof path, "%s-1", p->path);
    make_version_1(path, p, &a, &b, &never);
    assert_int_equal(ds_registry_open_read_only(path, &old, &p->e), DS_STORE);
    assert_has(p->e.text, "schema 1");
    assert_int_equal(ds_registry_open(path, false, &old, &p->e), DS_OK);
    p->r = old;
    assert_int_equal(ds_registry_each(old, see_migrated, p, &p->e), DS_OK);
    assert_int_equal(registered(p), 2);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(c.news, DS_REGISTRY_NOTHING);
    assert_int_equal(admit_at(p, &b, "SN3", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "is revoked");
    assert_int_equal(admit_at(p, &never, "SN4", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "before it first connected");
    assert_int_equal(admit_at(p, &fresh, "SN5", NOW, &c), DS_OK);
    assert_int_equal(ds_registry_set_device(old, "SN3", DS_REGISTRY_ACTIVE, &p->e), DS_POLICY);
    ds_registry_close(old);
    assert_int_equal(ds_registry_open_read_only(path, &old, &p->e), DS_OK); // once is enough
    ds_registry_close(old);
    p->r = mine;
    static const char *const tails[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(tail, sizeof tail, "%s%s", path, tails[i]);
        unlink(tail);
    }
    party *all[] = {&a, &b, &never, &fresh};
    for (size_t i = 0; i < 4; i++)
        party_free(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE(test_manifest_admits_the_announced_only),
        PLACE(test_expect_refuses_what_is_no_ca_of_devices),
        PLACE(test_announcement_counts_for_its_ca_alone),
        PLACE(test_pending_device_waits_for_its_activation),
        PLACE(test_name_means_the_active_certificate),
        PLACE(test_clock_wrong_by_a_year),
        PLACE(test_rate_bounds_new_devices_of_a_ca),
        PLACE(test_flood_of_bad_certificates_costs_its_source),
        PLACE(test_registry_of_version_1_is_brought_up_to_date),
    };
    return cmocka_run_group_tests_name("cloud: policy", tests, NULL, NULL);
}
