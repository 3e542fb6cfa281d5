// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A pool of stamps in a folder; see pool.h. A stamp's file: pool_stamp.c.
#include "src/station/pool.h"

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/secret.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_LEN_MAX = 32768, ID_LEN = 32 };
enum kind { FREE, CLAIMED, SENT, OWNED, SPOILED, TAKEN, ASKED };

// How a name ends; where bare is false, what it belongs to follows.
static const struct {
    const char *mark;
    bool bare;
} kinds[] = {[FREE] = {".stamp", true}, [CLAIMED] = {".for-", false},     [SENT] = {".sent-", false},
             [OWNED] = {".of-", false}, [SPOILED] = {".spoiled-", false}, [TAKEN] = {".taken-by-", false},
             [ASKED] = {".asked", true}};
enum { KINDS = sizeof kinds / sizeof *kinds };

// A name in a pool, taken apart. Serial numbers may hold dots, so that the kind is what the last mark says.
typedef struct name {
    char serial[64];
    enum kind kind;
    const char *who; // behind "for-" or "taken-by-"; points into the name
} name;

static bool parse_name(const char *text, name *ret)
{
    const char *best = NULL;
    for (size_t i = 0; i < KINDS; i++) {
        const char *at = NULL;
        for (const char *p = strstr(text, kinds[i].mark); p; p = strstr(p + 1, kinds[i].mark))
            at = p;
        size_t len = at ? (size_t)(at - text) : 0, mark = strlen(kinds[i].mark);
        if (!len || len >= sizeof ret->serial || (at[mark] == '\0') != kinds[i].bare || (best && at < best))
            continue;
        best = at;
        *ret = (name){.kind = (enum kind)i, .who = at + mark};
        memcpy(ret->serial, text, len);
        ret->serial[len] = '\0';
    }
    return best != NULL;
}

// A pool that nobody else changes.
typedef struct pool {
    const char *path;
    int folder, lock;
    struct dirent **entry;
    int count;
} pool;

static int is_ours(const struct dirent *d)
{
    name n;
    return parse_name(d->d_name, &n);
}

static void leave(pool *p)
{
    for (int i = 0; i < p->count; i++)
        free(p->entry[i]);
    free(p->entry);
    if (p->lock >= 0)
        close(p->lock);
    if (p->folder >= 0)
        close(p->folder);
}

// To be left whatever the result.
static enum ds_class enter(const char *path, pool *p, ds_err *e)
{
    *p = (pool){.path = path, .folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .lock = -1};
    if (p->folder < 0)
        return ds_fail_errno(e, DS_STORE, errno, "pool %s", path);
    p->lock = openat(p->folder, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = p->lock < 0 ? -1 : 0;
    while (p->lock >= 0 && (rc = flock(p->lock, LOCK_EX)) != 0 && errno == EINTR)
        continue;
    if (rc != 0)
        return ds_fail_errno(e, DS_STORE, errno, "lock pool %s", path);
    p->count = scandir(path, &p->entry, is_ours, alphasort);
    if (p->count < 0) {
        p->count = 0;
        return ds_fail_errno(e, DS_STORE, errno, "read pool %s", path);
    }
    return DS_OK;
}

static char *path_of(const pool *p, const char *file)
{
    return ds_asprintf("%s/%s", p->path, file);
}

static enum ds_class rename_in(const pool *p, const char *from, const char *to, ds_err *e)
{
    if (renameat(p->folder, from, p->folder, to) != 0 || fsync(p->folder) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "pool %s: %s", p->path, from);
    return DS_OK;
}

// Nothing is left in the file; its name tells what it was.
static enum ds_class empty(const pool *p, const char *file, ds_err *e)
{
    int fd = openat(p->folder, file, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
    int rc = fd < 0 ? -1 : fsync(fd);
    int err = errno;
    if (fd >= 0)
        close(fd);
    return rc == 0 ? DS_OK : ds_fail_errno(e, DS_STORE, err, "pool %s: %s", p->path, file);
}

static bool is_empty(const pool *p, const char *file)
{
    struct stat st;
    return fstatat(p->folder, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 0;
}

// The stamp of a file, which must be of the serial number it is named after.
static enum ds_class load(const pool *p, const char *file, ds_buf *ret_bytes, ds_pool_stamp *ret, ds_err *e)
{
    name n;
    DS_CLEANUP_FREE char *path = path_of(p, file);
    enum ds_class rc = ds_file_read(path, FILE_LEN_MAX, ret_bytes, e);
    if (!rc)
        rc = ds_pool_decode(ds_buf_view(ret_bytes), ret, e);
    if (!rc && (!parse_name(file, &n) || strcmp(n.serial, ret->serial) != 0)) {
        ds_pool_stamp_free(ret);
        rc = ds_fail(e, DS_INPUT, "it is the stamp of %s", ret->serial);
    }
    return rc ? ds_wrap(e, "pool %s: %s", p->path, file) : DS_OK;
}

// --- claims

static void owner_text(const ds_pool_device *d, char ret[18])
{
    char mac[13];
    ds_hex(d->mac, 6, mac);
    snprintf(ret, 18, "%04x-%s", d->chip_id, mac);
}

static bool is_claim(enum kind k)
{
    return k == CLAIMED || k == SENT || k == OWNED;
}

// NULL: it has none.
static const char *find_claim(const pool *p, const char *owner, name *ret)
{
    for (int i = 0; i < p->count; i++)
        if (parse_name(p->entry[i]->d_name, ret) && is_claim(ret->kind) && strcmp(ret->who, owner) == 0)
            return p->entry[i]->d_name;
    return NULL;
}

static bool fits(const ds_pool_stamp *s, const ds_pool_device *d)
{
    return strcmp(s->recipe, d->recipe) == 0 && s->key_type == d->key_type;
}

static enum ds_class claim_again(const pool *p, const char *file, enum kind kind, const ds_pool_device *d,
                                 ds_pool_stamp *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    if (is_empty(p, file))
        return ds_hint((ds_fail(e, DS_POLICY, "pool %s: the device's stamp %s was used up", p->path, file), e),
                       "it came to its proof before; set the device aside where it lost its stamp since");
    enum ds_class rc = load(p, file, &bytes, ret, e);
    if (!rc && !fits(ret, d)) {
        ds_pool_stamp_free(ret);
        rc = ds_hint((ds_fail(e, DS_POLICY, "pool %s: the device's stamp %s is of another recipe", p->path, file), e),
                     "use the recipe it was begun with");
    }
    if (!rc && (rc = ds_pool_judge_issuer(ret, d->ca, e)) != DS_OK)
        ds_pool_stamp_free(ret);
    ret->state = kind == OWNED ? DS_POOL_OWNED : kind == SENT ? DS_POOL_SENT : DS_POOL_CLAIMED;
    return rc;
}

// The first free one that fits; one that cannot be read is told and left where it is.
static enum ds_class claim_new(const pool *p, const char *owner, const ds_pool_device *d, ds_pool_stamp *ret, ds_err *e)
{
    name n;
    for (int i = 0; i < p->count; i++) {
        const char *file = p->entry[i]->d_name;
        DS_CLEANUP_BUF ds_buf bytes = {0};
        ds_err bad = DS_ERR_INIT;
        if (!parse_name(file, &n) || n.kind != FREE)
            continue;
        if (load(p, file, &bytes, ret, &bad)) {
            ds_log(DS_LOG_WARN, "%s", bad.text);
            continue;
        }
        if (fits(ret, d) && ds_pool_judge_issuer(ret, d->ca, &bad)) {
            ds_log(DS_LOG_WARN, "%s", bad.text);
        } else if (fits(ret, d)) {
            DS_CLEANUP_FREE char *claimed = ds_asprintf("%s.for-%s", n.serial, owner);
            enum ds_class rc = rename_in(p, file, claimed, e);
            if (rc)
                ds_pool_stamp_free(ret);
            ret->state = DS_POOL_CLAIMED;
            return rc;
        }
        ds_pool_stamp_free(ret);
    }
    return ds_hint(
        (ds_fail(e, DS_STORE, "pool %s: no stamp of %s with this type of key is free", p->path, d->recipe), e),
        "fetch more: devstamp pool import");
}

// What was cut off between its new name and the erasing.
static enum ds_class erase_spoiled(const pool *p, const char *owner, ds_err *e)
{
    name n;
    enum ds_class rc = DS_OK;
    for (int i = 0; i < p->count && !rc; i++) {
        const char *file = p->entry[i]->d_name;
        if (parse_name(file, &n) && n.kind == SPOILED && strcmp(n.who, owner) == 0 && !is_empty(p, file))
            rc = empty(p, file, e);
    }
    return rc;
}

enum ds_class ds_pool_claim(const char *path, const ds_pool_device *d, ds_pool_stamp *ret, ds_err *e)
{
    char owner[18];
    pool p;
    name n;
    owner_text(d, owner);
    enum ds_class rc = enter(path, &p, e);
    if (!rc)
        rc = erase_spoiled(&p, owner, e);
    if (!rc) {
        const char *mine = find_claim(&p, owner, &n);
        rc = mine ? claim_again(&p, mine, n.kind, d, ret, e) : claim_new(&p, owner, d, ret, e);
    }
    leave(&p);
    return rc;
}

// The device's stamp of this serial number, in the state `from`, gets another one.
static enum ds_class advance(const char *path, const ds_pool_device *d, const char *serial, enum kind from,
                             enum kind to, ds_err *e)
{
    char owner[18];
    pool p;
    name n;
    owner_text(d, owner);
    DS_CLEANUP_FREE char *after = ds_asprintf("%s%s%s", serial, kinds[to].mark, owner);
    enum ds_class rc = enter(path, &p, e);
    const char *mine = rc ? NULL : find_claim(&p, owner, &n);
    bool same = mine && strcmp(n.serial, serial) == 0;
    if (!rc && !(same && (n.kind == from || n.kind == to)))
        rc = ds_hint((ds_fail(e, DS_POLICY, "pool %s: the stamp %s is not where it was left", path, serial), e),
                     "do two devices show one address? set both aside and call the officer");
    // A key is sent once: who comes second has lost it.
    if (!rc && n.kind == to && to == SENT)
        rc = ds_fail(e, DS_POLICY, "pool %s: the key of the stamp %s was sent by another run", path, serial);
    if (!rc && n.kind == from)
        rc = rename_in(&p, mine, after, e);
    if (!rc && to == SPOILED)
        rc = empty(&p, after, e);
    leave(&p);
    return rc;
}

enum ds_class ds_pool_send(const char *path, const ds_pool_device *d, const char *serial, ds_err *e)
{
    return advance(path, d, serial, CLAIMED, SENT, e);
}

enum ds_class ds_pool_own(const char *path, const ds_pool_device *d, const char *serial, ds_err *e)
{
    return advance(path, d, serial, SENT, OWNED, e);
}

enum ds_class ds_pool_spoil(const char *path, const ds_pool_device *d, const char *serial, ds_err *e)
{
    return advance(path, d, serial, SENT, SPOILED, e);
}

enum ds_class ds_pool_spend(const char *path, const ds_pool_device *d, ds_err *e)
{
    char owner[18];
    pool p;
    name n;
    owner_text(d, owner);
    enum ds_class rc = enter(path, &p, e);
    const char *mine = rc ? NULL : find_claim(&p, owner, &n);
    if (mine && !is_empty(&p, mine))
        rc = empty(&p, mine, e);
    leave(&p);
    return rc;
}

// --- making

static bool knows(const pool *p, const char *serial)
{
    name n;
    for (int i = 0; i < p->count; i++)
        if (parse_name(p->entry[i]->d_name, &n) && strcmp(n.serial, serial) == 0)
            return true;
    return false;
}

static enum ds_class note_asked(const pool *p, const char *serial, ds_err *e)
{
    DS_CLEANUP_FREE char *file = ds_asprintf("%s.asked", serial);
    int fd = openat(p->folder, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fsync(p->folder) != 0) {
        int err = errno;
        if (fd >= 0)
            close(fd);
        return ds_fail_errno(e, DS_STORE, err, "pool %s: %s", p->path, file);
    }
    close(fd);
    return DS_OK;
}

enum ds_class ds_pool_ask(const char *path, const char *serial, bool *ret_new, ds_err *e)
{
    pool p;
    enum ds_class rc = enter(path, &p, e);
    *ret_new = !rc && !knows(&p, serial);
    if (*ret_new)
        rc = note_asked(&p, serial, e);
    leave(&p);
    return rc;
}

static enum ds_class forget_asked(const pool *p, const char *serial, ds_err *e)
{
    DS_CLEANUP_FREE char *file = ds_asprintf("%s.asked", serial);
    if (unlinkat(p->folder, file, 0) != 0 || fsync(p->folder) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "pool %s: %s", p->path, file);
    return DS_OK;
}

enum ds_class ds_pool_unask(const char *path, const char *serial, ds_err *e)
{
    pool p;
    enum ds_class rc = enter(path, &p, e);
    if (!rc)
        rc = forget_asked(&p, serial, e);
    leave(&p);
    return rc;
}

static enum ds_class write_stamp(const pool *p, const char *serial, ds_view bytes, ds_err *e)
{
    DS_CLEANUP_FREE char *file = ds_asprintf("%s.stamp", serial);
    DS_CLEANUP_FREE char *path_text = path_of(p, file);
    return ds_file_write(path_text, bytes, 0600, e);
}

enum ds_class ds_pool_put(const char *path, const ds_pool_stamp *s, ds_err *e)
{
    pool p;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_pool_encode(s, &bytes, e);
    if (rc)
        return rc;
    rc = enter(path, &p, e);
    if (!rc)
        rc = write_stamp(&p, s->serial, ds_buf_view(&bytes), e);
    if (!rc)
        rc = forget_asked(&p, s->serial, e);
    leave(&p);
    return rc;
}

// --- taking from another pool

// Who takes: the station's name, and what tells this pool from any other of that name.
static enum ds_class taker(const pool *to, const char *station, char ret[128], ds_err *e)
{
    DS_CLEANUP_FREE char *path = path_of(to, ".id");
    DS_CLEANUP_BUF ds_buf id = {0};
    if (faccessat(to->folder, ".id", F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        uint8_t random[ID_LEN / 2];
        char hex[ID_LEN + 1];
        ds_random(random, sizeof random);
        ds_hex(random, sizeof random, hex);
        if (ds_file_write(path, (ds_view){(const uint8_t *)hex, ID_LEN}, 0600, e))
            return e->cls;
    }
    if (ds_file_read(path, ID_LEN, &id, e))
        return e->cls;
    bool ok = id.len == ID_LEN;
    for (size_t i = 0; i < id.len; i++)
        ok = ok && isxdigit(id.ptr[i]);
    if (!ok)
        return ds_fail(e, DS_STORE, "%s: is damaged", path);
    snprintf(ret, 128, "%s-%.*s", station, ID_LEN, (const char *)id.ptr);
    return DS_OK;
}

// Whatever of this serial number is in the pool; also what was written since it was entered. NULL: nothing.
static char *find_serial(const pool *p, const char *serial)
{
    name n;
    char *fresh = ds_asprintf("%s.stamp", serial);
    if (faccessat(p->folder, fresh, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return fresh;
    free(fresh);
    for (int i = 0; i < p->count; i++)
        if (parse_name(p->entry[i]->d_name, &n) && strcmp(n.serial, serial) == 0)
            return ds_strdup(p->entry[i]->d_name);
    return NULL;
}

static enum ds_class refuse_other(const pool *to, const char *file, ds_err *e)
{
    return ds_hint((ds_fail(e, DS_POLICY, "pool %s has something else of this serial number: %s", to->path, file), e),
                   "two stamps of one number: ask whoever made them; nothing was erased");
}

// It is named after who takes it already: into the other pool, then it is emptied here. Not before the other pool holds
// these very bytes.
static enum ds_class carry(const pool *from, const char *file, const pool *to, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0}, theirs = {0};
    ds_pool_stamp s = {.key_type = 0};
    enum ds_class rc = load(from, file, &bytes, &s, e);
    DS_CLEANUP_FREE char *there = rc ? NULL : find_serial(to, s.serial);
    if (!rc && !there)
        rc = write_stamp(to, s.serial, ds_buf_view(&bytes), e);
    ds_pool_stamp_free(&s);
    if (!rc && there) {
        DS_CLEANUP_FREE char *path = path_of(to, there);
        rc = ds_file_read(path, FILE_LEN_MAX, &theirs, e);
        if (!rc && (theirs.len != bytes.len || memcmp(theirs.ptr, bytes.ptr, bytes.len) != 0))
            rc = refuse_other(to, there, e);
    }
    return rc ? rc : empty(from, file, e);
}

// A free one that the other pool may have.
static enum ds_class judge(const pool *from, const char *file, const pool *to, const ds_pool_taker *by, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    ds_pool_stamp s = {.key_type = 0};
    enum ds_class rc = load(from, file, &bytes, &s, e);
    DS_CLEANUP_FREE char *there = rc ? NULL : find_serial(to, s.serial);
    if (!rc && there)
        rc = refuse_other(to, there, e);
    if (!rc)
        rc = by->judge(by->arg, &s, e);
    ds_pool_stamp_free(&s);
    return rc;
}

static enum ds_class take_one(const pool *from, const char *file, const char *mine, const pool *to,
                              const ds_pool_taker *by, ds_err *e)
{
    if (strcmp(file, mine) != 0 && (judge(from, file, to, by, e) || rename_in(from, file, mine, e)))
        return ds_wrap(e, "%s", file);
    enum ds_class rc = carry(from, mine, to, e);
    return rc ? ds_wrap(e, "%s", mine) : DS_OK;
}

static enum ds_class take(const pool *from, const pool *to, const ds_pool_taker *by, unsigned *taken, ds_err *e)
{
    name n;
    char who[128];
    enum ds_class rc = taker(to, by->station, who, e), refused = DS_OK;
    for (int i = 0; i < from->count && !rc; i++) {
        const char *file = from->entry[i]->d_name;
        ds_err bad = DS_ERR_INIT;
        if (!parse_name(file, &n))
            continue;
        bool cut_off = n.kind == TAKEN && strcmp(n.who, who) == 0 && !is_empty(from, file);
        if (!cut_off && (n.kind != FREE || *taken >= by->max))
            continue;
        DS_CLEANUP_FREE char *mine = ds_asprintf("%s.taken-by-%s", n.serial, who);
        enum ds_class one = take_one(from, file, mine, to, by, &bad);
        *taken += !one;
        if (one && refused)
            ds_log(DS_LOG_WARN, "%s", bad.text);
        else if (one)
            *e = bad;
        refused = refused ? refused : one;
        rc = one == DS_INPUT || one == DS_POLICY ? DS_OK : one; // a full disk stops it, a bad stamp does not
    }
    return rc ? rc : refused;
}

static bool is_plain(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_", *p))
            return false;
    return text[0] != '\0' && strlen(text) < 64;
}

// Both, in an order that all agree on: no two wait for each other's second.
static enum ds_class enter_both(const char *from, const char *to, pool *theirs, pool *ours, ds_err *e)
{
    struct stat a, b;
    *theirs = *ours = (pool){.folder = -1, .lock = -1};
    if (stat(from, &a) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "pool %s", from);
    if (stat(to, &b) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "pool %s", to);
    if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return ds_fail(e, DS_USAGE, "%s and %s are the same pool", from, to);
    bool first = a.st_dev != b.st_dev ? a.st_dev < b.st_dev : a.st_ino < b.st_ino;
    enum ds_class rc = first ? enter(from, theirs, e) : enter(to, ours, e);
    if (!rc)
        rc = first ? enter(to, ours, e) : enter(from, theirs, e);
    return rc;
}

enum ds_class ds_pool_take(const char *from, const ds_pool_taker *to, unsigned *ret_taken, ds_err *e)
{
    pool theirs, ours;
    *ret_taken = 0;
    if (!is_plain(to->station))
        return ds_fail(e, DS_INPUT, "the station's name '%s' must be letters, digits, - and _ here", to->station);
    enum ds_class rc = enter_both(from, to->pool, &theirs, &ours, e);
    if (!rc)
        rc = take(&theirs, &ours, to, ret_taken, e);
    leave(&ours);
    leave(&theirs);
    return rc;
}

enum ds_class ds_pool_status(const char *path, ds_pool_count *ret, ds_err *e)
{
    pool p;
    name n;
    ds_pool_count c = {0};
    enum ds_class rc = enter(path, &p, e);
    for (int i = 0; i < p.count && !rc; i++) {
        const char *file = p.entry[i]->d_name;
        if (!parse_name(file, &n))
            continue;
        c.free += n.kind == FREE;
        c.taken += n.kind == TAKEN;
        c.lost += n.kind == ASKED;
        c.spoiled += n.kind == SPOILED;
        c.used += is_claim(n.kind) && is_empty(&p, file);
        c.claimed += is_claim(n.kind) && !is_empty(&p, file);
    }
    leave(&p);
    if (!rc)
        *ret = c;
    return rc;
}
