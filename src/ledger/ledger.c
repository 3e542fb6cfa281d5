// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening the ledger: the lock that keeps a second utility out, the mutex its threads share, transactions.
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

enum ds_class ds_ledger_open(const char *path, bool read_only, ds_ledger **ret, ds_err *e)
{
    int lock_fd = -1;
    enum ds_class rc = read_only ? DS_OK : take_lock(path, &lock_fd, e);
    if (rc)
        return rc;
    ds_ledger *l = ds_alloc(sizeof *l);
    l->lock_fd = lock_fd;
    pthread_mutex_init(&l->mutex, NULL);
    rc = ds_sql_open(&l->sql, path, &ds_ledger_schema, read_only, e);
    if (rc) {
        ds_ledger_close(l);
        return rc;
    }
    *ret = l;
    return DS_OK;
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
    pthread_mutex_lock(&l->mutex);
}

void ds_ledger_unlock(ds_ledger *l)
{
    pthread_mutex_unlock(&l->mutex);
}

enum ds_class ds_ledger_begin(ds_ledger *l, ds_err *e)
{
    ds_ledger_lock(l);
    enum ds_class rc = ds_sql_begin(&l->sql, e);
    if (rc)
        ds_ledger_unlock(l);
    return rc;
}

enum ds_class ds_ledger_end(ds_ledger *l, enum ds_class rc, ds_err *e)
{
    rc = ds_sql_end(&l->sql, rc, e);
    ds_ledger_unlock(l);
    return rc;
}
