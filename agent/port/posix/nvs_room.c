// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Room in the live NVS partition: full pages, new pages, and compaction, which moves the live items of the page with
// the fewest of them to the page that is always kept free. Source: ESP-IDF nvs_pagemanager.cpp (v5.4).
#include "agent/port/posix/nvs_store.h"

#include <errno.h>
#include <string.h>

static uint32_t sequence_of(const ds_nvs_flash *n, uint32_t page)
{
    return ds_le32(ds_nvs_store_page(n, page) + 4);
}

static bool same_name(const ds_nvs_ref *a, const ds_nvs_ref *b)
{
    return a->entry[0] == b->entry[0] && a->entry[3] == b->entry[3] &&
           !strncmp((const char *)a->entry + 8, (const char *)b->entry + 8, 16);
}

// Does a newer page than from hold an item of that name already?
static bool is_moved(const ds_nvs_flash *n, const ds_nvs_refs *refs, const ds_nvs_ref *ref, uint32_t from)
{
    for (size_t i = 0; i < refs->count; i++) {
        const ds_nvs_ref *other = &refs->refs[i];
        if (sequence_of(n, other->page) > sequence_of(n, from) && same_name(ref, other))
            return true;
    }
    return false;
}

static unsigned entries_to_move(const ds_nvs_flash *n, const ds_nvs_refs *refs, uint32_t from)
{
    unsigned total = 0;
    for (size_t i = 0; i < refs->count; i++)
        if (refs->refs[i].page == from && !is_moved(n, refs, &refs->refs[i], from))
            total += refs->refs[i].entry[2];
    return total;
}

// Is every item of page also in from, so that page holds nothing but what was moved there?
static bool holds_only_copies(const ds_nvs_refs *refs, uint32_t page, uint32_t from)
{
    for (size_t i = 0; i < refs->count; i++) {
        const ds_nvs_ref *ref = &refs->refs[i];
        bool found = ref->page != page;
        for (size_t k = 0; !found && k < refs->count; k++) {
            const ds_nvs_ref *other = &refs->refs[k];
            found = other->page == from && other->entry[2] == ref->entry[2] &&
                    !memcmp(other->entry, ref->entry, (size_t)ref->entry[2] * DS_NVS_ENTRY);
        }
        if (!found)
            return false;
    }
    return true;
}

// The page that takes the items of from: the newest, where an earlier try began it, else a fresh one.
static enum ds_class destination(ds_nvs_flash *n, uint32_t from, uint32_t *ret, ds_err *e)
{
    uint32_t newest;
    ds_nvs_refs refs;
    enum ds_class c = DS_OK;
    if (!ds_nvs_store_newest(n, &newest) || newest == from ||
        ds_nvs_page_get_state(ds_nvs_store_page(n, newest)) != DS_NVS_PAGE_ACTIVE)
        return ds_nvs_store_activate(n, ret, e);
    ds_nvs_scan(n->image, n->pages, &refs);
    bool fits = DS_NVS_ENTRIES - ds_nvs_store_next_free(n, newest) >= entries_to_move(n, &refs, from);
    // Torn copies of earlier tries fill it: from is still whole, or nothing would be missing.
    if (!fits && holds_only_copies(&refs, newest, from))
        c = ds_nvs_store_erase_page(n, newest, e);
    else if (!fits)
        c = ds_nvs_store_set_page_word(n, newest, DS_NVS_STATE_WORD_FULL, e);
    ds_nvs_refs_free(&refs);
    if (fits)
        *ret = newest;
    return c || fits ? c : ds_nvs_store_activate(n, ret, e);
}

enum ds_class ds_nvs_store_finish_freeing(ds_nvs_flash *n, uint32_t page, ds_err *e)
{
    ds_nvs_refs refs;
    uint32_t to = 0;
    enum ds_class c = DS_OK;
    ds_nvs_scan(n->image, n->pages, &refs);
    bool needed = entries_to_move(n, &refs, page) > 0;
    ds_nvs_refs_free(&refs);
    if (needed)
        c = destination(n, page, &to, e);
    if (needed && !c) {
        ds_nvs_scan(n->image, n->pages, &refs);
        for (size_t i = 0; !c && i < refs.count; i++) {
            const ds_nvs_ref *ref = &refs.refs[i];
            ds_view payload = {ref->entry + DS_NVS_ENTRY, (ref->entry[2] - 1u) * DS_NVS_ENTRY};
            if (ref->page == page && !is_moved(n, &refs, ref, page))
                c = ds_nvs_store_append(n, to, ref->entry, payload, e);
        }
        ds_nvs_refs_free(&refs);
    }
    return c ? c : ds_nvs_store_erase_page(n, page, e);
}

// The page whose compaction gains most.
static unsigned find_victim(const ds_nvs_flash *n, uint32_t *ret)
{
    unsigned best = 0;
    for (uint32_t i = 0; i < n->pages; i++) {
        unsigned unused = DS_NVS_ENTRIES - ds_nvs_store_written(n, i);
        if (!ds_nvs_store_is_free(n, i) && unused > best) {
            best = unused;
            *ret = i;
        }
    }
    return best;
}

static enum ds_class compact(ds_nvs_flash *n, uint32_t victim, ds_err *e)
{
    enum ds_class c = ds_nvs_store_set_page_word(n, victim, DS_NVS_STATE_WORD_FREEING, e);
    return c ? c : ds_nvs_store_finish_freeing(n, victim, e);
}

enum ds_class ds_nvs_store_room(ds_nvs_flash *n, unsigned entries, uint32_t *ret, ds_err *e)
{
    uint32_t newest = 0, victim = 0;
    enum ds_class c = DS_OK;
    bool active =
        ds_nvs_store_newest(n, &newest) && ds_nvs_page_get_state(ds_nvs_store_page(n, newest)) == DS_NVS_PAGE_ACTIVE;
    *ret = newest;
    if (active && DS_NVS_ENTRIES - ds_nvs_store_next_free(n, newest) >= entries)
        return DS_OK;
    bool spare = ds_nvs_store_free_pages(n) >= 2;
    if (!spare && find_victim(n, &victim) < entries)
        return ds_fail_errno(e, DS_STORE, ENOSPC, "NVS partition is full");
    // Also where it is the victim: from active to freeing are two bits, and half of that is no state at all.
    if (active)
        c = ds_nvs_store_set_page_word(n, newest, DS_NVS_STATE_WORD_FULL, e);
    if (!c && !spare)
        c = compact(n, victim, e);
    // A page that held nothing alive leaves no successor: its place, and the kept one, are both free now.
    if (!c && !spare && ds_nvs_store_free_pages(n) < 2)
        return ds_nvs_store_newest(n, ret) ? DS_OK : ds_fail(e, DS_INTERNAL, "compaction left no NVS page");
    return c ? c : ds_nvs_store_activate(n, ret, e);
}
