// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a manifest's files lack, made again from the ledger; see manifest.h. Entries lie in order of fingerprints, so
// that those of a hole are the ledger's between the good entries at its two ends. Where the line of their block is
// there, the hash tells each of them, whatever became of the device since. Where it is not, they are those that fitted
// the choice when the manifest was made; were they others, their number or the root would tell, and nothing is written.
#include "src/cloud/manifest.h"

#include "src/cloud/manifest_int.h"

#include <stdlib.h>
#include <string.h>

typedef struct slot {
    bool known; // by its hash
    uint8_t leaf[32];
} slot;

typedef struct repair {
    const ds_manifest_repair *r;
    ds_manifest_choice choice;
    ds_roll_spool *spool; // all that is made again, in order
    ds_hasher *h;
    ds_buf hole; // of slot
    uint64_t hole_first;
    bool has_low;
    uint8_t low[32];     // fingerprint of the good entry before the hole
    size_t filled;       // slots of the hole
    uint64_t candidates; // that fitted into no slot
    ds_buf made;         // leaf hashes of what was made again; of the block that is put together
    ds_roll_block *block;
} repair;

static slot *slot_at(repair *k, size_t i)
{
    return (slot *)(void *)(k->hole.ptr + i * sizeof(slot));
}

static size_t slots(const repair *k)
{
    return k->hole.len / sizeof(slot);
}

// Was it one of the manifest's when that was made?
static enum ds_class was_listed(repair *k, const ds_ledger_entry *x, bool *ret, ds_err *e)
{
    const ds_manifest_choice *c = &k->choice;
    const ds_roll_head *head = &k->r->files->head;
    uint8_t root[32];
    bool recorded = false;
    *ret = false;
    if (!ds_manifest_fits(c, x))
        return DS_OK;
    enum ds_class rc =
        c->name[0] ? ds_ledger_exported(k->r->ledger, c->name, x->fingerprint, &recorded, root, e) : DS_OK;
    if (recorded)
        *ret = memcmp(root, head->root, 32) == 0;
    else
        *ret = !c->fresh && x->signed_utc <= head->created_utc &&
               (!x->revoked_utc || x->revoked_utc > head->created_utc) &&
               (c->not_installed || x->state >= DS_LEDGER_INSTALLED);
    return rc;
}

// The slot for an entry: the one with its hash; else the next without a hash, where none with one lies between.
static size_t place_of(repair *k, const uint8_t leaf[32], bool listed)
{
    size_t i = k->filled, all = slots(k);
    while (i < all && !slot_at(k, i)->known)
        i++;
    if (i < all && memcmp(slot_at(k, i)->leaf, leaf, 32) == 0)
        return i;
    return listed && k->filled < all && !slot_at(k, k->filled)->known ? k->filled : all;
}

static enum ds_class candidate(void *arg, const ds_ledger_entry *x, ds_err *e)
{
    repair *k = arg;
    DS_CLEANUP_BUF ds_buf entry = {0};
    uint8_t leaf[32];
    bool listed = false;
    if (!x->serial[0])
        return DS_OK;
    enum ds_class rc = ds_listed_write(x, &entry, e);
    if (!rc)
        rc = was_listed(k, x, &listed, e);
    if (rc)
        return rc;
    ds_merkle_leaf(k->h, ds_buf_view(&entry), leaf);
    size_t at = place_of(k, leaf, listed);
    if (at != k->filled || at == slots(k)) { // none of them, or what lies before it is not there: that is told
        k->candidates += listed && k->filled && !slot_at(k, k->filled - 1)->known; // it may be that one instead
        return DS_OK;
    }
    k->filled++;
    if (k->r->told)
        k->r->told(k->r->arg, k->hole_first + at, x->serial);
    return ds_roll_spool_add(k->spool, ds_buf_view(&entry), e);
}

static enum ds_class cannot(const repair *k, ds_err *e)
{
    uint64_t first = k->hole_first + k->filled + 1, last = k->hole_first + slots(k);
    if (k->filled == slots(k))
        ds_fail(e, DS_INPUT,
                "entries %llu to %llu cannot be made again: the ledger has %llu more devices there than the manifest",
                (unsigned long long)(k->hole_first + 1), (unsigned long long)last, (unsigned long long)k->candidates);
    else
        ds_fail(e, DS_INPUT, "entries %llu to %llu cannot be made again: the ledger does not have them",
                (unsigned long long)first, (unsigned long long)last);
    return ds_hint(e, "nothing was written; find another copy of the part, or export the devices anew");
}

static enum ds_class close_hole(repair *k, const uint8_t *high, ds_err *e)
{
    if (!slots(k))
        return DS_OK;
    k->filled = 0;
    k->candidates = 0;
    enum ds_class rc = ds_ledger_walk(k->r->ledger, k->has_low ? k->low : NULL, high, candidate, k, e);
    if (!rc && (k->filled != slots(k) || k->candidates))
        rc = cannot(k, e);
    ds_buf_clear(&k->hole);
    return rc;
}

static enum ds_class fingerprint_of(ds_view entry, uint8_t ret[32], ds_err *e)
{
    ds_listed d;
    enum ds_class rc = ds_listed_parse(entry, &d, e);
    if (rc)
        return rc;
    memcpy(ret, d.fingerprint, 32);
    ds_listed_free(&d);
    return DS_OK;
}

static void add_slot(repair *k, uint64_t index, const uint8_t *leaf)
{
    slot s = {.known = leaf};
    if (leaf)
        memcpy(s.leaf, leaf, 32);
    if (!k->hole.len)
        k->hole_first = index;
    ds_buf_add(&k->hole, &s, sizeof s);
}

// Whole blocks need no look at each entry but those at their ends, which bound the holes.
static enum ds_class pass_good(repair *k, ds_view entry, bool last, ds_err *e)
{
    uint8_t fingerprint[32];
    if (!k->hole.len && !last)
        return DS_OK;
    enum ds_class rc = fingerprint_of(entry, fingerprint, e);
    if (!rc)
        rc = close_hole(k, fingerprint, e);
    memcpy(k->low, fingerprint, 32);
    k->has_low = true;
    return rc;
}

static enum ds_class survey_block(repair *k, uint64_t block, ds_err *e)
{
    ds_roll_files *f = k->r->files;
    uint64_t first = block * DS_ROLL_BLOCK;
    unsigned count = ds_roll_block_count(f->head.count, block);
    enum ds_class rc = DS_OK;
    if (!f->copy[block].found) {
        for (unsigned i = 0; i < count; i++)
            add_slot(k, first + i, NULL);
        return DS_OK;
    }
    rc = ds_roll_load(f, block, k->block, e);
    for (unsigned i = 0; !rc && i < count; i++) {
        ds_view entry = k->block->entry[i];
        if (!entry.len)
            add_slot(k, first + i, k->block->leaf[i]);
        else
            rc = pass_good(k, entry, i + 1 == count || !k->block->entry[i + 1].len, e);
    }
    return rc;
}

// The roots of blocks that no file has, from what was made again, which is then at its first entry again.
static enum ds_class root_blocks(repair *k, ds_err *e)
{
    ds_roll_files *f = k->r->files;
    enum ds_class rc = ds_roll_spool_rewind(k->spool, e);
    for (uint64_t b = 0; !rc && b < f->blocks; b++) {
        unsigned count = ds_roll_block_count(f->head.count, b), lacking = count - f->copy[b].good;
        for (unsigned i = 0; !rc && i < lacking; i++) {
            ds_view entry;
            rc = ds_roll_spool_next(k->spool, &entry, e);
            if (!rc && !f->copy[b].found)
                ds_merkle_leaf(k->h, entry, k->block->leaf[i]);
        }
        if (!rc && !f->copy[b].found)
            ds_roll_block_root(k->h, (const uint8_t(*)[32])k->block->leaf, count, f->root[b]);
    }
    return rc ? rc : ds_roll_spool_rewind(k->spool, e);
}

static enum ds_class check_root(const repair *k, ds_err *e)
{
    const ds_roll_files *f = k->r->files;
    ds_merkle tree = {.size = 0};
    uint8_t root[32];
    for (uint64_t b = 0; b < f->blocks; b++)
        ds_merkle_add(&tree, k->h, f->root[b]);
    ds_merkle_root(&tree, k->h, root);
    if (memcmp(root, f->head.root, 32) == 0)
        return DS_OK;
    ds_fail(e, DS_INPUT, "what the ledger has is not what the manifest had: the root differs");
    return ds_hint(e, "nothing was written; find another copy of the part, or export the devices anew");
}

static enum ds_class put_together(void *arg, uint64_t block, unsigned count, ds_view entry[DS_ROLL_BLOCK], ds_err *e)
{
    repair *k = arg;
    ds_roll_files *f = k->r->files;
    size_t at[DS_ROLL_BLOCK], len[DS_ROLL_BLOCK] = {0};
    enum ds_class rc = DS_OK;
    ds_buf_clear(&k->made);
    if (f->copy[block].found)
        rc = ds_roll_load(f, block, k->block, e);
    else
        memset(k->block->entry, 0, sizeof k->block->entry);
    for (unsigned i = 0; !rc && i < count; i++) {
        ds_view line = {NULL, 0};
        at[i] = k->made.len;
        if (k->block->entry[i].len)
            continue;
        rc = ds_roll_spool_next(k->spool, &line, e);
        ds_buf_add(&k->made, line.ptr, line.len);
        len[i] = line.len;
    }
    for (unsigned i = 0; !rc && i < count; i++)
        entry[i] = len[i] ? (ds_view){k->made.ptr + at[i], len[i]} : k->block->entry[i];
    return rc;
}

static enum ds_class fill_holes(repair *k, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (uint64_t b = 0; !rc && b < k->r->files->blocks; b++)
        rc = survey_block(k, b, e);
    if (!rc)
        rc = close_hole(k, NULL, e);
    if (!rc)
        rc = root_blocks(k, e);
    return rc ? rc : check_root(k, e);
}

static enum ds_class prepare(repair *k, ds_err *e)
{
    const ds_roll_files *f = k->r->files;
    if (f->head.kind != DS_STATEMENT_DEVICES)
        return ds_hint((ds_fail(e, DS_INPUT, "a ledger makes entries of device manifests again, and this is none"), e),
                       "find another copy of the part");
    enum ds_class rc = ds_manifest_choice_parse(f->head.about, &k->choice, e);
    if (rc || !k->choice.by_ca)
        return rc;
    uint8_t id[32];
    unsigned len = sizeof id;
    if (!k->r->ca || X509_digest(k->r->ca, EVP_sha256(), id, &len) != 1 || memcmp(id, k->choice.ca_id, 32) != 0)
        return ds_fail(e, DS_INPUT, "the manifest was made for one CA: its certificate is needed (--ca)");
    k->choice.ca = k->r->ca;
    return DS_OK;
}

enum ds_class ds_manifest_write_repaired(const ds_manifest_repair *r, const char *path, ds_err *e)
{
    repair k = {.r = r, .h = ds_hasher_new(), .block = ds_alloc(sizeof(ds_roll_block))};
    enum ds_class rc = prepare(&k, e);
    if (!rc)
        rc = ds_roll_spool_new(path, &k.spool, e);
    if (!rc)
        rc = fill_holes(&k, e);
    const ds_roll_output o = {&r->files->head, &r->files->signature, (const uint8_t(*)[32])r->files->root, put_together,
                              &k};
    if (!rc)
        rc = ds_roll_write(&o, path, 1, e);
    ds_roll_spool_free(k.spool);
    ds_hasher_free(k.h);
    ds_buf_free(&k.hole);
    ds_buf_free(&k.made);
    free(k.block);
    return rc;
}
