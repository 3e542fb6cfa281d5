// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening the ledger: a file, with the lock that keeps a second utility out and the mutex its threads share, or a
// database; transactions.
#include "src/ledger/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

const char *ds_ledger_state_name(enum ds_ledger_state s)
{
    static const char *const names[] = {"none", "reserved", "signed", "installed", "registered"};
    return (size_t)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

void ds_sha256(const void *data, size_t len, uint8_t ret[32])
{
    SHA256(data, len, ret);
}

static enum ds_class fail_locked(int fd, const char *path, ds_err *e)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        ds_fail(e, DS_STORE, "ledger %s: in use by process %ld", path, pid);
    else
        ds_fail(e, DS_STORE, "ledger %s: in use by another process", path);
    return ds_hint(e, "one utility at a time writes a ledger: wait for it or end it; other stations need their own");
}

// The lock file stays: removing it would let two processes hold locks on two files of one name.
static enum ds_class take_lock(const char *path, int *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *name = ds_asprintf("%s.lock", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "ledger lock %s", name);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum ds_class rc =
            errno == EWOULDBLOCK ? fail_locked(fd, path, e) : ds_fail_errno(e, DS_STORE, errno, "ledger lock %s", name);
        close(fd);
        return rc;
    }
    char text[32];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    // The number is for people; on a full disk the lock itself still holds.
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) != len)
        (void)!ftruncate(fd, 0);
    *ret = fd;
    return DS_OK;
}

static enum ds_class open_file(ds_ledger *l, const char *path, bool read_only, ds_err *e)
{
    enum ds_class rc = read_only ? DS_OK : take_lock(path, &l->lock_fd, e);
    return rc ? rc : ds_sql_open(&l->sql, path, &ds_ledger_schema, read_only, e);
}

static enum ds_class open_database(ds_ledger *l, const char *place, const char *station, bool read_only, ds_err *e)
{
    char host[64] = "";
    if (!station && (gethostname(host, sizeof host - 1) != 0 || !host[0]))
        return ds_fail_errno(e, DS_STORE, errno, "host name");
    enum ds_class rc = ds_pg_open(&l->sql, place, &ds_ledger_pg_schema, read_only, e);
    return rc ? rc : ds_ledger_register(l, station ? station : host, read_only, e);
}

enum ds_class ds_ledger_open_as(const char *path, const char *station, bool read_only, ds_ledger **ret, ds_err *e)
{
    ds_ledger *l = ds_alloc(sizeof *l);
    l->lock_fd = -1;
    pthread_mutex_init(&l->mutex, NULL);
    enum ds_class rc =
        ds_pg_is_place(path) ? open_database(l, path, station, read_only, e) : open_file(l, path, read_only, e);
    if (rc) {
        ds_ledger_close(l);
        return rc;
    }
    *ret = l;
    return DS_OK;
}

enum ds_class ds_ledger_open(const char *path, bool read_only, ds_ledger **ret, ds_err *e)
{
    return ds_ledger_open_as(path, NULL, read_only, ret, e);
}

bool ds_ledger_is_database(const char *path)
{
    return ds_pg_is_place(path);
}

void ds_ledger_close(ds_ledger *l)
{
    if (!l)
        return;
    ds_sql_close(&l->sql);
    pthread_mutex_destroy(&l->mutex);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    free(l);
}

void ds_ledger_lock(ds_ledger *l)
{
    if (ds_sql_is_pg(&l->sql))
        ds_pg_hold(&l->sql);
    else
        pthread_mutex_lock(&l->mutex);
}

void ds_ledger_unlock(ds_ledger *l)
{
    if (ds_sql_is_pg(&l->sql))
        ds_pg_let_go(&l->sql);
    else
        pthread_mutex_unlock(&l->mutex);
}

enum ds_class ds_ledger_begin(ds_ledger *l, ds_err *e)
{
    if (!ds_sql_is_pg(&l->sql) || !ds_pg_held(&l->sql)) // held: run again
        ds_ledger_lock(l);
    enum ds_class rc = ds_sql_begin(&l->sql, e);
    if (rc)
        ds_ledger_unlock(l);
    return rc;
}

enum ds_class ds_ledger_end(ds_ledger *l, enum ds_class rc, ds_err *e)
{
    rc = ds_sql_end(&l->sql, rc ? rc : ds_ledger_write_tip(l, e), e);
    ds_ledger_unlock(l);
    return rc;
}

// The COMMIT was sent and its answer lost: was it done? Run again where it was not, or left nothing to be found.
static enum ds_sql_fate ask(ds_ledger *l, enum ds_class *rc, ds_err *e)
{
    uint8_t hash[32];
    bool done = false;
    enum ds_sql_fate fate;
    if (!ds_pg_marked(&l->sql, hash))
        return DS_SQL_AGAIN;
    do {
        *rc = ds_ledger_committed(l, hash, &done, e);
        fate = *rc ? ds_sql_fate(&l->sql) : DS_SQL_FAILED;
    } while (*rc && fate != DS_SQL_FAILED); // it changes nothing: it may be asked as often as there is need
    return *rc || done ? DS_SQL_FAILED : DS_SQL_AGAIN;
}

bool ds_ledger_again(ds_ledger *l, enum ds_class *rc, ds_err *e)
{
    *rc = ds_sql_end(&l->sql, *rc ? *rc : ds_ledger_write_tip(l, e), e);
    enum ds_sql_fate fate = *rc ? ds_sql_fate(&l->sql) : DS_SQL_FAILED;
    if (fate == DS_SQL_ASK)
        fate = ask(l, rc, e);
    if (fate == DS_SQL_AGAIN)
        return true;
    if (!*rc && e)
        *e = (ds_err)DS_ERR_INIT; // what an earlier run failed with
    ds_ledger_unlock(l);
    return false;
}
