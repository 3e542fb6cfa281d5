// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Values of the agent in an area's NVS partition. NVS finds a value by type too, so every access first asks what is
// there.
#include "agent/port/esp-idf/esp_port.h"

#include "nvs.h"

#include <mbedtls/platform_util.h>

#include <stdlib.h>
#include <string.h>

static const struct {
    enum ds_value_type value;
    nvs_type_t nvs;
    size_t size; // of numbers
} types[] = {
    {DS_VALUE_STRING, NVS_TYPE_STR, 0}, {DS_VALUE_BLOB, NVS_TYPE_BLOB, 0}, {DS_VALUE_U8, NVS_TYPE_U8, 1},
    {DS_VALUE_U16, NVS_TYPE_U16, 2},    {DS_VALUE_U32, NVS_TYPE_U32, 4},   {DS_VALUE_I32, NVS_TYPE_I32, 4},
    {DS_VALUE_U64, NVS_TYPE_U64, 8},
};
enum { TYPES = sizeof types / sizeof types[0] };

// Where to find a value.
typedef struct place {
    nvs_handle_t handle;
    const char *key;
    nvs_type_t type;
} place;

static size_t type_index(nvs_type_t type)
{
    size_t i = 0;
    while (i < TYPES && types[i].nvs != type)
        i++;
    return i;
}

static ds_status status_of(esp_err_t e)
{
    switch (e) {
    case ESP_OK:
        return DS_STATUS_OK;
    case ESP_ERR_NVS_NOT_FOUND:
        return DS_STATUS(PORT, NOT_FOUND);
    case ESP_ERR_NVS_NOT_ENOUGH_SPACE:
        return DS_STATUS(PORT, NO_SPACE);
    case ESP_ERR_NVS_KEY_TOO_LONG:
    case ESP_ERR_NVS_INVALID_NAME:
    case ESP_ERR_NVS_VALUE_TOO_LONG:
        return DS_STATUS(PORT, BAD_REQUEST);
    default:
        return DS_STATUS(PORT, FLASH);
    }
}

// nvs_find_key() does the same from ESP-IDF 5.2 on.
static ds_status find_type(const char *label, const char *name_space, const char *key, nvs_type_t *ret)
{
    nvs_iterator_t it = NULL;
    nvs_entry_info_t info;
    esp_err_t e = nvs_entry_find(label, name_space, NVS_TYPE_ANY, &it);
    while (e == ESP_OK) {
        e = nvs_entry_info(it, &info);
        if (e == ESP_OK && strcmp(info.key, key) == 0)
            break;
        if (e == ESP_OK)
            e = nvs_entry_next(&it);
    }
    nvs_release_iterator(it);
    if (e == ESP_OK)
        *ret = info.type;
    return status_of(e);
}

static esp_err_t get_number(const place *at, void *ret)
{
    switch (at->type) {
    case NVS_TYPE_U8:
        return nvs_get_u8(at->handle, at->key, ret);
    case NVS_TYPE_U16:
        return nvs_get_u16(at->handle, at->key, ret);
    case NVS_TYPE_U32:
        return nvs_get_u32(at->handle, at->key, ret);
    case NVS_TYPE_I32:
        return nvs_get_i32(at->handle, at->key, ret);
    default:
        return nvs_get_u64(at->handle, at->key, ret);
    }
}

static esp_err_t set_number(const place *at, uint64_t number)
{
    switch (at->type) {
    case NVS_TYPE_U8:
        return nvs_set_u8(at->handle, at->key, (uint8_t)number);
    case NVS_TYPE_U16:
        return nvs_set_u16(at->handle, at->key, (uint16_t)number);
    case NVS_TYPE_U32:
        return nvs_set_u32(at->handle, at->key, (uint32_t)number);
    case NVS_TYPE_I32:
        return nvs_set_i32(at->handle, at->key, (int32_t)number);
    default:
        return nvs_set_u64(at->handle, at->key, number);
    }
}

// Length as the agent counts it: without a string's NUL.
static esp_err_t get_len(const place *at, size_t *ret)
{
    size_t size = types[type_index(at->type)].size, len = 0;
    if (size > 0) {
        *ret = size;
        return ESP_OK;
    }
    esp_err_t e = at->type == NVS_TYPE_STR ? nvs_get_str(at->handle, at->key, NULL, &len)
                                           : nvs_get_blob(at->handle, at->key, NULL, &len);
    *ret = at->type == NVS_TYPE_STR && len > 0 ? len - 1 : len;
    return e;
}

// buf has a byte more than len, for a string's NUL.
static esp_err_t get_bytes(const place *at, uint8_t *buf, size_t len)
{
    if (types[type_index(at->type)].size > 0) {
        uint64_t number = 0; // little-endian, as these chips are
        esp_err_t e = get_number(at, &number);
        memcpy(buf, &number, len);
        return e;
    }
    size_t room = at->type == NVS_TYPE_STR ? len + 1 : len;
    return at->type == NVS_TYPE_STR ? nvs_get_str(at->handle, at->key, (char *)buf, &room)
                                    : nvs_get_blob(at->handle, at->key, buf, &room);
}

// The value on the heap, *ret_len + 1 bytes; drop() wipes and frees it.
static ds_status load(const place *at, uint8_t **ret, size_t *ret_len)
{
    if (type_index(at->type) == TYPES)
        return DS_STATUS(PORT, UNSUPPORTED);
    ds_status s = status_of(get_len(at, ret_len));
    if (s != DS_STATUS_OK)
        return s;
    *ret = malloc(*ret_len + 1);
    if (*ret == NULL)
        return DS_STATUS(PORT, NO_SPACE);
    s = status_of(get_bytes(at, *ret, *ret_len));
    if (s != DS_STATUS_OK) {
        free(*ret);
        *ret = NULL;
    }
    return s;
}

static void drop(uint8_t *data, size_t len)
{
    mbedtls_platform_zeroize(data, len);
    free(data);
}

ds_status ds_esp_value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len)
{
    place at = {.key = key};
    uint8_t *data = NULL;
    size_t len = 0;
    const esp_partition_t *part = ds_esp_area_part(area);
    ds_status s = ds_esp_area_open(ctx, area, false);
    if (s == DS_STATUS_OK)
        s = find_type(part->label, name_space, key, &at.type);
    if (s == DS_STATUS_OK)
        s = status_of(nvs_open_from_partition(part->label, name_space, NVS_READONLY, &at.handle));
    if (s != DS_STATUS_OK)
        return s;
    s = load(&at, &data, &len);
    nvs_close(at.handle);
    if (s != DS_STATUS_OK)
        return s;
    *ret_len = len;
    if (len <= cap && len > 0)
        memcpy(buf, data, len);
    drop(data, len);
    return len <= cap ? DS_STATUS_OK : DS_STATUS(PORT, NO_SPACE);
}

// Erasing under an iterator is not safe: each one is found anew.
static ds_status find_surplus(const char *label, bool (*keep)(void *arg, const char *name_space, const char *key),
                              void *arg, nvs_entry_info_t *ret)
{
    nvs_iterator_t it = NULL;
    esp_err_t e = nvs_entry_find(label, NULL, NVS_TYPE_ANY, &it);
    while (e == ESP_OK) {
        e = nvs_entry_info(it, ret);
        if (e == ESP_OK && !keep(arg, ret->namespace_name, ret->key))
            break;
        if (e == ESP_OK)
            e = nvs_entry_next(&it);
    }
    nvs_release_iterator(it);
    return status_of(e);
}

static ds_status erase_value(const char *label, const nvs_entry_info_t *info)
{
    nvs_handle_t handle;
    ds_status s = status_of(nvs_open_from_partition(label, info->namespace_name, NVS_READWRITE, &handle));
    if (s != DS_STATUS_OK)
        return s;
    s = status_of(nvs_erase_key(handle, info->key));
    if (s == DS_STATUS_OK)
        s = status_of(nvs_commit(handle));
    nvs_close(handle);
    return s;
}

ds_status ds_esp_values_clear(void *ctx, enum ds_area area,
                              bool (*keep)(void *arg, const char *name_space, const char *key), void *arg)
{
    const esp_partition_t *part = ds_esp_area_part(area);
    nvs_entry_info_t info;
    ds_status s = ds_esp_area_open(ctx, area, false);
    if (s != DS_STATUS_OK)
        return DS_ESP_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
    while (s == DS_STATUS_OK) {
        s = find_surplus(part->label, keep, arg, &info);
        if (DS_ESP_STATUS_IS(s, NOT_FOUND))
            return DS_STATUS_OK;
        if (s == DS_STATUS_OK)
            s = erase_value(part->label, &info);
        ((ds_esp *)ctx)->port.alive(ctx);
    }
    return s;
}

// One value of the walk; its data is the callback's only during the call.
static ds_status visit(const char *label, const nvs_entry_info_t *info, ds_value_fn fn, void *arg)
{
    place at = {.key = info->key, .type = info->type};
    uint8_t *data = NULL;
    size_t len = 0;
    ds_status s = status_of(nvs_open_from_partition(label, info->namespace_name, NVS_READONLY, &at.handle));
    if (s != DS_STATUS_OK)
        return s;
    s = load(&at, &data, &len); // what it does not know is an error: leaving it out could lose it in a move
    nvs_close(at.handle);
    if (s != DS_STATUS_OK)
        return s;
    s = fn(arg, info->namespace_name, info->key, types[type_index(info->type)].value, data, len);
    drop(data, len);
    return s;
}

ds_status ds_esp_value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg)
{
    const esp_partition_t *part = ds_esp_area_part(area);
    nvs_iterator_t it = NULL;
    ds_status s = ds_esp_area_open(ctx, area, false);
    if (s != DS_STATUS_OK)
        return DS_ESP_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
    esp_err_t e = nvs_entry_find(part->label, NULL, NVS_TYPE_ANY, &it);
    while (s == DS_STATUS_OK && e == ESP_OK) {
        nvs_entry_info_t info;
        e = nvs_entry_info(it, &info);
        // The app may keep values of other types beside the stamp; a stamp has none, and nothing of it may be left out.
        if (e == ESP_OK && (area == DS_AREA_PLAIN || type_index(info.type) < TYPES))
            s = visit(part->label, &info, fn, arg);
        if (e == ESP_OK)
            e = nvs_entry_next(&it);
    }
    nvs_release_iterator(it);
    return s == DS_STATUS_OK && e != ESP_OK && e != ESP_ERR_NVS_NOT_FOUND ? DS_STATUS(PORT, FLASH) : s;
}

static esp_err_t set_text(const place *at, const void *data, size_t len)
{
    char *text = malloc(len + 1);
    if (text == NULL)
        return ESP_ERR_NO_MEM;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = 0;
    esp_err_t e = nvs_set_str(at->handle, at->key, text);
    drop((uint8_t *)text, len);
    return e;
}

static esp_err_t set_value(const place *at, const void *data, size_t len)
{
    uint64_t number = 0;
    if (at->type == NVS_TYPE_STR)
        return set_text(at, data, len);
    if (at->type == NVS_TYPE_BLOB)
        return nvs_set_blob(at->handle, at->key, data, len);
    memcpy(&number, data, len);
    return set_number(at, number);
}

// A value of another type goes first, as ESP-IDF before 5.1.6 would keep both. Only then is the old value gone before
// the new one is there; nothing the agent itself sets changes its type.
static ds_status replace(const place *at, const char *label, const char *name_space, const void *data, size_t len)
{
    nvs_type_t now;
    ds_status s = find_type(label, name_space, at->key, &now);
    if (s == DS_STATUS_OK && now != at->type)
        s = status_of(nvs_erase_key(at->handle, at->key));
    if (s != DS_STATUS_OK && !DS_ESP_STATUS_IS(s, NOT_FOUND))
        return s;
    s = status_of(set_value(at, data, len));
    return s == DS_STATUS_OK ? status_of(nvs_commit(at->handle)) : s;
}

ds_status ds_esp_value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                           enum ds_value_type type, const void *data, size_t len)
{
    size_t i = 0;
    while (i < TYPES && types[i].value != type)
        i++;
    if (i == TYPES || (types[i].size > 0 && len != types[i].size))
        return DS_STATUS(PORT, BAD_REQUEST);
    place at = {.key = key, .type = types[i].nvs};
    const esp_partition_t *part = ds_esp_area_part(area);
    ds_status s = ds_esp_area_open(ctx, area, true);
    if (s == DS_STATUS_OK)
        s = status_of(nvs_open_from_partition(part->label, name_space, NVS_READWRITE, &at.handle));
    if (s != DS_STATUS_OK)
        return s;
    s = replace(&at, part->label, name_space, data, len);
    nvs_close(at.handle);
    return s;
}
