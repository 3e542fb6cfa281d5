// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp log mirror: a copy of the issuance log of a signer elsewhere, in a file of the same format, kept up to date.
// Before a byte is fetched the signer must prove that its log goes on from the copy; afterwards all of the copy is
// verified against the head that proof was for. What does not hold is cut off again.
#include "src/cli/cmd_log.h"
#include "src/cli/cli.h"

#include "src/base/file.h"
#include "src/cli/signer_access.h"
#include "src/signer/log_head.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct mirror {
    const char *path;
    int fd;
    int64_t size; // of what was verified before
    uint64_t entries;
    uint8_t root[32];
    ds_buf head;
} mirror;

static enum ds_class disk(const mirror *m, ds_err *e)
{
    return ds_fail_errno(e, DS_STORE, errno, "mirror %s", m->path);
}

// What an earlier run left unfinished is fetched again.
static enum ds_class read_old(mirror *m, const uint8_t ca[32], ds_err *e)
{
    struct stat st;
    ds_log_report report;
    const ds_log_reading all = {.path = m->path};
    if (fstat(m->fd, &st) != 0)
        return disk(m, e);
    if (st.st_size < DS_LOG_HEADER)
        return ftruncate(m->fd, 0) == 0 ? DS_OK : disk(m, e);
    enum ds_class rc = ds_log_verify(&all, &report, e);
    if (!rc && memcmp(report.ca, ca, 32) != 0)
        rc = ds_hint((ds_fail(e, DS_STORE, "mirror %s is of the log of another CA", m->path), e),
                     "keep one mirror for each signer");
    if (rc)
        return rc;
    m->size = (int64_t)st.st_size - report.torn;
    m->entries = report.entries;
    memcpy(m->root, report.root, 32);
    return DS_OK;
}

// Nobody else may write it meanwhile.
static enum ds_class open_mirror(const char *path, const uint8_t ca[32], mirror *m, ds_err *e)
{
    *m = (mirror){.path = path, .fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (m->fd < 0)
        return disk(m, e);
    if (flock(m->fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? ds_fail(e, DS_STORE, "mirror %s is written by another program", path)
                                    : disk(m, e);
    return read_old(m, ca, e);
}

static enum ds_class demand_proof(ds_signer *s, const mirror *m, ds_signer_proof *ret, ds_err *e)
{
    enum ds_class rc = ds_signer_prove(s, m->entries, ret, e);
    if (rc)
        return rc;
    ds_hasher *h = ds_hasher_new();
    const ds_merkle_claim claim = {.from = m->entries,
                                   .from_hash = m->root,
                                   .size = ret->log_entries,
                                   .root = ret->log_root,
                                   .proof = (const uint8_t(*)[32])ret->proof.hash,
                                   .count = ret->proof.count};
    bool good = m->entries == 0 || (ret->log_entries >= m->entries && ds_merkle_consistent(&claim, h));
    ds_hasher_free(h);
    if (good)
        return DS_OK;
    return ds_hint(
        (ds_fail(e, DS_STORE,
                 "the signer's log has %" PRIu64 " entries and does not go on from the %" PRIu64 " of mirror %s",
                 ret->log_entries, m->entries, m->path),
         e),
        "keep the mirror as it is, and find out who changed the signer's log");
}

// What is new, up to the log's end as it is then; the head beside it comes with the last part.
static enum ds_class fetch(ds_signer *s, mirror *m, ds_err *e)
{
    ds_signer_entries part = {0};
    enum ds_class rc = DS_OK;
    uint64_t next = m->entries + 1;
    bool begun = m->size >= DS_LOG_HEADER, more = true;
    if (lseek(m->fd, (off_t)m->size, SEEK_SET) < 0)
        return disk(m, e);
    while (!rc && more) {
        rc = ds_signer_read_entries(s, next, &part, e);
        more = part.next <= part.log_entries;
        if (!rc && part.next <= next && next <= part.log_entries)
            rc = ds_fail(e, DS_TOKEN, "the signer gives no entry %" PRIu64, next);
        if (!rc && !begun)
            rc = ds_fd_write_all(m->fd, part.header, DS_LOG_HEADER, e);
        if (!rc)
            rc = ds_fd_write_all(m->fd, part.records.ptr, part.records.len, e);
        begun = true;
        next = part.next;
    }
    if (!rc)
        ds_buf_add(&m->head, part.head.ptr, part.head.len);
    ds_signer_entries_free(&part);
    return rc;
}

// All of it, against the head that was proved; and the head beside it, where it holds.
static enum ds_class verify(const mirror *m, const ds_signer_proof *p, ds_log_report *ret, ds_err *e)
{
    ds_log_known known[2] = {{.from = "the signer's proof", .size = p->log_entries}};
    ds_log_head head;
    size_t count = 1;
    memcpy(known[0].root, p->log_root, 32);
    if (m->head.len) {
        if (ds_log_head_parse(ds_buf_view(&m->head), &head, e))
            return ds_wrap(e, "the signer's head");
        known[1] = (ds_log_known){.from = "the signer's head", .size = head.size};
        memcpy(known[1].root, head.root, 32);
        count = 2;
    }
    const ds_log_reading all = {.path = m->path, .known = known, .known_count = count};
    enum ds_class rc = ds_log_verify(&all, ret, e);
    if (!rc && ret->torn)
        rc = ds_fail(e, DS_STORE, "the signer gave %lld bytes that are no entry", (long long)ret->torn);
    return rc;
}

static enum ds_class update(ds_signer *s, mirror *m, ds_log_report *ret, ds_err *e)
{
    ds_signer_proof p;
    DS_CLEANUP_FREE char *head_path = ds_asprintf("%s.head", m->path);
    enum ds_class rc = demand_proof(s, m, &p, e);
    if (rc)
        return rc;
    rc = fetch(s, m, e);
    if (!rc)
        rc = verify(m, &p, ret, e);
    if (!rc && fsync(m->fd) != 0)
        rc = disk(m, e);
    if (rc) {
        if (ftruncate(m->fd, (off_t)m->size) != 0)
            (void)ds_hint(e, "what the mirror holds beyond its first %" PRIu64 " entries is not to be trusted",
                          m->entries);
        return rc;
    }
    return m->head.len ? ds_file_write(head_path, ds_buf_view(&m->head), 0644, e) : DS_OK;
}

static enum ds_class open_signer(const char *path, ds_station **ret_station, ds_signer **ret, ds_err *e)
{
    const ds_signer_access none = DS_SIGNER_ACCESS_INIT;
    enum ds_class rc = ds_station_load_signer(path, ret_station, e);
    if (!rc && (*ret_station)->est.url)
        return ds_fail(e, DS_USAGE, "%s: certificates come from an EST server, which shows no log", path);
    if (!rc && !(*ret_station)->remote.address)
        rc = ds_hint((ds_fail(e, DS_USAGE, "%s: its signer is on this computer", path), e),
                     "copy its log and the head beside it");
    if (rc)
        return rc;
    const ds_signer_config c = ds_signer_access_config(&none, *ret_station, NULL, 0);
    return ds_signer_start(&c, ret, e);
}

int ds_log_cmd_mirror(const ds_log_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_station *station = NULL;
    ds_signer *signer = NULL;
    mirror m = {.fd = -1};
    ds_log_report report = {0};
    char hex[65];
    enum ds_class rc = open_signer(o->station, &station, &signer, &e);
    if (!rc)
        rc = open_mirror(o->output, ds_signer_get_status(signer)->ca_fingerprint, &m, &e);
    if (!rc)
        rc = update(signer, &m, &report, &e);
    if (!rc) {
        ds_hex(report.root, 32, hex);
        printf("%" PRIu64 " entries, %" PRIu64 " of them new, root %s: whole\n", report.entries,
               report.entries - m.entries, hex);
    }
    if (m.fd >= 0)
        close(m.fd);
    ds_buf_free(&m.head);
    ds_signer_stop(signer);
    ds_station_free(station);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
