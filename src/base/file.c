// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Files; see file.h.
#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum ds_class ds_fd_write_all(int fd, const void *data, size_t len, ds_err *e)
{
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ds_fail_errno(e, DS_STORE, n < 0 ? errno : EIO, "write");
        p += n;
        len -= (size_t)n;
    }
    return DS_OK;
}

enum ds_class ds_fd_read_full(int fd, void *data, size_t len, size_t *ret_len, ds_err *e)
{
    uint8_t *p = data;
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, p + got, len - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ds_fail_errno(e, DS_STORE, errno, "read");
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_len = got;
    return DS_OK;
}

static enum ds_class read_open(int fd, const char *path, size_t max, ds_buf *ret, ds_err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return ds_fail(e, DS_INPUT, "%s: not a regular file", path);
    if ((uintmax_t)st.st_size > max)
        return ds_fail(e, DS_INPUT, "%s: larger than %zu bytes", path, max);
    size_t before = ret->len, got = 0;
    ds_buf_resize(ret, before + (size_t)st.st_size, 0);
    if (st.st_size > 0 && ds_fd_read_full(fd, ret->ptr + before, (size_t)st.st_size, &got, e)) {
        ret->len = before;
        return ds_wrap(e, "%s", path);
    }
    ret->len = before + got;
    return DS_OK;
}

enum ds_class ds_file_read(const char *path, size_t max, ds_buf *ret, ds_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    enum ds_class rc = read_open(fd, path, max, ret, e);
    close(fd);
    return rc;
}

static void sync_folder(const char *path)
{
    char *folder = ds_path_beside(path, ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

static enum ds_class write_file(const char *path, ds_view data, mode_t mode, bool sync, ds_err *e)
{
    DS_CLEANUP_FREE char *tmp = ds_asprintf("%s.XXXXXX", path);
    int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", path);
    enum ds_class rc = ds_fd_write_all(fd, data.ptr, data.len, e);
    if (!rc && (fchmod(fd, mode) != 0 || (sync && fsync(fd) != 0)))
        rc = ds_fail_errno(e, DS_STORE, errno, "sync");
    close(fd);
    if (!rc && rename(tmp, path) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "rename");
    if (rc) {
        unlink(tmp);
        return ds_wrap(e, "%s", path);
    }
    if (sync)
        sync_folder(path);
    return DS_OK;
}

enum ds_class ds_file_write(const char *path, ds_view data, mode_t mode, ds_err *e)
{
    return write_file(path, data, mode, true, e);
}

enum ds_class ds_file_write_unsynced(const char *path, ds_view data, mode_t mode, ds_err *e)
{
    return write_file(path, data, mode, false, e);
}

char *ds_path_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    if (name[0] == '/' || !slash)
        return ds_strdup(name);
    return ds_asprintf("%.*s/%s", (int)(slash - path), path, name);
}
