// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A live NVS partition: open, set, list; see nvs_flash.h. A new value is appended whole, and only then is the old one
// erased; a blob's new chunks carry numbers of the other generation, and its new index makes them count. So any cut
// leaves the old value or the new one. Source: ESP-IDF nvs_storage.cpp (v5.4).
#include "agent/port/posix/nvs_store.h"
#include "src/base/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ESP-IDF starts a blob on a new page rather than with a first piece smaller than this.
#define FIRST_CHUNK_MIN 400u

enum ds_class ds_nvs_flash_open(const ds_nvs_flash_ops *ops, uint32_t size, const ds_nvs_keys *keys, ds_nvs_flash **ret,
                                ds_err *e)
{
    if (size % DS_NVS_PAGE || size < 3 * DS_NVS_PAGE)
        return ds_fail(e, DS_INPUT, "NVS partition of 0x%x bytes: at least 3 whole pages of 4096 are needed", size);
    ds_nvs_flash *n = ds_alloc(sizeof *n);
    n->ops = *ops;
    n->pages = size / DS_NVS_PAGE;
    n->image = ds_alloc(size);
    if (keys) {
        n->encrypted = true;
        n->keys = *keys;
    }
    enum ds_class c = ds_nvs_store_mount(n, e);
    if (c) {
        ds_nvs_flash_close(n);
        return c;
    }
    *ret = n;
    return DS_OK;
}

void ds_nvs_flash_close(ds_nvs_flash *n)
{
    if (!n)
        return;
    ds_wipe(n->image, (size_t)n->pages * DS_NVS_PAGE);
    free(n->image);
    ds_wipe(n, sizeof *n);
    free(n);
}

static enum ds_class check(const char *name_space, const char *key, enum ds_nvs_type type, ds_view data, ds_err *e)
{
    if (!*name_space || strlen(name_space) > DS_NVS_KEY_MAX || !*key || strlen(key) > DS_NVS_KEY_MAX)
        return ds_fail(e, DS_INPUT, "namespace and key must have 1 to 15 characters");
    if (ds_nvs_type_is_number(type) && data.len < ds_nvs_number_size(type))
        return ds_fail(e, DS_INPUT, "number of %zu bytes is shorter than its type", data.len);
    if (type == DS_NVS_STR && data.len + 1 > DS_NVS_STRING_MAX)
        return ds_fail(e, DS_INPUT, "string of %zu characters is too long", data.len);
    if (type == DS_NVS_STR && data.len && memchr(data.ptr, 0, data.len))
        return ds_fail(e, DS_INPUT, "string holds a NUL character");
    if (!ds_nvs_type_is_number(type) && type != DS_NVS_STR && type != DS_NVS_BLOB_DATA)
        return ds_fail(e, DS_INPUT, "type 0x%02x cannot be written", (unsigned)type);
    return DS_OK;
}

static enum ds_class append(ds_nvs_flash *n, const uint8_t entry[32], ds_view payload, ds_err *e)
{
    uint32_t page;
    enum ds_class c = ds_nvs_store_room(n, entry[2], &page, e);
    return c ? c : ds_nvs_store_append(n, page, entry, payload, e);
}

static uint8_t unused_namespace(const ds_nvs_refs *refs)
{
    bool used[256] = {[0] = true, [255] = true};
    for (size_t i = 0; i < refs->count; i++)
        used[refs->refs[i].entry[0] ? refs->refs[i].entry[0] : refs->refs[i].entry[24]] = true;
    for (unsigned i = 1; i < 255; i++)
        if (!used[i])
            return (uint8_t)i;
    return 0;
}

static enum ds_class namespace_index(ds_nvs_flash *n, const char *name, uint8_t *ret, ds_err *e)
{
    ds_nvs_refs refs;
    uint8_t entry[32];
    ds_nvs_scan(n->image, n->pages, &refs);
    uint8_t found = ds_nvs_refs_namespace(&refs, name), fresh = unused_namespace(&refs);
    ds_nvs_refs_free(&refs);
    *ret = found ? found : fresh;
    if (found)
        return DS_OK;
    if (!fresh)
        return ds_fail_errno(e, DS_STORE, ENOSPC, "all %u NVS namespaces are used", DS_NVS_NAMESPACES);
    ds_nvs_entry_init(entry, 0, DS_NVS_U8, DS_NVS_CHUNK_NONE, name);
    ds_nvs_entry_set_number(entry, fresh);
    return append(n, entry, (ds_view){0}, e);
}

static bool same_blob(const ds_nvs_refs *refs, const uint8_t *entry, ds_view data)
{
    size_t done = 0;
    if (ds_le32(entry + 24) != data.len)
        return false;
    for (unsigned i = 0; i < entry[28]; i++) {
        const ds_nvs_ref *chunk = ds_nvs_refs_chunk(refs, entry, entry[29] + i);
        size_t len = chunk ? ds_le16(chunk->entry + 24) : 0;
        if (!chunk || len > data.len - done || (len && memcmp(chunk->entry + DS_NVS_ENTRY, data.ptr + done, len) != 0))
            return false;
        done += len;
    }
    return done == data.len;
}

static bool same_value(const ds_nvs_refs *refs, const uint8_t *entry, enum ds_nvs_type type, ds_view data)
{
    if (type == DS_NVS_BLOB_DATA)
        return entry[1] == DS_NVS_BLOB_IDX && same_blob(refs, entry, data);
    if (entry[1] != type)
        return false;
    if (type == DS_NVS_STR)
        return ds_le16(entry + 24) == data.len + 1 && (!data.len || !memcmp(entry + DS_NVS_ENTRY, data.ptr, data.len));
    return !memcmp(entry + 24, data.ptr, ds_nvs_number_size(type));
}

static enum ds_class put_number(ds_nvs_flash *n, uint8_t name_space, const char *key, enum ds_nvs_type type,
                                ds_view data, ds_err *e)
{
    uint8_t entry[32];
    uint64_t v = 0;
    for (size_t i = 0; i < ds_nvs_number_size(type); i++)
        v |= (uint64_t)data.ptr[i] << 8 * i;
    ds_nvs_entry_init(entry, name_space, type, DS_NVS_CHUNK_NONE, key);
    ds_nvs_entry_set_number(entry, v);
    return append(n, entry, (ds_view){0}, e);
}

static enum ds_class put_string(ds_nvs_flash *n, uint8_t name_space, const char *key, ds_view data, ds_err *e)
{
    uint8_t entry[32], text[DS_NVS_STRING_MAX] = {0};
    if (data.len)
        memcpy(text, data.ptr, data.len);
    ds_nvs_entry_init(entry, name_space, DS_NVS_STR, DS_NVS_CHUNK_NONE, key);
    ds_nvs_entry_set_payload(entry, text, data.len + 1);
    enum ds_class c = append(n, entry, (ds_view){text, data.len + 1}, e);
    ds_wipe(text, sizeof text);
    return c;
}

// Bytes of payload that fit behind a header on the active page.
static size_t tailroom(const ds_nvs_flash *n)
{
    uint32_t page;
    if (!ds_nvs_store_newest(n, &page) || ds_nvs_page_get_state(ds_nvs_store_page(n, page)) != DS_NVS_PAGE_ACTIVE)
        return 0;
    unsigned room = DS_NVS_ENTRIES - ds_nvs_store_next_free(n, page);
    return room ? (size_t)(room - 1) * DS_NVS_ENTRY : 0;
}

// Room for the next piece of a blob, of which rest bytes are left.
static enum ds_class chunk_room(ds_nvs_flash *n, size_t rest, bool first, size_t *ret_room, ds_err *e)
{
    size_t room = tailroom(n), least = first && rest > FIRST_CHUNK_MIN ? FIRST_CHUNK_MIN : DS_NVS_ENTRY;
    if (rest < least)
        least = rest;
    uint32_t page;
    enum ds_class c = DS_OK;
    if (room < least || !room)
        c = ds_nvs_store_room(n, 1 + (unsigned)((least + DS_NVS_ENTRY - 1) / DS_NVS_ENTRY), &page, e);
    *ret_room = tailroom(n);
    return c;
}

static enum ds_class put_chunks(ds_nvs_flash *n, uint8_t name_space, const char *key, uint8_t generation, ds_view data,
                                ds_err *e)
{
    uint8_t entry[32];
    size_t done = 0, room;
    unsigned chunks = 0;
    do {
        enum ds_class c = chunk_room(n, data.len - done, !chunks, &room, e);
        if (c)
            return c;
        if (chunks == DS_NVS_SECOND_GENERATION - 1)
            return ds_fail_errno(e, DS_STORE, ENOSPC, "blob of %zu bytes has too many chunks", data.len);
        size_t len = data.len - done < room ? data.len - done : room;
        ds_view payload = {len ? data.ptr + done : entry, len};
        ds_nvs_entry_init(entry, name_space, DS_NVS_BLOB_DATA, (uint8_t)(generation + chunks++), key);
        ds_nvs_entry_set_payload(entry, payload.ptr, len);
        c = append(n, entry, payload, e);
        if (c)
            return c;
        done += len;
    } while (done < data.len);
    ds_nvs_entry_init(entry, name_space, DS_NVS_BLOB_IDX, DS_NVS_CHUNK_NONE, key);
    ds_nvs_entry_set_index(entry, (uint32_t)data.len, (uint8_t)chunks, generation);
    return append(n, entry, (ds_view){0}, e);
}

static enum ds_class put_blob(ds_nvs_flash *n, uint8_t name_space, const char *key, uint8_t generation, ds_view data,
                              ds_err *e)
{
    // At least one header and the index; checked first, so that a hopeless blob wears no flash.
    if ((uint64_t)data.len + 2 * DS_NVS_ENTRY > ds_nvs_flash_free_bytes(n))
        return ds_fail_errno(e, DS_STORE, ENOSPC, "NVS partition has no room for %zu bytes", data.len);
    enum ds_class c = put_chunks(n, name_space, key, generation, data, e);
    if (c && !n->broken) {
        enum ds_class again = ds_nvs_store_drop_dead(n, NULL);
        n->broken = n->broken || again;
    }
    return c;
}

static enum ds_class put(ds_nvs_flash *n, uint8_t name_space, const char *key, enum ds_nvs_type type,
                         uint8_t generation, ds_view data, ds_err *e)
{
    if (type == DS_NVS_BLOB_DATA)
        return put_blob(n, name_space, key, generation, data, e);
    if (type == DS_NVS_STR)
        return put_string(n, name_space, key, data, e);
    return put_number(n, name_space, key, type, data, e);
}

static enum ds_class replace(ds_nvs_flash *n, const char *name_space, const char *key, enum ds_nvs_type type,
                             ds_view data, ds_err *e)
{
    uint8_t index, generation = 0;
    bool same = false;
    enum ds_class c = namespace_index(n, name_space, &index, e);
    if (c)
        return c;
    ds_nvs_refs refs;
    ds_nvs_scan(n->image, n->pages, &refs);
    const ds_nvs_ref *old = ds_nvs_refs_find(&refs, index, key);
    if (old) {
        same = same_value(&refs, old->entry, type, data);
        if (old->entry[1] == DS_NVS_BLOB_IDX && old->entry[29] == 0)
            generation = DS_NVS_SECOND_GENERATION;
    }
    ds_nvs_refs_free(&refs);
    if (same)
        return DS_OK;
    c = put(n, index, key, type, generation, data, e);
    return c ? c : ds_nvs_store_drop_dead(n, e);
}

enum ds_class ds_nvs_flash_set(ds_nvs_flash *n, const char *name_space, const char *key, enum ds_nvs_type type,
                               ds_view data, ds_err *e)
{
    enum ds_class c = check(name_space, key, type, data, e);
    if (!c && n->broken)
        c = ds_fail(e, DS_DEVICE, "an earlier flash operation failed; the partition must be opened again");
    if (!c)
        c = replace(n, name_space, key, type, data, e);
    return c ? ds_wrap(e, "NVS item \"%s.%s\"", name_space, key) : DS_OK;
}

// A blob goes with its index, and its chunks afterwards.
enum ds_class ds_nvs_flash_erase(ds_nvs_flash *n, const char *name_space, const char *key, ds_err *e)
{
    if (n->broken)
        return ds_fail(e, DS_DEVICE, "an earlier flash operation failed; the partition must be opened again");
    ds_nvs_refs refs;
    ds_nvs_scan(n->image, n->pages, &refs);
    uint8_t index = ds_nvs_refs_namespace(&refs, name_space);
    const ds_nvs_ref *found = index ? ds_nvs_refs_find(&refs, index, key) : NULL;
    ds_nvs_ref ref = found ? *found : (ds_nvs_ref){.entry = NULL};
    ds_nvs_refs_free(&refs);
    if (!ref.entry)
        return DS_OK;
    enum ds_class c = ds_nvs_store_erase_item(n, ref.page, ref.index, e);
    return c ? c : ds_nvs_store_drop_dead(n, e);
}

enum ds_class ds_nvs_flash_items(ds_nvs_flash *n, ds_nvs_items *ret, ds_err *e)
{
    if (n->broken)
        return ds_fail(e, DS_DEVICE, "an earlier flash operation failed; the partition must be opened again");
    ds_nvs_refs refs;
    ds_nvs_scan(n->image, n->pages, &refs);
    *ret = (ds_nvs_items){0};
    ds_nvs_refs_items(&refs, ret);
    ds_nvs_refs_free(&refs);
    return DS_OK;
}

uint32_t ds_nvs_flash_free_bytes(ds_nvs_flash *n)
{
    uint32_t unused = 0;
    for (uint32_t i = 0; i < n->pages; i++)
        unused += DS_NVS_ENTRIES - (ds_nvs_store_is_free(n, i) ? 0 : ds_nvs_store_written(n, i));
    return unused < DS_NVS_ENTRIES ? 0 : (unused - DS_NVS_ENTRIES) * DS_NVS_ENTRY;
}
