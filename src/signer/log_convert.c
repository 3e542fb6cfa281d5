// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Out of the log's first format, a hash chain, into a Merkle log. The old file, little-endian: header of 48 bytes,
// magic "DSLOG1\r\n", SHA-256 of the CA certificate, time; entries of 104 + n + 32 bytes: "ENTR", n, number, time, hash
// of the entry before (of the header for the first), serial number, SHA-256 of the key, certificate, SHA-256 of all
// that. A log that does not verify, or whose last write was cut off, is not converted.
#include "src/signer/log.h"

#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OLD_HEADER = 48, OLD_HEAD = 104, HASH = 32, FLUSH = 1 << 20 };

typedef struct conversion {
    int from, to;
    const char *from_path, *to_path;
    int64_t at, end;
    uint64_t entries;
    uint8_t chain[HASH];
    uint8_t buf[OLD_HEAD + DS_LOG_CERT_MAX + HASH];
    ds_hasher *hasher;
    ds_log_index index;
    ds_buf out;
} conversion;

static uint64_t le64(const uint8_t *p)
{
    return ds_le32(p) | (uint64_t)ds_le32(p + 4) << 32;
}

static enum ds_class damaged(const conversion *c, ds_err *e)
{
    return ds_hint((ds_fail(e, DS_STORE, "issuance log %s: entry %llu does not fit the chain", c->from_path,
                            (unsigned long long)c->entries + 1),
                    e),
                   "restore the log from a copy that the ledger agrees with, then convert that");
}

static enum ds_class flush(conversion *c, ds_err *e)
{
    if (ds_fd_write_all(c->to, c->out.ptr, c->out.len, e))
        return ds_wrap(e, "issuance log %s", c->to_path);
    ds_buf_clear(&c->out);
    return DS_OK;
}

static enum ds_class convert_entry(conversion *c, ds_err *e)
{
    uint8_t *p = c->buf, hash[HASH];
    if (ds_log_read_at(c->from, p, OLD_HEAD, c->at) != OLD_HEAD || memcmp(p, "ENTR", 4) != 0)
        return damaged(c, e);
    size_t len = ds_le32(p + 4);
    if (len < 4 || len > DS_LOG_CERT_MAX ||
        ds_log_read_at(c->from, p + OLD_HEAD, len + HASH, c->at + OLD_HEAD) != (int64_t)(len + HASH) ||
        EVP_Digest(p, OLD_HEAD + len, hash, NULL, EVP_sha256(), NULL) != 1 ||
        memcmp(hash, p + OLD_HEAD + len, HASH) != 0 || memcmp(p + 24, c->chain, HASH) != 0 ||
        le64(p + 8) != c->entries + 1)
        return damaged(c, e);
    const ds_log_record record = {.number = ++c->entries,
                                  .signed_utc = (int64_t)le64(p + 16),
                                  .serial = p + 56,
                                  .key = p + 72,
                                  .cert = {p + OLD_HEAD, len}};
    ds_log_entry entry = {.offset = 0};
    memcpy(entry.serial, record.serial, 16);
    memcpy(entry.public_key_digest, record.key, 32);
    if (!ds_log_index_add(&c->index, &entry))
        return damaged(c, e);
    ds_log_record_write(&record, c->hasher, &c->out);
    memcpy(c->chain, hash, HASH);
    c->at += OLD_HEAD + (int64_t)len + HASH;
    return c->out.len < FLUSH ? DS_OK : flush(c, e);
}

static enum ds_class convert(conversion *c, ds_err *e)
{
    uint8_t header[OLD_HEADER], bytes[DS_LOG_HEADER];
    struct stat st;
    if (flock(c->from, LOCK_EX | LOCK_NB) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s is held by a signer", c->from_path), e),
                       "end the other utility first");
    if (fstat(c->from, &st) != 0 || !S_ISREG(st.st_mode) ||
        ds_log_read_at(c->from, header, sizeof header, 0) != OLD_HEADER || memcmp(header, "DSLOG1\r\n", 8) != 0)
        return ds_fail(e, DS_INPUT, "%s is not an issuance log of the first format", c->from_path);
    if (EVP_Digest(header, sizeof header, c->chain, NULL, EVP_sha256(), NULL) != 1)
        return ds_fail(e, DS_INTERNAL, "SHA-256");
    ds_log_header ours = {.begun_utc = (int64_t)le64(header + 40)};
    memcpy(ours.ca, header + 8, 32);
    ds_log_header_write(&ours, bytes);
    ds_buf_add(&c->out, bytes, sizeof bytes);
    c->at = OLD_HEADER;
    c->end = st.st_size;
    enum ds_class rc = DS_OK;
    while (!rc && c->at < c->end)
        rc = convert_entry(c, e);
    if (!rc)
        rc = flush(c, e);
    if (!rc && fsync(c->to) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "issuance log %s", c->to_path);
    return rc;
}

enum ds_class ds_log_convert(const char *from, const char *to, uint64_t *ret_entries, uint8_t ret_chain[32], ds_err *e)
{
    int old = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (old < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "issuance log %s", from);
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        enum ds_class rc = ds_fail_errno(e, errno == EEXIST ? DS_POLICY : DS_STORE, errno, "issuance log %s", to);
        close(old);
        return rc;
    }
    conversion *c = ds_alloc(sizeof *c);
    c->from = old;
    c->to = fd;
    c->from_path = from;
    c->to_path = to;
    c->hasher = ds_hasher_new();
    enum ds_class rc = convert(c, e);
    *ret_entries = c->entries;
    memcpy(ret_chain, c->chain, HASH);
    ds_hasher_free(c->hasher);
    ds_log_index_free(&c->index);
    ds_buf_free(&c->out);
    free(c);
    close(old);
    close(fd);
    if (rc)
        (void)unlink(to);
    return rc;
}
