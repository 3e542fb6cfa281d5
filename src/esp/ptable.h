// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Partition table, binary and CSV. Source: ESP-IDF partition-tables.rst, esp_flash_partitions.h, gen_esp32part.py
// (v5.4).
#ifndef DS_ESP_PTABLE_H
#define DS_ESP_PTABLE_H

#include "src/base/buf.h"

#define DS_PTABLE_SIZE 0xC00u
#define DS_PTABLE_MAX 95

enum { DS_PART_APP = 0x00, DS_PART_DATA = 0x01 };
enum { DS_PART_APP_FACTORY = 0x00, DS_PART_APP_OTA0 = 0x10 };
enum { DS_PART_DATA_OTA = 0x00, DS_PART_DATA_NVS = 0x02, DS_PART_DATA_NVS_KEYS = 0x04 };

typedef struct ds_part {
    uint8_t type, subtype;
    uint32_t offset, size;
    char label[17];
    bool encrypted, readonly; // flags as stored; apps are encrypted whatever the flag says
} ds_part;

typedef struct ds_ptable {
    unsigned count;
    ds_part parts[DS_PTABLE_MAX];
} ds_ptable;

// Parse 0xC00 bytes or fewer; verifies the MD5 row, end marker, alignment, overlap.
enum ds_class ds_ptable_parse(ds_view data, ds_ptable *ret, ds_err *e) DS_MUST;
// Write exactly DS_PTABLE_SIZE bytes.
enum ds_class ds_ptable_build(const ds_ptable *t, uint8_t ret[DS_PTABLE_SIZE], ds_err *e) DS_MUST;
// CSV as gen_esp32part reads it; table_offset decides where free space starts and is checked against.
enum ds_class ds_ptable_from_csv(const char *csv, uint32_t table_offset, ds_ptable *ret, ds_err *e) DS_MUST;
// All checks gen_esp32part makes, against the table's own place and a flash size (0 = unknown).
enum ds_class ds_ptable_check(const ds_ptable *t, uint32_t table_offset, uint32_t flash_size, ds_err *e) DS_MUST;

// NULL where there is none.
const ds_part *ds_ptable_find(const ds_ptable *t, const char *label);
const ds_part *ds_ptable_find_type(const ds_ptable *t, uint8_t type, uint8_t subtype);
// How many ota_N app partitions there are, contiguous from ota_0.
unsigned ds_ptable_ota_count(const ds_ptable *t);
// Does in-place flash encryption cover it? (apps, otadata, nvs_keys, flagged ones)
bool ds_part_is_encrypted(const ds_part *p);

#endif
