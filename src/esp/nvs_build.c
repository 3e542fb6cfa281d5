// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Build an NVS partition, byte for byte as nvs_partition_gen 0.2.0 lays it out (version 2), its quirks included: a
// string that would fill a page exactly goes to the next one; a blob that begins with one entry left gets an empty
// first chunk.
#include "src/base/secret.h"
#include "src/esp/nvs_page.h"

#include <string.h>

typedef struct builder {
    ds_buf out;
    unsigned used; // entries of the current page
    uint32_t max_pages;
    const ds_nvs_keys *keys;
    uint8_t name_spaces;
    char names[DS_NVS_NAMESPACES][16];
} builder;

static uint32_t page_count(const builder *b)
{
    return (uint32_t)(b->out.len / DS_NVS_PAGE);
}

static uint8_t *page_of(builder *b)
{
    return b->out.ptr + b->out.len - DS_NVS_PAGE;
}

static enum ds_class new_page(builder *b, ds_err *e)
{
    uint32_t sequence = page_count(b);
    if (sequence == b->max_pages) {
        ds_fail(e, DS_INPUT, "the items do not fit in %u NVS pages", b->max_pages);
        return ds_hint(e, "make the partition larger (one page of it always stays free)");
    }
    if (sequence)
        ds_put_le32(page_of(b), DS_NVS_STATE_WORD_FULL);
    ds_buf_resize(&b->out, b->out.len + DS_NVS_PAGE, 0xFF);
    ds_nvs_page_init(page_of(b), sequence);
    b->used = 0;
    return DS_OK;
}

// The caller has made room.
static void put(builder *b, const uint8_t entry[32], ds_view payload)
{
    uint8_t *page = page_of(b);
    uint8_t *at = page + ds_nvs_entry_offset(b->used);
    memcpy(at, entry, DS_NVS_ENTRY);
    if (payload.ptr)
        memcpy(at + DS_NVS_ENTRY, payload.ptr, payload.len);
    for (unsigned i = 0; i < entry[2]; i++)
        ds_nvs_entry_set_state(page + DS_NVS_BITMAP, b->used++, DS_NVS_ENTRY_WRITTEN);
}

static enum ds_class put_number(builder *b, uint8_t name_space, const char *key, enum ds_nvs_type type, uint64_t v,
                                ds_err *e)
{
    uint8_t entry[32];
    enum ds_class c = b->used == DS_NVS_ENTRIES ? new_page(b, e) : DS_OK;
    if (c)
        return c;
    ds_nvs_entry_init(entry, name_space, type, DS_NVS_CHUNK_NONE, key);
    ds_nvs_entry_set_number(entry, v);
    put(b, entry, (ds_view){0});
    return DS_OK;
}

static enum ds_class put_string(builder *b, uint8_t name_space, const ds_nvs_item *item, ds_err *e)
{
    uint8_t entry[32], text[DS_NVS_STRING_MAX];
    size_t len = item->data.len + 1;
    unsigned span = 1 + (unsigned)((len + DS_NVS_ENTRY - 1) / DS_NVS_ENTRY);
    if (len > sizeof text || span >= DS_NVS_ENTRIES)
        return ds_fail(e, DS_INPUT, "string of %zu characters is too long for a page", item->data.len);
    if (item->data.len && memchr(item->data.ptr, 0, item->data.len))
        return ds_fail(e, DS_INPUT, "string holds a NUL character");
    enum ds_class c = b->used + span >= DS_NVS_ENTRIES ? new_page(b, e) : DS_OK;
    if (c)
        return c;
    if (item->data.len)
        memcpy(text, item->data.ptr, item->data.len);
    text[len - 1] = 0;
    ds_nvs_entry_init(entry, name_space, DS_NVS_STR, DS_NVS_CHUNK_NONE, item->key);
    ds_nvs_entry_set_payload(entry, text, len);
    put(b, entry, (ds_view){text, len});
    ds_wipe(text, sizeof text);
    return DS_OK;
}

static enum ds_class put_blob(builder *b, uint8_t name_space, const ds_nvs_item *item, ds_err *e)
{
    uint8_t entry[32];
    size_t done = 0;
    unsigned chunks = 0;
    enum ds_class c = b->used == DS_NVS_ENTRIES ? new_page(b, e) : DS_OK;
    if (c)
        return c;
    do {
        size_t room = (size_t)(DS_NVS_ENTRIES - b->used - 1) * DS_NVS_ENTRY;
        size_t rest = item->data.len - done, len = rest < room ? rest : room;
        if (chunks >= DS_NVS_SECOND_GENERATION - 1)
            return ds_fail(e, DS_INPUT, "blob of %zu bytes has too many chunks", item->data.len);
        ds_view payload = {item->data.ptr ? item->data.ptr + done : NULL, len};
        ds_nvs_entry_init(entry, name_space, DS_NVS_BLOB_DATA, (uint8_t)chunks++, item->key);
        ds_nvs_entry_set_payload(entry, payload.ptr, len);
        put(b, entry, payload);
        done += len;
        if (done < item->data.len || room - len < DS_NVS_ENTRY)
            c = new_page(b, e);
        if (c)
            return c;
    } while (done < item->data.len);
    ds_nvs_entry_init(entry, name_space, DS_NVS_BLOB_IDX, DS_NVS_CHUNK_NONE, item->key);
    ds_nvs_entry_set_index(entry, (uint32_t)item->data.len, (uint8_t)chunks, 0);
    put(b, entry, (ds_view){0});
    return DS_OK;
}

static bool in_range(const ds_nvs_item *item)
{
    unsigned bits = 8 * (unsigned)ds_nvs_number_size(item->type);
    if (bits == 64)
        return true;
    if (!((unsigned)item->type & 0x10))
        return item->number >> bits == 0;
    int64_t limit = (int64_t)1 << (bits - 1), v = (int64_t)item->number;
    return v >= -limit && v < limit;
}

static enum ds_class put_name_space(builder *b, const char *name, uint8_t *ret_index, ds_err *e)
{
    for (uint8_t i = 0; i < b->name_spaces; i++) {
        if (!strcmp(b->names[i], name)) {
            *ret_index = (uint8_t)(i + 1);
            return DS_OK;
        }
    }
    if (b->name_spaces == DS_NVS_NAMESPACES)
        return ds_fail(e, DS_INPUT, "more than %u namespaces", DS_NVS_NAMESPACES);
    memcpy(b->names[b->name_spaces++], name, 16);
    *ret_index = b->name_spaces;
    return put_number(b, 0, name, DS_NVS_U8, b->name_spaces, e);
}

static enum ds_class put_item(builder *b, const ds_nvs_item *item, ds_err *e)
{
    uint8_t name_space = 0;
    if (!item->name_space[0] || !item->key[0])
        return ds_fail(e, DS_INPUT, "namespace and key must have 1 to 15 characters");
    enum ds_class c = put_name_space(b, item->name_space, &name_space, e);
    if (c)
        return c;
    if (item->type == DS_NVS_STR)
        return put_string(b, name_space, item, e);
    if (item->type == DS_NVS_BLOB_DATA)
        return put_blob(b, name_space, item, e);
    if (!ds_nvs_type_is_number(item->type))
        return ds_fail(e, DS_INPUT, "type 0x%02x cannot be written", (unsigned)item->type);
    if (!in_range(item))
        return ds_fail(e, DS_INPUT, "number is out of its type's range");
    return put_number(b, name_space, item->key, item->type, item->number, e);
}

static enum ds_class check_unique(const ds_nvs_items *items, size_t upto, ds_err *e)
{
    const ds_nvs_item *item = &items->items[upto];
    for (size_t i = 0; i < upto; i++)
        if (!strcmp(items->items[i].name_space, item->name_space) && !strcmp(items->items[i].key, item->key))
            return ds_fail(e, DS_INPUT, "is given twice");
    return DS_OK;
}

static enum ds_class put_all(builder *b, const ds_nvs_items *items, ds_err *e)
{
    enum ds_class c = new_page(b, e);
    for (size_t i = 0; !c && i < items->count; i++) {
        c = check_unique(items, i, e);
        if (!c)
            c = put_item(b, &items->items[i], e);
        if (c)
            return ds_wrap(e, "NVS item \"%s.%s\"", items->items[i].name_space, items->items[i].key);
    }
    for (uint32_t i = 0; !c && b->keys && i < page_count(b); i++)
        c = ds_nvs_page_crypt(b->keys, true, i * DS_NVS_PAGE, b->out.ptr + (size_t)i * DS_NVS_PAGE, e);
    return c;
}

enum ds_class ds_nvs_build(const ds_nvs_items *items, uint32_t size, const ds_nvs_keys *keys, ds_buf *ret, ds_err *e)
{
    uint32_t pages = size / DS_NVS_PAGE;
    bool read_only = pages < 3; // too small to keep a page free: the generator then writes only the pages it uses
    if (!size || size % DS_NVS_PAGE)
        return ds_fail(e, DS_INPUT, "NVS partition size 0x%x is not a multiple of 4096", size);
    builder b = {.max_pages = read_only ? pages : pages - 1, .keys = keys};
    enum ds_class c = put_all(&b, items, e);
    if (!c) {
        if (!read_only)
            ds_buf_resize(&b.out, size, 0xFF);
        ds_buf_add(ret, b.out.ptr, b.out.len);
    }
    if (b.out.ptr)
        ds_wipe(b.out.ptr, b.out.cap);
    ds_buf_free(&b.out);
    return c;
}
