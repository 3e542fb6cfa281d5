// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading an issuance log; see log_scan.h. The file is read in big blocks, so that a million records take about as long
// as their SHA-256; it is not mapped, because a file that shrinks under a mapping ends the process.
#include "src/signer/log_scan.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, RECORD_MAX = DS_LOG_HEAD + DS_LOG_CERT_MAX + DS_LOG_HASH };
static const uint8_t header_magic[8] = {'D', 'S', 'L', 'O', 'G', '2', '\r', '\n'};
static const uint8_t entry_magic[4] = {'E', 'N', 'T', 'R'};

struct ds_log_scan {
    int fd;
    const char *path;
    int64_t end;    // of the file
    int64_t base;   // where in the file the block begins
    size_t at, len; // in the block: next record, bytes there
    uint8_t *block;
    size_t cap;
    ds_hasher *hasher;
    ds_merkle tree;
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

int64_t ds_log_read_at(int fd, void *data, size_t len, int64_t off)
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
    return (int64_t)got;
}

bool ds_log_zeros(int fd, int64_t off, int64_t end)
{
    uint8_t block[4096];
    while (off < end) {
        size_t want = end - off < (int64_t)sizeof block ? (size_t)(end - off) : sizeof block;
        if (ds_log_read_at(fd, block, want, off) != (int64_t)want)
            return false;
        for (size_t i = 0; i < want; i++)
            if (block[i])
                return false;
        off += (int64_t)want;
    }
    return true;
}

static bool sha256(const void *data, size_t len, uint8_t ret[32])
{
    return EVP_Digest(data, len, ret, NULL, EVP_sha256(), NULL) == 1;
}

void ds_log_header_write(const ds_log_header *h, uint8_t ret[DS_LOG_HEADER])
{
    memcpy(ret, header_magic, sizeof header_magic);
    memcpy(ret + 8, h->ca, 32);
    put_le64(ret + 40, (uint64_t)h->begun_utc);
    if (!sha256(ret, 48, ret + 48))
        abort();
}

enum ds_class ds_log_header_read(ds_view bytes, const char *path, ds_log_header *ret, ds_err *e)
{
    uint8_t hash[32];
    if (bytes.len >= 8 && memcmp(bytes.ptr, "DSLOG1\r\n", 8) == 0)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s is of the first format, a hash chain", path), e),
                       "make a Merkle log of it: devstamp log convert --log OLD -o NEW, then put NEW in OLD's place");
    if (bytes.len < DS_LOG_HEADER || memcmp(bytes.ptr, header_magic, sizeof header_magic) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "%s is not an issuance log", path), e), "name another file");
    if (!sha256(bytes.ptr, 48, hash) || memcmp(hash, bytes.ptr + 48, 32) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s: its header was changed", path), e),
                       "restore the file from a copy");
    memcpy(ret->ca, bytes.ptr + 8, 32);
    ret->begun_utc = (int64_t)le64(bytes.ptr + 40);
    return DS_OK;
}

void ds_log_record_write(const ds_log_record *r, ds_hasher *h, ds_buf *ret)
{
    uint8_t head[DS_LOG_HEAD], leaf[DS_LOG_HASH];
    size_t begin = ret->len;
    memcpy(head, entry_magic, sizeof entry_magic);
    ds_put_le32(head + 4, (uint32_t)r->cert.len);
    put_le64(head + 8, r->number);
    put_le64(head + 16, (uint64_t)r->signed_utc);
    memcpy(head + 24, r->serial, 16);
    memcpy(head + 40, r->key, 32);
    memset(head + 72, 0, DS_LOG_RECIPE);
    memcpy(head + 72, r->recipe, strnlen(r->recipe, DS_LOG_RECIPE - 1));
    ds_buf_add(ret, head, sizeof head);
    ds_buf_add(ret, r->cert.ptr, r->cert.len);
    ds_merkle_leaf(h, (ds_view){ret->ptr + begin, ret->len - begin}, leaf);
    ds_buf_add(ret, leaf, sizeof leaf);
}

size_t ds_log_der_len(const uint8_t p[4])
{
    if (p[0] != 0x30)
        return 0;
    if (p[1] < 0x80)
        return (size_t)p[1] + 2;
    if (p[1] == 0x81)
        return (size_t)p[2] + 3;
    return p[1] == 0x82 ? ((size_t)p[2] << 8 | p[3]) + 4 : 0;
}

ds_log_scan *ds_log_scan_new(int fd, const char *path, int64_t end)
{
    ds_log_scan *s = ds_alloc(sizeof *s);
    *s = (ds_log_scan){.fd = fd, .path = path, .end = end, .base = DS_LOG_HEADER};
    int64_t records = end - DS_LOG_HEADER; // a small log is one block
    s->cap = records > 0 && records < BLOCK ? (size_t)records : BLOCK;
    s->block = ds_alloc(s->cap);
    s->hasher = ds_hasher_new();
    return s;
}

void ds_log_scan_free(ds_log_scan *s)
{
    if (!s)
        return;
    ds_hasher_free(s->hasher);
    free(s->block);
    free(s);
}

int64_t ds_log_scan_position(const ds_log_scan *s)
{
    return s->base + (int64_t)s->at;
}

const ds_merkle *ds_log_scan_tree(const ds_log_scan *s)
{
    return &s->tree;
}

ds_hasher *ds_log_scan_hasher(const ds_log_scan *s)
{
    return s->hasher;
}

static enum ds_class damaged(const ds_log_scan *s, ds_err *e, const char *what)
{
    (void)ds_fail(e, DS_STORE, "issuance log %s: entry %llu: %s", s->path, (unsigned long long)s->tree.size + 1, what);
    return ds_hint(e, "the log was changed or the disk is failing: keep the file, and restore it from a copy that the "
                      "ledger agrees with");
}

// Have a whole record, or all that is left of the file, in the block.
static enum ds_class fill(ds_log_scan *s, ds_err *e)
{
    int64_t left = s->end - ds_log_scan_position(s);
    if (s->len - s->at >= RECORD_MAX || (int64_t)(s->len - s->at) == left)
        return DS_OK;
    memmove(s->block, s->block + s->at, s->len - s->at);
    s->base += (int64_t)s->at;
    s->len -= s->at;
    s->at = 0;
    size_t want = left < (int64_t)s->cap ? (size_t)left : s->cap;
    int64_t got = ds_log_read_at(s->fd, s->block + s->len, want - s->len, s->base + (int64_t)s->len);
    if (got < 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", s->path);
    if ((size_t)got != want - s->len)
        return ds_fail(e, DS_STORE, "issuance log %s: it became shorter while it was read", s->path);
    s->len = want;
    return DS_OK;
}

// Is this beginning of a record (len bytes of it) one that we began to write here? A whole record whose length was
// damaged is not, so that it and those after it are not taken for a torn write.
static bool is_begun(const ds_log_scan *s, const uint8_t *p, size_t len)
{
    if (len >= 16 && le64(p + 8) != s->tree.size + 1)
        return false;
    return len < DS_LOG_HEAD + 4 || ds_log_der_len(p + DS_LOG_HEAD) == ds_le32(p + 4);
}

static enum ds_class take(ds_log_scan *s, const uint8_t *p, uint32_t cert_len, ds_log_record *ret, ds_err *e)
{
    size_t len = DS_LOG_HEAD + (size_t)cert_len;
    uint8_t leaf[DS_LOG_HASH];
    ds_merkle_leaf(s->hasher, (ds_view){p, len}, leaf);
    if (memcmp(leaf, p + len, DS_LOG_HASH) != 0)
        return damaged(s, e, "its hash does not fit");
    if (le64(p + 8) != s->tree.size + 1)
        return damaged(s, e, "its number is wrong");
    *ret = (ds_log_record){
        .number = s->tree.size + 1,
        .signed_utc = (int64_t)le64(p + 16),
        .serial = p + 24,
        .key = p + 40,
        .cert = {p + DS_LOG_HEAD, cert_len},
        .leaf = p + len,
        .entry = {p, len},
        .offset = ds_log_scan_position(s),
    };
    memcpy(ret->recipe, p + 72, DS_LOG_RECIPE - 1);
    ds_merkle_add(&s->tree, s->hasher, leaf);
    s->at += len + DS_LOG_HASH;
    return DS_OK;
}

enum ds_class ds_log_scan_next(ds_log_scan *s, ds_log_record *ret, enum ds_log_found *ret_found, ds_err *e)
{
    enum ds_class rc = fill(s, e);
    if (rc)
        return rc;
    const uint8_t *p = s->block + s->at;
    size_t have = s->len - s->at, magic = have < sizeof entry_magic ? have : sizeof entry_magic;
    int64_t here = ds_log_scan_position(s), left = s->end - here;
    *ret_found = left == 0 ? DS_LOG_END : DS_LOG_TORN;
    if (left == 0)
        return DS_OK;
    bool is_entry = memcmp(p, entry_magic, magic) == 0;
    uint32_t len = have >= 8 ? ds_le32(p + 4) : 0;
    bool sane = have < 8 || (len >= 4 && len <= DS_LOG_CERT_MAX);
    int64_t whole = DS_LOG_HEAD + (int64_t)len + DS_LOG_HASH;
    if (is_entry && sane && left < whole)
        return is_begun(s, p, have) ? DS_OK : damaged(s, e, "it is cut off, but not by a crash");
    if (!is_entry || !sane)
        return ds_log_zeros(s->fd, here, s->end) ? DS_OK : damaged(s, e, "it is not an entry");
    if (left == whole && ds_log_zeros(s->fd, here + whole - DS_LOG_HASH, s->end))
        return DS_OK;
    *ret_found = DS_LOG_ENTRY;
    return take(s, p, len, ret, e);
}
