// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The binary partition table and its checks; see ptable.h. ESP-IDF partition-tables.rst, esp_flash_partitions.h.
#include "src/esp/ptable.h"

#include <openssl/evp.h>
#include <string.h>

#define ROW 32u
#define LABEL 16u
#define TABLE_SECTOR 0x1000u
#define OTADATA_SIZE 0x2000u
#define APP_ALIGN 0x10000u
#define SECTOR 0x1000u
#define SUBTYPE_COREDUMP 0x03
#define FLAG_ENCRYPTED 1u
#define FLAG_READONLY 2u

static enum ds_class table_md5(const uint8_t *data, size_t len, uint8_t ret[16], ds_err *e)
{
    if (!EVP_Digest(data, len, ret, NULL, EVP_md5(), NULL))
        return ds_fail(e, DS_INTERNAL, "partition table: MD5 is not available");
    return DS_OK;
}

static bool all_ff(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0xFF)
            return false;
    return true;
}

static enum ds_class parse_row(const uint8_t *row, unsigned index, ds_part *ret, ds_err *e)
{
    if (row[0] != 0xAA || row[1] != 0x50)
        return ds_fail(e, DS_INPUT, "partition table row %u begins with 0x%02x 0x%02x, not 0xaa 0x50", index, row[0],
                       row[1]);
    *ret = (ds_part){.type = row[2], .subtype = row[3], .offset = ds_le32(row + 4), .size = ds_le32(row + 8)};
    memcpy(ret->label, row + 12, strnlen((const char *)row + 12, LABEL));
    for (const char *c = ret->label; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return ds_fail(e, DS_INPUT, "partition table row %u has control characters in its name", index);
    uint32_t flags = ds_le32(row + 28);
    ret->encrypted = flags & FLAG_ENCRYPTED;
    ret->readonly = flags & FLAG_READONLY;
    return DS_OK;
}

static enum ds_class check_md5_row(ds_view data, size_t at, ds_err *e)
{
    uint8_t md5[16];
    if (table_md5(data.ptr, at, md5, e))
        return DS_INTERNAL;
    if (memcmp(md5, data.ptr + at + 16, sizeof md5) != 0)
        return ds_fail(e, DS_INPUT, "partition table digest differs from its rows");
    return DS_OK;
}

static enum ds_class parse_rows(ds_view data, ds_ptable *ret, ds_err *e)
{
    for (size_t at = 0; at + ROW <= data.len; at += ROW) {
        const uint8_t *row = data.ptr + at;
        if (all_ff(row, ROW))
            return DS_OK;
        if (row[0] == 0xEB && row[1] == 0xEB) {
            enum ds_class cls = check_md5_row(data, at, e);
            if (cls)
                return cls;
            if (at + 2 * ROW <= data.len && !all_ff(row + ROW, ROW))
                return ds_fail(e, DS_INPUT, "partition table goes on after its digest");
            continue;
        }
        if (ret->count == DS_PTABLE_MAX)
            return ds_fail(e, DS_INPUT, "partition table has more than %d rows", DS_PTABLE_MAX);
        if (parse_row(row, ret->count, &ret->parts[ret->count], e))
            return DS_INPUT;
        ret->count++;
    }
    return ds_fail(e, DS_INPUT, "partition table has no end marker");
}

enum ds_class ds_ptable_parse(ds_view data, ds_ptable *ret, ds_err *e)
{
    *ret = (ds_ptable){0};
    if (data.len % ROW || data.len > DS_PTABLE_SIZE)
        return ds_fail(e, DS_INPUT, "partition table of %zu bytes: not a multiple of %u up to %u", data.len, ROW,
                       DS_PTABLE_SIZE);
    enum ds_class cls = parse_rows(data, ret, e);
    if (cls)
        return cls;
    // Where the table itself lies is not known here: only what its rows say of each other is checked.
    return ds_ptable_check(ret, UINT32_MAX, 0, e);
}

enum ds_class ds_ptable_build(const ds_ptable *t, uint8_t ret[DS_PTABLE_SIZE], ds_err *e)
{
    if (t->count > DS_PTABLE_MAX - 1) // the digest and an end marker need rows too
        return ds_fail(e, DS_INPUT, "partition table of %u rows, %d are possible", t->count, DS_PTABLE_MAX - 1);
    memset(ret, 0xFF, DS_PTABLE_SIZE);
    for (unsigned i = 0; i < t->count; i++) {
        const ds_part *p = &t->parts[i];
        uint8_t *row = ret + i * ROW;
        memset(row, 0, ROW);
        row[0] = 0xAA;
        row[1] = 0x50;
        row[2] = p->type;
        row[3] = p->subtype;
        ds_put_le32(row + 4, p->offset);
        ds_put_le32(row + 8, p->size);
        memcpy(row + 12, p->label, strnlen(p->label, LABEL));
        ds_put_le32(row + 28, (p->encrypted ? FLAG_ENCRYPTED : 0) | (p->readonly ? FLAG_READONLY : 0));
    }
    uint8_t *row = ret + t->count * ROW;
    row[0] = row[1] = 0xEB;
    return table_md5(ret, t->count * ROW, row + 16, e);
}

static enum ds_class check_part(const ds_part *p, uint32_t flash_size, ds_err *e)
{
    uint32_t align = p->type == DS_PART_APP ? APP_ALIGN : SECTOR;
    if (p->offset % align)
        return ds_fail(e, DS_INPUT, "partition %s: offset 0x%x is not a multiple of 0x%x", p->label, p->offset, align);
    if (p->type == DS_PART_APP && p->size % SECTOR)
        return ds_fail(e, DS_INPUT, "partition %s: size 0x%x is not a multiple of 0x%x", p->label, p->size, SECTOR);
    if (p->size > UINT32_MAX - p->offset)
        return ds_fail(e, DS_INPUT, "partition %s: size 0x%x reaches beyond the address space", p->label, p->size);
    if (flash_size && p->offset + p->size > flash_size)
        return ds_fail(e, DS_INPUT, "partition %s ends at 0x%x, the flash at 0x%x", p->label, p->offset + p->size,
                       flash_size);
    bool always_rw = p->type == DS_PART_DATA && (p->subtype == DS_PART_DATA_OTA || p->subtype == SUBTYPE_COREDUMP);
    if (always_rw && p->readonly)
        return ds_fail(e, DS_INPUT, "partition %s cannot be read-only", p->label);
    if (p->type == DS_PART_DATA && p->subtype == DS_PART_DATA_OTA && p->size != OTADATA_SIZE)
        return ds_fail(e, DS_INPUT, "partition %s: otadata has 0x%x bytes, it needs 0x%x", p->label, p->size,
                       OTADATA_SIZE);
    return DS_OK;
}

static enum ds_class check_pair(const ds_part *a, const ds_part *b, ds_err *e)
{
    if (!strcmp(a->label, b->label))
        return ds_fail(e, DS_INPUT, "two partitions are named %s", a->label);
    if (a->offset < b->offset + b->size && b->offset < a->offset + a->size)
        return ds_fail(e, DS_INPUT, "partitions %s and %s overlap at 0x%x", a->label, b->label,
                       a->offset > b->offset ? a->offset : b->offset);
    if (a->type == DS_PART_DATA && a->subtype == DS_PART_DATA_OTA && b->type == a->type && b->subtype == a->subtype)
        return ds_fail(e, DS_INPUT, "partitions %s and %s are both otadata", a->label, b->label);
    return DS_OK;
}

// table_offset UINT32_MAX: not known.
enum ds_class ds_ptable_check(const ds_ptable *t, uint32_t table_offset, uint32_t flash_size, ds_err *e)
{
    for (unsigned i = 0; i < t->count; i++) {
        const ds_part *p = &t->parts[i];
        if (check_part(p, flash_size, e))
            return DS_INPUT;
        if (table_offset != UINT32_MAX && p->offset < table_offset + TABLE_SECTOR)
            return ds_fail(e, DS_INPUT, "partition %s at 0x%x lies below the end of the partition table, 0x%x",
                           p->label, p->offset, table_offset + TABLE_SECTOR);
        for (unsigned k = 0; k < i; k++)
            if (check_pair(p, &t->parts[k], e))
                return DS_INPUT;
    }
    return DS_OK;
}

const ds_part *ds_ptable_find(const ds_ptable *t, const char *label)
{
    for (unsigned i = 0; i < t->count; i++)
        if (!strcmp(t->parts[i].label, label))
            return &t->parts[i];
    return NULL;
}

const ds_part *ds_ptable_find_type(const ds_ptable *t, uint8_t type, uint8_t subtype)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->parts[i].type == type && t->parts[i].subtype == subtype)
            return &t->parts[i];
    return NULL;
}

unsigned ds_ptable_ota_count(const ds_ptable *t)
{
    unsigned n = 0;
    while (n < 16 && ds_ptable_find_type(t, DS_PART_APP, (uint8_t)(DS_PART_APP_OTA0 + n)))
        n++;
    return n;
}

bool ds_part_is_encrypted(const ds_part *p)
{
    return p->type == DS_PART_APP || p->encrypted ||
           (p->type == DS_PART_DATA && (p->subtype == DS_PART_DATA_OTA || p->subtype == DS_PART_DATA_NVS_KEYS));
}
