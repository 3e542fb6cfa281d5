// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Entries of a roll on their way to it, in a file that nobody else sees; see roll.h.
#include "src/ledger/roll.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ds_roll_spool {
    FILE *file;
    ds_hasher *h;
    uint64_t count;
    ds_merkle block, tree; // of the last block, of the blocks before it
    ds_buf roots;          // of the blocks before it
    char *line;            // read last
    size_t cap;
};

enum ds_class ds_roll_spool_new(const char *beside, ds_roll_spool **ret, ds_err *e)
{
    DS_CLEANUP_FREE char *name = ds_asprintf("%s.entries-XXXXXX", strcmp(beside, "-") == 0 ? "/tmp/devstamp" : beside);
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", name);
    (void)unlink(name);
    FILE *file = fdopen(fd, "w+");
    if (!file) {
        enum ds_class rc = ds_fail_errno(e, DS_STORE, errno, "%s", name);
        close(fd);
        return rc;
    }
    ds_roll_spool *s = ds_alloc(sizeof *s);
    s->file = file;
    s->h = ds_hasher_new();
    *ret = s;
    return DS_OK;
}

void ds_roll_spool_free(ds_roll_spool *s)
{
    if (!s)
        return;
    (void)fclose(s->file);
    ds_hasher_free(s->h);
    ds_buf_free(&s->roots);
    free(s->line);
    free(s);
}

static void close_block(ds_roll_spool *s)
{
    uint8_t root[32];
    ds_merkle_root(&s->block, s->h, root);
    ds_merkle_add(&s->tree, s->h, root);
    ds_buf_add(&s->roots, root, sizeof root);
    s->block = (ds_merkle){.size = 0};
}

enum ds_class ds_roll_spool_add(ds_roll_spool *s, ds_view entry, ds_err *e)
{
    uint8_t leaf[32];
    if (entry.len == 0 || entry.len > DS_ROLL_ENTRY_MAX || memchr(entry.ptr, '\n', entry.len) ||
        memchr(entry.ptr, '\0', entry.len) || ds_roll_is_block_line(entry))
        return ds_fail(e, DS_INPUT, "an entry of %zu bytes that a list cannot hold", entry.len);
    if (s->count == DS_ROLL_COUNT_MAX)
        return ds_hint((ds_fail(e, DS_INPUT, "more than %llu entries", (unsigned long long)DS_ROLL_COUNT_MAX), e),
                       "make several lists: by product or by time");
    if (fwrite(entry.ptr, 1, entry.len, s->file) != entry.len || fputc('\n', s->file) == EOF)
        return ds_fail_errno(e, DS_STORE, errno, "entries of the list");
    ds_merkle_leaf(s->h, entry, leaf);
    ds_merkle_add(&s->block, s->h, leaf);
    s->count++;
    if (s->block.size == DS_ROLL_BLOCK)
        close_block(s);
    return DS_OK;
}

uint64_t ds_roll_spool_count(const ds_roll_spool *s)
{
    return s->count;
}

enum ds_class ds_roll_spool_rewind(ds_roll_spool *s, ds_err *e)
{
    if (s->block.size)
        close_block(s);
    if (fflush(s->file) != 0 || fseek(s->file, 0, SEEK_SET) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "entries of the list");
    return DS_OK;
}

void ds_roll_spool_measure(const ds_roll_spool *s, ds_roll_head *ret)
{
    ret->count = s->count;
    ds_merkle_root(&s->tree, s->h, ret->root);
}

enum ds_class ds_roll_spool_next(ds_roll_spool *s, ds_view *ret, ds_err *e)
{
    ssize_t n = getline(&s->line, &s->cap, s->file);
    if (n < 2 || s->line[n - 1] != '\n')
        return ds_fail(e, DS_STORE, "entries of the list could not be read again");
    *ret = (ds_view){(const uint8_t *)s->line, (size_t)n - 1};
    return DS_OK;
}

typedef struct from_spool {
    ds_roll_spool *spool;
    ds_buf text; // of one block
} from_spool;

static enum ds_class next_block(void *arg, uint64_t block, unsigned count, ds_view entry[DS_ROLL_BLOCK], ds_err *e)
{
    from_spool *f = arg;
    size_t len[DS_ROLL_BLOCK];
    enum ds_class rc = DS_OK;
    (void)block;
    ds_buf_clear(&f->text);
    for (unsigned i = 0; !rc && i < count; i++) {
        ds_view line = {NULL, 0};
        rc = ds_roll_spool_next(f->spool, &line, e);
        ds_buf_add(&f->text, line.ptr, line.len);
        len[i] = line.len;
    }
    size_t at = 0;
    for (unsigned i = 0; !rc && i < count; i++) {
        entry[i] = (ds_view){f->text.ptr + at, len[i]};
        at += len[i];
    }
    return rc;
}

enum ds_class ds_roll_write_spool(ds_roll_spool *s, const ds_roll_head *head, const ds_statement_signature *signature,
                                  const char *path, unsigned parts, ds_err *e)
{
    from_spool f = {.spool = s};
    const ds_roll_output o = {head, signature, (const uint8_t(*)[32])s->roots.ptr, next_block, &f};
    enum ds_class rc = ds_roll_write(&o, path, parts, e);
    ds_buf_free(&f.text);
    return rc;
}
