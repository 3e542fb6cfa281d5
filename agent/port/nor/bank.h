// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One bank of the store: its header, its records, and what state power loss left it in. Internal to agent/port/nor.
#ifndef DS_PORT_NOR_BANK_H
#define DS_PORT_NOR_BANK_H

#include "agent/port/nor/store.h"

#define DS_NOR_NAME_MAX 15u
#define DS_NOR_BLANK 0xFFFFFFFFu

enum ds_nor_bank {
    DS_NOR_BANK_BLANK, // erased
    DS_NOR_BANK_VALID, // its header is whole
    DS_NOR_BANK_DEAD,  // given up, or its making was cut off before anything was in it
    DS_NOR_BANK_PARTS, // records without a header: being filled, being erased, or damaged
};

// A record where it lies; pointers into flash.
typedef struct ds_nor_record {
    enum ds_value_type type;
    const char *name_space, *key; // not terminated
    size_t name_space_len, key_len;
    const uint8_t *data;
    size_t len;
    uint32_t size; // in the log, filler included
} ds_nor_record;

bool ds_nor_blank(const ds_nor *nor, uint32_t offset, uint32_t len);

// What the bank at that offset is; its sequence where valid.
enum ds_nor_bank ds_nor_bank_state(const ds_nor *nor, uint32_t bank, uint32_t bank_size, uint32_t *ret_sequence);
// Program a header, its magic last. The words must be erased.
bool ds_nor_bank_commit(const ds_nor *nor, uint32_t bank, uint32_t sequence);
// Give the bank up and erase it: its first block, where the mark is, last.
bool ds_nor_bank_drop(const ds_nor *nor, uint32_t bank, uint32_t bank_size);

uint32_t ds_nor_record_size(size_t name_space_len, size_t key_len, size_t len);
// The record at offset (of the flash), within max bytes. Its frame is sane; whether it is whole is not looked at.
bool ds_nor_record_frame(const ds_nor *nor, uint32_t offset, uint32_t max, ds_nor_record *ret);
bool ds_nor_record_whole(const ds_nor *nor, uint32_t offset, const ds_nor_record *r);
// Append a record to erased flash, its CRC last.
bool ds_nor_record_write(const ds_nor *nor, uint32_t offset, const ds_nor_record *r);
// May what stands at offset be a record whose writing was cut off? Else it is damage.
bool ds_nor_record_torn(const ds_nor *nor, uint32_t offset, uint32_t max);
bool ds_nor_record_named(const ds_nor_record *r, const char *name_space, const char *key);

#endif
