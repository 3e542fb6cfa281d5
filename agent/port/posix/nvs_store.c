// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Pages of the live NVS partition on flash; see nvs_store.h. The order of writes is ESP-IDF's (nvs_page.cpp, v5.4): an
// entry, then its bit in the bitmap; a payload only after its header's bit, so that a torn item is erased with its
// whole span and no payload is ever taken for an entry; when erasing, the header's bit last, for the same reason.
#include "agent/port/posix/nvs_store.h"
#include "src/base/secret.h"

#include <stdlib.h>
#include <string.h>

unsigned ds_nvs_store_next_free(const ds_nvs_flash *n, uint32_t page)
{
    unsigned i = DS_NVS_ENTRIES;
    while (i && ds_nvs_entry_get_state(ds_nvs_store_page(n, page), i - 1) == DS_NVS_ENTRY_EMPTY)
        i--;
    return i;
}

unsigned ds_nvs_store_written(const ds_nvs_flash *n, uint32_t page)
{
    unsigned count = 0;
    for (unsigned i = 0; i < DS_NVS_ENTRIES; i++)
        count += ds_nvs_entry_get_state(ds_nvs_store_page(n, page), i) == DS_NVS_ENTRY_WRITTEN;
    return count;
}

bool ds_nvs_store_is_free(const ds_nvs_flash *n, uint32_t page)
{
    enum ds_nvs_page_state state = ds_nvs_page_get_state(ds_nvs_store_page(n, page));
    return state == DS_NVS_PAGE_BLANK || state == DS_NVS_PAGE_CORRUPT;
}

uint32_t ds_nvs_store_free_pages(const ds_nvs_flash *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->pages; i++)
        count += ds_nvs_store_is_free(n, i);
    return count;
}

bool ds_nvs_store_newest(const ds_nvs_flash *n, uint32_t *ret)
{
    bool found = false;
    uint32_t best = 0;
    for (uint32_t i = 0; i < n->pages; i++) {
        uint32_t sequence = ds_le32(ds_nvs_store_page(n, i) + 4);
        if (ds_nvs_store_is_free(n, i) || (found && sequence < best))
            continue;
        found = true;
        best = sequence;
        *ret = i;
    }
    return found;
}

static enum ds_class broken(ds_nvs_flash *n, const char *what, uint32_t off, ds_err *e)
{
    n->broken = true;
    return ds_fail(e, DS_DEVICE, "%s NVS flash at 0x%x failed", what, off);
}

// Program and read back; data is what flash must then hold.
static enum ds_class program(ds_nvs_flash *n, uint32_t off, const uint8_t *data, uint32_t len, ds_err *e)
{
    uint8_t back[256];
    if (!n->ops.program(n->ops.ctx, off, data, len))
        return broken(n, "writing", off, e);
    for (uint32_t done = 0, part; done < len; done += part) {
        part = len - done < sizeof back ? len - done : (uint32_t)sizeof back;
        if (!n->ops.read(n->ops.ctx, off + done, back, part) || memcmp(back, data + done, part) != 0)
            return broken(n, "reading back", off + done, e);
    }
    return DS_OK;
}

enum ds_class ds_nvs_store_set_page_word(ds_nvs_flash *n, uint32_t page, uint32_t word, ds_err *e)
{
    uint8_t bytes[4];
    ds_put_le32(bytes, word);
    enum ds_class c = program(n, page * DS_NVS_PAGE, bytes, sizeof bytes, e);
    if (!c)
        memcpy(ds_nvs_store_page(n, page), bytes, sizeof bytes);
    return c;
}

// From the last word to the first.
enum ds_class ds_nvs_store_set_states(ds_nvs_flash *n, uint32_t page, unsigned first, unsigned count,
                                      enum ds_nvs_entry_state state, ds_err *e)
{
    uint8_t *bitmap = ds_nvs_store_page(n, page) + DS_NVS_BITMAP;
    uint8_t wanted[32];
    memcpy(wanted, bitmap, sizeof wanted);
    for (unsigned i = 0; i < count; i++)
        ds_nvs_entry_set_state(wanted, first + i, state);
    for (unsigned word = sizeof wanted; word > 0;) {
        word -= 4;
        if (!memcmp(bitmap + word, wanted + word, 4))
            continue;
        enum ds_class c = program(n, page * DS_NVS_PAGE + DS_NVS_BITMAP + word, wanted + word, 4, e);
        if (c)
            return c;
        memcpy(bitmap + word, wanted + word, 4);
    }
    return DS_OK;
}

enum ds_class ds_nvs_store_erase_page(ds_nvs_flash *n, uint32_t page, ds_err *e)
{
    uint32_t off = page * DS_NVS_PAGE;
    uint8_t *image = ds_nvs_store_page(n, page);
    ds_wipe(image, DS_NVS_PAGE);
    if (!n->ops.erase(n->ops.ctx, off, DS_NVS_PAGE))
        return broken(n, "erasing", off, e);
    if (!n->ops.read(n->ops.ctx, off, image, DS_NVS_PAGE) || ds_nvs_page_get_state(image) != DS_NVS_PAGE_BLANK)
        return broken(n, "erasing", off, e);
    return DS_OK;
}

// The free page that follows the newest one, so that wear is spread over all.
static bool pick_free(const ds_nvs_flash *n, uint32_t *ret)
{
    uint32_t newest = n->pages - 1;
    (void)ds_nvs_store_newest(n, &newest);
    for (uint32_t i = 1; i <= n->pages; i++) {
        *ret = (newest + i) % n->pages;
        if (ds_nvs_store_is_free(n, *ret))
            return true;
    }
    return false;
}

enum ds_class ds_nvs_store_activate(ds_nvs_flash *n, uint32_t *ret, ds_err *e)
{
    uint32_t page, newest, sequence = 0;
    uint8_t header[32];
    if (!pick_free(n, &page))
        return ds_fail(e, DS_STORE, "NVS partition has no free page");
    if (ds_nvs_store_newest(n, &newest))
        sequence = ds_le32(ds_nvs_store_page(n, newest) + 4) + 1;
    enum ds_class c = DS_OK;
    if (ds_nvs_page_get_state(ds_nvs_store_page(n, page)) == DS_NVS_PAGE_CORRUPT)
        c = ds_nvs_store_erase_page(n, page, e);
    ds_nvs_page_init(header, sequence);
    if (!c)
        c = program(n, page * DS_NVS_PAGE, header, sizeof header, e);
    if (c)
        return c;
    memcpy(ds_nvs_store_page(n, page), header, sizeof header);
    *ret = page;
    return DS_OK;
}

// Program count whole entries, encrypted where the partition is.
static enum ds_class put_entries(ds_nvs_flash *n, uint32_t page, unsigned index, const uint8_t *plain, unsigned count,
                                 ds_err *e)
{
    uint32_t at = ds_nvs_entry_offset(index), off = page * DS_NVS_PAGE + at;
    size_t len = (size_t)count * DS_NVS_ENTRY;
    uint8_t *bytes = ds_alloc(len);
    memcpy(bytes, plain, len);
    enum ds_class c = n->encrypted ? ds_nvs_crypt(&n->keys, true, off, bytes, len, e) : DS_OK;
    if (!c)
        c = program(n, off, bytes, (uint32_t)len, e);
    if (!c)
        memcpy(ds_nvs_store_page(n, page) + at, plain, len);
    ds_wipe(bytes, len);
    free(bytes);
    return c ? c : ds_nvs_store_set_states(n, page, index, count, DS_NVS_ENTRY_WRITTEN, e);
}

enum ds_class ds_nvs_store_append(ds_nvs_flash *n, uint32_t page, const uint8_t entry[32], ds_view payload, ds_err *e)
{
    unsigned index = ds_nvs_store_next_free(n, page), more = entry[2] - 1u;
    if (index + entry[2] > DS_NVS_ENTRIES || payload.len > (size_t)more * DS_NVS_ENTRY)
        return ds_fail(e, DS_INTERNAL, "NVS page 0x%x has no room for %u entries", page * DS_NVS_PAGE, entry[2]);
    enum ds_class c = put_entries(n, page, index, entry, 1, e);
    if (c || !more)
        return c;
    size_t len = (size_t)more * DS_NVS_ENTRY;
    uint8_t *padded = ds_alloc(len);
    memset(padded, 0xFF, len);
    memcpy(padded, payload.ptr, payload.len);
    c = put_entries(n, page, index + 1, padded, more, e);
    ds_wipe(padded, len);
    free(padded);
    return c;
}

enum ds_class ds_nvs_store_erase_item(ds_nvs_flash *n, uint32_t page, unsigned index, ds_err *e)
{
    const uint8_t *p = ds_nvs_store_page(n, page);
    unsigned span = 1;
    if (ds_nvs_entry_get_state(p, index) == DS_NVS_ENTRY_WRITTEN && ds_nvs_entry_is_header(p, index))
        span = p[ds_nvs_entry_offset(index) + 2];
    enum ds_class c = ds_nvs_store_set_states(n, page, index + 1, span - 1, DS_NVS_ENTRY_ERASED, e);
    return c ? c : ds_nvs_store_set_states(n, page, index, 1, DS_NVS_ENTRY_ERASED, e);
}
