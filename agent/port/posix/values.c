// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Values of the agent in an area's NVS partition.
#include "agent/port/posix/posix.h"

#include <errno.h>
#include <string.h>

static const struct {
    enum ds_value_type value;
    enum ds_nvs_type nvs;
    size_t size; // of numbers
} types[] = {
    {DS_VALUE_STRING, DS_NVS_STR, 0}, {DS_VALUE_BLOB, DS_NVS_BLOB_DATA, 0}, {DS_VALUE_U8, DS_NVS_U8, 1},
    {DS_VALUE_U16, DS_NVS_U16, 2},    {DS_VALUE_U32, DS_NVS_U32, 4},        {DS_VALUE_I32, DS_NVS_I32, 4},
    {DS_VALUE_U64, DS_NVS_U64, 8},
};

// The bytes of an item as the agent sees them; number is where a number's are put.
static bool bytes_of(const ds_nvs_item *item, uint8_t number[8], enum ds_value_type *ret_type, ds_view *ret)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].nvs != item->type)
            continue;
        for (size_t k = 0; k < 8; k++)
            number[k] = (uint8_t)(item->number >> 8 * k);
        *ret_type = types[i].value;
        *ret = types[i].size ? (ds_view){number, types[i].size} : ds_buf_view(&item->data);
        return true;
    }
    return false;
}

// The area's items; none where it was never used.
static ds_status load(ds_posix *p, enum ds_area area, ds_nvs_items *ret)
{
    ds_nvs_flash *n;
    *ret = (ds_nvs_items){0};
    ds_status s = ds_posix_area_open(p, area, false, &n);
    if (s != DS_STATUS_OK)
        return DS_POSIX_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
    return ds_nvs_flash_items(n, ret, NULL) ? DS_STATUS(PORT, FLASH) : DS_STATUS_OK;
}

static ds_status copy_out(const ds_nvs_item *item, void *buf, size_t cap, size_t *ret_len)
{
    uint8_t number[8];
    enum ds_value_type type;
    ds_view data;
    if (!item)
        return DS_STATUS(PORT, NOT_FOUND);
    if (!bytes_of(item, number, &type, &data))
        return DS_STATUS(PORT, UNSUPPORTED);
    *ret_len = data.len;
    if (data.len > cap)
        return DS_STATUS(PORT, NO_SPACE);
    if (data.len)
        memcpy(buf, data.ptr, data.len);
    return DS_STATUS_OK;
}

ds_status ds_posix_value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf,
                             size_t cap, size_t *ret_len)
{
    ds_nvs_items items;
    ds_status s = load(ctx, area, &items);
    if (s == DS_STATUS_OK)
        s = copy_out(ds_nvs_find(&items, name_space, key), buf, cap, ret_len);
    ds_nvs_items_free(&items);
    return s;
}

ds_status ds_posix_value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg)
{
    ds_nvs_items items;
    ds_status s = load(ctx, area, &items);
    for (size_t i = 0; s == DS_STATUS_OK && i < items.count; i++) {
        const ds_nvs_item *item = &items.items[i];
        uint8_t number[8];
        enum ds_value_type type;
        ds_view data;
        if (bytes_of(item, number, &type, &data))
            s = fn(arg, item->name_space, item->key, type, data.ptr, data.len);
        else
            s = DS_STATUS(PORT, UNSUPPORTED); // leaving it out could lose it in a move
    }
    ds_nvs_items_free(&items);
    return s;
}

static ds_status status_of(enum ds_class c, const ds_err *e)
{
    if (c == DS_INPUT)
        return DS_STATUS(PORT, BAD_REQUEST);
    if (c == DS_STORE && e->code == ENOSPC)
        return DS_STATUS(PORT, NO_SPACE);
    return DS_STATUS(PORT, FLASH);
}

ds_status ds_posix_value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                             enum ds_value_type type, const void *data, size_t len)
{
    ds_posix *p = ctx;
    ds_nvs_flash *n;
    ds_err e = DS_ERR_INIT;
    size_t i = 0;
    while (i < sizeof types / sizeof *types && types[i].value != type)
        i++;
    if (i == sizeof types / sizeof *types || (types[i].size && len != types[i].size))
        return DS_STATUS(PORT, BAD_REQUEST);
    ds_status s = ds_posix_area_open(p, area, true, &n);
    if (s != DS_STATUS_OK)
        return s;
    enum ds_class c = ds_nvs_flash_set(n, name_space, key, types[i].nvs, (ds_view){data, len}, &e);
    if (!c)
        return DS_STATUS_OK;
    if (c == DS_DEVICE)
        ds_posix_area_close(p, area); // flash and memory may differ: read it again
    return status_of(c, &e);
}

ds_status ds_posix_values_clear(void *ctx, enum ds_area area,
                                bool (*keep)(void *arg, const char *name_space, const char *key), void *arg)
{
    ds_posix *p = ctx;
    ds_nvs_flash *n;
    ds_nvs_items items;
    ds_err e = DS_ERR_INIT;
    ds_status s = load(p, area, &items);
    if (s != DS_STATUS_OK || !items.count)
        return s;
    s = ds_posix_area_open(p, area, false, &n);
    for (size_t i = 0; s == DS_STATUS_OK && i < items.count; i++) {
        const ds_nvs_item *item = &items.items[i];
        if (!keep(arg, item->name_space, item->key) && ds_nvs_flash_erase(n, item->name_space, item->key, &e)) {
            ds_posix_area_close(p, area);
            s = status_of(e.cls, &e);
        }
    }
    ds_nvs_items_free(&items);
    return s;
}
