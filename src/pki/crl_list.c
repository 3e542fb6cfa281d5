// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The list of what is revoked, as text; see crl.h.
#include "src/pki/crl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_LEN = 160 };
static const char magic[] = "devstamp revoked 1";

// certificateHold and removeFromCRL are not here: what is revoked stays so. aACompromise is about other certificates.
static const struct reason {
    const char *name;
    int code;
} reasons[] = {
    {"unspecified", 0}, {"keyCompromise", 1},        {"cACompromise", 2},       {"affiliationChanged", 3},
    {"superseded", 4},  {"cessationOfOperation", 5}, {"privilegeWithdrawn", 9},
};
enum { REASONS = sizeof reasons / sizeof *reasons };

int ds_crl_reason_parse(const char *name, size_t len)
{
    for (size_t i = 0; i < REASONS; i++)
        if (strlen(reasons[i].name) == len && memcmp(reasons[i].name, name, len) == 0)
            return reasons[i].code;
    return -1;
}

const char *ds_crl_reason_name(int reason)
{
    for (size_t i = 0; i < REASONS; i++)
        if (reasons[i].code == reason)
            return reasons[i].name;
    return "unspecified";
}

void ds_crl_list_begin(ds_buf *list, const uint8_t ca[32])
{
    char hex[65], text[LINE_MAX_LEN];
    ds_hex(ca, 32, hex);
    int len = snprintf(text, sizeof text, "%s\nca %s\n", magic, hex);
    ds_buf_add(list, text, (size_t)len);
}

void ds_crl_list_add(ds_buf *list, const ds_crl_entry *entry)
{
    char hex[41], text[LINE_MAX_LEN];
    ds_hex(entry->serial, entry->serial_len, hex);
    int len =
        snprintf(text, sizeof text, "%s %" PRId64 " %s\n", hex, entry->revoked_utc, ds_crl_reason_name(entry->reason));
    ds_buf_add(list, text, (size_t)len);
}

static bool read_serial(const char *hex, ds_crl_entry *ret)
{
    size_t len = strlen(hex);
    uint8_t bytes[20];
    if (len == 0 || len % 2 || len / 2 > sizeof bytes || !ds_unhex(hex, bytes, len / 2))
        return false;
    size_t zeros = 0;
    while (zeros < len / 2 && bytes[zeros] == 0)
        zeros++;
    ret->serial_len = len / 2 - zeros;
    memcpy(ret->serial, bytes + zeros, ret->serial_len);
    return ret->serial_len > 0;
}

static bool read_entry(const char *line, ds_crl_entry *ret)
{
    char hex[64], reason[32], rest = 0;
    *ret = (ds_crl_entry){0};
    if (sscanf(line, "%63s %" SCNd64 " %31s %c", hex, &ret->revoked_utc, reason, &rest) != 3)
        return false;
    ret->reason = ds_crl_reason_parse(reason, strlen(reason));
    return ret->reason >= 0 && ret->revoked_utc >= 0 && ret->revoked_utc <= INT64_C(253402300799) &&
           read_serial(hex, ret);
}

static int by_serial(const void *a, const void *b)
{
    const ds_crl_entry *x = a, *y = b;
    if (x->serial_len != y->serial_len)
        return x->serial_len < y->serial_len ? -1 : 1;
    return memcmp(x->serial, y->serial, x->serial_len);
}

static int by_serial_and_time(const void *a, const void *b)
{
    const ds_crl_entry *x = a, *y = b;
    int order = by_serial(a, b);
    return order ? order : (x->revoked_utc > y->revoked_utc) - (x->revoked_utc < y->revoked_utc);
}

// Sorted, each serial number once.
static void tidy(ds_buf *entries)
{
    size_t count = entries->len / sizeof(ds_crl_entry), keep = 0;
    ds_crl_entry *all = (ds_crl_entry *)(void *)entries->ptr;
    if (count == 0)
        return;
    qsort(all, count, sizeof *all, by_serial_and_time);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || by_serial(&all[i], &all[keep - 1]) != 0)
            all[keep++] = all[i];
    entries->len = keep * sizeof *all;
}

static enum ds_class read_line(const char *line, unsigned number, const char *ca, ds_buf *ret, ds_err *e)
{
    ds_crl_entry entry;
    if (number == 1 && strcmp(line, magic) != 0)
        return ds_fail(e, DS_INPUT, "line 1: not a list of what is revoked (\"%s\")", magic);
    if (number == 2 && (strncmp(line, "ca ", 3) != 0 || strcmp(line + 3, ca) != 0))
        return ds_fail(e, DS_INPUT, "line 2: the list is of another CA");
    if (number <= 2 || line[0] == '#' || line[0] == '\0')
        return DS_OK;
    if (!read_entry(line, &entry))
        return ds_fail(e, DS_INPUT, "line %u: not \"SERIAL SECONDS REASON\"", number);
    ds_buf_add(ret, &entry, sizeof entry);
    return DS_OK;
}

enum ds_class ds_crl_list_read(ds_view list, const uint8_t ca[32], ds_buf *ret, ds_err *e)
{
    char hex[65], line[LINE_MAX_LEN];
    unsigned number = 0;
    ds_hex(ca, 32, hex);
    for (size_t at = 0; at < list.len; at++) {
        const uint8_t *begin = list.ptr + at, *end = memchr(begin, '\n', list.len - at);
        size_t len = end ? (size_t)(end - begin) : list.len - at;
        number++;
        if (!end || len >= sizeof line || memchr(begin, 0, len))
            return ds_fail(e, DS_INPUT, "line %u: too long, or cut off", number);
        memcpy(line, begin, len);
        line[len] = '\0';
        if (read_line(line, number, hex, ret, e))
            return DS_INPUT;
        at += len;
    }
    if (number < 2)
        return ds_fail(e, DS_INPUT, "the list has no heading");
    tidy(ret);
    return DS_OK;
}
