// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The list of NVS items that is built into a partition or was read from one; see nvs.h. Values may be secrets (a
// device's private key), so they are wiped when freed.
#include "src/esp/nvs.h"
#include "src/base/secret.h"

#include <stdlib.h>
#include <string.h>

void ds_nvs_items_free(ds_nvs_items *items)
{
    if (!items)
        return;
    for (size_t i = 0; i < items->count; i++) {
        ds_buf *data = &items->items[i].data;
        if (data->ptr)
            ds_wipe(data->ptr, data->cap);
        ds_buf_free(data);
        items->items[i].number = 0;
    }
    free(items->items);
    *items = (ds_nvs_items){0};
}

// A name that does not fit becomes empty, which the builder refuses: names are never cut silently.
static void set_name(char dst[16], const char *src)
{
    size_t len = strlen(src);
    memset(dst, 0, 16);
    if (len <= DS_NVS_KEY_MAX)
        memcpy(dst, src, len);
}

static ds_nvs_item *append(ds_nvs_items *items, const char *name_space, const char *key, enum ds_nvs_type type)
{
    if (items->count == items->cap) {
        size_t cap = items->cap ? items->cap * 2 : 16;
        ds_nvs_item *grown = ds_alloc(cap * sizeof *grown);
        if (items->count)
            memcpy(grown, items->items, items->count * sizeof *grown);
        free(items->items);
        items->items = grown;
        items->cap = cap;
    }
    ds_nvs_item *item = &items->items[items->count++];
    *item = (ds_nvs_item){.type = type};
    set_name(item->name_space, name_space);
    set_name(item->key, key);
    return item;
}

void ds_nvs_add_number(ds_nvs_items *items, const char *name_space, const char *key, enum ds_nvs_type type, uint64_t v)
{
    append(items, name_space, key, type)->number = v;
}

void ds_nvs_add_bytes(ds_nvs_items *items, const char *name_space, const char *key, enum ds_nvs_type type, ds_view data)
{
    ds_buf_add(&append(items, name_space, key, type)->data, data.ptr, data.len);
}

const ds_nvs_item *ds_nvs_find(const ds_nvs_items *items, const char *name_space, const char *key)
{
    for (size_t i = 0; i < items->count; i++)
        if (!strcmp(items->items[i].name_space, name_space) && !strcmp(items->items[i].key, key))
            return &items->items[i];
    return NULL;
}
