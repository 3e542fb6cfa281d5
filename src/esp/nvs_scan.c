// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Which items of an NVS partition count: of equal names the newest that is whole, a blob only with all its chunks, no
// orphan chunks. The order is that of page sequence numbers, then of entries. Source: ESP-IDF nvs_storage.cpp,
// nvs_pagemanager.cpp (v5.4).
#include "src/esp/nvs_page.h"

#include <stdlib.h>
#include <string.h>

typedef struct page_order {
    uint32_t sequence, page;
} page_order;

static int by_sequence(const void *pa, const void *pb)
{
    const page_order *a = pa, *b = pb;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return a->page < b->page ? -1 : a->page > b->page;
}

static void add(ds_nvs_refs *refs, const uint8_t *entry, uint32_t page, unsigned index)
{
    if (refs->count == refs->cap) {
        size_t cap = refs->cap ? refs->cap * 2 : 64;
        ds_nvs_ref *grown = ds_alloc(cap * sizeof *grown);
        if (refs->count)
            memcpy(grown, refs->refs, refs->count * sizeof *grown);
        free(refs->refs);
        refs->refs = grown;
        refs->cap = cap;
    }
    refs->refs[refs->count++] = (ds_nvs_ref){entry, page, (uint8_t)index, false};
}

static void scan_page(const uint8_t *page, uint32_t number, ds_nvs_refs *ret)
{
    for (unsigned i = 0; i < DS_NVS_ENTRIES;) {
        const uint8_t *entry = page + ds_nvs_entry_offset(i);
        if (ds_nvs_entry_get_state(page, i) != DS_NVS_ENTRY_WRITTEN || !ds_nvs_entry_is_header(page, i)) {
            i++;
            continue;
        }
        if (ds_nvs_entry_is_whole(page, i))
            add(ret, entry, number, i);
        i += entry[2];
    }
}

static void scan_all(const uint8_t *image, uint32_t pages, ds_nvs_refs *ret)
{
    page_order *order = ds_alloc(pages * sizeof *order);
    uint32_t n = 0;
    for (uint32_t i = 0; i < pages; i++) {
        const uint8_t *page = image + (size_t)i * DS_NVS_PAGE;
        enum ds_nvs_page_state state = ds_nvs_page_get_state(page);
        if (state != DS_NVS_PAGE_BLANK && state != DS_NVS_PAGE_CORRUPT)
            order[n++] = (page_order){ds_le32(page + 4), i};
    }
    qsort(order, n, sizeof *order, by_sequence);
    for (uint32_t i = 0; i < n; i++)
        scan_page(image + (size_t)order[i].page * DS_NVS_PAGE, order[i].page, ret);
    free(order);
}

// Items of the same name next to each other: namespace, key, chunk index.
static int compare_identity(const uint8_t *a, const uint8_t *b)
{
    if (a[0] != b[0])
        return a[0] < b[0] ? -1 : 1;
    int order = strncmp((const char *)a + 8, (const char *)b + 8, 16);
    if (order)
        return order;
    return a[3] < b[3] ? -1 : a[3] > b[3];
}

// Pointers into refs keep the age order of equal names, since they lie in one array.
static int by_identity(const void *pa, const void *pb)
{
    const ds_nvs_ref *a = *(ds_nvs_ref *const *)pa, *b = *(ds_nvs_ref *const *)pb;
    int order = compare_identity(a->entry, b->entry);
    return order ? order : a < b ? -1 : a > b;
}

static bool same_identity(const ds_nvs_ref *a, const ds_nvs_ref *b)
{
    return compare_identity(a->entry, b->entry) == 0;
}

static bool is_chunk(const ds_nvs_ref *ref)
{
    return ref->entry[1] == DS_NVS_BLOB_DATA;
}

// The newest chunk of that number for an index entry, by binary search among the sorted refs.
static ds_nvs_ref *find_chunk(ds_nvs_ref **sorted, size_t n, const uint8_t *index_entry, unsigned chunk)
{
    uint8_t wanted[32];
    memcpy(wanted, index_entry, sizeof wanted);
    wanted[3] = (uint8_t)chunk;
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare_identity(sorted[mid]->entry, wanted) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo || compare_identity(sorted[lo - 1]->entry, wanted) || !is_chunk(sorted[lo - 1]))
        return NULL;
    return sorted[lo - 1];
}

// All chunks there, of the right total? Marks them where mark is set.
static bool walk_chunks(ds_nvs_ref **sorted, size_t n, const uint8_t *index_entry, bool mark)
{
    uint32_t size = ds_le32(index_entry + 24), seen = 0;
    unsigned count = index_entry[28], start = index_entry[29];
    if ((start != 0 && start != DS_NVS_SECOND_GENERATION) || count >= DS_NVS_SECOND_GENERATION)
        return false;
    for (unsigned i = 0; i < count; i++) {
        ds_nvs_ref *ref = find_chunk(sorted, n, index_entry, start + i);
        if (!ref)
            return false;
        seen += ds_le16(ref->entry + 24);
        if (mark)
            ref->live = true;
    }
    return seen == size;
}

static bool counts(ds_nvs_ref **sorted, size_t n, const ds_nvs_ref *ref)
{
    return ref->entry[1] != DS_NVS_BLOB_IDX || walk_chunks(sorted, n, ref->entry, false);
}

// A namespace that was defined twice with different numbers: items may refer to either.
static bool is_other_namespace(const ds_nvs_ref *a, const ds_nvs_ref *b)
{
    return a->entry[0] == 0 && a->entry[24] != b->entry[24];
}

// Of each run of equal names mark the newest that counts; data chunks are marked by their index.
static void mark_live(ds_nvs_ref **sorted, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        ds_nvs_ref *ref = sorted[i];
        if (is_chunk(ref) || !counts(sorted, n, ref))
            continue;
        ref->live = true;
        if (ref->entry[1] == DS_NVS_BLOB_IDX)
            walk_chunks(sorted, n, ref->entry, true);
        while (i > 0 && same_identity(sorted[i - 1], ref) && !is_other_namespace(sorted[i - 1], ref))
            i--;
    }
}

void ds_nvs_scan(const uint8_t *image, uint32_t pages, ds_nvs_refs *ret)
{
    *ret = (ds_nvs_refs){0};
    scan_all(image, pages, ret);
    if (!ret->count)
        return;
    ds_nvs_ref **sorted = ds_alloc(ret->count * sizeof *sorted); // NOLINT(bugprone-sizeof-expression): pointers
    for (size_t i = 0; i < ret->count; i++)
        sorted[i] = &ret->refs[i];
    qsort(sorted, ret->count, sizeof *sorted, by_identity); // NOLINT(bugprone-sizeof-expression): pointers
    mark_live(sorted, ret->count);
    free(sorted);
}

void ds_nvs_refs_free(ds_nvs_refs *refs)
{
    free(refs->refs);
    *refs = (ds_nvs_refs){0};
}

const ds_nvs_ref *ds_nvs_refs_find(const ds_nvs_refs *refs, uint8_t name_space, const char *name)
{
    for (size_t i = 0; i < refs->count; i++) {
        const ds_nvs_ref *ref = &refs->refs[i];
        if (ref->live && !is_chunk(ref) && ref->entry[0] == name_space &&
            !strncmp((const char *)ref->entry + 8, name, 16))
            return ref;
    }
    return NULL;
}

const ds_nvs_ref *ds_nvs_refs_chunk(const ds_nvs_refs *refs, const uint8_t *index_entry, unsigned chunk)
{
    for (size_t i = refs->count; i-- > 0;) {
        const ds_nvs_ref *ref = &refs->refs[i];
        if (ref->live && is_chunk(ref) && ref->entry[0] == index_entry[0] && ref->entry[3] == chunk &&
            !strncmp((const char *)ref->entry + 8, (const char *)index_entry + 8, 16))
            return ref;
    }
    return NULL;
}

uint8_t ds_nvs_refs_namespace(const ds_nvs_refs *refs, const char *name)
{
    const ds_nvs_ref *ref = ds_nvs_refs_find(refs, 0, name);
    return ref && ref->entry[1] == DS_NVS_U8 ? ref->entry[24] : 0;
}
