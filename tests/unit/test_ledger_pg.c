// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What only a shared database has: places, schema versions, several stations at once, and a database that goes away.
#include "ledger_support.h"
#include "src/ledger/internal.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static void test_place_is_told_from_a_file(void **state)
{
    (void)state;
    static const char *const places[] = {"postgresql://h/d", "postgres://h/d", "host=h dbname=d", "service=ledger"};
    static const char *const files[] = {"ledger.db", "/var/lib/x/ledger.db", "a=b", "./host=h", ""};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        assert_true(ds_ledger_is_database(places[i]));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_false(ds_ledger_is_database(files[i]));
}

static void test_place_with_a_password_is_refused_unsaid(void **state)
{
    (void)state;
    static const char *const places[] = {
        "postgresql://me:hunter2@127.0.0.1/d", "postgresql://127.0.0.1/d?password=hunter2",
        "host=127.0.0.1 password=hunter2",     "postgresql://127.0.0.1/d?sslpassword=hunter2",
        "postgresql://me:hunter2%zz@h/d",      "postgresql://h/d?connect_timeout=0"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        ds_err e = DS_ERR_INIT;
        ds_ledger *l = NULL;
        assert_int_equal(ds_ledger_open(places[i], false, &l, &e), DS_USAGE);
        assert_null(strstr(e.text, "hunter2"));
        assert_null(strstr(e.hint, "hunter2"));
        if (i < 4)
            assert_has(e.hint, "PGPASSFILE");
    }
}

static void test_place_that_nobody_answers_fails_at_once(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    ds_ledger *l = NULL;
    assert_int_equal(ds_ledger_open("host=/nonexistent user=u dbname=d", true, &l, &e), DS_STORE);
    assert_has(e.text, "ledger postgresql:///nonexistent/d: ");
    assert_true(e.hint[0]);
}

static ds_ledger *open_as(world *w, const char *station)
{
    ds_ledger *l = NULL;
    if (ds_ledger_open_as(w->path, station, false, &l, &w->e))
        fail_msg("%s", w->e.text);
    return l;
}

static void test_schema_newer_or_strange_is_refused(void **state)
{
    world *w = *state;
    ds_ledger *l = NULL;
    char *said = try_sql(w, "UPDATE devstamp_ledger SET version = 2");
    assert_null(said);
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(ds_ledger_open(w->path, read_only, &l, &w->e), DS_STORE);
        assert_has(w->e.text, "schema 2");
        assert_has(w->e.hint, "newer");
    }
    assert_null(try_sql(w, "DROP TABLE devstamp_ledger"));
    assert_int_equal(ds_ledger_open(w->path, false, &l, &w->e), DS_STORE);
    assert_has(w->e.text, "is no ledger");
    assert_null(try_sql(w, "DROP TABLE chain, counter, counter_block, device, certificate, event, proof"));
    assert_int_equal(ds_ledger_open(w->path, true, &l, &w->e), DS_STORE);
    assert_has(w->e.text, "holds no ledger that this user may see");
    assert_int_equal(ds_ledger_open(w->path, false, &l, &w->e), DS_OK);
    ds_ledger_close(l);
}

static void test_read_only_changes_nothing(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    reopen(w, true);
    assert_int_equal(ds_ledger_device_stage(w->l, d.id, "key", &w->e), DS_STORE);
    assert_has(w->e.text, "opened for reading");
    assert_int_equal(ds_ledger_find(w->l, "020000000001", &d, &w->e), DS_OK);
}

// The rights that docs/ledger.md gives a station are enough, and are all it has.
static void test_station_needs_few_rights(void **state)
{
    world *w = *state;
    char place[128];
    ds_ledger *l = NULL;
    const char *schema = strstr(w->path, "search_path=") + 12;
    DS_CLEANUP_FREE char *grants =
        ds_asprintf("DROP ROLE IF EXISTS line; CREATE ROLE line LOGIN; GRANT USAGE ON SCHEMA %s TO line;"
                    "GRANT SELECT, INSERT, UPDATE ON chain, counter, counter_block, device, certificate TO line;"
                    "GRANT SELECT, INSERT ON event, proof TO line; GRANT SELECT ON devstamp_ledger TO line",
                    schema);
    assert_null(try_sql(w, grants));
    snprintf(place, sizeof place, "host=%s user=line dbname=postgres options=-csearch_path=%s", pg_one.folder, schema);
    if (ds_ledger_open_as(place, "line", false, &l, &w->e))
        fail_msg("%s", w->e.text);
    whole_device(l, 1);
    lines out;
    assert_int_equal(check(l, &out), 0);
    ds_ledger_close(l);
    static const char *const not_theirs[] = {"DELETE FROM device", "UPDATE event SET at = 1", "DELETE FROM chain",
                                             "UPDATE devstamp_ledger SET version = 0"};
    for (size_t i = 0; i < sizeof not_theirs / sizeof *not_theirs; i++) {
        char *said = pg_try(place, not_theirs[i]);
        assert_non_null(said);
        assert_has(said, "permission denied");
        free(said);
    }
    assert_null(try_sql(w, "REVOKE INSERT ON event FROM line"));
    assert_int_equal(ds_ledger_open_as(place, "line", false, &l, &w->e), DS_OK);
    assert_int_equal(ds_ledger_event(l, 0, "fault", "x", &w->e), DS_STORE);
    assert_has(w->e.hint, "docs/ledger.md");
    ds_ledger_close(l);
    assert_null(try_sql(w, "DROP OWNED BY line; DROP ROLE line"));
}

typedef struct opener {
    const char *path;
    char station[16];
    enum ds_class rc;
    ds_ledger *l;
    ds_err e;
} opener;

static void *open_main(void *arg)
{
    opener *o = arg;
    o->rc = ds_ledger_open_as(o->path, o->station, false, &o->l, &o->e);
    return NULL;
}

// An empty database, opened by many at one moment: one of them makes the tables, and each gets a chain of its own.
static void test_schema_is_made_once_by_many(void **state)
{
    world *w = *state;
    char place[96];
    enum { MANY = 6 };
    opener all[MANY];
    pthread_t threads[MANY];
    pg_new_place(place, sizeof place);
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = (opener){.path = place};
        snprintf(all[i].station, sizeof all[i].station, "station %u", i / 2); // two of one name
        assert_int_equal(pthread_create(&threads[i], NULL, open_main, &all[i]), 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        pthread_join(threads[i], NULL);
        if (all[i].rc)
            fail_msg("%s", all[i].e.text);
    }
    for (unsigned i = 0; i < MANY; i++) {
        for (unsigned j = 0; j < MANY; j++)
            assert_true((all[i].l->station == all[j].l->station) == (i / 2 == j / 2));
    }
    for (unsigned i = 0; i < MANY; i++)
        ds_ledger_close(all[i].l);
    (void)w;
}

enum { PER_STATION = 12, STATIONS = 3 };

typedef struct line {
    ds_ledger *l;
    unsigned first;
    char serials[PER_STATION][64];
    int64_t ids[PER_STATION];
} line;

static void must(enum ds_class rc, const ds_err *e)
{
    if (rc) {
        fprintf(stderr, "%s\n", e->text);
        abort();
    }
}

static void *line_main(void *arg)
{
    line *x = arg;
    for (unsigned i = 0; i < PER_STATION; i++) {
        ds_err e = DS_ERR_INIT;
        ds_ledger_device d = device_n(x->l, x->first + i), shared = device_n(x->l, 5000 + i % 3);
        must(ds_ledger_device_serial(x->l, d.id, "S{counter}", x->serials[i], &e), &e);
        must(ds_ledger_event(x->l, shared.id, "step", "seen", &e), &e);
        x->ids[i] = d.id;
    }
    return NULL;
}

static void check_line(const line *a, const line *b)
{
    for (unsigned i = 0; i < PER_STATION; i++) {
        for (unsigned j = 0; j < PER_STATION; j++) {
            assert_true((a == b && i == j) || strcmp(a->serials[i], b->serials[j]) != 0);
            assert_true((a == b && i == j) || a->ids[i] != b->ids[j]);
        }
        assert_true(i == 0 || a->ids[i] > a->ids[i - 1]);
    }
}

static void count_chain(void *arg, const char *station, int64_t count, const uint8_t hash[32])
{
    static const uint8_t zero[32];
    assert_true(station[0]);
    assert_true((count > 0) == (memcmp(hash, zero, 32) != 0));
    *(int64_t *)arg += count;
}

static void test_stations_at_once_share_numbers_and_devices(void **state)
{
    world *w = *state;
    line lines_of[STATIONS];
    pthread_t threads[STATIONS];
    lines out;
    int64_t events = 0;
    for (unsigned i = 0; i < STATIONS; i++) {
        char name[16];
        snprintf(name, sizeof name, "line %u", i);
        lines_of[i] = (line){.l = open_as(w, name), .first = 100 * i};
    }
    for (unsigned i = 0; i < STATIONS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, line_main, &lines_of[i]), 0);
    for (unsigned i = 0; i < STATIONS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < STATIONS; i++)
        for (unsigned j = 0; j < STATIONS; j++)
            check_line(&lines_of[i], &lines_of[j]);
    check(w->l, &out);
    assert_null(strstr(out.text, "chain"));
    assert_int_equal(ds_ledger_each_head(w->l, count_chain, &events, &w->e), DS_OK);
    // "first seen" of all and of three shared ones, a number, and an event for each
    assert_int_equal(events, STATIONS * PER_STATION * 3 + 3);
    for (unsigned i = 0; i < STATIONS; i++)
        ds_ledger_close(lines_of[i].l);
}

static enum ds_class record_log(world *w, ds_ledger *l, uint8_t ca_byte)
{
    uint8_t ca[32] = {ca_byte}, root[32] = {7};
    const ds_ledger_log log = {ca, 1, root, 0, NULL, 0};
    return ds_ledger_signer_head(l, &log, &w->e);
}

// What stations sign beside each other is each one's own to account for.
static void test_signer_heads_of_stations_do_not_mix(void **state)
{
    world *w = *state;
    ds_ledger *a = open_as(w, "a"), *b = open_as(w, "b");
    whole_device(a, 1);
    whole_device(b, 2);
    whole_device(b, 3);
    assert_int_equal(record_log(w, a, 1), DS_OK); // one entry, and b has signed two meanwhile
    assert_int_equal(record_log(w, b, 2), DS_POLICY);
    assert_has(w->e.text, "has 1 entries, the ledger 2 certificates");
    ds_ledger_close(a);
    ds_ledger_close(b);
}

// A device's words in no encoding at all are kept as far as they are text.
static void test_event_that_is_not_utf8_is_kept(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff\xfe x", "?? x"},
        {"\xc0\x80 \xc1\xbf", "?? ??"},
        {"\xe0\x80\x80 \xed\xa0\x80", "??? ???"},
        {"\xf4\x90\x80\x80 \xf5\x80\x80\x80 \xf0\x8f\xbf\xbf", "???? ???? ????"},
        {"cut \xe2\x82", "cut ??"},
        {"\x80", "?"},
    };
    world *w = *state;
    lines out;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (ds_ledger_event(w->l, 0, "fault", cases[i].text, &w->e))
            fail_msg("%zu: %s", i, w->e.text);
        DS_CLEANUP_FREE char *sql = ds_asprintf("SELECT 1 / count(*) FROM event WHERE text = '%s'", cases[i].want);
        char *said = try_sql(w, sql);
        if (said)
            fail_msg("%zu: %s", i, said);
    }
    assert_int_equal(check(w->l, &out), 0);
}

// The first link of a station's chain, made by hand.
static void test_chain_begins_with_the_stations_name(void **state)
{
    world *w = *state;
    ds_ledger *l = open_as(w, "north");
    uint8_t begin[32], bytes[128] = {0}, want[32], head[32];
    int64_t count = -1;
    bool has = false;
    assert_int_equal(ds_ledger_head(l, &count, head, &w->e), DS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(ds_ledger_contains(l, head, &has, &w->e), DS_OK);
    assert_true(has);
    memcpy(bytes,
           "\x1b\0\0\0"
           "devstamp chain of a station"
           "\x05\0\0\0"
           "north",
           40);
    SHA256(bytes, 40, begin);
    assert_int_equal(ds_ledger_event(l, 0, "fault", "token", &w->e), DS_OK);
    ds_ledger_link link = {0, 0, "fault", "token"};
    assert_int_equal(ds_ledger_head(l, &count, head, &w->e), DS_OK);
    int64_t now = (int64_t)time(NULL);
    for (link.at_utc = now - 20; link.at_utc <= now + 1; link.at_utc++) {
        ds_ledger_link_hash(begin, &link, want);
        if (memcmp(want, head, 32) == 0)
            break;
    }
    assert_memory_equal(want, head, 32);
    ds_ledger_close(l);
}

// --- a database that goes away

typedef struct writer {
    world *w;
    int64_t device;
    enum ds_class rc;
} writer;

static void *write_event(void *arg)
{
    writer *x = arg;
    x->rc = ds_ledger_event(x->w->l, x->device, "step", "while it was away", &x->w->e);
    return NULL;
}

static void test_database_that_stands_still_is_waited_for(void **state)
{
    writer x = {.w = *state};
    pthread_t thread;
    x.device = device_n(x.w->l, 1).id;
    pg_signal_all(SIGSTOP);
    assert_int_equal(pthread_create(&thread, NULL, write_event, &x), 0);
    usleep(200000);
    pg_signal_all(SIGCONT);
    pthread_join(thread, NULL);
    if (x.rc)
        fail_msg("%s", x.w->e.text);
}

static void test_database_that_restarts_costs_nothing(void **state)
{
    writer x = {.w = *state};
    world *w = x.w;
    pthread_t thread;
    lines out;
    int64_t before = 0, after = 0;
    uint8_t head[32];
    x.device = device_n(w->l, 1).id;
    assert_int_equal(ds_ledger_head(w->l, &before, head, &w->e), DS_OK);
    pg_stop(SIGINT);
    assert_int_equal(pthread_create(&thread, NULL, write_event, &x), 0);
    usleep(200000);
    pg_start(); // by this thread: the server dies with the one that started it
    pthread_join(thread, NULL);
    if (x.rc)
        fail_msg("%s", w->e.text);
    pg_stop(SIGQUIT); // a crash
    pg_start();
    assert_int_equal(ds_ledger_head(w->l, &after, head, &w->e), DS_OK); // a dead connection is noticed
    assert_int_equal(after, before + 1);
    check(w->l, &out);
    assert_null(strstr(out.text, "chain"));
}

static void test_database_that_stays_away_is_told_in_time(void **state)
{
    world *w = *state;
    char place[128];
    ds_ledger *l = NULL;
    ds_ledger_device d = device_n(w->l, 1);
    snprintf(place, sizeof place, "%s connect_timeout=1", w->path);
    assert_int_equal(ds_ledger_open_as(place, "a", false, &l, &w->e), DS_OK);
    pg_stop(SIGINT);
    assert_int_equal(ds_ledger_event(l, d.id, "step", "never", &w->e), DS_STORE);
    assert_has(w->e.text, "ledger postgresql://");
    assert_has(w->e.hint, "when the database is back");
    pg_start();
    assert_int_equal(ds_ledger_event(l, d.id, "step", "again", &w->e), DS_OK);
    ds_ledger_close(l);
}

// Between program and server: passes bytes on, and cuts the connection where a COMMIT is on its way, before the server
// saw it or after.
typedef struct cutter {
    int listening, cuts;
    bool after; // the server gets it, its answer is lost
} cutter;

static bool pass(int from, int to, cutter *x, bool upward)
{
    char bytes[65536];
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n <= 0)
        return false;
    bool commit = upward && x->cuts > 0 && memmem(bytes, (size_t)n, "COMMIT", 6);
    if (commit && !x->after) {
        x->cuts--;
        return false;
    }
    if (write(to, bytes, (size_t)n) != n)
        return false;
    if (commit) { // until it has answered, so that it surely has done it
        x->cuts--;
        return read(to, bytes, sizeof bytes) < 0;
    }
    return true;
}

static void *cutter_main(void *arg)
{
    cutter *x = arg;
    for (;;) {
        struct sockaddr_un up = {.sun_family = AF_UNIX};
        int client = accept(x->listening, NULL, NULL), server = socket(AF_UNIX, SOCK_STREAM, 0);
        if (client < 0) {
            close(server);
            return NULL;
        }
        snprintf(up.sun_path, sizeof up.sun_path, "%s/.s.PGSQL.5432", pg_one.folder);
        bool go = connect(server, (struct sockaddr *)&up, sizeof up) == 0;
        while (go) {
            struct pollfd p[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
            poll(p, 2, -1);
            if (p[0].revents)
                go = pass(client, server, x, true);
            if (go && p[1].revents)
                go = pass(server, client, x, false);
        }
        close(client);
        close(server);
    }
}

static void lose_commits(world *w, bool after)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char place[160];
    pthread_t thread;
    ds_ledger_device d = device_n(w->l, 1);
    cutter x = {.listening = socket(AF_UNIX, SOCK_STREAM, 0), .after = after};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/.s.PGSQL.1", w->folder);
    assert_int_equal(bind(x.listening, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(x.listening, 8), 0);
    assert_int_equal(pthread_create(&thread, NULL, cutter_main, &x), 0);
    snprintf(place, sizeof place, "host=%s port=1 user=postgres %s", w->folder, strstr(w->path, "options="));
    ds_ledger *l = NULL;
    if (ds_ledger_open_as(place, "cut", false, &l, &w->e))
        fail_msg("%s", w->e.text);
    for (int i = 1; i <= 3; i++) {
        x.cuts = i == 3 ? 2 : 1; // the third time, the question whether it was done too
        enum ds_class rc = ds_ledger_event(l, d.id, "step", "once", &w->e);
        if (rc)
            fail_msg("%s", w->e.text);
        assert_int_equal(x.cuts, 0);
    }
    int64_t count = 0;
    uint8_t head[32];
    lines out;
    assert_int_equal(ds_ledger_head(l, &count, head, &w->e), DS_OK);
    assert_int_equal(count, 3);
    check(l, &out);
    assert_null(strstr(out.text, "chain"));
    ds_ledger_close(l);
    shutdown(x.listening, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(x.listening);
    unlink(at.sun_path);
}

static void test_commit_that_was_not_done_is_done_again(void **state)
{
    lose_commits(*state, false);
}

static void test_commit_whose_answer_was_lost_is_looked_up(void **state)
{
    lose_commits(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_is_told_from_a_file),
        cmocka_unit_test(test_place_with_a_password_is_refused_unsaid),
        cmocka_unit_test(test_place_that_nobody_answers_fails_at_once),
        TEST(test_schema_newer_or_strange_is_refused),
        TEST(test_read_only_changes_nothing),
        TEST(test_station_needs_few_rights),
        TEST(test_schema_is_made_once_by_many),
        TEST(test_stations_at_once_share_numbers_and_devices),
        TEST(test_signer_heads_of_stations_do_not_mix),
        TEST(test_event_that_is_not_utf8_is_kept),
        TEST(test_chain_begins_with_the_stations_name),
        TEST(test_database_that_stands_still_is_waited_for),
        TEST(test_database_that_restarts_costs_nothing),
        TEST(test_database_that_stays_away_is_told_in_time),
        TEST(test_commit_that_was_not_done_is_done_again),
        TEST(test_commit_whose_answer_was_lost_is_looked_up),
    };
    return cmocka_run_group_tests_name("ledger: database", tests, NULL, NULL);
}
