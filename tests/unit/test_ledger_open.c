// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening: privacy of the file, one writer, strangers' files; and what a failing disk does: nothing.
#include "ledger_support.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_open_makes_a_private_file(void **state)
{
    world *w = *state;
    static const char *const tails[] = {"", "-wal", "-shm", ".lock"};
    device_n(w->l, 1);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        char name[128];
        struct stat st;
        snprintf(name, sizeof name, "%s%s", w->path, tails[i]);
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void test_open_is_durable_wal(void **state)
{
    world *w = *state;
    sqlite3 *db;
    sqlite3_stmt *q;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(q, 0), "wal");
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void test_open_second_writer_is_told_who(void **state)
{
    world *w = *state;
    ds_ledger *second = NULL;
    char who[64];
    assert_int_equal(ds_ledger_open(w->path, false, &second, &w->e), DS_STORE);
    assert_null(second);
    snprintf(who, sizeof who, "in use by process %ld", (long)getpid());
    assert_has(w->e.text, who);
    assert_true(w->e.hint[0]);
    assert_int_equal(ds_ledger_open(w->path, true, &second, &w->e), DS_OK); // readers may
    assert_int_equal(device_n(w->l, 1).id, 1);
    ds_ledger_device d;
    assert_int_equal(ds_ledger_find(second, "020000000001", &d, &w->e), DS_OK);
    ds_ledger_close(second);
    reopen(w, false); // the lock goes with its holder
}

static void test_open_read_only_changes_nothing(void **state)
{
    world *w = *state;
    ds_ledger_device d = device_n(w->l, 1);
    reopen(w, true);
    assert_int_equal(ds_ledger_device_stage(w->l, d.id, "key", &w->e), DS_STORE);
    assert_int_equal(ds_ledger_event(w->l, 0, "fault", "x", &w->e), DS_STORE);
    ds_ledger *none = NULL;
    assert_int_equal(ds_ledger_open("/nonexistent/ledger.db", true, &none, &w->e), DS_STORE);
    assert_int_equal(ds_ledger_open("/nonexistent/ledger.db", false, &none, &w->e), DS_STORE);
    assert_int_equal(w->e.code, ENOENT);
    assert_null(none);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_open_a_strangers_file_is_refused_and_kept(void **state)
{
    world *w = *state;
    ds_ledger_close(w->l);
    w->l = NULL;
    unlink(w->path);
    write_file(w->path,
               "this is a shopping list, and long enough to be taken for a database header, perhaps, if one is "
               "careless about it\n");
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_STORE);
    assert_has(w->e.text, "not a ledger");
    assert_int_equal(ds_ledger_open(w->path, true, &w->l, &w->e), DS_STORE);
    unlink(w->path);

    sqlite3 *db;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE songs(name); PRAGMA journal_mode=DELETE", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_STORE);
    assert_has(w->e.text, "is no ledger");
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO songs VALUES('x')", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", w->path);
    assert_int_not_equal(access(wal, F_OK), 0); // its journal mode was left as it was
}

static void test_open_newer_schema_is_refused(void **state)
{
    world *w = *state;
    sqlite3 *db;
    ds_ledger_close(w->l);
    w->l = NULL;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA user_version=2", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_STORE);
    assert_has(w->e.text, "schema 2");
    assert_has(w->e.hint, "newer");
    assert_int_equal(ds_ledger_open(w->path, true, &w->l, &w->e), DS_STORE);
}

// A disk that takes `allowed` more writes and then is full (or broken), under SQLite's own file system.
static long allowed = -1; // -1 = healthy
static int failure;
static sqlite3_io_methods real_methods[4], sick_methods[4];
static const sqlite3_io_methods *wrapped[4];
static sqlite3_vfs sick;
static sqlite3_vfs *healthy;

static bool spent(void)
{
    if (allowed < 0)
        return false;
    if (allowed == 0)
        return true;
    allowed--;
    return false;
}

static const sqlite3_io_methods *real_of(const sqlite3_file *f)
{
    return &real_methods[f->pMethods - sick_methods];
}

static int sick_write(sqlite3_file *f, const void *data, int len, sqlite3_int64 off)
{
    return spent() ? failure : real_of(f)->xWrite(f, data, len, off);
}

static int sick_sync(sqlite3_file *f, int flags)
{
    return spent() ? SQLITE_IOERR_FSYNC : real_of(f)->xSync(f, flags);
}

static int sick_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    (void)vfs;
    int rc = healthy->xOpen(healthy, name, f, flags, out);
    if (rc != SQLITE_OK || !f->pMethods)
        return rc;
    size_t i = 0;
    while (wrapped[i] && wrapped[i] != f->pMethods)
        i++;
    assert_true(i < 4);
    if (!wrapped[i]) {
        wrapped[i] = f->pMethods;
        sick_methods[i] = real_methods[i] = *f->pMethods;
        sick_methods[i].xWrite = sick_write;
        sick_methods[i].xSync = sick_sync;
    }
    f->pMethods = &sick_methods[i];
    return SQLITE_OK;
}

static int use_sick_disk(void **state)
{
    healthy = sqlite3_vfs_find(NULL);
    sick = *healthy;
    sick.zName = "sick";
    sick.xOpen = sick_open;
    sqlite3_vfs_register(&sick, 1);
    allowed = -1;
    return world_new(state);
}

static int leave_sick_disk(void **state)
{
    allowed = -1;
    int rc = world_free(state);
    sqlite3_vfs_unregister(&sick);
    return rc;
}

typedef struct snapshot {
    int64_t events;
    uint8_t head[32];
    enum ds_ledger_state state;
} snapshot;

static snapshot take_snapshot(world *w, int64_t device)
{
    snapshot s = {0};
    ds_ledger_cert c = {0};
    assert_int_equal(ds_ledger_head(w->l, &s.events, s.head, &w->e), DS_OK);
    assert_int_equal(ds_ledger_cert_newest(w->l, device, &c, &w->e), DS_OK);
    s.state = c.state;
    ds_ledger_cert_free(&c);
    return s;
}

// One whole step (a certificate recorded as signed), with the disk failing at every write it makes in turn.
static void fail_at_every_write(world *w, int how)
{
    stamp s = stamp_new("lamp");
    ds_ledger_device d = device_n(w->l, 1);
    ds_ledger_cert c = {0};
    assert_int_equal(reserve(w->l, d.id, &s, &c, &w->e), DS_OK);
    ds_buf der = certify(c.serial, s.key);
    unsigned failed = 0;
    failure = how;
    for (long n = 0;; n++) {
        snapshot before = take_snapshot(w, d.id);
        allowed = n;
        enum ds_class rc = ds_ledger_cert_signed(w->l, c.id, ds_buf_view(&der), &w->e);
        allowed = -1;
        if (!rc)
            break;
        assert_int_equal(rc, DS_STORE);
        assert_has(w->e.hint, "nothing was changed");
        snapshot after = take_snapshot(w, d.id);
        assert_memory_equal(&before, &after, sizeof before);
        failed++;
        assert_true(n < 200);
    }
    assert_true(failed >= 2); // a page and the sync at least
    assert_int_equal(take_snapshot(w, d.id).state, DS_LEDGER_SIGNED);
    reopen(w, false);
    assert_int_equal(take_snapshot(w, d.id).state, DS_LEDGER_SIGNED);
    lines out;
    check(w->l, &out);
    assert_null(strstr(out.text, "chain"));
    assert_null(strstr(out.text, "file"));
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    stamp_free(&s);
}

static void test_full_disk_changes_nothing(void **state)
{
    fail_at_every_write(*state, SQLITE_FULL);
}

static void test_broken_disk_changes_nothing(void **state)
{
    fail_at_every_write(*state, SQLITE_IOERR_WRITE);
}

static void test_full_disk_while_making_the_file_leaves_nothing_half(void **state)
{
    world *w = *state;
    failure = SQLITE_FULL;
    for (long n = 0;; n++) {
        ds_ledger_close(w->l);
        w->l = NULL;
        unlink(w->path);
        allowed = n;
        enum ds_class rc = ds_ledger_open(w->path, false, &w->l, &w->e);
        allowed = -1;
        if (!rc)
            break;
        assert_int_equal(rc, DS_STORE);
        assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK); // what was left is taken up
        assert_int_equal(device_n(w->l, 1).id, 1);
        assert_true(n < 500);
    }
    assert_int_equal(device_n(w->l, 1).id, 1);
}

// The operating system's own refusal, in a process of its own: no file may grow any more.
static void limited_child(world *w, const char *path)
{
    signal(SIGXFSZ, SIG_IGN);
    struct stat st;
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", path);
    if (ds_ledger_open(path, false, &w->l, &w->e) || !device_n(w->l, 1).id || stat(wal, &st) != 0)
        _exit(10);
    struct rlimit limit = {(rlim_t)st.st_size, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    enum ds_class rc = ds_ledger_event(w->l, 0, "fault", "one more", &w->e);
    if (rc != DS_STORE || !strstr(w->e.text, "could not be written") || !strstr(w->e.hint, "free space"))
        _exit(11);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    _exit(ds_ledger_event(w->l, 0, "fault", "again", &w->e) ? 12 : 0);
}

static void test_file_size_limit_changes_nothing(void **state)
{
    world *w = *state;
    ds_ledger_close(w->l);
    w->l = NULL;
    pid_t pid = fork();
    if (pid == 0)
        limited_child(w, w->path);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    int64_t count;
    uint8_t head[32];
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
    assert_int_equal(ds_ledger_head(w->l, &count, head, &w->e), DS_OK);
    assert_int_equal(count, 2); // "first seen" and "again"
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_makes_a_private_file),
        TEST(test_open_is_durable_wal),
        TEST(test_open_second_writer_is_told_who),
        TEST(test_open_read_only_changes_nothing),
        TEST(test_open_a_strangers_file_is_refused_and_kept),
        TEST(test_open_newer_schema_is_refused),
        cmocka_unit_test_setup_teardown(test_full_disk_changes_nothing, use_sick_disk, leave_sick_disk),
        cmocka_unit_test_setup_teardown(test_broken_disk_changes_nothing, use_sick_disk, leave_sick_disk),
        cmocka_unit_test_setup_teardown(test_full_disk_while_making_the_file_leaves_nothing_half, use_sick_disk,
                                        leave_sick_disk),
        TEST(test_file_size_limit_changes_nothing),
    };
    return cmocka_run_group_tests_name("ledger: open and disk", tests, NULL, NULL);
}
