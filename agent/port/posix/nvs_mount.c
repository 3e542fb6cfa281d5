// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Mounting the live NVS partition: what a power loss left half done is undone or completed. May itself be cut off at
// any flash word. Source: ESP-IDF nvs_page.cpp (load), nvs_pagemanager.cpp, nvs_storage.cpp (v5.4).
#include "agent/port/posix/nvs_store.h"

#include <string.h>

static bool is_blank_entry(const uint8_t *entry)
{
    for (unsigned i = 0; i < DS_NVS_ENTRY; i++)
        if (entry[i] != 0xFF)
            return false;
    return true;
}

// Entries that were programmed but never marked, or lie before marked ones, are spent. Looks at what flash holds, so
// before the page is decrypted.
static enum ds_class drop_unmarked(ds_nvs_flash *n, uint32_t page, ds_err *e)
{
    const uint8_t *p = ds_nvs_store_page(n, page);
    enum ds_class c = DS_OK;
    bool spent = false;
    for (unsigned i = DS_NVS_ENTRIES; !c && i-- > 0;) {
        enum ds_nvs_entry_state state = ds_nvs_entry_get_state(p, i);
        spent = spent || state != DS_NVS_ENTRY_EMPTY || !is_blank_entry(p + ds_nvs_entry_offset(i));
        if (state == DS_NVS_ENTRY_TORN || (state == DS_NVS_ENTRY_EMPTY && spent))
            c = ds_nvs_store_set_states(n, page, i, 1, DS_NVS_ENTRY_ERASED, e);
    }
    return c;
}

// Erase what is marked as written and is no whole item.
static enum ds_class drop_torn(ds_nvs_flash *n, uint32_t page, ds_err *e)
{
    const uint8_t *p = ds_nvs_store_page(n, page);
    enum ds_class c = DS_OK;
    for (unsigned i = 0, span; !c && i < DS_NVS_ENTRIES; i += span) {
        span = 1;
        if (ds_nvs_entry_get_state(p, i) != DS_NVS_ENTRY_WRITTEN)
            continue;
        if (ds_nvs_entry_is_header(p, i))
            span = p[ds_nvs_entry_offset(i) + 2];
        if (!ds_nvs_entry_is_whole(p, i))
            c = ds_nvs_store_erase_item(n, page, i, e);
    }
    return c;
}

static enum ds_class load_page(ds_nvs_flash *n, uint32_t page, ds_err *e)
{
    uint8_t *p = ds_nvs_store_page(n, page);
    if (!n->ops.read(n->ops.ctx, page * DS_NVS_PAGE, p, DS_NVS_PAGE))
        return ds_fail(e, DS_DEVICE, "reading NVS flash at 0x%x failed", page * DS_NVS_PAGE);
    if (ds_nvs_store_is_free(n, page))
        return DS_OK;
    enum ds_class c = drop_unmarked(n, page, e);
    if (!c && n->encrypted)
        c = ds_nvs_page_crypt(&n->keys, false, page * DS_NVS_PAGE, p, e);
    return c ? c : drop_torn(n, page, e);
}

static enum ds_class finish_compaction(ds_nvs_flash *n, ds_err *e)
{
    enum ds_class c = DS_OK;
    for (uint32_t i = 0; !c && i < n->pages; i++)
        if (ds_nvs_page_get_state(ds_nvs_store_page(n, i)) == DS_NVS_PAGE_FREEING)
            c = ds_nvs_store_finish_freeing(n, i, e);
    return c;
}

// Only the newest page may take entries.
static enum ds_class close_older_pages(ds_nvs_flash *n, ds_err *e)
{
    uint32_t newest = 0;
    enum ds_class c = DS_OK;
    if (!ds_nvs_store_newest(n, &newest))
        return DS_OK;
    for (uint32_t i = 0; !c && i < n->pages; i++)
        if (i != newest && ds_nvs_page_get_state(ds_nvs_store_page(n, i)) == DS_NVS_PAGE_ACTIVE)
            c = ds_nvs_store_set_page_word(n, i, DS_NVS_STATE_WORD_FULL, e);
    return c;
}

// Headers and indexes before chunks: a blob whose index is gone is gone whole.
enum ds_class ds_nvs_store_drop_dead(ds_nvs_flash *n, ds_err *e)
{
    ds_nvs_refs refs;
    enum ds_class c = DS_OK;
    ds_nvs_scan(n->image, n->pages, &refs);
    for (int chunks = 0; chunks < 2; chunks++) {
        for (size_t i = 0; !c && i < refs.count; i++) {
            const ds_nvs_ref *ref = &refs.refs[i];
            if (!ref->live && (ref->entry[1] == DS_NVS_BLOB_DATA) == chunks)
                c = ds_nvs_store_erase_item(n, ref->page, ref->index, e);
        }
    }
    ds_nvs_refs_free(&refs);
    return c;
}

enum ds_class ds_nvs_store_mount(ds_nvs_flash *n, ds_err *e)
{
    enum ds_class c = DS_OK;
    for (uint32_t i = 0; !c && i < n->pages; i++)
        c = load_page(n, i, e);
    if (!c)
        c = finish_compaction(n, e);
    if (!c)
        c = ds_nvs_store_drop_dead(n, e);
    if (!c)
        c = close_older_pages(n, e);
    if (!c && !ds_nvs_store_free_pages(n)) {
        ds_fail(e, DS_STORE, "NVS partition has no free page");
        return ds_hint(e, "it was filled by something that does not keep one; erase it or make it larger");
    }
    return c;
}
