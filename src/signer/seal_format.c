// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The seal's bytes, taken apart and put together; docs/seal.md fixes them. A file is hostile until its secrets were
// opened, and even then what is printed of it must be printable. There is one encoding of each seal.
#include "src/signer/seal_int.h"

#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[6] = "DSSEAL";
enum { VERSION = 1, ANY = 1, ALL = 2, PARENT = 34, TPM_MAX = 1024 };

const char *ds_seal_by_name(enum ds_seal_by by)
{
    static const char *const names[] = {"?", "passphrase", "key file", "systemd credential", "TPM"};
    return (size_t)by < sizeof names / sizeof *names ? names[by] : names[0];
}

const char *ds_seal_kind_name(enum ds_seal_kind kind)
{
    static const char *const names[] = {"?", "recipe", "token", "Sub CA", "key", "quota", "station", "computer"};
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : names[0];
}

void ds_seal_free(ds_seal *s)
{
    ds_buf_free(&s->bytes);
    free(s->path);
    *s = (ds_seal){0};
}

// A cursor: once something did not fit, everything it gives is empty.
typedef struct cursor {
    ds_view in;
    size_t at;
    bool bad;
} cursor;

static ds_view take(cursor *c, size_t len)
{
    ds_view v = {NULL, 0};
    if (c->bad || !ds_view_slice(c->in, c->at, len, &v)) {
        c->bad = true;
        return (ds_view){NULL, 0};
    }
    c->at += len;
    return v;
}

static unsigned take_u8(cursor *c)
{
    ds_view v = take(c, 1);
    return v.len ? v.ptr[0] : 0;
}

static unsigned take_u16(cursor *c)
{
    ds_view v = take(c, 2);
    return v.len ? ds_le16(v.ptr) : 0;
}

static uint32_t take_u32(cursor *c)
{
    ds_view v = take(c, 4);
    return v.len ? ds_le32(v.ptr) : 0;
}

static void take_bytes(cursor *c, uint8_t *ret, size_t len)
{
    ds_view v = take(c, len);
    if (v.len)
        memcpy(ret, v.ptr, len);
}

// One byte of length, then text that can be printed; at most max bytes.
static void take_text(cursor *c, char *ret, size_t max)
{
    ds_view v = take(c, take_u8(c));
    if (v.len > max)
        c->bad = true;
    for (size_t i = 0; i < v.len && !c->bad; i++) {
        c->bad = v.ptr[i] < 0x20 || v.ptr[i] > 0x7e;
        ret[i] = (char)v.ptr[i];
    }
}

static ds_view take_blob(cursor *c)
{
    ds_view v = take(c, take_u16(c));
    if (v.len == 0 || v.len > TPM_MAX)
        c->bad = true;
    return v;
}

static void take_part(cursor *c, ds_seal_part *p)
{
    p->kind = take_u8(c);
    take_text(c, p->text, DS_SEAL_TEXT);
    take_bytes(c, p->digest, sizeof p->digest);
    if (p->kind < DS_SEAL_RECIPE || p->kind > DS_SEAL_MACHINE)
        c->bad = true;
}

static void take_unlocker(cursor *outer, ds_seal_unlocker *u)
{
    u->by = take_u8(outer);
    take_text(outer, u->label, DS_SEAL_LABEL);
    cursor c = {.in = take(outer, take_u16(outer))};
    if (u->by == DS_SEAL_TPM) {
        u->pcrs = take_u32(&c);
        take_bytes(&c, u->parent, PARENT);
        u->sealed_public = take_blob(&c);
        u->sealed_area = take_blob(&c);
    } else {
        take_bytes(&c, u->salt, sizeof u->salt);
    }
    if (u->by == DS_SEAL_PASSPHRASE) {
        u->passes = take_u32(&c);
        u->memory_kib = take_u32(&c);
    }
    if (c.bad || c.at != c.in.len || u->by < DS_SEAL_PASSPHRASE || u->by > DS_SEAL_TPM || u->pcrs >> DS_SEAL_PCRS)
        outer->bad = true;
}

// Costs that would not end, or not fit into memory, are not tried.
static enum ds_class check_costs(const ds_seal *s, ds_err *e)
{
    for (size_t i = 0; i < s->unlocker_count; i++) {
        const ds_seal_unlocker *u = &s->unlockers[i];
        if (u->by == DS_SEAL_PASSPHRASE && (u->passes < 1 || u->passes > DS_SEAL_PASSES_MAX ||
                                            u->memory_kib < DS_SEAL_MEMORY_MIN || u->memory_kib > DS_SEAL_MEMORY_MAX))
            return ds_hint((ds_fail(e, DS_INPUT, "it asks for %u passes over %u KiB of memory, which is out of bounds",
                                    u->passes, u->memory_kib),
                            e),
                           "use the seal the officer made; this one comes from somebody else");
    }
    return DS_OK;
}

// At least one recipe, and one of each of the others.
static bool parts_are_whole(const ds_seal *s)
{
    unsigned count[DS_SEAL_MACHINE + 1] = {0};
    bool whole = true;
    for (size_t i = 0; i < s->part_count; i++)
        count[s->parts[i].kind]++;
    for (int k = DS_SEAL_TOKEN; k <= DS_SEAL_MACHINE; k++)
        whole = whole && count[k] == 1;
    return whole && count[DS_SEAL_RECIPE] >= 1;
}

static enum ds_class damaged(ds_err *e, const char *how)
{
    return ds_hint((ds_fail(e, DS_INPUT, "it is damaged: %s", how), e),
                   "put the officer's copy back; no PIN was tried");
}

// Is it one of ours, of this version, whole, and as it was written?
static enum ds_class check_envelope(ds_view in, ds_err *e)
{
    uint8_t digest[SEAL_DIGEST];
    if (in.len < 8 || memcmp(in.ptr, magic, sizeof magic) != 0)
        return ds_hint((ds_fail(e, DS_INPUT, "it is not a seal"), e), "name the file that devstamp seal create made");
    unsigned version = ds_le16(in.ptr + 6);
    if (version > VERSION)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "its format %u is newer than this devstamp, which knows %d", version, VERSION), e),
            "update devstamp on this computer");
    if (version < VERSION)
        return ds_hint(
            (ds_fail(e, DS_INPUT, "its format %u is older than this devstamp, which knows %d", version, VERSION), e),
            "let the officer make a new seal: devstamp seal create");
    if (in.len < SEAL_FIXED + SEAL_DIGEST || ds_le32(in.ptr + SEAL_LENGTH_AT) != in.len)
        return damaged(e, "its length is not what it says");
    (void)crypto_hash_sha256(digest, in.ptr, in.len - SEAL_DIGEST);
    if (memcmp(digest, in.ptr + in.len - SEAL_DIGEST, SEAL_DIGEST) != 0)
        return damaged(e, "its checksum does not fit");
    return DS_OK;
}

static bool take_all(ds_seal *s)
{
    cursor c = {.in = {s->bytes.ptr, s->bytes.len - SEAL_DIGEST}, .at = SEAL_LENGTH_AT + 4};
    s->created_utc = (int64_t)take_u32(&c);
    s->created_utc |= (int64_t)((uint64_t)take_u32(&c) << 32);
    unsigned mode = take_u8(&c);
    s->part_count = take_u8(&c);
    s->unlocker_count = take_u8(&c);
    unsigned reserved = take_u8(&c);
    if (mode < ANY || mode > ALL || reserved || s->part_count > DS_SEAL_PARTS || s->unlocker_count < 1 ||
        s->unlocker_count > DS_SEAL_UNLOCKERS)
        return false;
    s->all = mode == ALL;
    for (size_t i = 0; i < s->part_count && !c.bad; i++)
        take_part(&c, &s->parts[i]);
    for (size_t i = 0; i < s->unlocker_count && !c.bad; i++)
        take_unlocker(&c, &s->unlockers[i]);
    s->wraps = take(&c, (s->all ? 1 : s->unlocker_count) * SEAL_WRAP);
    s->nonce = take(&c, SEAL_NONCE);
    uint32_t len = take_u32(&c);
    s->head = (ds_view){s->bytes.ptr, c.at};
    s->ciphertext = take(&c, len);
    return !c.bad && c.at == c.in.len && len > SEAL_TAG && (len - SEAL_TAG) % SEAL_PAD == 0 && parts_are_whole(s);
}

enum ds_class ds_seal_parse(ds_view bytes, ds_seal *ret, ds_err *e)
{
    if (sodium_init() < 0)
        return ds_fail(e, DS_INTERNAL, "libsodium cannot start");
    ds_seal s = {.all = false};
    enum ds_class rc = check_envelope(bytes, e);
    if (rc)
        return rc;
    ds_buf_add(&s.bytes, bytes.ptr, bytes.len);
    rc = take_all(&s) ? check_costs(&s, e) : damaged(e, "its parts do not fit together");
    if (rc) {
        ds_seal_free(&s);
        return rc;
    }
    *ret = s;
    return DS_OK;
}

// File and status are of the same moment: what is remembered of a refused PIN must be of this very seal.
static enum ds_class read_file(const char *path, ds_buf *ret, struct stat *ret_st, ds_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ds_hint((ds_fail_errno(e, DS_INPUT, errno, "open"), e),
                       "let the officer make one: devstamp seal create");
    size_t len = 0;
    enum ds_class rc = DS_OK;
    if (fstat(fd, ret_st) != 0)
        rc = ds_fail_errno(e, DS_INPUT, errno, "read");
    else if (!S_ISREG(ret_st->st_mode) || ret_st->st_size > DS_SEAL_FILE_MAX)
        rc = ds_hint((ds_fail(e, DS_INPUT, "it is not a seal"), e), "name the file that devstamp seal create made");
    if (!rc) {
        ds_buf_resize(ret, (size_t)ret_st->st_size, 0);
        rc = ret->len ? ds_fd_read_full(fd, ret->ptr, ret->len, &len, e) : DS_OK;
        ret->len = len;
    }
    close(fd);
    return rc;
}

enum ds_class ds_seal_read(const char *path, ds_seal *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    struct stat st = {0};
    enum ds_class rc = read_file(path, &bytes, &st, e);
    if (!rc)
        rc = ds_seal_parse(ds_buf_view(&bytes), ret, e);
    if (rc)
        return ds_wrap(e, "seal %s", path);
    ret->path = ds_strdup(path);
    ret->st = st;
    return DS_OK;
}

const char *ds_seal_token(const ds_seal *s)
{
    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].kind == DS_SEAL_TOKEN)
            return s->parts[i].text;
    return "";
}

bool ds_seal_wants_passphrase(const ds_seal *s)
{
    size_t passphrases = 0;
    for (size_t i = 0; i < s->unlocker_count; i++)
        passphrases += s->unlockers[i].by == DS_SEAL_PASSPHRASE;
    return s->all ? passphrases > 0 : passphrases == s->unlocker_count;
}

static void put_text(ds_buf *out, const char *text)
{
    size_t len = strlen(text);
    ds_buf_add_u8(out, (uint8_t)len);
    ds_buf_add(out, text, len);
}

static void put_unlocker(ds_buf *out, const ds_seal_unlocker *u)
{
    DS_CLEANUP_BUF ds_buf body = {0};
    if (u->by == DS_SEAL_TPM) {
        ds_buf_add_le32(&body, u->pcrs);
        ds_buf_add(&body, u->parent, PARENT);
        ds_buf_add_le16(&body, (uint16_t)u->sealed_public.len);
        ds_buf_add(&body, u->sealed_public.ptr, u->sealed_public.len);
        ds_buf_add_le16(&body, (uint16_t)u->sealed_area.len);
        ds_buf_add(&body, u->sealed_area.ptr, u->sealed_area.len);
    } else {
        ds_buf_add(&body, u->salt, sizeof u->salt);
    }
    if (u->by == DS_SEAL_PASSPHRASE) {
        ds_buf_add_le32(&body, u->passes);
        ds_buf_add_le32(&body, u->memory_kib);
    }
    ds_buf_add_u8(out, (uint8_t)u->by);
    put_text(out, u->label);
    ds_buf_add_le16(out, (uint16_t)body.len);
    ds_buf_add(out, body.ptr, body.len);
}

void ds_seal_put_head(const ds_seal *s, ds_buf *ret)
{
    ds_buf_add(ret, magic, sizeof magic);
    ds_buf_add_le16(ret, VERSION);
    ds_buf_add_le32(ret, 0);
    ds_buf_add_le32(ret, (uint32_t)(uint64_t)s->created_utc);
    ds_buf_add_le32(ret, (uint32_t)((uint64_t)s->created_utc >> 32));
    ds_buf_add_u8(ret, s->all ? ALL : ANY);
    ds_buf_add_u8(ret, (uint8_t)s->part_count);
    ds_buf_add_u8(ret, (uint8_t)s->unlocker_count);
    ds_buf_add_u8(ret, 0);
    for (size_t i = 0; i < s->part_count; i++) {
        ds_buf_add_u8(ret, (uint8_t)s->parts[i].kind);
        put_text(ret, s->parts[i].text);
        ds_buf_add(ret, s->parts[i].digest, sizeof s->parts[i].digest);
    }
    for (size_t i = 0; i < s->unlocker_count; i++)
        put_unlocker(ret, &s->unlockers[i]);
}

void ds_seal_put_length(ds_buf *bytes, size_t whole)
{
    ds_put_le32(bytes->ptr + SEAL_LENGTH_AT, (uint32_t)whole);
}

void ds_seal_put_digest(ds_buf *bytes)
{
    uint8_t digest[SEAL_DIGEST];
    (void)crypto_hash_sha256(digest, bytes->ptr, bytes->len);
    ds_buf_add(bytes, digest, sizeof digest);
}
