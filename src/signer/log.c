// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log; see log.h, which fixes the bytes.
#include "src/signer/log.h"
#include "src/signer/log_index.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 48, ENTRY_HEAD = 104, HASH = 32 };
static const uint8_t header_magic[8] = {'D', 'S', 'L', 'O', 'G', '1', '\r', '\n'};
static const uint8_t entry_magic[4] = {'E', 'N', 'T', 'R'};

struct ds_log_file {
    int fd;
    char *path;
    int64_t size; // of header and whole entries
    uint64_t entries;
    uint8_t head[HASH];
    ds_log_index index;
    bool broken; // a failed append could not be undone
};

static void put_le64(uint8_t *p, uint64_t v)
{
    ds_put_le32(p, (uint32_t)v);
    ds_put_le32(p + 4, (uint32_t)(v >> 32));
}

static uint64_t le64(const uint8_t *p)
{
    return ds_le32(p) | (uint64_t)ds_le32(p + 4) << 32;
}

static bool sha256(const void *data, size_t len, uint8_t ret[HASH])
{
    return EVP_Digest(data, len, ret, NULL, EVP_sha256(), NULL) == 1;
}

static enum ds_class damaged(const ds_log_file *l, ds_err *e, const char *what)
{
    (void)ds_fail(e, DS_STORE, "issuance log %s: entry %llu: %s", l->path, (unsigned long long)l->entries + 1, what);
    return ds_hint(e, "the log was changed or the disk is failing: keep the file, and restore it from a copy that the "
                      "ledger agrees with");
}

// Read len bytes at off; how many there were, -1 on an error.
static ssize_t read_at(int fd, void *data, size_t len, int64_t off)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, (uint8_t *)data + got, len - got, (off_t)(off + (int64_t)got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static enum ds_class begin(ds_log_file *l, const uint8_t ca[32], ds_err *e)
{
    uint8_t header[HEADER];
    memcpy(header, header_magic, sizeof header_magic);
    memcpy(header + 8, ca, 32);
    put_le64(header + 40, (uint64_t)ds_utc_now());
    if (ftruncate(l->fd, 0) != 0 || lseek(l->fd, 0, SEEK_SET) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
    if (ds_fd_write_all(l->fd, header, sizeof header, e))
        return ds_wrap(e, "issuance log %s", l->path);
    DS_CLEANUP_FREE char *folder = ds_path_beside(l->path, ".");
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fsync(l->fd) == 0 && dir >= 0 && fsync(dir) == 0;
    int err = errno;
    if (dir >= 0)
        close(dir);
    if (!synced)
        return ds_fail_errno(e, DS_STORE, err, "issuance log %s", l->path);
    l->size = HEADER;
    return sha256(header, sizeof header, l->head) ? DS_OK : ds_fail(e, DS_INTERNAL, "SHA-256");
}

// Are the bytes from off to end all zero? What a crash can leave where the size was extended and the data not written.
static bool zeros_to_end(const ds_log_file *l, int64_t off, int64_t end)
{
    uint8_t block[4096];
    while (off < end) {
        size_t want = end - off < (int64_t)sizeof block ? (size_t)(end - off) : sizeof block;
        if (read_at(l->fd, block, want, off) != (ssize_t)want)
            return false;
        for (size_t i = 0; i < want; i++)
            if (block[i])
                return false;
        off += (int64_t)want;
    }
    return true;
}

static enum ds_class cut_tail(ds_log_file *l, int64_t end, ds_err *e)
{
    ds_log(DS_LOG_WARN, "issuance log %s: the last write was cut off by a crash: %lld bytes after entry %llu removed",
           l->path, (long long)(end - l->size), (unsigned long long)l->entries);
    if (ftruncate(l->fd, (off_t)l->size) != 0 || fsync(l->fd) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
    return DS_OK;
}

// Check one whole entry (bytes, len of it in all) and take it into the index.
static enum ds_class take_entry(ds_log_file *l, const uint8_t *bytes, uint32_t cert_len, ds_err *e)
{
    uint8_t hash[HASH];
    if (!sha256(bytes, ENTRY_HEAD + (size_t)cert_len, hash))
        return ds_fail(e, DS_INTERNAL, "SHA-256");
    if (memcmp(hash, bytes + ENTRY_HEAD + cert_len, HASH) != 0)
        return damaged(l, e, "its hash does not fit");
    if (memcmp(l->head, bytes + 24, HASH) != 0)
        return damaged(l, e, "it does not follow the entry before");
    if (le64(bytes + 8) != l->entries + 1)
        return damaged(l, e, "its number is wrong");
    ds_log_entry entry = {.number = l->entries + 1, .offset = l->size + ENTRY_HEAD, .len = cert_len};
    memcpy(entry.serial, bytes + 56, 16);
    memcpy(entry.public_key_digest, bytes + 72, 32);
    if (!ds_log_index_add(&l->index, &entry))
        return damaged(l, e, "its key or serial number was there before");
    memcpy(l->head, hash, HASH);
    l->entries++;
    l->size += ENTRY_HEAD + (int64_t)cert_len + HASH;
    return DS_OK;
}

// How long the DER at p says it is, from its first four bytes; 0 where it is no SEQUENCE of a certificate's size.
static size_t der_len(const uint8_t p[4])
{
    if (p[0] != 0x30)
        return 0;
    if (p[1] < 0x80)
        return (size_t)p[1] + 2;
    if (p[1] == 0x81)
        return (size_t)p[2] + 3;
    return p[1] == 0x82 ? ((size_t)p[2] << 8 | p[3]) + 4 : 0;
}

// Is this beginning of an entry (len bytes of it) one that we began to write here? A whole entry whose length was
// damaged is not, so that it and those after it are not taken for a torn write.
static bool is_begun_entry(const ds_log_file *l, const uint8_t *bytes, size_t len)
{
    if (len >= 16 && le64(bytes + 8) != l->entries + 1)
        return false;
    if (len >= 56 && memcmp(bytes + 24, l->head, HASH) != 0)
        return false;
    return len < ENTRY_HEAD + 4 || der_len(bytes + ENTRY_HEAD) == ds_le32(bytes + 4);
}

// Verify the entry at l->size; *ret_torn: it is what a crash leaves.
static enum ds_class next_entry(ds_log_file *l, int64_t end, uint8_t *buf, bool *ret_torn, ds_err *e)
{
    int64_t left = end - l->size;
    size_t want = left < ENTRY_HEAD + 4 ? (size_t)left : ENTRY_HEAD + 4;
    if (read_at(l->fd, buf, want, l->size) != (ssize_t)want)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
    size_t magic = want < sizeof entry_magic ? want : sizeof entry_magic;
    bool is_entry = memcmp(buf, entry_magic, magic) == 0;
    uint32_t len = want >= 8 ? ds_le32(buf + 4) : 0;
    bool sane = want < 8 || (len >= 4 && len <= DS_LOG_CERT_MAX);
    int64_t whole = ENTRY_HEAD + (int64_t)len + HASH;
    if (is_entry && sane && left < whole) {
        *ret_torn = is_begun_entry(l, buf, want);
        return *ret_torn ? DS_OK : damaged(l, e, "it is cut off, but not by a crash");
    }
    if (!is_entry || !sane) {
        *ret_torn = zeros_to_end(l, l->size, end);
        return *ret_torn ? DS_OK : damaged(l, e, "it is not an entry");
    }
    size_t rest = (size_t)whole - ENTRY_HEAD;
    if (read_at(l->fd, buf + ENTRY_HEAD, rest, l->size + ENTRY_HEAD) != (ssize_t)rest)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
    if (left == whole && zeros_to_end(l, l->size + whole - HASH, end)) {
        *ret_torn = true;
        return DS_OK;
    }
    return take_entry(l, buf, len, e);
}

static enum ds_class verify(ds_log_file *l, int64_t end, ds_err *e)
{
    DS_CLEANUP_FREE uint8_t *buf = ds_alloc(ENTRY_HEAD + DS_LOG_CERT_MAX + HASH);
    while (l->size < end) {
        bool torn = false;
        enum ds_class rc = next_entry(l, end, buf, &torn, e);
        if (rc)
            return rc;
        if (torn)
            return cut_tail(l, end, e);
    }
    return DS_OK;
}

static enum ds_class load(ds_log_file *l, const uint8_t ca[32], ds_err *e)
{
    struct stat st;
    if (fstat(l->fd, &st) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
    if (!S_ISREG(st.st_mode))
        return ds_fail(e, DS_STORE, "issuance log %s: not a regular file", l->path);
    uint8_t header[HEADER] = {0};
    ssize_t got = read_at(l->fd, header, sizeof header, 0);
    if (got < 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
    // A header cut short was never followed by an entry: the log is begun again.
    if (got < HEADER && (memcmp(header, header_magic, got < 8 ? (size_t)got : 8) == 0 || zeros_to_end(l, 0, got)))
        return begin(l, ca, e);
    if (got < HEADER || memcmp(header, header_magic, sizeof header_magic) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "%s is not an issuance log", l->path), e), "name another file");
    if (memcmp(header + 8, ca, 32) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s belongs to another CA certificate", l->path), e),
                       "each CA has its own log: name another file");
    if (!sha256(header, sizeof header, l->head))
        return ds_fail(e, DS_INTERNAL, "SHA-256");
    l->size = HEADER;
    return verify(l, (int64_t)st.st_size, e);
}

enum ds_class ds_log_open(const char *path, const uint8_t ca[32], ds_log_file **ret, ds_err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", path);
    ds_log_file *l = ds_alloc(sizeof *l);
    l->fd = fd;
    l->path = ds_strdup(path);
    enum ds_class rc;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = ds_fail_errno(e, DS_STORE, errno, "issuance log %s", path);
        if (errno == EWOULDBLOCK)
            rc = ds_hint((ds_fail(e, DS_STORE, "issuance log %s is held by another signer", path), e),
                         "end the other utility first");
    } else {
        rc = load(l, ca, e);
    }
    if (rc) {
        ds_log_close(l);
        return rc;
    }
    *ret = l;
    return DS_OK;
}

void ds_log_close(ds_log_file *l)
{
    if (!l)
        return;
    close(l->fd);
    ds_log_index_free(&l->index);
    free(l->path);
    free(l);
}

uint64_t ds_log_entries(const ds_log_file *l)
{
    return l->entries;
}

const uint8_t *ds_log_head(const ds_log_file *l)
{
    return l->head;
}

const ds_log_entry *ds_log_by_key(const ds_log_file *l, const uint8_t public_key_digest[32])
{
    return ds_log_index_key(&l->index, public_key_digest);
}

const ds_log_entry *ds_log_by_serial(const ds_log_file *l, const uint8_t serial[16])
{
    return ds_log_index_serial(&l->index, serial);
}

enum ds_class ds_log_read(const ds_log_file *l, const ds_log_entry *entry, ds_buf *ret, ds_err *e)
{
    size_t before = ret->len;
    ds_buf_resize(ret, before + entry->len, 0);
    if (read_at(l->fd, ret->ptr + before, entry->len, entry->offset) == (ssize_t)entry->len)
        return DS_OK;
    ret->len = before;
    return ds_fail(e, DS_STORE, "issuance log %s: entry %llu cannot be read", l->path,
                   (unsigned long long)entry->number);
}

static void build_entry(const ds_log_file *l, const uint8_t serial[16], const uint8_t key[32], ds_view cert,
                        ds_buf *out)
{
    uint8_t head[ENTRY_HEAD];
    memcpy(head, entry_magic, sizeof entry_magic);
    ds_put_le32(head + 4, (uint32_t)cert.len);
    put_le64(head + 8, l->entries + 1);
    put_le64(head + 16, (uint64_t)ds_utc_now());
    memcpy(head + 24, l->head, HASH);
    memcpy(head + 56, serial, 16);
    memcpy(head + 72, key, 32);
    ds_buf_add(out, head, sizeof head);
    ds_buf_add(out, cert.ptr, cert.len);
}

static enum ds_class write_entry(ds_log_file *l, const ds_buf *bytes, ds_err *e)
{
    enum ds_class rc = DS_OK;
    if (lseek(l->fd, (off_t)l->size, SEEK_SET) < 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "seek");
    if (!rc)
        rc = ds_fd_write_all(l->fd, bytes->ptr, bytes->len, e);
    if (!rc && fsync(l->fd) != 0) {
        l->broken = true; // what the disk holds after a failed sync is unknown
        rc = ds_fail_errno(e, DS_STORE, errno, "sync");
    }
    if (rc && (ftruncate(l->fd, (off_t)l->size) != 0 || fsync(l->fd) != 0))
        l->broken = true;
    return rc ? ds_wrap(e, "issuance log %s", l->path) : DS_OK;
}

enum ds_class ds_log_append(ds_log_file *l, const uint8_t serial[16], const uint8_t public_key_digest[32], ds_view cert,
                            ds_err *e)
{
    if (l->broken)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s takes nothing after a failed write", l->path), e),
                       "see to the disk, then start the signer again");
    if (cert.len < 4 || cert.len > DS_LOG_CERT_MAX || der_len(cert.ptr) != cert.len)
        return ds_fail(e, DS_INTERNAL, "%zu bytes that are no DER certificate cannot be logged", cert.len);
    if (ds_log_by_key(l, public_key_digest) || ds_log_by_serial(l, serial))
        return ds_fail(e, DS_POLICY, "public key or serial number is in the issuance log already");
    DS_CLEANUP_BUF ds_buf bytes = {0};
    uint8_t hash[HASH];
    build_entry(l, serial, public_key_digest, cert, &bytes);
    if (!sha256(bytes.ptr, bytes.len, hash))
        return ds_fail(e, DS_INTERNAL, "SHA-256");
    ds_buf_add(&bytes, hash, HASH);
    enum ds_class rc = write_entry(l, &bytes, e);
    return rc ? rc : take_entry(l, bytes.ptr, (uint32_t)cert.len, e);
}
