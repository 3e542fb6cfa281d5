// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Several files of one roll; see roll.h.
#include "src/ledger/roll.h"

#include <stdlib.h>
#include <string.h>

static void tell(ds_roll_files *f, ds_roll_fault fault)
{
    f->faults++;
    if (f->options.fault)
        f->options.fault(f->options.arg, &fault);
}

// A reader's faults pass through here, to be counted.
static void pass(void *arg, const ds_roll_fault *fault)
{
    tell(arg, *fault);
}

static enum ds_class take_head(ds_roll_files *f, const ds_roll_reader *r, const char *path, ds_err *e)
{
    const ds_roll_head *head = ds_roll_get_head(r);
    if (f->copy && memcmp(head->root, f->head.root, 32) == 0 && head->count == f->head.count &&
        head->kind == f->head.kind && head->created_utc == f->head.created_utc &&
        strcmp(head->about, f->head.about) == 0)
        return DS_OK;
    if (f->copy)
        return ds_hint((ds_fail(e, DS_INPUT, "%s: is of another list than %s", path, f->path[0]), e),
                       "give the parts of one list");
    f->head = *head;
    f->signature = *ds_roll_get_signature(r);
    f->blocks = ds_roll_blocks(head->count);
    f->copy = ds_alloc(f->blocks * sizeof *f->copy);
    f->root = ds_alloc(f->blocks * sizeof *f->root);
    return DS_OK;
}

typedef struct pass_state {
    uint32_t file;
    uint64_t next; // block that would be in order
    bool place_told;
} pass_state;

static void take_block(ds_roll_files *f, const ds_roll_place *place, pass_state *p, const ds_roll_block *b)
{
    const char *path = f->path[p->file];
    uint64_t first = b->index * DS_ROLL_BLOCK;
    ds_roll_copy *had = &f->copy[b->index];
    if (had->found && had->file == p->file)
        tell(f, (ds_roll_fault){.kind = DS_ROLL_DOUBLED, .path = path, .first = first, .count = b->count});
    else if (b->index < p->next)
        tell(f, (ds_roll_fault){.kind = DS_ROLL_MOVED, .path = path, .first = first, .count = b->count});
    if (!p->place_told && place->part && (first < place->first || first + b->count > place->first + place->count)) {
        p->place_told = true;
        tell(f, (ds_roll_fault){.kind = DS_ROLL_PLACE_BAD, .path = path, .line = 3});
    }
    if (b->index >= p->next)
        p->next = b->index + 1;
    if (had->found && (had->good > b->good || (had->good == b->good && (had->clean || !b->clean))))
        return;
    *had = (ds_roll_copy){b->offset, p->file, (uint16_t)b->good, true, b->clean};
    memcpy(f->root[b->index], b->root, 32);
}

static enum ds_class read_file(ds_roll_files *f, uint32_t file, ds_roll_block *b, ds_err *e)
{
    const ds_roll_options o = {f->options.keys, pass, f};
    ds_roll_reader *r = NULL;
    pass_state p = {.file = file};
    bool more = true;
    ds_err why = DS_ERR_INIT;
    enum ds_class rc = ds_roll_open(f->path[file], &o, &r, &why);
    if (rc == DS_INPUT) { // it is lost; whether others make up for it is seen later
        tell(f, (ds_roll_fault){.kind = DS_ROLL_HEAD_BAD, .path = f->path[file], .text = why.text});
        return DS_OK;
    }
    if (rc && e)
        *e = why;
    if (!rc)
        rc = take_head(f, r, f->path[file], e);
    while (!rc && !(rc = ds_roll_next(r, b, &more, e)) && more)
        take_block(f, ds_roll_get_place(r), &p, b);
    ds_roll_close(r);
    return rc;
}

// What no file has, in runs of whole blocks; what is missing within a block was told when it was read.
static void count_missing(ds_roll_files *f)
{
    for (uint64_t b = 0; b < f->blocks; b++) {
        unsigned count = ds_roll_block_count(f->head.count, b);
        uint64_t lost = 0, from = b;
        f->missing += count - f->copy[b].good;
        while (b < f->blocks && !f->copy[b].found)
            lost += ds_roll_block_count(f->head.count, b++);
        if (!lost)
            continue;
        b--;
        f->missing += lost - count;
        tell(f, (ds_roll_fault){.kind = DS_ROLL_LOST, .first = from * DS_ROLL_BLOCK, .count = lost});
    }
}

enum ds_class ds_roll_survey(const char *const *path, size_t count, const ds_roll_options *o, ds_roll_files *ret,
                             ds_err *e)
{
    ds_roll_block *b = ds_alloc(sizeof *b);
    *ret = (ds_roll_files){.path = path, .count = count, .options = *o};
    enum ds_class rc = count > UINT32_MAX ? ds_fail(e, DS_INPUT, "too many files") : DS_OK;
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = read_file(ret, i, b, e);
    free(b);
    if (!rc && !ret->copy)
        rc = ds_fail(e, DS_INPUT,
                     count == 1 ? "%s: cannot be used" : "%s: neither this file nor the others can be used", path[0]);
    if (rc)
        ds_roll_files_free(ret);
    else
        count_missing(ret);
    return rc;
}

void ds_roll_files_free(ds_roll_files *f)
{
    ds_roll_close(f->reader);
    free(f->copy);
    free(f->root);
    f->reader = NULL;
    f->copy = NULL;
    f->root = NULL;
}

static enum ds_class open_file(ds_roll_files *f, uint32_t file, ds_err *e)
{
    if (f->reader && f->open_file == file)
        return DS_OK;
    ds_roll_close(f->reader);
    f->reader = NULL;
    f->open_file = file;
    enum ds_class rc = ds_roll_open(f->path[file], &(ds_roll_options){.keys = f->options.keys}, &f->reader, e);
    if (!rc && memcmp(ds_roll_get_head(f->reader)->root, f->head.root, 32) != 0) // of another list, by the same key
        rc = ds_fail(e, DS_INPUT, "%s: was changed while it was read", f->path[file]);
    if (rc) {
        ds_roll_close(f->reader);
        f->reader = NULL;
    }
    return rc;
}

enum ds_class ds_roll_load(ds_roll_files *f, uint64_t block, ds_roll_block *ret, ds_err *e)
{
    const ds_roll_copy *c = &f->copy[block];
    bool more = false;
    if (!c->found)
        return ds_fail(e, DS_INPUT, "entries %llu and on are in no file",
                       (unsigned long long)(block * DS_ROLL_BLOCK + 1));
    enum ds_class rc = open_file(f, c->file, e);
    if (!rc)
        rc = ds_roll_seek(f->reader, c->offset, e);
    if (!rc)
        rc = ds_roll_next(f->reader, ret, &more, e);
    if (!rc && (!more || ret->index != block || ret->good != c->good))
        rc = ds_fail(e, DS_INPUT, "%s: was changed while it was read", f->path[c->file]);
    return rc;
}

static enum ds_class from_files(void *arg, uint64_t block, unsigned count, ds_view entry[DS_ROLL_BLOCK], ds_err *e)
{
    ds_roll_files *f = arg;
    ds_roll_block *b = ds_alloc(sizeof *b);
    enum ds_class rc = ds_roll_load(f, block, b, e);
    if (!rc && b->good != count)
        rc = ds_fail(e, DS_INPUT, "%s: is not whole", f->path[f->copy[block].file]);
    if (!rc)
        memcpy(entry, b->entry, count * sizeof *entry);
    free(b);
    return rc;
}

enum ds_class ds_roll_write_files(ds_roll_files *f, const char *path, unsigned parts, ds_err *e)
{
    const ds_roll_output o = {&f->head, &f->signature, (const uint8_t(*)[32])f->root, from_files, f};
    return ds_roll_write(&o, path, parts, e);
}
