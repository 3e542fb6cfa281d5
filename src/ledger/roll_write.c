// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Writing a roll as one file or as parts; see roll.h. Each file is made under another name and takes its own when it is
// whole and on disk.
#include "src/ledger/roll.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct writer {
    const ds_roll_output *o;
    ds_hasher *h;
    uint64_t blocks;
    ds_buf nodes;       // hashes
    uint64_t level[64]; // where each level begins, in hashes
    unsigned levels;
    ds_view entry[DS_ROLL_BLOCK];
    uint8_t leaf[DS_ROLL_BLOCK][32];
} writer;

// All nodes over the blocks' roots, level by level; the last of an odd number goes up as it is, which makes the same
// tree as RFC 9162's splitting (2.1.1). Each proof is then looked up, and not computed again.
static void build_tree(writer *w)
{
    uint64_t n = w->blocks;
    ds_buf_add(&w->nodes, w->o->root, n * 32);
    w->level[0] = 0;
    for (w->levels = 1; n > 1; w->levels++) {
        uint64_t below = w->level[w->levels - 1], next = n / 2 + (n & 1);
        w->level[w->levels] = below + n;
        for (uint64_t i = 0; i < next; i++) {
            uint8_t hash[2][32];
            memcpy(hash[0], w->nodes.ptr + (below + 2 * i) * 32, 32);
            if (2 * i + 1 < n) {
                memcpy(hash[1], w->nodes.ptr + (below + 2 * i + 1) * 32, 32);
                ds_roll_block_root(w->h, (const uint8_t(*)[32])hash, 2, hash[0]);
            }
            ds_buf_add(&w->nodes, hash[0], 32);
        }
        n = next;
    }
}

static void prove(const writer *w, uint64_t block, ds_merkle_proof *ret)
{
    uint64_t n = w->blocks;
    ret->count = 0;
    for (unsigned k = 0; n > 1; k++) {
        if ((block ^ 1) < n)
            memcpy(ret->hash[ret->count++], w->nodes.ptr + (w->level[k] + (block ^ 1)) * 32, 32);
        block /= 2;
        n = n / 2 + (n & 1);
    }
}

static void put_line(FILE *f, ds_view line)
{
    (void)fwrite(line.ptr, 1, line.len, f); // a failure stays with the stream, and is asked for at the end
    (void)fputc('\n', f);
}

static enum ds_class put_header(const writer *w, const ds_roll_place *place, FILE *f, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf head = {0}, signature = {0}, line = {0};
    enum ds_class rc = ds_roll_head_write(w->o->head, &head, e);
    if (rc)
        return rc;
    ds_statement_signature_write(w->o->signature, &signature);
    ds_roll_place_write(place, w->o->head->root, &line);
    put_line(f, ds_buf_view(&head));
    put_line(f, ds_buf_view(&signature));
    put_line(f, ds_buf_view(&line));
    return DS_OK;
}

static enum ds_class put_block(writer *w, uint64_t block, FILE *f, ds_err *e)
{
    ds_merkle_proof proof;
    DS_CLEANUP_BUF ds_buf line = {0};
    uint8_t root[32];
    unsigned count = ds_roll_block_count(w->o->head->count, block);
    enum ds_class rc = w->o->source(w->o->arg, block, count, w->entry, e);
    if (rc)
        return rc;
    for (unsigned i = 0; i < count; i++)
        ds_merkle_leaf(w->h, w->entry[i], w->leaf[i]);
    ds_roll_block_root(w->h, (const uint8_t(*)[32])w->leaf, count, root);
    if (memcmp(root, w->o->root[block], 32) != 0)
        return ds_fail(e, DS_INPUT, "entries %llu and on are not what they were",
                       (unsigned long long)(block * DS_ROLL_BLOCK + 1));
    prove(w, block, &proof);
    ds_roll_block_write(block, (const uint8_t(*)[32])w->leaf, count, &proof, &line);
    put_line(f, ds_buf_view(&line));
    for (unsigned i = 0; i < count; i++)
        put_line(f, w->entry[i]);
    return DS_OK;
}

static enum ds_class put_part(writer *w, const ds_roll_place *place, FILE *f, ds_err *e)
{
    enum ds_class rc = put_header(w, place, f, e);
    uint64_t end = ds_roll_blocks(place->first + place->count);
    for (uint64_t b = place->first / DS_ROLL_BLOCK; !rc && b < end; b++)
        rc = put_block(w, b, f, e);
    return rc;
}

static enum ds_class sync_folder(const char *path, ds_err *e)
{
    DS_CLEANUP_FREE char *copy = ds_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        enum ds_class rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    close(fd);
    return DS_OK;
}

static enum ds_class write_part(writer *w, const ds_roll_place *place, const char *path, ds_err *e)
{
    bool standard = strcmp(path, "-") == 0;
    DS_CLEANUP_FREE char *name = ds_asprintf("%s.new", path);
    FILE *f = standard ? stdout : fopen(name, "we");
    if (!f)
        return ds_fail_errno(e, DS_STORE, errno, "%s", name);
    enum ds_class rc = put_part(w, place, f, e);
    if (!rc && (fflush(f) != 0 || ferror(f) || (!standard && fsync(fileno(f)) != 0)))
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (standard)
        return rc;
    if (fclose(f) != 0 && !rc)
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (!rc && rename(name, path) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (rc)
        (void)unlink(name);
    return rc ? rc : sync_folder(path, e);
}

enum ds_class ds_roll_write(const ds_roll_output *o, const char *path, unsigned parts, ds_err *e)
{
    uint64_t blocks = ds_roll_blocks(o->head->count);
    if (parts < 1 || parts > DS_ROLL_PARTS_MAX || parts > blocks)
        return ds_fail(e, DS_INPUT, "%llu entries make 1 to %llu parts", (unsigned long long)o->head->count,
                       (unsigned long long)(blocks < DS_ROLL_PARTS_MAX ? blocks : DS_ROLL_PARTS_MAX));
    writer *w = ds_alloc(sizeof *w);
    w->o = o;
    w->h = ds_hasher_new();
    w->blocks = blocks;
    build_tree(w);
    enum ds_class rc = DS_OK;
    for (unsigned i = 0; !rc && i < parts; i++) {
        uint64_t first = blocks * i / parts * DS_ROLL_BLOCK, end = blocks * (i + 1) / parts * DS_ROLL_BLOCK;
        if (end > o->head->count)
            end = o->head->count;
        const ds_roll_place place = {i + 1, parts, first, end - first};
        DS_CLEANUP_FREE char *name = parts == 1 ? ds_strdup(path) : ds_asprintf("%s.part-%u-of-%u", path, i + 1, parts);
        rc = write_part(w, &place, name, e);
    }
    ds_hasher_free(w->h);
    ds_buf_free(&w->nodes);
    free(w);
    return rc;
}
