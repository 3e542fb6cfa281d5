// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Verifying an issuance log; see log_verify.h.
#include "src/signer/log_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum ds_class read_header(int fd, const char *path, ds_log_header *ret, ds_err *e)
{
    uint8_t bytes[DS_LOG_HEADER];
    int64_t got = ds_log_read_at(fd, bytes, sizeof bytes, 0);
    if (got < 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", path);
    return ds_log_header_read((ds_view){bytes, (size_t)got}, path, ret, e);
}

static enum ds_class open_log(const char *path, int *ret, ds_err *e)
{
    *ret = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *ret < 0 ? ds_fail_errno(e, DS_INPUT, errno, "issuance log %s", path) : DS_OK;
}

enum ds_class ds_log_ca_of(const char *path, uint8_t ret[32], ds_err *e)
{
    ds_log_header header;
    int fd = -1;
    enum ds_class rc = open_log(path, &fd, e);
    if (rc)
        return rc;
    rc = read_header(fd, path, &header, e);
    close(fd);
    if (!rc)
        memcpy(ret, header.ca, 32);
    return rc;
}

static enum ds_class changed(ds_err *e)
{
    return ds_hint(e, "keep the log as it is and find out who changed it");
}

// Every known head of this very size.
static enum ds_class compare(const ds_log_reading *r, ds_log_scan *s, ds_err *e)
{
    const ds_merkle *tree = ds_log_scan_tree(s);
    uint8_t root[32];
    for (size_t i = 0; i < r->known_count; i++) {
        if (r->known[i].size != tree->size)
            continue;
        ds_merkle_root(tree, ds_log_scan_hasher(s), root);
        if (memcmp(root, r->known[i].root, 32) != 0)
            return changed((ds_fail(e, DS_STORE, "issuance log %s: its first %llu entries are not those of %s", r->path,
                                    (unsigned long long)tree->size, r->known[i].from),
                            e));
    }
    return DS_OK;
}

static enum ds_class compare_end(const ds_log_reading *r, uint64_t entries, ds_err *e)
{
    for (size_t i = 0; i < r->known_count; i++)
        if (r->known[i].size > entries)
            return changed((
                ds_fail(e, DS_STORE, "issuance log %s: it has %llu entries, and by %s it had %llu: its end was cut off",
                        r->path, (unsigned long long)entries, r->known[i].from, (unsigned long long)r->known[i].size),
                e));
    return DS_OK;
}

static enum ds_class read_all(const ds_log_reading *r, ds_log_scan *s, int64_t end, ds_log_report *ret, ds_err *e)
{
    enum ds_log_found found = DS_LOG_ENTRY;
    enum ds_class rc = compare(r, s, e);
    while (!rc && found == DS_LOG_ENTRY) {
        ds_log_record record;
        rc = ds_log_scan_next(s, &record, &found, e);
        if (rc || found != DS_LOG_ENTRY)
            break;
        if (r->each)
            r->each(r->arg, &record);
        rc = compare(r, s, e);
    }
    if (rc)
        return rc;
    ret->entries = ds_log_scan_tree(s)->size;
    ret->torn = end - ds_log_scan_position(s);
    ds_merkle_root(ds_log_scan_tree(s), ds_log_scan_hasher(s), ret->root);
    return compare_end(r, ret->entries, e);
}

enum ds_class ds_log_verify(const ds_log_reading *r, ds_log_report *ret, ds_err *e)
{
    struct stat st;
    ds_log_header header;
    int fd = -1;
    enum ds_class rc = open_log(r->path, &fd, e);
    if (rc)
        return rc;
    rc = read_header(fd, r->path, &header, e);
    if (!rc && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        rc = ds_fail(e, DS_STORE, "issuance log %s: not a regular file", r->path);
    if (!rc) {
        ds_log_scan *s = ds_log_scan_new(fd, r->path, (int64_t)st.st_size);
        *ret = (ds_log_report){0};
        memcpy(ret->ca, header.ca, 32);
        rc = read_all(r, s, (int64_t)st.st_size, ret, e);
        ds_log_scan_free(s);
    }
    close(fd);
    return rc;
}
