// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The registry: who is admitted by a certificate's own bytes (no TLS in front that would refuse first), and what is
// recorded.
#include "cloud_support.h"

#include "src/base/clock.h"
#include "src/cloud/internal.h"

#include <sys/stat.h>

static const ds_registry_ca_change switched_off = {.active = &(const bool){false}};

static void test_admit_registers_once(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub);
    ds_registry_client c = {0};
    uint8_t id[32], ca[32];
    SHA256(d.der.ptr, d.der.len, id);
    SHA256(p->sub.der.ptr, p->sub.der.len, ca);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    assert_true(c.news == DS_REGISTRY_REGISTERED && !c.service);
    assert_string_equal(c.name, "SN1");
    assert_memory_equal(c.id, id, 32);
    assert_memory_equal(c.ca, ca, 32);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 5, &c), DS_OK);
    assert_int_equal(c.news, DS_REGISTRY_NOTHING);
    ds_registry_close(p->r);
    assert_int_equal(ds_registry_open(p->path, false, &p->r, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 500, &c), DS_OK);
    assert_int_equal(c.news, DS_REGISTRY_NOTHING);
    assert_int_equal(registered(p), 1);
    party_free(&d);
}

static bool see_times(void *arg, const ds_registry_device *d)
{
    int64_t *want = arg;
    assert_int_equal(d->registered_utc, want[0]);
    assert_int_equal(d->last_seen_utc, want[1]);
    return true;
}

static void test_admit_keeps_times(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub);
    ds_registry_client c;
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 59, &c), DS_OK); // within the same minute: not written
    assert_int_equal(ds_registry_each(p->r, see_times, (int64_t[]){NOW, NOW}, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW + 60, &c), DS_OK);
    assert_int_equal(ds_registry_each(p->r, see_times, (int64_t[]){NOW, NOW + 60}, &p->e), DS_OK);
    party_free(&d);
}

static void test_admit_refuses_other_profiles(void **state)
{
    place *p = *state;
    const recipe good = device_recipe("SN1", &p->sub);
    recipe r[16];
    static const char *const why[] = {"has expired",
                                      "not valid yet",
                                      "is a CA's",
                                      "not for client",
                                      "not for client",
                                      "may not sign",
                                      "weak",
                                      "weak",
                                      "weak",
                                      "version 3",
                                      "common name",
                                      "more than one",
                                      "unknown critical",
                                      "is a CA's",
                                      "topic level",
                                      "topic level"};
    for (size_t i = 0; i < 16; i++)
        r[i] = good;
    r[0].end = -1;
    r[1].start = 10;
    r[2].basic = "critical,CA:TRUE";
    r[3].extended = "serverAuth";
    r[4].extended = NULL;
    r[5].usage = "critical,keyAgreement";
    r[6].rsa_bits = 1024;
    r[7].curve = "secp160r1";
    r[8].md = EVP_sha1();
    r[9].version1 = true;
    r[10].common = NULL;
    r[11].second_common = "SN2";
    r[12].odd_critical = "1.3.6.1.4.1.99999.1";
    r[13].basic = NULL;
    r[13].usage = "critical,keyCertSign,digitalSignature";
    r[14].common = "a/b";
    r[15].common = "#";
    for (size_t i = 0; i < 16; i++) {
        ds_registry_client c;
        party d = certify_party(&r[i]);
        if (admit_at(p, &d, r[i].common ? r[i].common : "", NOW, &c) != DS_POLICY || !strstr(p->e.text, why[i]))
            fail_msg("case %zu: not '%s' but '%s'", i, why[i], p->e.text);
        party_free(&d);
    }
    assert_int_equal(registered(p), 0);
}

static void test_admit_takes_other_good_keys(void **state)
{
    place *p = *state;
    recipe r = device_recipe("SN1", &p->sub);
    ds_registry_client c;
    r.rsa_bits = 2048;
    r.basic = NULL; // RFC 5280 4.2.1.9: may be absent where it is no CA
    party d = certify_party(&r);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    party_free(&d);
    r = device_recipe("SN2", &p->sub);
    r.curve = "P-384";
    r.extended = "serverAuth,clientAuth";
    d = certify_party(&r);
    assert_int_equal(admit_at(p, &d, "SN2", NOW, &c), DS_OK);
    party_free(&d);
}

static void test_admit_refuses_other_issuers(void **state)
{
    place *p = *state;
    party stranger = make_ca("Stranger", NULL), twin = make_ca("Sub CA", &p->root), below = make_ca("Below", &p->sub);
    const party *issuers[] = {&stranger, &twin, &below, &p->root, NULL};
    for (size_t i = 0; i < 5; i++) {
        ds_registry_client c;
        party d = make_device("SN1", issuers[i]);
        assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
        party_free(&d);
    }
    assert_int_equal(registered(p), 0);
    party_free(&stranger);
    party_free(&twin);
    party_free(&below);
}

// The right name and the right key identifier, signed by another key: only the signature tells.
static void test_admit_checks_the_signature_itself(void **state)
{
    place *p = *state;
    party thief = p->sub;
    ds_registry_client c;
    thief.key = EVP_EC_gen("P-256");
    party d = make_device("SN1", &thief);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "did not sign");
    party_free(&d);
    EVP_PKEY_free(thief.key);
    d = make_device("SN1", &p->sub);
    for (size_t at = 0; at < d.der.len; at += 7) { // any changed byte is noticed
        d.der.ptr[at] ^= 0x20;
        assert_int_not_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
        d.der.ptr[at] ^= 0x20;
    }
    assert_int_equal(registered(p), 0);
    for (size_t len = 0; len < d.der.len; len += 5)
        assert_int_equal(
            ds_registry_admit(p->r, &(ds_registry_attempt){{d.der.ptr, len}, NULL, "SN1", NULL, NOW}, &c, &p->e),
            DS_POLICY);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    party_free(&d);
}

static void test_admit_refuses_an_expired_ca(void **state)
{
    place *p = *state;
    recipe r = {.common = "Old CA", .basic = "critical,CA:TRUE", .usage = "critical,keyCertSign", .end = -10};
    party old = certify_party(&r);
    party d = make_device("SN1", &old);
    ds_registry_client c;
    uint8_t id[32];
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&old.der), DS_REGISTRY_DEVICES, true, id, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "CA's certificate has expired");
    assert_int_equal(admit_at(p, &d, "SN1", NOW - 20, &c), DS_OK);
    party_free(&d);
    party_free(&old);
}

static void test_admit_by_client_id_and_one_certificate_a_name(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN1", &p->sub);
    ds_registry_client c;
    static const char *const wrong[] = {"", "sn1", "SN1 ", "SN11", "SN"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(admit_at(p, &a, wrong[i], NOW, &c), DS_POLICY);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN1", NOW, &c), DS_POLICY);
    assert_int_equal(ds_registry_set_device(p->r, "SN1", DS_REGISTRY_INACTIVE, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_POLICY);
    assert_int_equal(admit_at(p, &b, "SN1", NOW, &c), DS_OK);
    char id[65];
    uint8_t digest[32];
    SHA256(a.der.ptr, a.der.len, digest);
    ds_hex(digest, 32, id);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_ACTIVE, &p->e), DS_POLICY); // b has the name now
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_int_equal(ds_registry_set_device(p->r, id, DS_REGISTRY_ACTIVE, &p->e), DS_POLICY);
    assert_int_equal(ds_registry_set_device(p->r, "SN9", DS_REGISTRY_ACTIVE, &p->e), DS_INPUT);
    party_free(&a);
    party_free(&b);
}

// Who holds the file lets go of it now.
static int commit(void *other, int count)
{
    (void)count;
    return sqlite3_exec(other, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
}

static void refuse_meanwhile(place *p, const char *insert, const party *d)
{
    sqlite3 *other = NULL;
    ds_registry_client c;
    assert_int_equal(sqlite3_open(p->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, insert, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_busy_handler(p->r->sql.db, commit, other);
    assert_int_equal(admit_at(p, d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "revoked");
    assert_int_equal(c.news, DS_REGISTRY_NOTHING);
    assert_int_equal(registered(p), 0);
    sqlite3_busy_timeout(p->r->sql.db, 5000);
    sqlite3_close(other);
}

// The revocation is on its way into the file when the device connects first: it waits for the lock and then must not
// be registered by what it saw before.
static void test_revoked_while_it_connects(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN1", &p->sub);
    uint8_t id[32], serial[DS_REGISTRY_SERIAL];
    char hex[65], by_id[160], by_serial[160];
    SHA256(a.der.ptr, a.der.len, id);
    ds_hex(id, sizeof id, hex);
    snprintf(by_id, sizeof by_id, "INSERT INTO refused VALUES(x'%s', 1)", hex);
    ds_hex(serial, ds_registry_serial(b.cert, serial), hex);
    snprintf(by_serial, sizeof by_serial, "INSERT INTO revoked_serial VALUES(2, x'%s', 1)", hex);
    refuse_meanwhile(p, by_id, &a);
    refuse_meanwhile(p, by_serial, &b);
    party_free(&a);
    party_free(&b);
}

// Another program has the file and does not let go: who is registered gets in, and nobody waits long.
static void test_file_held_by_another_program(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN2", &p->sub);
    sqlite3 *other = NULL;
    ds_registry_client c;
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    ds_registry_wait_at_most(p->r, 10);
    assert_int_equal(sqlite3_open(p->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t begun_ms = ds_now_ms();
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_STORE);
    assert_has(p->e.text, "another program");
    p->r->seen_count = DS_SEEN_MAX - 1; // as if so many others had been there
    memset(p->r->seen, 0, sizeof p->r->seen);
    assert_int_equal(admit_at(p, &a, "SN1", NOW + 100, &c), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW + 200, &c), DS_OK);
    assert_int_equal(ds_registry_flush(p->r, &p->e), DS_STORE);
    assert_true(ds_now_ms() - begun_ms < 4000); // with what a command waits it would be 15 s
    sqlite3_close(other);
    assert_int_equal(ds_registry_flush(p->r, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_OK);
    party_free(&a);
    party_free(&b);
}

// Registered all the same, as an earlier version did in that case: revoking it again finds it.
static void test_revoking_again_finds_who_is_registered(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub);
    ds_registry_client c;
    uint8_t id[32];
    bool fresh = false;
    SHA256(d.der.ptr, d.der.len, id);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_OK);
    assert_int_equal(ds_sql_run(&p->r->sql, "INSERT INTO refused VALUES(?, 1)", DS_ARGS(DS_BLOB(id, sizeof id)), &p->e),
                     DS_OK);
    assert_int_equal(ds_registry_revoke(p->r, id, &fresh, &p->e), DS_OK);
    assert_true(fresh);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_int_equal(ds_registry_revoke(p->r, id, &fresh, &p->e), DS_OK);
    assert_false(fresh);
    party_free(&d);
}

static void test_service_is_admitted_and_not_recorded(void **state)
{
    place *p = *state;
    party s = make_device("backend", &p->ops);
    ds_registry_client c = {0};
    assert_int_equal(admit_at(p, &s, "backend", NOW, &c), DS_OK);
    assert_true(c.service && c.news == DS_REGISTRY_NOTHING);
    uint8_t ops[32];
    SHA256(p->ops.der.ptr, p->ops.der.len, ops);
    assert_true(ds_registry_ca_is_active(p->r, c.ca_number));
    assert_false(ds_registry_ca_is_active(p->r, 0));
    assert_false(ds_registry_ca_is_active(p->r, 99));
    assert_int_equal(ds_registry_set_ca(p->r, ops, &switched_off, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &s, "backend", NOW, &c), DS_POLICY);
    assert_false(ds_registry_ca_is_active(p->r, 3));
    assert_int_equal(registered(p), 0);
    party_free(&s);
}

static void test_ca_roles_and_switches(void **state)
{
    place *p = *state;
    party d = make_device("SN1", &p->sub), leaf_as_ca = make_device("x", &p->sub);
    ds_registry_client c;
    uint8_t id[32], unknown[32] = {0};
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&leaf_as_ca.der), DS_REGISTRY_DEVICES, true, id, &p->e),
                     DS_INPUT);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_SERVICES, true, id, &p->e),
                     DS_POLICY);
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_DEVICES, false, id, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "does not register by itself");
    assert_int_equal(ds_registry_add_ca(p->r, ds_buf_view(&p->sub.der), DS_REGISTRY_DEVICES, true, id, &p->e), DS_OK);
    assert_int_equal(ds_registry_set_ca(p->r, id, &switched_off, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &d, "SN1", NOW, &c), DS_POLICY);
    assert_has(p->e.text, "inactive");
    assert_int_equal(ds_registry_set_ca(p->r, unknown, &switched_off, &p->e), DS_INPUT);
    party_free(&d);
    party_free(&leaf_as_ca);
}

static const char *look(place *p, ds_registry_watch *w, char names[NAMES_MAX])
{
    bool more = true;
    names[0] = '\0';
    while (more)
        assert_int_equal(ds_registry_watch_next(p->r, w, 5, gather_names, names, &more, &p->e), DS_OK);
    return names;
}

static void test_changes_by_others_are_seen_once(void **state)
{
    place *p = *state;
    party a = make_device("SN1", &p->sub), b = make_device("SN2", &p->sub);
    ds_registry_client c;
    ds_registry *other;
    ds_registry_watch w;
    char names[NAMES_MAX];
    uint8_t ca[32];
    assert_int_equal(ds_registry_watch_init(p->r, &w, &p->e), DS_OK);
    assert_int_equal(admit_at(p, &a, "SN1", NOW, &c), DS_OK);
    assert_int_equal(admit_at(p, &b, "SN2", NOW, &c), DS_OK);
    assert_string_equal(look(p, &w, names), "");
    assert_int_equal(ds_registry_open(p->path, false, &other, &p->e), DS_OK);
    assert_int_equal(ds_registry_set_device(other, "SN2", DS_REGISTRY_REVOKED, &p->e), DS_OK);
    assert_string_equal(look(p, &w, names), "SN2;");
    assert_string_equal(look(p, &w, names), "");
    SHA256(p->sub.der.ptr, p->sub.der.len, ca);
    assert_int_equal(ds_registry_set_ca(other, ca, &switched_off, &p->e), DS_OK);
    assert_string_equal(look(p, &w, names), "SN1;");
    assert_string_equal(look(p, &w, names), "");
    ds_registry_close(other);
    party_free(&a);
    party_free(&b);
}

static void test_open_needs_a_registry(void **state)
{
    place *p = *state;
    ds_registry *none = NULL;
    struct stat st;
    char missing[128];
    snprintf(missing, sizeof missing, "%s.missing", p->path);
    assert_int_equal(ds_registry_open(missing, false, &none, &p->e), DS_STORE);
    assert_has(p->e.hint, "registry init");
    assert_int_equal(access(missing, F_OK), -1);
    assert_int_equal(ds_registry_open(p->w->path, false, &none, &p->e), DS_STORE); // a ledger is no registry
    assert_has(p->e.text, "is no registry");
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

// A device made on the line: its certificate in the ledger, issued by the registered CA.
int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE(test_admit_registers_once),
        PLACE(test_admit_keeps_times),
        PLACE(test_admit_refuses_other_profiles),
        PLACE(test_admit_takes_other_good_keys),
        PLACE(test_admit_refuses_other_issuers),
        PLACE(test_admit_checks_the_signature_itself),
        PLACE(test_admit_refuses_an_expired_ca),
        PLACE(test_admit_by_client_id_and_one_certificate_a_name),
        PLACE(test_service_is_admitted_and_not_recorded),
        PLACE(test_revoked_while_it_connects),
        PLACE(test_file_held_by_another_program),
        PLACE(test_revoking_again_finds_who_is_registered),
        PLACE(test_ca_roles_and_switches),
        PLACE(test_changes_by_others_are_seen_once),
        PLACE(test_open_needs_a_registry),
    };
    return cmocka_run_group_tests_name("cloud: registry", tests, NULL, NULL);
}
