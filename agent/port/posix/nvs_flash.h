// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A live NVS partition on NOR flash, as ESP-IDF's nvs_flash keeps one: values are appended as entries, replaced ones
// are erased afterwards, pages are compacted when full. Power may be lost at any flash word: every value is then the
// old or the new one. Formats: src/esp/nvs.h.
#ifndef DS_AGENT_POSIX_NVS_FLASH_H
#define DS_AGENT_POSIX_NVS_FLASH_H

#include "src/esp/nvs.h"

// The partition's flash; addresses from its start. False on failure.
typedef struct ds_nvs_flash_ops {
    void *ctx;
    bool (*read)(void *ctx, uint32_t off, void *buf, uint32_t len);
    bool (*program)(void *ctx, uint32_t off, const void *data, uint32_t len); // only clears bits; multiples of 4
    bool (*erase)(void *ctx, uint32_t off, uint32_t len);                     // multiples of 4096
} ds_nvs_flash_ops;

typedef struct ds_nvs_flash ds_nvs_flash;

// Mount size bytes (at least 3 pages): repairs what a power loss left (torn entries, doubled values, a half-moved
// page). keys NULL = plain. A blank partition is formatted on first set. Caller frees with ds_nvs_flash_close.
enum ds_class ds_nvs_flash_open(const ds_nvs_flash_ops *ops, uint32_t size, const ds_nvs_keys *keys, ds_nvs_flash **ret,
                                ds_err *e) DS_MUST;
void ds_nvs_flash_close(ds_nvs_flash *n);

// type: an integer type (number in the first bytes of data, little-endian), DS_NVS_STR (without NUL) or
// DS_NVS_BLOB_DATA. Writing the value that is already there writes nothing. DS_STORE with code ENOSPC when full.
enum ds_class ds_nvs_flash_set(ds_nvs_flash *n, const char *name_space, const char *key, enum ds_nvs_type type,
                               ds_view data, ds_err *e) DS_MUST;
// Erase an item; DS_OK also where there is none. Its bytes stay in flash, as they were written, until their page is
// compacted.
enum ds_class ds_nvs_flash_erase(ds_nvs_flash *n, const char *name_space, const char *key, ds_err *e) DS_MUST;
// The live items, in flash order; owned by the caller.
enum ds_class ds_nvs_flash_items(ds_nvs_flash *n, ds_nvs_items *ret, ds_err *e) DS_MUST;
uint32_t ds_nvs_flash_free_bytes(ds_nvs_flash *n);

#endif
