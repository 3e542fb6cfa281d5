// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The partition table's CSV form, as ESP-IDF's gen_esp32part reads it (partition-tables.rst): names or numbers for type
// and subtype, K and M suffixes, empty offsets filled in, negative sizes meaning "up to this address", $VARIABLES from
// the environment.
#include "src/esp/ptable.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_SECTOR 0x1000u
#define FIELDS 6
#define TYPE_BOOTLOADER 0x02
#define TYPE_TABLE 0x03
#define SUBTYPE_UNDEFINED 0x06

typedef struct {
    const char *word;
    uint8_t type, value;
} keyword;

static const keyword types[] = {
    {"app", 0, DS_PART_APP},
    {"data", 0, DS_PART_DATA},
    {"bootloader", 0, TYPE_BOOTLOADER},
    {"partition_table", 0, TYPE_TABLE},
};

static const keyword subtypes[] = {
    {"ota", TYPE_BOOTLOADER, 0x01},
    {"ota", TYPE_TABLE, 0x01},
    {"factory", DS_PART_APP, DS_PART_APP_FACTORY},
    {"test", DS_PART_APP, 0x20},
    {"ota_0", DS_PART_APP, 0x10},
    {"ota_1", DS_PART_APP, 0x11},
    {"ota_2", DS_PART_APP, 0x12},
    {"ota_3", DS_PART_APP, 0x13},
    {"ota_4", DS_PART_APP, 0x14},
    {"ota_5", DS_PART_APP, 0x15},
    {"ota_6", DS_PART_APP, 0x16},
    {"ota_7", DS_PART_APP, 0x17},
    {"ota_8", DS_PART_APP, 0x18},
    {"ota_9", DS_PART_APP, 0x19},
    {"ota_10", DS_PART_APP, 0x1A},
    {"ota_11", DS_PART_APP, 0x1B},
    {"ota_12", DS_PART_APP, 0x1C},
    {"ota_13", DS_PART_APP, 0x1D},
    {"ota_14", DS_PART_APP, 0x1E},
    {"ota_15", DS_PART_APP, 0x1F},
    {"ota", DS_PART_DATA, DS_PART_DATA_OTA},
    {"phy", DS_PART_DATA, 0x01},
    {"nvs", DS_PART_DATA, DS_PART_DATA_NVS},
    {"coredump", DS_PART_DATA, 0x03},
    {"nvs_keys", DS_PART_DATA, DS_PART_DATA_NVS_KEYS},
    {"efuse", DS_PART_DATA, 0x05},
    {"undefined", DS_PART_DATA, SUBTYPE_UNDEFINED},
    {"esphttpd", DS_PART_DATA, 0x80},
    {"fat", DS_PART_DATA, 0x81},
    {"spiffs", DS_PART_DATA, 0x82},
    {"littlefs", DS_PART_DATA, 0x83},
};

// One line of the file before gaps are filled.
typedef struct {
    ds_part part;
    bool has_offset;
    int64_t size; // negative: minus the end address
    unsigned line;
} row;

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t len = strlen(s);
    while (len && isspace((unsigned char)s[len - 1]))
        s[--len] = '\0';
    return s;
}

// Digits of base up to the end; false on anything else and above 40 bits.
static bool parse_digits(const char *s, size_t len, unsigned base, int64_t *ret)
{
    int64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        int c = tolower((unsigned char)s[i]);
        int digit = isdigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
        if (digit >= (int)base || v >> 40)
            return false;
        v = v * (int)base + digit;
    }
    *ret = v;
    return len > 0;
}

// Decimal, 0x, 0o or 0b number with sign and K or M suffixes.
static bool parse_number(const char *s, int64_t *ret)
{
    bool negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    size_t len = strlen(s);
    unsigned shift = 0;
    for (; len && strchr("kKmM", s[len - 1]); len--)
        shift += tolower((unsigned char)s[len - 1]) == 'k' ? 10 : 20;
    unsigned base = 10;
    if (len > 1 && s[0] == '0') {
        int c = tolower((unsigned char)s[1]);
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        if (base == 10 && strspn(s, "0") != len)
            return false; // "010" is no number anyone agrees on
    }
    size_t prefix = base == 10 ? 0 : 2;
    if (shift > 20 || !parse_digits(s + prefix, len - prefix, base, ret))
        return false;
    *ret = *ret * ((int64_t)1 << shift) * (negative ? -1 : 1);
    return true;
}

static bool parse_byte(const char *s, const keyword *words, size_t count, uint8_t type, uint8_t *ret)
{
    int64_t v;
    if (parse_number(s, &v)) {
        *ret = (uint8_t)v;
        return v >= 0 && v <= 0xFF;
    }
    for (size_t i = 0; i < count; i++)
        if (words[i].type == type && !strcasecmp(words[i].word, s)) {
            *ret = words[i].value;
            return true;
        }
    return false;
}

static enum ds_class parse_kind(char *const f[FIELDS], ds_part *ret, ds_err *e)
{
    if (!*f[1])
        return ds_fail(e, DS_INPUT, "the type is missing");
    if (!parse_byte(f[1], types, sizeof types / sizeof *types, 0, &ret->type))
        return ds_fail(e, DS_INPUT, "type '%s' is neither a number up to 255 nor a known word", f[1]);
    if (!*f[2]) {
        if (ret->type == DS_PART_APP)
            return ds_fail(e, DS_INPUT, "an app partition needs a subtype");
        ret->subtype = SUBTYPE_UNDEFINED;
        return DS_OK;
    }
    if (!parse_byte(f[2], subtypes, sizeof subtypes / sizeof *subtypes, ret->type, &ret->subtype))
        return ds_fail(e, DS_INPUT, "subtype '%s' is neither a number up to 255 nor a word known for this type", f[2]);
    return DS_OK;
}

static enum ds_class parse_place(char *const f[FIELDS], row *ret, ds_err *e)
{
    int64_t offset = 0;
    ret->has_offset = *f[3] != '\0';
    if (ret->has_offset && (!parse_number(f[3], &offset) || offset < 0 || offset > UINT32_MAX))
        return ds_fail(e, DS_INPUT, "offset '%s' is not a number up to 0xffffffff", f[3]);
    ret->part.offset = (uint32_t)offset;
    if (!*f[4])
        return ds_fail(e, DS_INPUT, "the size is missing");
    if (!parse_number(f[4], &ret->size) || ret->size > UINT32_MAX || ret->size < -(int64_t)UINT32_MAX)
        return ds_fail(e, DS_INPUT, "size '%s' is not a number up to 0xffffffff", f[4]);
    return DS_OK;
}

static enum ds_class parse_flags(char *text, ds_part *ret, ds_err *e)
{
    for (char *flag; (flag = strsep(&text, ":"));) {
        if (!strcmp(flag, "encrypted"))
            ret->encrypted = true;
        else if (!strcmp(flag, "readonly"))
            ret->readonly = true;
        else if (*flag)
            return ds_fail(e, DS_INPUT, "flag '%s' is unknown", flag);
    }
    return DS_OK;
}

static enum ds_class parse_line(char *line, row *ret, ds_err *e)
{
    char empty[] = "";
    char *f[FIELDS];
    for (unsigned i = 0; i < FIELDS; i++) {
        char *field = strsep(&line, ",");
        f[i] = field ? trim(field) : empty;
    }
    // As the reference tool and the device: what goes beyond 16 bytes of a name is not kept.
    memcpy(ret->part.label, f[0], strnlen(f[0], sizeof ret->part.label - 1));
    if (parse_kind(f, &ret->part, e) || parse_place(f, ret, e) || parse_flags(f[5], &ret->part, e))
        return DS_INPUT;
    return DS_OK;
}

// Length of the variable reference "$NAME" or "${NAME}" at s, 0 where there is none; *ret_name is allocated.
static size_t variable_at(const char *s, char **ret_name)
{
    bool braced = s[1] == '{';
    const char *name = s + (braced ? 2 : 1);
    size_t len = 0;
    while (isalnum((unsigned char)name[len]) || name[len] == '_')
        len++;
    if (*s != '$' || !len || (braced && name[len] != '}'))
        return 0;
    *ret_name = ds_asprintf("%.*s", (int)len, name);
    return len + (braced ? 3 : 1);
}

static enum ds_class expand(const char *line, size_t len, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *text = ds_asprintf("%.*s", (int)len, line);
    for (const char *s = text; *s;) {
        DS_CLEANUP_FREE char *name = NULL;
        size_t skip = variable_at(s, &name);
        if (!skip) {
            ds_buf_add_u8(ret, (uint8_t)*s++);
            continue;
        }
        const char *value = getenv(name);
        if (!value) {
            ds_fail(e, DS_INPUT, "the variable %s is not in the environment", name);
            return ds_hint(e, "export %s, or write its value", name);
        }
        ds_buf_add(ret, value, strlen(value));
        s += skip;
    }
    ds_buf_add_u8(ret, '\0');
    return DS_OK;
}

// Fill in what the line left open; *end is where the partition before it ends.
static enum ds_class place(row *r, bool first, int64_t *end, ds_err *e)
{
    ds_part *p = &r->part;
    if (r->has_offset && p->offset < *end) {
        if (first)
            return ds_fail(e, DS_INPUT, "line %u: offset 0x%x lies in or below the partition table, which ends at 0x%x",
                           r->line, p->offset, (unsigned)*end);
        return ds_fail(e, DS_INPUT, "line %u: offset 0x%x lies before 0x%llx, where the partition before it ends",
                       r->line, p->offset, (unsigned long long)*end);
    }
    int64_t align = p->type == DS_PART_APP ? 0x10000 : 0x1000;
    int64_t offset = r->has_offset ? (int64_t)p->offset : (*end + align - 1) / align * align;
    int64_t size = r->size < 0 ? -r->size - offset : r->size;
    if (size < 0 || offset + size > UINT32_MAX)
        return ds_fail(e, DS_INPUT, "line %u: partition %s has no room between 0x%llx and its end", r->line, p->label,
                       (unsigned long long)offset);
    p->offset = (uint32_t)offset;
    p->size = (uint32_t)size;
    *end = offset + size;
    return DS_OK;
}

// Read one line of the file; blank lines and comments leave *ret_used false.
static enum ds_class take_line(const char *line, size_t len, row *ret, bool *ret_used, ds_err *e)
{
    size_t blank = strspn(line, " \t");
    *ret_used = blank < len && line[blank] != '#';
    if (!*ret_used)
        return DS_OK;
    DS_CLEANUP_BUF ds_buf text = {0};
    if (expand(line, len, &text, e))
        return DS_INPUT;
    char *s = trim((char *)text.ptr);
    *ret_used = *s != '\0';
    return *ret_used ? parse_line(s, ret, e) : DS_OK;
}

enum ds_class ds_ptable_from_csv(const char *csv, uint32_t table_offset, ds_ptable *ret, ds_err *e)
{
    *ret = (ds_ptable){0};
    int64_t end = (int64_t)table_offset + TABLE_SECTOR;
    unsigned number = 1;
    for (const char *line = csv; *line; number++) {
        size_t len = strcspn(line, "\r\n");
        row r = {.line = number};
        bool used;
        if (take_line(line, len, &r, &used, e))
            return ds_wrap(e, "line %u", number);
        if (used) {
            if (ret->count == DS_PTABLE_MAX)
                return ds_fail(e, DS_INPUT, "line %u: more than %d partitions", number, DS_PTABLE_MAX);
            if (place(&r, ret->count == 0, &end, e))
                return DS_INPUT;
            ret->parts[ret->count++] = r.part;
        }
        line += len;
        line += line[0] == '\r' && line[1] == '\n' ? 2 : *line ? 1 : 0;
    }
    return ds_ptable_check(ret, table_offset, 0, e);
}
