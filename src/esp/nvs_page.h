// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NVS pages, entries and items in (decrypted) memory: what builder, parser and the live partition have in common.
// Source: ESP-IDF nvs_page.hpp, nvs_types.hpp, nvs_constants.h (v5.4).
#ifndef DS_ESP_NVS_PAGE_H
#define DS_ESP_NVS_PAGE_H

#include "src/esp/nvs.h"

enum ds_nvs_page_state {
    DS_NVS_PAGE_BLANK,   // every byte erased
    DS_NVS_PAGE_ACTIVE,  // takes new entries
    DS_NVS_PAGE_FULL,    //
    DS_NVS_PAGE_FREEING, // its items are being moved to a newer page
    DS_NVS_PAGE_CORRUPT, // to be erased before use
};

#define DS_NVS_STATE_WORD_ACTIVE 0xFFFFFFFEu
#define DS_NVS_STATE_WORD_FULL 0xFFFFFFFCu
#define DS_NVS_STATE_WORD_FREEING 0xFFFFFFF8u

enum ds_nvs_entry_state {
    DS_NVS_ENTRY_ERASED = 0,
    DS_NVS_ENTRY_TORN = 1, // half way from empty to erased
    DS_NVS_ENTRY_WRITTEN = 2,
    DS_NVS_ENTRY_EMPTY = 3,
};

#define DS_NVS_BITMAP 32u
#define DS_NVS_FIRST_ENTRY 64u
#define DS_NVS_CHUNK_NONE 0xFF
#define DS_NVS_SECOND_GENERATION 0x80
#define DS_NVS_NAMESPACES 254u

static inline uint32_t ds_nvs_entry_offset(unsigned index)
{
    return DS_NVS_FIRST_ENTRY + (uint32_t)index * DS_NVS_ENTRY;
}

enum ds_nvs_page_state ds_nvs_page_get_state(const uint8_t *page);
// Write the header of a fresh active page of version 2.
void ds_nvs_page_init(uint8_t header[32], uint32_t sequence);

enum ds_nvs_entry_state ds_nvs_entry_get_state(const uint8_t *page, unsigned index);
void ds_nvs_entry_set_state(uint8_t bitmap[32], unsigned index, enum ds_nvs_entry_state state);

bool ds_nvs_type_is_number(enum ds_nvs_type type);
size_t ds_nvs_number_size(enum ds_nvs_type type); // bytes; 0 where it is not a number

// Make an entry; name is 1..15 characters. The value is set by one of the following, which complete the checksum.
void ds_nvs_entry_init(uint8_t entry[32], uint8_t name_space, enum ds_nvs_type type, uint8_t chunk, const char *name);
void ds_nvs_entry_set_number(uint8_t entry[32], uint64_t v);
void ds_nvs_entry_set_payload(uint8_t entry[32], const uint8_t *payload, size_t len);
void ds_nvs_entry_set_index(uint8_t entry[32], uint32_t size, uint8_t chunks, uint8_t chunk_start);

// Is there a sound header at index: checksum, type, and a span within the page?
bool ds_nvs_entry_is_header(const uint8_t *page, unsigned index);
// And is all of its span written, and the payload's checksum right?
bool ds_nvs_entry_is_whole(const uint8_t *page, unsigned index);

// A whole item and where it is. Pages are in memory decrypted.
typedef struct ds_nvs_ref {
    const uint8_t *entry;
    uint32_t page; // index in the partition
    uint8_t index; // in the page
    bool live;     // the newest of its name, complete, and not an orphan chunk
} ds_nvs_ref;

typedef struct ds_nvs_refs {
    size_t count, cap;
    ds_nvs_ref *refs;
} ds_nvs_refs;

// Every whole item, oldest first; marks those that count. A blob's index counts only where all its chunks are there.
void ds_nvs_scan(const uint8_t *image, uint32_t pages, ds_nvs_refs *ret);
void ds_nvs_refs_free(ds_nvs_refs *refs);
// The live item of that name that is no data chunk, or NULL.
const ds_nvs_ref *ds_nvs_refs_find(const ds_nvs_refs *refs, uint8_t name_space, const char *name);
const ds_nvs_ref *ds_nvs_refs_chunk(const ds_nvs_refs *refs, const uint8_t *index_entry, unsigned chunk);
// Index of a namespace, 0 where there is none.
uint8_t ds_nvs_refs_namespace(const ds_nvs_refs *refs, const char *name);
// What the live items hold.
void ds_nvs_refs_items(const ds_nvs_refs *refs, ds_nvs_items *ret);

// Decrypt (or encrypt) the written entries of one page; offset is the page's in the partition.
enum ds_class ds_nvs_page_crypt(const ds_nvs_keys *keys, bool encrypt, uint32_t offset, uint8_t *page,
                                ds_err *e) DS_MUST;

#endif
