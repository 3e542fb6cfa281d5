// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Read the items of an NVS partition as the device would see them after mounting it; see nvs.h.
#include "src/base/secret.h"
#include "src/esp/nvs_page.h"

#include <stdlib.h>
#include <string.h>

// Sign-extend where the type is signed (0x1n). 0 where the entry holds no number.
static uint64_t number_of(const uint8_t *entry)
{
    size_t size = ds_nvs_number_size((enum ds_nvs_type)entry[1]);
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)entry[24 + i] << 8 * i;
    if ((entry[1] & 0x10) && size > 0 && size < 8 && v >> (8 * size - 1) & 1)
        v |= UINT64_MAX << 8 * size;
    return v;
}

static void add_blob(const ds_nvs_refs *refs, const uint8_t *index_entry, const char *name_space, const char *key,
                     ds_nvs_items *ret)
{
    ds_nvs_add_bytes(ret, name_space, key, DS_NVS_BLOB_DATA, (ds_view){0});
    ds_buf *data = &ret->items[ret->count - 1].data;
    ds_buf_resize(data, ds_le32(index_entry + 24), 0); // once, so that growing leaves no copies behind
    ds_buf_clear(data);
    for (unsigned i = 0; i < index_entry[28]; i++) {
        const ds_nvs_ref *chunk = ds_nvs_refs_chunk(refs, index_entry, index_entry[29] + i);
        if (chunk)
            ds_buf_add(data, chunk->entry + DS_NVS_ENTRY, ds_le16(chunk->entry + 24));
    }
}

static void add_item(const ds_nvs_refs *refs, const uint8_t *entry, const char *name_space, ds_nvs_items *ret)
{
    enum ds_nvs_type type = (enum ds_nvs_type)entry[1];
    const char *key = (const char *)entry + 8;
    ds_view payload = {entry + DS_NVS_ENTRY, ds_le16(entry + 24)};
    if (ds_nvs_type_is_number(type)) {
        ds_nvs_add_number(ret, name_space, key, type, number_of(entry));
    } else if (type == DS_NVS_STR) {
        if (payload.len && payload.ptr[payload.len - 1] == 0)
            payload.len--;
        ds_nvs_add_bytes(ret, name_space, key, type, payload);
    } else if (type == DS_NVS_BLOB_V1) {
        ds_nvs_add_bytes(ret, name_space, key, DS_NVS_BLOB_DATA, payload);
    } else if (type == DS_NVS_BLOB_IDX) {
        add_blob(refs, entry, name_space, key, ret);
    }
}

void ds_nvs_refs_items(const ds_nvs_refs *refs, ds_nvs_items *ret)
{
    const char *names[256] = {0};
    for (size_t i = 0; i < refs->count; i++) {
        const uint8_t *entry = refs->refs[i].entry;
        if (refs->refs[i].live && entry[0] == 0 && entry[1] == DS_NVS_U8 && !names[entry[24]])
            names[entry[24]] = (const char *)entry + 8;
    }
    for (size_t i = 0; i < refs->count; i++) {
        const uint8_t *entry = refs->refs[i].entry;
        if (refs->refs[i].live && entry[0] != 0 && names[entry[0]])
            add_item(refs, entry, names[entry[0]], ret);
    }
}

// Decrypt the pages in place; says whether any is readable, and whether all are blank.
static enum ds_class open_pages(uint8_t *image, uint32_t pages, const ds_nvs_keys *keys, bool *ret_readable,
                                bool *ret_blank, ds_err *e)
{
    *ret_readable = false;
    *ret_blank = true;
    for (uint32_t i = 0; i < pages; i++) {
        uint8_t *page = image + (size_t)i * DS_NVS_PAGE;
        enum ds_nvs_page_state state = ds_nvs_page_get_state(page);
        if (state == DS_NVS_PAGE_BLANK)
            continue;
        *ret_blank = false;
        if (state == DS_NVS_PAGE_CORRUPT)
            continue;
        *ret_readable = true;
        enum ds_class c = keys ? ds_nvs_page_crypt(keys, false, i * DS_NVS_PAGE, page, e) : DS_OK;
        if (c)
            return c;
    }
    return DS_OK;
}

enum ds_class ds_nvs_parse(ds_view partition, const ds_nvs_keys *keys, ds_nvs_items *ret, ds_err *e)
{
    if (!partition.len || partition.len % DS_NVS_PAGE || partition.len > UINT32_MAX)
        return ds_fail(e, DS_INPUT, "NVS partition of %zu bytes: not a multiple of 4096", partition.len);
    uint32_t pages = (uint32_t)(partition.len / DS_NVS_PAGE);
    uint8_t *image = ds_alloc(partition.len);
    memcpy(image, partition.ptr, partition.len);
    bool readable, blank;
    enum ds_class c = open_pages(image, pages, keys, &readable, &blank, e);
    if (!c && !readable && !blank)
        c = ds_fail(e, DS_INPUT, "no page of the NVS partition is readable");
    if (!c) {
        ds_nvs_refs refs;
        ds_nvs_scan(image, pages, &refs);
        *ret = (ds_nvs_items){0};
        ds_nvs_refs_items(&refs, ret);
        ds_nvs_refs_free(&refs);
    }
    ds_wipe(image, partition.len);
    free(image);
    return c;
}
