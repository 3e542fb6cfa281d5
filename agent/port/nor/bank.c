// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Banks and records of the store; see bank.h, and store.h for the layout.
#include "agent/port/nor/bank.h"

#include "agent/core/frame.h"

#include <string.h>

enum { WORD = 4, RECORD_TAG = 0xA5, SEQUENCE_AT = 4, CRC_AT = 8, MARK_AT = 12 };
#define MAGIC 0x314E5344u // "DSN1"

static void put_le32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < WORD; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_word(const ds_nor *nor, uint32_t offset)
{
    const uint8_t *p = nor->bytes + offset;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool ds_nor_blank(const ds_nor *nor, uint32_t offset, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += WORD)
        if (get_word(nor, offset + at) != DS_NOR_BLANK)
            return false;
    return true;
}

// Program and read back.
static bool put_word(const ds_nor *nor, uint32_t offset, uint32_t word)
{
    if (word == DS_NOR_BLANK)
        return get_word(nor, offset) == word;
    return nor->program(nor->ctx, offset, word) && get_word(nor, offset) == word;
}

static uint32_t header_crc(uint32_t sequence)
{
    uint8_t bytes[CRC_AT];
    put_le32(bytes, MAGIC);
    put_le32(bytes + SEQUENCE_AT, sequence);
    return ds_frame_crc(0, bytes, sizeof bytes);
}

enum ds_nor_bank ds_nor_bank_state(const ds_nor *nor, uint32_t bank, uint32_t bank_size, uint32_t *ret_sequence)
{
    uint32_t sequence = get_word(nor, bank + SEQUENCE_AT), mark = get_word(nor, bank + MARK_AT);
    if (mark == 0)
        return DS_NOR_BANK_DEAD;
    bool whole = get_word(nor, bank) == MAGIC && get_word(nor, bank + CRC_AT) == header_crc(sequence);
    if (whole && mark == DS_NOR_BLANK) {
        *ret_sequence = sequence;
        return DS_NOR_BANK_VALID;
    }
    if (!ds_nor_blank(nor, bank + DS_NOR_HEADER, bank_size - DS_NOR_HEADER))
        return DS_NOR_BANK_PARTS;
    return ds_nor_blank(nor, bank, DS_NOR_HEADER) ? DS_NOR_BANK_BLANK : DS_NOR_BANK_DEAD;
}

bool ds_nor_bank_commit(const ds_nor *nor, uint32_t bank, uint32_t sequence)
{
    return put_word(nor, bank + SEQUENCE_AT, sequence) && put_word(nor, bank + CRC_AT, header_crc(sequence)) &&
           put_word(nor, bank, MAGIC);
}

bool ds_nor_bank_drop(const ds_nor *nor, uint32_t bank, uint32_t bank_size)
{
    uint32_t first = bank / nor->block_size, count = bank_size / nor->block_size;
    if (!put_word(nor, bank + MARK_AT, 0))
        return false;
    for (uint32_t i = count; i-- > 0;)
        if (!nor->erase(nor->ctx, first + i))
            return false;
    return ds_nor_blank(nor, bank, bank_size);
}

uint32_t ds_nor_record_size(size_t name_space_len, size_t key_len, size_t len)
{
    return (DS_NOR_RECORD + (uint32_t)(name_space_len + key_len + len) + WORD - 1) / WORD * WORD;
}

static bool type_known(uint8_t type)
{
    return type <= DS_VALUE_U64;
}

bool ds_nor_record_frame(const ds_nor *nor, uint32_t offset, uint32_t max, ds_nor_record *ret)
{
    if (max < DS_NOR_RECORD)
        return false;
    const uint8_t *p = nor->bytes + offset;
    uint32_t len = get_word(nor, offset + WORD);
    bool names_ok = p[2] >= 1 && p[2] <= DS_NOR_NAME_MAX && p[3] >= 1 && p[3] <= DS_NOR_NAME_MAX;
    if (p[0] != RECORD_TAG || !type_known(p[1]) || !names_ok || len > max)
        return false;
    const char *names = (const char *)p + DS_NOR_RECORD;
    *ret = (ds_nor_record){
        .type = (enum ds_value_type)p[1],
        .name_space = names,
        .name_space_len = p[2],
        .key = names + p[2],
        .key_len = p[3],
        .data = p + DS_NOR_RECORD + p[2] + p[3],
        .len = len,
        .size = ds_nor_record_size(p[2], p[3], len),
    };
    return ret->size <= max;
}

static void frame_of(const ds_nor_record *r, uint8_t ret[CRC_AT])
{
    ret[0] = RECORD_TAG;
    ret[1] = (uint8_t)r->type;
    ret[2] = (uint8_t)r->name_space_len;
    ret[3] = (uint8_t)r->key_len;
    put_le32(ret + WORD, (uint32_t)r->len);
}

static uint32_t record_crc(const ds_nor_record *r)
{
    uint8_t frame[CRC_AT];
    frame_of(r, frame);
    uint32_t crc = ds_frame_crc(0, frame, sizeof frame);
    crc = ds_frame_crc(crc, (const uint8_t *)r->name_space, r->name_space_len);
    crc = ds_frame_crc(crc, (const uint8_t *)r->key, r->key_len);
    return ds_frame_crc(crc, r->data, r->len);
}

bool ds_nor_record_whole(const ds_nor *nor, uint32_t offset, const ds_nor_record *r)
{
    return get_word(nor, offset + CRC_AT) == record_crc(r);
}

// Words of a record's bytes as they come; the last one is filled with FF.
typedef struct writer {
    const ds_nor *nor;
    uint32_t at;
    uint32_t word;
    unsigned filled;
    bool ok;
} writer;

static void write_bytes(writer *w, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len && w->ok; i++) {
        w->word |= (uint32_t)p[i] << 8 * w->filled;
        if (++w->filled < WORD)
            continue;
        w->ok = put_word(w->nor, w->at, w->word);
        w->at += WORD;
        w->word = w->filled = 0;
    }
}

bool ds_nor_record_write(const ds_nor *nor, uint32_t offset, const ds_nor_record *r)
{
    static const uint8_t filler[WORD] = {0xFF, 0xFF, 0xFF, 0xFF};
    uint8_t frame[CRC_AT];
    frame_of(r, frame);
    writer w = {.nor = nor, .at = offset, .ok = true};
    write_bytes(&w, frame, sizeof frame);
    w.at += WORD; // the CRC's place
    write_bytes(&w, r->name_space, r->name_space_len);
    write_bytes(&w, r->key, r->key_len);
    write_bytes(&w, r->data, r->len);
    write_bytes(&w, filler, (WORD - w.filled) % WORD);
    return w.ok && put_word(nor, offset + CRC_AT, record_crc(r));
}

bool ds_nor_record_torn(const ds_nor *nor, uint32_t offset, uint32_t max)
{
    ds_nor_record r;
    if (!ds_nor_record_frame(nor, offset, max, &r)) // cut off within its first two words: nothing can be behind them
        return max <= CRC_AT || ds_nor_blank(nor, offset + CRC_AT, max - CRC_AT);
    uint32_t crc = get_word(nor, offset + CRC_AT), whole = record_crc(&r);
    // Not begun, or cut off while its bits went to 0.
    bool crc_torn = crc == DS_NOR_BLANK || (crc & whole) == whole;
    return crc_torn && ds_nor_blank(nor, offset + r.size, max - r.size);
}

bool ds_nor_record_named(const ds_nor_record *r, const char *name_space, const char *key)
{
    return strlen(name_space) == r->name_space_len && memcmp(name_space, r->name_space, r->name_space_len) == 0 &&
           strlen(key) == r->key_len && memcmp(key, r->key, r->key_len) == 0;
}
