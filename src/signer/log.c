// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The issuance log; see log.h.
#include "src/signer/log.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/pki/keytype.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// Roots of whole subtrees of 2^READY entries are kept, so that a proof reads few leaf hashes from the file.
enum { READY = 8 };

// Certificates of one recipe.
typedef struct ds_log_recipe {
    char name[DS_LOG_RECIPE];
    uint64_t count;
} ds_log_recipe;

struct ds_log_file {
    int fd;
    char *path, *head_path;
    uint8_t ca[32];
    int64_t size; // of header and whole records
    ds_merkle tree;
    uint8_t root[32];
    ds_buf ready; // 32 bytes each
    ds_log_index index;
    ds_log_recipe *recipes;
    uint32_t recipe_count;
    ds_hasher *hasher;
    ds_buf added;  // records that are not on disk yet
    bool broken;   // a failed append could not be undone
    bool has_head; // the head beside the log
    ds_log_head head;
};

static enum ds_class disk(const ds_log_file *l, ds_err *e)
{
    return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", l->path);
}

static enum ds_class begin(ds_log_file *l, ds_err *e)
{
    uint8_t bytes[DS_LOG_HEADER];
    ds_log_header header = {.begun_utc = ds_utc_now()};
    memcpy(header.ca, l->ca, 32);
    ds_log_header_write(&header, bytes);
    if (ftruncate(l->fd, 0) != 0 || lseek(l->fd, 0, SEEK_SET) != 0)
        return disk(l, e);
    if (ds_fd_write_all(l->fd, bytes, sizeof bytes, e))
        return ds_wrap(e, "issuance log %s", l->path);
    DS_CLEANUP_FREE char *folder = ds_path_beside(l->path, ".");
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fsync(l->fd) == 0 && dir >= 0 && fsync(dir) == 0;
    int err = errno;
    if (dir >= 0)
        close(dir);
    errno = err;
    l->size = DS_LOG_HEADER;
    ds_merkle_root(&l->tree, l->hasher, l->root);
    return synced ? DS_OK : disk(l, e);
}

// After each leaf: keep the subtree that it completed.
static void keep_ready(ds_log_file *l, const ds_merkle *tree)
{
    if (tree->size % (1U << READY) == 0)
        ds_buf_add(&l->ready, tree->peak[READY], 32);
}

static enum ds_class not_its_log(const ds_log_file *l, uint64_t entries, ds_err *e)
{
    unsigned long long has = entries, had = l->head.size;
    if (entries < l->head.size)
        (void)ds_fail(e, DS_POLICY,
                      "issuance log %s: the issuance log has %llu entries, and had %llu: its end was cut off", l->path,
                      has, had);
    else
        (void)ds_fail(e, DS_POLICY, "issuance log %s: its first %llu entries are not those its head was made of",
                      l->path, had);
    return ds_hint(e, "keep the log and its head as they are and find out who changed them; put back the copy that was "
                      "made last. Where none is left, make a new Sub CA: its log begins anew");
}

// Is the tree so far the one of the head beside the log, if it is as big?
static bool fits_head(const ds_log_file *l, const ds_merkle *tree)
{
    uint8_t root[32];
    if (!l->has_head || tree->size != l->head.size)
        return true;
    ds_merkle_root(tree, l->hasher, root);
    return memcmp(root, l->head.root, 32) == 0;
}

static enum ds_class cut_tail(ds_log_file *l, int64_t end, ds_err *e)
{
    ds_log(DS_LOG_WARN, "issuance log %s: the last write was cut off by a crash: %lld bytes after entry %llu removed",
           l->path, (long long)(end - l->size), (unsigned long long)l->tree.size);
    return ftruncate(l->fd, (off_t)l->size) != 0 || fsync(l->fd) != 0 ? disk(l, e) : DS_OK;
}

// A log holds few recipes.
static ds_log_recipe *find_recipe(const ds_log_file *l, const char *name)
{
    for (uint32_t i = 0; i < l->recipe_count; i++)
        if (strcmp(l->recipes[i].name, name) == 0)
            return &l->recipes[i];
    return NULL;
}

static uint32_t recipe_number(ds_log_file *l, const char *name)
{
    ds_log_recipe *r = find_recipe(l, name);
    if (r)
        return (uint32_t)(r - l->recipes);
    if ((l->recipe_count & (l->recipe_count - 1)) == 0) { // 0 and powers of two: room for as many again
        size_t cap = l->recipe_count ? 2 * (size_t)l->recipe_count : 1;
        ds_log_recipe *more = realloc(l->recipes, cap * sizeof *more);
        if (!more)
            abort(); // out of memory, as everywhere
        l->recipes = more;
    }
    r = &l->recipes[l->recipe_count];
    *r = (ds_log_recipe){.count = 0};
    memcpy(r->name, name, strnlen(name, DS_LOG_RECIPE - 1));
    return l->recipe_count++;
}

// Into the index, and counted for its recipe.
static bool index_entry(ds_log_file *l, ds_log_entry *entry, const char *recipe)
{
    entry->recipe = recipe_number(l, recipe);
    if (!ds_log_index_add(&l->index, entry))
        return false;
    l->recipes[entry->recipe].count++;
    return true;
}

const char *ds_log_recipe_of(const ds_log_file *l, const ds_log_entry *entry)
{
    return l->recipes[entry->recipe].name;
}

uint64_t ds_log_count(const ds_log_file *l, const char *recipe)
{
    const ds_log_recipe *r = find_recipe(l, recipe);
    return r ? r->count : 0;
}

// One verified record into the index; the tree is the scan's, with it.
static enum ds_class take(ds_log_file *l, const ds_log_record *r, const ds_merkle *tree, ds_err *e)
{
    ds_log_entry entry = {.offset = r->offset, .len = (uint32_t)r->cert.len};
    memcpy(entry.serial, r->serial, 16);
    memcpy(entry.public_key_digest, r->key, 32);
    if (!index_entry(l, &entry, r->recipe))
        return ds_fail(e, DS_STORE, "issuance log %s: entry %llu: its key or serial number was there before", l->path,
                       (unsigned long long)r->number);
    keep_ready(l, tree);
    return fits_head(l, tree) ? DS_OK : not_its_log(l, tree->size, e);
}

static enum ds_class scan(ds_log_file *l, ds_log_scan *s, int64_t end, ds_err *e)
{
    for (;;) {
        ds_log_record r;
        enum ds_log_found found = DS_LOG_END;
        enum ds_class rc = ds_log_scan_next(s, &r, &found, e);
        if (!rc && found == DS_LOG_ENTRY)
            rc = take(l, &r, ds_log_scan_tree(s), e);
        if (rc)
            return rc;
        if (found == DS_LOG_ENTRY)
            continue;
        l->size = ds_log_scan_position(s);
        l->tree = *ds_log_scan_tree(s);
        ds_merkle_root(&l->tree, l->hasher, l->root);
        if (l->has_head && l->tree.size < l->head.size) // before anything is cut: what is there stays to be looked at
            return not_its_log(l, l->tree.size, e);
        return found == DS_LOG_TORN ? cut_tail(l, end, e) : DS_OK;
    }
}

static enum ds_class load_head(ds_log_file *l, ds_err *e)
{
    enum ds_class rc = ds_log_head_read(l->head_path, &l->head, &l->has_head, e);
    if (rc)
        return ds_hint(e,
                       "restore it from a copy; where none is left, look at the log (devstamp log verify) before you "
                       "remove it");
    if (l->has_head && memcmp(l->head.ca, l->ca, 32) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "head %s belongs to the log of another CA certificate", l->head_path), e),
                       "each CA has its own log and head: name another log");
    return fits_head(l, &l->tree) ? DS_OK : not_its_log(l, 0, e);
}

static enum ds_class load(ds_log_file *l, ds_err *e)
{
    struct stat st;
    uint8_t bytes[DS_LOG_HEADER] = {0};
    ds_log_header header;
    if (fstat(l->fd, &st) != 0)
        return disk(l, e);
    if (!S_ISREG(st.st_mode))
        return ds_fail(e, DS_STORE, "issuance log %s: not a regular file", l->path);
    int64_t got = ds_log_read_at(l->fd, bytes, sizeof bytes, 0);
    if (got < 0)
        return disk(l, e);
    // A header cut short was never followed by an entry: the log is begun again.
    if (got < DS_LOG_HEADER &&
        (memcmp(bytes, "DSLOG2\r\n", got < 8 ? (size_t)got : 8) == 0 || ds_log_zeros(l->fd, 0, got))) {
        if (load_head(l, e))
            return e ? e->cls : DS_STORE;
        return l->has_head && l->head.size ? not_its_log(l, 0, e) : begin(l, e);
    }
    enum ds_class rc = ds_log_header_read((ds_view){bytes, (size_t)got}, l->path, &header, e);
    if (rc)
        return rc;
    if (memcmp(header.ca, l->ca, 32) != 0)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s belongs to another CA certificate", l->path), e),
                       "each CA has its own log: name another file");
    rc = load_head(l, e);
    if (rc)
        return rc;
    ds_log_scan *s = ds_log_scan_new(l->fd, l->path, (int64_t)st.st_size);
    rc = scan(l, s, (int64_t)st.st_size, e);
    ds_log_scan_free(s);
    return rc;
}

enum ds_class ds_log_open(const char *path, const uint8_t ca[32], ds_log_file **ret, ds_err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "issuance log %s", path);
    ds_log_file *l = ds_alloc(sizeof *l);
    l->fd = fd;
    l->path = ds_strdup(path);
    l->head_path = ds_asprintf("%s.head", path);
    l->hasher = ds_hasher_new();
    memcpy(l->ca, ca, 32);
    enum ds_class rc;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        rc = load(l, e);
    else if (errno == EWOULDBLOCK)
        rc = ds_hint((ds_fail(e, DS_STORE, "issuance log %s is held by another signer", path), e),
                     "end the other utility first");
    else
        rc = disk(l, e);
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
    free(l->recipes);
    ds_hasher_free(l->hasher);
    ds_buf_free(&l->ready);
    ds_buf_free(&l->added);
    free(l->head_path);
    free(l->path);
    free(l);
}

uint64_t ds_log_entries(const ds_log_file *l)
{
    return l->tree.size;
}

const uint8_t *ds_log_root(const ds_log_file *l)
{
    return l->root;
}

uint64_t ds_log_head_entries(const ds_log_file *l)
{
    return l->has_head ? l->head.size : 0;
}

const ds_log_entry *ds_log_by_key(const ds_log_file *l, const uint8_t public_key_digest[32])
{
    return ds_log_index_key(&l->index, public_key_digest);
}

const ds_log_entry *ds_log_by_serial(const ds_log_file *l, const uint8_t serial[16])
{
    return ds_log_index_serial(&l->index, serial);
}

const ds_log_entry *ds_log_by_number(const ds_log_file *l, uint64_t number)
{
    return &l->index.entries[number - 1];
}

enum ds_class ds_log_read(const ds_log_file *l, const ds_log_entry *entry, ds_buf *ret, ds_err *e)
{
    size_t before = ret->len;
    ds_buf_resize(ret, before + entry->len, 0);
    if (entry->number <= l->tree.size &&
        ds_log_read_at(l->fd, ret->ptr + before, entry->len, entry->offset + DS_LOG_HEAD) == (int64_t)entry->len)
        return DS_OK;
    ret->len = before;
    return ds_fail(e, DS_STORE, "issuance log %s: entry %u cannot be read", l->path, entry->number);
}

static int64_t end_of(const ds_log_entry *entry)
{
    return entry->offset + DS_LOG_HEAD + (int64_t)entry->len + DS_LOG_HASH;
}

ds_log_span ds_log_find_span(const ds_log_file *l, uint64_t from, size_t max)
{
    ds_log_span s = {.next = from};
    if (from < 1 || from > l->tree.size)
        return s;
    s.offset = ds_log_by_number(l, from)->offset;
    do
        s.len = (size_t)(end_of(ds_log_by_number(l, s.next++)) - s.offset);
    while (s.next <= l->tree.size && (size_t)(end_of(ds_log_by_number(l, s.next)) - s.offset) <= max);
    return s;
}

static enum ds_class read_part(const ds_log_file *l, int64_t offset, size_t len, ds_buf *ret, ds_err *e)
{
    size_t before = ret->len;
    ds_buf_resize(ret, before + len, 0);
    if (ds_log_read_at(l->fd, ret->ptr + before, len, offset) == (int64_t)len)
        return DS_OK;
    ret->len = before;
    return ds_fail(e, DS_STORE, "issuance log %s: cannot be read at %lld", l->path, (long long)offset);
}

enum ds_class ds_log_read_span(const ds_log_file *l, const ds_log_span *span, ds_buf *ret, ds_err *e)
{
    return span->len ? read_part(l, span->offset, span->len, ret, e) : DS_OK;
}

enum ds_class ds_log_read_header(const ds_log_file *l, ds_buf *ret, ds_err *e)
{
    return read_part(l, 0, DS_LOG_HEADER, ret, e);
}

enum ds_class ds_log_read_head(const ds_log_file *l, ds_buf *ret, ds_err *e)
{
    enum { HEAD_MAX = 4096 };
    if (access(l->head_path, F_OK) != 0)
        return DS_OK;
    enum ds_class rc = ds_file_read(l->head_path, HEAD_MAX, ret, e);
    return rc ? ds_wrap(e, "head of the issuance log") : DS_OK;
}

enum ds_class ds_log_add(ds_log_file *l, const ds_log_certificate *c, ds_err *e)
{
    const ds_view cert = c->der;
    if (cert.len < 4 || cert.len > DS_LOG_CERT_MAX || ds_log_der_len(cert.ptr) != cert.len)
        return ds_fail(e, DS_INTERNAL, "%zu bytes that are no DER certificate cannot be logged", cert.len);
    if (strlen(c->recipe) >= DS_LOG_RECIPE)
        return ds_fail(e, DS_INTERNAL, "a recipe's name longer than %d bytes cannot be logged", DS_LOG_RECIPE - 1);
    ds_log_entry entry = {.offset = l->size + (int64_t)l->added.len, .len = (uint32_t)cert.len};
    memcpy(entry.serial, c->serial, 16);
    memcpy(entry.public_key_digest, c->public_key_digest, 32);
    if (!index_entry(l, &entry, c->recipe))
        return ds_fail(e, DS_POLICY, "public key or serial number is in the issuance log already");
    ds_log_record record = {.number = l->index.count,
                            .signed_utc = ds_utc_now(),
                            .serial = c->serial,
                            .key = c->public_key_digest,
                            .cert = cert};
    memcpy(record.recipe, c->recipe, strlen(c->recipe));
    ds_log_record_write(&record, l->hasher, &l->added);
    return DS_OK;
}

static enum ds_class write_added(ds_log_file *l, ds_err *e)
{
    enum ds_class rc = DS_OK;
    if (lseek(l->fd, (off_t)l->size, SEEK_SET) < 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "seek");
    if (!rc)
        rc = ds_fd_write_all(l->fd, l->added.ptr, l->added.len, e);
    if (!rc && fsync(l->fd) != 0) {
        l->broken = true; // what the disk holds after a failed sync is unknown
        rc = ds_fail_errno(e, DS_STORE, errno, "sync");
    }
    if (rc && (ftruncate(l->fd, (off_t)l->size) != 0 || fsync(l->fd) != 0))
        l->broken = true;
    return rc ? ds_wrap(e, "issuance log %s", l->path) : DS_OK;
}

static void forget_added(ds_log_file *l)
{
    while (l->index.count > l->tree.size) {
        l->recipes[l->index.entries[l->index.count - 1].recipe].count--;
        ds_log_index_drop(&l->index);
    }
    ds_buf_clear(&l->added);
}

enum ds_class ds_log_write(ds_log_file *l, ds_err *e)
{
    if (l->added.len == 0)
        return DS_OK;
    if (l->broken)
        return ds_hint((ds_fail(e, DS_STORE, "issuance log %s takes nothing after a failed write", l->path), e),
                       "see to the disk, then start the signer again");
    return write_added(l, e);
}

void ds_log_settle(ds_log_file *l, bool written)
{
    if (!written) {
        forget_added(l);
        return;
    }
    for (uint64_t i = l->tree.size; i < l->index.count; i++) {
        const ds_log_entry *entry = &l->index.entries[i];
        ds_merkle_add(&l->tree, l->hasher, l->added.ptr + (entry->offset - l->size) + DS_LOG_HEAD + entry->len);
        keep_ready(l, &l->tree);
    }
    l->size += (int64_t)l->added.len;
    ds_buf_clear(&l->added);
    ds_merkle_root(&l->tree, l->hasher, l->root);
}

enum ds_class ds_log_commit(ds_log_file *l, ds_err *e)
{
    enum ds_class rc = ds_log_write(l, e);
    ds_log_settle(l, rc == DS_OK);
    return rc;
}

enum ds_class ds_log_append(ds_log_file *l, const ds_log_certificate *c, ds_err *e)
{
    enum ds_class rc = ds_log_add(l, c, e);
    return rc ? rc : ds_log_commit(l, e);
}

static enum ds_class node_of(void *arg, unsigned level, uint64_t index, uint8_t ret[32], ds_err *e)
{
    const ds_log_file *l = arg;
    if (level == READY) {
        memcpy(ret, l->ready.ptr + 32 * index, 32);
        return DS_OK;
    }
    const ds_log_entry *entry = &l->index.entries[index];
    return ds_log_read_at(l->fd, ret, 32, entry->offset + DS_LOG_HEAD + entry->len) == 32 ? DS_OK : disk(l, e);
}

enum ds_class ds_log_prove(ds_log_file *l, uint64_t from, ds_merkle_proof *ret, ds_err *e)
{
    const ds_merkle_source source = {.node = node_of, .arg = l, .level = READY};
    return ds_merkle_prove_consistency(&source, l->hasher, from, l->tree.size, ret, e);
}

enum ds_class ds_log_put_head(ds_log_file *l, const ds_log_key *key, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    uint8_t digest[32] = {0};
    ds_log_head head = {.size = l->tree.size};
    memcpy(head.ca, l->ca, 32);
    memcpy(head.root, l->root, 32);
    if (key && ds_public_key_digest(key->public_key, digest, e))
        return DS_INTERNAL;
    if (l->has_head && l->head.size == head.size && l->head.is_signed == (key != NULL) &&
        memcmp(digest, l->head.key_digest, 32) == 0)
        return DS_OK;
    enum ds_class rc = ds_log_head_text(&head, key, &text, e);
    if (!rc)
        rc = ds_file_write(l->head_path, ds_buf_view(&text), 0644, e);
    if (!rc)
        rc = ds_log_head_parse(ds_buf_view(&text), &l->head, e);
    if (rc)
        return ds_wrap(e, "issuance log %s: head", l->path);
    l->has_head = true;
    return DS_OK;
}
