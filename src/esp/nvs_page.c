// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NVS pages and entries; see nvs_page.h. A page is hostile until its checksums hold; no field leads outside the page.
#include "src/esp/nvs_page.h"
#include "src/base/crc.h"

#include <string.h>

uint32_t ds_nvs_entry_crc(const uint8_t entry[DS_NVS_ENTRY])
{
    return ds_crc32_esp(ds_crc32_esp(0xFFFFFFFF, entry, 4), entry + 8, 24);
}

static uint32_t page_crc(const uint8_t header[32])
{
    return ds_crc32_esp(0xFFFFFFFF, header + 4, 24);
}

// The first byte is FF, and every byte equals the one before it.
static bool is_blank(const uint8_t *p, size_t len)
{
    return p[0] == 0xFF && memcmp(p, p + 1, len - 1) == 0;
}

enum ds_nvs_page_state ds_nvs_page_get_state(const uint8_t *page)
{
    uint32_t word = ds_le32(page);
    if (word == 0xFFFFFFFF)
        return is_blank(page, DS_NVS_PAGE) ? DS_NVS_PAGE_BLANK : DS_NVS_PAGE_CORRUPT;
    if (ds_le32(page + 28) != page_crc(page))
        return DS_NVS_PAGE_CORRUPT;
    switch (word) {
    case DS_NVS_STATE_WORD_ACTIVE:
        return DS_NVS_PAGE_ACTIVE;
    case DS_NVS_STATE_WORD_FULL:
        return DS_NVS_PAGE_FULL;
    case DS_NVS_STATE_WORD_FREEING:
        return DS_NVS_PAGE_FREEING;
    default:
        return DS_NVS_PAGE_CORRUPT;
    }
}

void ds_nvs_page_init(uint8_t header[32], uint32_t sequence)
{
    memset(header, 0xFF, 32);
    ds_put_le32(header, DS_NVS_STATE_WORD_ACTIVE);
    ds_put_le32(header + 4, sequence);
    header[8] = 0xFE;
    ds_put_le32(header + 28, page_crc(header));
}

enum ds_nvs_entry_state ds_nvs_entry_get_state(const uint8_t *page, unsigned index)
{
    return (enum ds_nvs_entry_state)(page[DS_NVS_BITMAP + index / 4] >> index % 4 * 2 & 3);
}

void ds_nvs_entry_set_state(uint8_t bitmap[32], unsigned index, enum ds_nvs_entry_state state)
{
    unsigned shift = index % 4 * 2;
    bitmap[index / 4] = (uint8_t)((bitmap[index / 4] & ~(3u << shift)) | (unsigned)state << shift);
}

size_t ds_nvs_number_size(enum ds_nvs_type type)
{
    switch (type) {
    case DS_NVS_U8:
    case DS_NVS_I8:
    case DS_NVS_U16:
    case DS_NVS_I16:
    case DS_NVS_U32:
    case DS_NVS_I32:
    case DS_NVS_U64:
    case DS_NVS_I64:
        return (size_t)type & 0x0F;
    default:
        return 0;
    }
}

bool ds_nvs_type_is_number(enum ds_nvs_type type)
{
    return ds_nvs_number_size(type) != 0;
}

// String, blob data, blob of version 1: a payload follows.
static bool has_payload(enum ds_nvs_type type)
{
    return type == DS_NVS_STR || type == DS_NVS_BLOB_DATA || type == DS_NVS_BLOB_V1;
}

void ds_nvs_entry_init(uint8_t entry[32], uint8_t name_space, enum ds_nvs_type type, uint8_t chunk, const char *name)
{
    memset(entry, 0xFF, 32);
    entry[0] = name_space;
    entry[1] = (uint8_t)type;
    entry[2] = 1;
    entry[3] = chunk;
    memset(entry + 8, 0, 16);
    memcpy(entry + 8, name, strnlen(name, DS_NVS_KEY_MAX));
}

static void seal(uint8_t entry[32])
{
    ds_put_le32(entry + 4, ds_nvs_entry_crc(entry));
}

void ds_nvs_entry_set_number(uint8_t entry[32], uint64_t v)
{
    size_t size = ds_nvs_number_size((enum ds_nvs_type)entry[1]);
    for (size_t i = 0; i < size; i++)
        entry[24 + i] = (uint8_t)(v >> 8 * i);
    seal(entry);
}

void ds_nvs_entry_set_payload(uint8_t entry[32], const uint8_t *payload, size_t len)
{
    entry[2] = (uint8_t)(1 + (len + DS_NVS_ENTRY - 1) / DS_NVS_ENTRY);
    ds_put_le16(entry + 24, (uint16_t)len);
    // (zlib takes no bytes at NULL for "the initial value", so an empty payload needs an address)
    ds_put_le32(entry + 28, ds_crc32_esp(0xFFFFFFFF, len ? payload : entry, len));
    seal(entry);
}

void ds_nvs_entry_set_index(uint8_t entry[32], uint32_t size, uint8_t chunks, uint8_t chunk_start)
{
    ds_put_le32(entry + 24, size);
    entry[28] = chunks;
    entry[29] = chunk_start;
    seal(entry);
}

bool ds_nvs_entry_is_header(const uint8_t *page, unsigned index)
{
    const uint8_t *entry = page + ds_nvs_entry_offset(index);
    enum ds_nvs_type type = (enum ds_nvs_type)entry[1];
    unsigned span = entry[2];
    if (ds_le32(entry + 4) != ds_nvs_entry_crc(entry) || !memchr(entry + 8, 0, 16) || !entry[8])
        return false;
    if ((type == DS_NVS_BLOB_DATA) == (entry[3] == DS_NVS_CHUNK_NONE))
        return false;
    if (ds_nvs_type_is_number(type) || type == DS_NVS_BLOB_IDX)
        return span == 1;
    if (!has_payload(type))
        return false;
    size_t size = ds_le16(entry + 24);
    return span <= DS_NVS_ENTRIES - index && span == 1 + (size + DS_NVS_ENTRY - 1) / DS_NVS_ENTRY;
}

bool ds_nvs_entry_is_whole(const uint8_t *page, unsigned index)
{
    const uint8_t *entry = page + ds_nvs_entry_offset(index);
    if (!ds_nvs_entry_is_header(page, index))
        return false;
    for (unsigned i = 0; i < entry[2]; i++)
        if (ds_nvs_entry_get_state(page, index + i) != DS_NVS_ENTRY_WRITTEN)
            return false;
    if (!has_payload((enum ds_nvs_type)entry[1]))
        return true;
    return ds_le32(entry + 28) == ds_crc32_esp(0xFFFFFFFF, entry + DS_NVS_ENTRY, ds_le16(entry + 24));
}

enum ds_class ds_nvs_page_crypt(const ds_nvs_keys *keys, bool encrypt, uint32_t offset, uint8_t *page, ds_err *e)
{
    for (unsigned i = 0, n; i < DS_NVS_ENTRIES; i += n) {
        bool written = ds_nvs_entry_get_state(page, i) == DS_NVS_ENTRY_WRITTEN;
        for (n = 1; i + n < DS_NVS_ENTRIES; n++)
            if ((ds_nvs_entry_get_state(page, i + n) == DS_NVS_ENTRY_WRITTEN) != written)
                break;
        uint32_t at = ds_nvs_entry_offset(i);
        if (written && ds_nvs_crypt(keys, encrypt, offset + at, page + at, (size_t)n * DS_NVS_ENTRY, e))
            return ds_wrap(e, "NVS page at 0x%x", offset);
    }
    return DS_OK;
}
