// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NVS partitions: parse, build, encrypt. Source: ESP-IDF nvs_flash.rst, nvs_encryption.rst, nvs_page.hpp,
// nvs_types.hpp; esp-idf-nvs-partition-gen 0.2.0.
#ifndef DS_ESP_NVS_H
#define DS_ESP_NVS_H

#include "src/base/buf.h"

#define DS_NVS_PAGE 4096u
#define DS_NVS_ENTRIES 126u
#define DS_NVS_ENTRY 32u
#define DS_NVS_KEY_MAX 15u
#define DS_NVS_STRING_MAX 4000u // with the NUL

enum ds_nvs_type {
    DS_NVS_U8 = 0x01,
    DS_NVS_I8 = 0x11,
    DS_NVS_U16 = 0x02,
    DS_NVS_I16 = 0x12,
    DS_NVS_U32 = 0x04,
    DS_NVS_I32 = 0x14,
    DS_NVS_U64 = 0x08,
    DS_NVS_I64 = 0x18,
    DS_NVS_STR = 0x21,
    DS_NVS_BLOB_V1 = 0x41,
    DS_NVS_BLOB_DATA = 0x42,
    DS_NVS_BLOB_IDX = 0x48,
};

// eky | tky, the key partition's content.
typedef struct ds_nvs_keys {
    uint8_t bytes[64];
} ds_nvs_keys;

typedef struct ds_nvs_item {
    char name_space[16];
    char key[16];
    enum ds_nvs_type type; // BLOB_DATA for any blob
    uint64_t number;       // integers, sign-extended
    ds_buf data;           // string (without NUL) or blob; owned
} ds_nvs_item;

typedef struct ds_nvs_items {
    size_t count, cap;
    ds_nvs_item *items;
} ds_nvs_items;

void ds_nvs_items_free(ds_nvs_items *items);
// Append; key and namespace are checked when built. data is copied.
void ds_nvs_add_number(ds_nvs_items *items, const char *name_space, const char *key, enum ds_nvs_type type, uint64_t v);
void ds_nvs_add_bytes(ds_nvs_items *items, const char *name_space, const char *key, enum ds_nvs_type type,
                      ds_view data);
const ds_nvs_item *ds_nvs_find(const ds_nvs_items *items, const char *name_space, const char *key);

// Build a partition of size bytes (multiple of 4096), byte for byte as nvs_partition_gen does (version 2). keys NULL =
// plain.
enum ds_class ds_nvs_build(const ds_nvs_items *items, uint32_t size, const ds_nvs_keys *keys, ds_buf *ret,
                           ds_err *e) DS_MUST;
// Read every live item of a partition (pages of v1 and v2, multi-page blobs), ignoring torn entries as the device does.
// keys NULL = plain. DS_INPUT where no page is readable though the partition is not empty.
enum ds_class ds_nvs_parse(ds_view partition, const ds_nvs_keys *keys, ds_nvs_items *ret, ds_err *e) DS_MUST;

// XTS-AES-256 over one or more 32-byte entries; offset = of the first one from the partition's start. In place.
enum ds_class ds_nvs_crypt(const ds_nvs_keys *keys, bool encrypt, uint32_t offset, uint8_t *entries, size_t len,
                           ds_err *e) DS_MUST;

// The nvs_keys partition (4096 bytes). Parse: false in *ret_present where it is blank (all FF); DS_INPUT on a bad CRC.
void ds_nvs_keys_write(const ds_nvs_keys *keys, uint8_t ret[4096]);
enum ds_class ds_nvs_keys_read(const uint8_t *data, bool *ret_present, ds_nvs_keys *ret, ds_err *e) DS_MUST;

// What the HMAC peripheral is given to make the first and the second half of the keys from its key block, where no
// nvs_keys partition holds them (nvs_sec_provider.c).
void ds_nvs_hmac_seed(bool second, uint8_t ret[32]);

// Entry header helpers shared with whoever writes NVS incrementally (the virtual device).
uint32_t ds_nvs_entry_crc(const uint8_t entry[DS_NVS_ENTRY]);

#endif
