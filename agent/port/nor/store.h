// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's values on NOR flash, safe under power loss: a log in one of two banks, for ports that have no storage of
// their own. The functions keep what agent/core/port.h promises of the value functions of the same name.
//
// Layout, all words little-endian. A bank is half of the flash, a whole number of blocks:
//   header   magic "DSN1" | sequence | CRC-32 of these 8 bytes | mark: FFFFFFFF, 0 once the bank is given up
//   records  A5 | type | namespace length | key length; data length (4); CRC-32; namespace, key, data; FF up to 4
// A record's CRC-32/ISO-HDLC is over all of it but the CRC and the filler, and is programmed last: without it the
// record does not count. Of records with one name the last one counts. Where the log is full or ends in a torn record,
// the values move to the other bank, whose header is programmed last: until then the old bank counts, from then on the
// one with the higher sequence.
#ifndef DS_PORT_NOR_STORE_H
#define DS_PORT_NOR_STORE_H

#include "agent/core/port.h"
#include "agent/port/nor/nor.h"

#define DS_NOR_HEADER 16u // bytes of a bank's header
#define DS_NOR_RECORD 12u // bytes of a record before its names

typedef struct ds_nor_store {
    const ds_nor *nor;
    uint32_t bank_size;
    uint32_t bank;     // offset of the one that counts
    uint32_t sequence; // its
    uint32_t end;      // of its log, from the bank's start
    enum { DS_NOR_EMPTY, DS_NOR_LIVE, DS_NOR_DAMAGED } state;
    bool torn;     // something lies behind the log's end
    bool leftover; // the other bank is not blank
} ds_nor_store;

// Read what flash holds; writes nothing. A store that is damaged (not by power loss, which never damages one) answers
// FLASH to everything but erase; so does one on fewer than two blocks. An odd last block is left alone.
void ds_nor_store_mount(ds_nor_store *s, const ds_nor *nor);

ds_status ds_nor_store_get(const ds_nor_store *s, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len);
// NO_SPACE leaves everything as it was. A value that is there already is not written again: flash wears.
ds_status ds_nor_store_set(ds_nor_store *s, const char *name_space, const char *key, enum ds_value_type type,
                           const void *data, size_t len);
// fn must not use the store.
ds_status ds_nor_store_each(const ds_nor_store *s, ds_value_fn fn, void *arg);
// Cut off, it may leave a damaged store; called again, it completes.
ds_status ds_nor_store_erase(ds_nor_store *s);
bool ds_nor_store_is_blank(const ds_nor_store *s);
// For data and names of values to come, record headers not counted.
uint32_t ds_nor_store_free(const ds_nor_store *s);

#endif
