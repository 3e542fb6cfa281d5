// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Stations of a shared database: where it is and who must be proven, whose ids they give, and what one may go on with
// that another began.
#include "ledger_support.h"
#include "src/ledger/internal.h"
#include "src/ledger/pg.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

static time_t clock_back; // seconds by which this program's clock is behind

// In place of the C library's.
int clock_gettime(clockid_t id, struct timespec *ret)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ret);
    if (rc == 0 && id == CLOCK_REALTIME)
        ret->tv_sec -= clock_back;
    return rc;
}

static ds_ledger *open_as(world *w, const char *station)
{
    ds_ledger *l = NULL;
    if (ds_ledger_open_as(w->path, station, false, &l, &w->e))
        fail_msg("%s", w->e.text);
    return l;
}

static const char *setting(const ds_pg_place *p, const char *key)
{
    const char *last = "";
    for (size_t i = 0; p->keys[i]; i++)
        if (strcmp(p->keys[i], key) == 0)
            last = p->values[i];
    return last;
}

// Whoever owns the network must not talk a station out of TLS, wherever the host is said.
static void test_other_computers_must_be_proven(void **state)
{
    world *w = *state;
    static const struct {
        const char *place, *env, *value, *tls;
    } cases[] = {
        {"postgresql://u@127.0.0.1/d", NULL, NULL, ""},
        {"host=/run/postgresql user=u", NULL, NULL, ""},
        {"postgresql://u@db.example/d", NULL, NULL, "verify-full"},
        {"postgresql://u@db.example/d?sslmode=require", NULL, NULL, "require"},
        {"host=localhost hostaddr=192.0.2.1 user=u", NULL, NULL, "verify-full"},
        {"user=u dbname=d", "PGHOST", "db.example", "verify-full"},
        {"user=u dbname=d", "PGHOSTADDR", "192.0.2.1", "verify-full"},
        {"postgresql://u@db.example/d", "PGSSLMODE", "prefer", ""},
        {"service=silent", NULL, NULL, "verify-full"},
        {"service=said", NULL, NULL, ""},
        {"service=here", NULL, NULL, ""},
        {"user=u", "PGSERVICE", "silent", "verify-full"},
    };
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/services", w->folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("[silent]\nhost=db.example\n[said]\nhost=db.example\nsslmode=disable\n[here]\nhost=localhost\n", f);
    fclose(f);
    setenv("PGSERVICEFILE", path, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ds_pg_place p;
        if (cases[i].env)
            setenv(cases[i].env, cases[i].value, 1);
        assert_int_equal(ds_pg_place_read(cases[i].place, false, &p, &w->e), DS_OK);
        if (strcmp(setting(&p, "sslmode"), cases[i].tls) != 0)
            fail_msg("%zu: %s: sslmode '%s'", i, cases[i].place, setting(&p, "sslmode"));
        ds_pg_place_free(&p);
        if (cases[i].env)
            unsetenv(cases[i].env);
    }
    unsetenv("PGSERVICEFILE");
    unlink(path);
}

// A host that is switched off says nothing, not even no.
static void test_host_that_is_silent_is_passed_over(void **state)
{
    world *w = *state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int silent = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s/.s.PGSQL.5432", w->folder);
    assert_int_equal(bind(silent, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(silent, 8), 0);
    DS_CLEANUP_FREE char *place = ds_asprintf("host=%s,%s connect_timeout=3 user=postgres %s", w->folder, pg_one.folder,
                                              strstr(w->path, "options="));
    ds_ledger *l = NULL;
    if (ds_ledger_open_as(place, "a", false, &l, &w->e))
        fail_msg("%s", w->e.text);
    device_n(l, 1);
    ds_ledger_close(l);
    close(silent);
    unlink(at.sun_path);
}

// A query over a large table takes longer than anybody would wait for a database that stands still.
static void test_check_of_a_large_record_is_waited_for(void **state)
{
    world *w = *state;
    DS_CLEANUP_FREE char *place = ds_asprintf("%s connect_timeout=1", w->path);
    ds_ledger *l = NULL;
    int64_t one = 0;
    assert_int_equal(ds_ledger_open_as(place, "a", false, &l, &w->e), DS_OK);
    ds_ledger_lock(l);
    assert_int_equal(ds_sql_begin_read(&l->sql, &w->e), DS_OK);
    enum ds_class rc = ds_sql_number(&l->sql, "SELECT count(*) FROM pg_sleep(1.5)", NULL, 0, &one, &w->e);
    if (ds_sql_end(&l->sql, rc, &w->e))
        fail_msg("%s", w->e.text);
    ds_ledger_unlock(l);
    assert_int_equal(one, 1);
    ds_ledger_close(l);
}

static enum ds_class record_log(world *w, ds_ledger *l, uint8_t ca_byte)
{
    uint8_t ca[32] = {ca_byte}, root[32] = {7};
    const ds_ledger_log log = {ca, 1, root, 0, NULL, 0};
    return ds_ledger_signer_head(l, &log, &w->e);
}

static void test_reservation_of_another_station_is_not_signed_twice(void **state)
{
    world *w = *state;
    ds_ledger *a = open_as(w, "a"), *b = open_as(w, "b");
    ds_ledger_device d = device_n(a, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert first = {0}, c = {0};
    assert_int_equal(reserve(a, d.id, &s, &first, &w->e), DS_OK);
    assert_int_equal(reserve(b, d.id, &s, &c, &w->e), DS_POLICY);
    assert_has(w->e.text, "reserved by station a");
    assert_has(w->e.hint, "finish the device there");
    assert_int_equal(record_log(w, a, 1), DS_OK);
    assert_int_equal(record_log(w, b, 2), DS_OK);
    assert_int_equal(reserve(b, d.id, &s, &c, &w->e), DS_POLICY); // two signers
    uint8_t ca[32] = {1}, root[32];
    uint64_t entries;
    bool has;
    assert_int_equal(ds_ledger_signer_known(b, ca, &entries, root, &has, &w->e), DS_OK);
    assert_int_equal(entries, 0);                 // that log is a's to compare
    assert_int_equal(record_log(w, b, 1), DS_OK); // b uses a's signer from now on
    assert_int_equal(reserve(b, d.id, &s, &c, &w->e), DS_OK);
    assert_memory_equal(c.serial, first.serial, 16);
    ds_buf der = certify(c.serial, s.key);
    assert_int_equal(ds_ledger_cert_signed(b, c.id, ds_buf_view(&der), &w->e), DS_OK);
    ds_ledger_cert_free(&first);
    assert_int_equal(reserve(a, d.id, &s, &first, &w->e), DS_OK);
    assert_int_equal(first.state, DS_LEDGER_SIGNED);
    ds_buf_free(&der);
    ds_ledger_cert_free(&first);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
    ds_ledger_close(a);
    ds_ledger_close(b);
}

// Who uses which signer is what counts, also where its log is empty yet, or where nothing was added to it since.
static void test_reservation_is_not_taken_over_by_a_signer_of_before(void **state)
{
    world *w = *state;
    ds_ledger *a = open_as(w, "a"), *b = open_as(w, "b");
    ds_ledger_device d = device_n(a, 1);
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    uint8_t ca[32] = {2}, root[32] = {0};
    const ds_ledger_log empty = {ca, 0, root, 0, NULL, 0};
    int64_t before, after;
    uint8_t head[32];
    assert_int_equal(record_log(w, a, 1), DS_OK);
    assert_int_equal(record_log(w, b, 1), DS_OK);
    assert_int_equal(reserve(a, d.id, &s, &c, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_signer_head(b, &empty, &w->e), DS_OK);
    assert_int_equal(reserve(b, d.id, &s, &c, &w->e), DS_POLICY);
    assert_int_equal(ds_ledger_head(b, &before, head, &w->e), DS_OK);
    assert_int_equal(ds_ledger_signer_head(b, &empty, &w->e), DS_OK);
    assert_int_equal(ds_ledger_head(b, &after, head, &w->e), DS_OK);
    assert_int_equal(after, before); // once
    assert_int_equal(record_log(w, b, 1), DS_OK);
    assert_int_equal(reserve(b, d.id, &s, &c, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    const ds_ledger_log begun = {ca, 1, root, 0, NULL, 0};
    assert_int_equal(ds_ledger_signer_head(b, &begun, &w->e), DS_OK);
    stamp_free(&s);
    ds_ledger_close(a);
    ds_ledger_close(b);
}

// A CA elsewhere has no log that would give out what it signed, whatever signers the stations had before.
static void test_reservation_elsewhere_is_never_taken_over(void **state)
{
    world *w = *state;
    ds_ledger *a = open_as(w, "a"), *b = open_as(w, "b");
    stamp s = stamp_new("lamp");
    const ds_ledger_reserve r = {.device = device_n(a, 1).id,
                                 .csr = ds_buf_view(&s.csr),
                                 .public_key_digest = s.digest,
                                 .subject = "CN=lamp",
                                 .not_before_utc = 1700000000,
                                 .not_after_utc = 1900000000,
                                 .asked_of = "https://ca.example"};
    ds_ledger_cert c = {0};
    assert_int_equal(record_log(w, a, 1), DS_OK);
    assert_int_equal(record_log(w, b, 1), DS_OK);
    assert_int_equal(ds_ledger_cert_reserve(a, &r, &c, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_int_equal(ds_ledger_cert_reserve(b, &r, &c, &w->e), DS_POLICY);
    assert_has(w->e.text, "reserved by station a");
    assert_int_equal(ds_ledger_cert_reserve(a, &r, &c, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
    ds_ledger_close(a);
    ds_ledger_close(b);
}

// A computer without a battery begins in 1970: its ids carry its number all the same.
static void test_ids_of_a_clock_before_all_are_the_stations(void **state)
{
    world *w = *state;
    ds_ledger *both[2] = {open_as(w, "a"), open_as(w, "b")};
    lines out;
    clock_back = time(NULL) - 86400;
    for (unsigned i = 0; i < 4; i++) {
        ds_ledger_device d = device_n(both[i % 2], i);
        assert_int_equal(ds_ledger_station_of(d.id), both[i % 2]->station);
    }
    clock_back = 0;
    stamp s = stamp_new("lamp");
    ds_ledger_cert c = {0};
    assert_int_equal(reserve(both[0], device_n(both[0], 0).id, &s, &c, &w->e), DS_OK);
    ds_ledger_cert_free(&c);
    assert_int_equal(reserve(both[0], device_n(both[0], 0).id, &s, &c, &w->e), DS_OK); // its own, and so gone on with
    check(w->l, &out);
    assert_null(strstr(out.text, "chain"));
    ds_ledger_cert_free(&c);
    stamp_free(&s);
    ds_ledger_close(both[0]);
    ds_ledger_close(both[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_other_computers_must_be_proven),
        TEST(test_host_that_is_silent_is_passed_over),
        TEST(test_check_of_a_large_record_is_waited_for),
        TEST(test_reservation_of_another_station_is_not_signed_twice),
        TEST(test_reservation_is_not_taken_over_by_a_signer_of_before),
        TEST(test_reservation_elsewhere_is_never_taken_over),
        TEST(test_ids_of_a_clock_before_all_are_the_stations),
    };
    return cmocka_run_group_tests_name("ledger: stations of a database", tests, NULL, NULL);
}
