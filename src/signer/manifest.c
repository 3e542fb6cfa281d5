// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The manifest's text; see manifest.h. One spelling: what is parsed is written again and compared.
#include "src/signer/manifest.h"

#include "src/base/clock.h"
#include "src/signer/take.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FORMAT = 1 };

const char *ds_bundle_part_name(enum ds_bundle_part part)
{
    static const char *const names[DS_BUNDLE_PARTS] = {
        "recipe", "partition_table", "bootloader", "secure_bootloader", "mfg", "app", "endpoint_ca"};
    return (unsigned)part < DS_BUNDLE_PARTS ? names[part] : "";
}

static json_t *hex_of(const uint8_t digest[32])
{
    char text[65];
    ds_hex(digest, 32, text);
    return json_string(text);
}

static json_t *write_files(const ds_manifest *m)
{
    json_t *list = json_array();
    for (int i = 0; i < DS_BUNDLE_PARTS; i++)
        if (m->parts[i].size)
            json_array_append_new(list, json_pack("{s:s,s:o,s:I}", "part", ds_bundle_part_name((enum ds_bundle_part)i),
                                                  "sha256", hex_of(m->parts[i].sha256), "size",
                                                  (json_int_t)m->parts[i].size));
    return list;
}

static json_t *write_burns(const ds_manifest *m)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < m->burns.count; i++) {
        const ds_burn *b = &m->burns.list[i];
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s}", "field", b->field, "value", b->value, "when", ds_burn_when_name(b->when)));
    }
    return list;
}

static json_t *write_trusted(const ds_manifest *m)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < m->trusted_count; i++)
        json_array_append_new(list, hex_of(m->trusted[i]));
    return list;
}

enum ds_class ds_manifest_write(const ds_manifest *m, ds_buf *ret, ds_err *e)
{
    char created[21];
    ds_utc_format(m->created_utc, created);
    json_t *root = json_pack("{s:i,s:s,s:s,s:s,s:s,s:I,s:o,s:o,s:o}", "bundle", FORMAT, "product", m->product, "chip",
                             m->chip, "lock", m->lock, "created", created, "release", (json_int_t)m->release, "files",
                             write_files(m), "burns", write_burns(m), "trusted", write_trusted(m));
    if (root && m->app_version[0]) {
        json_object_set_new(root, "mfg",
                            json_pack("{s:s,s:s}", "version", m->mfg_version, "min_version", m->mfg_min_version));
        json_object_set_new(root, "app",
                            json_pack("{s:s,s:s,s:I}", "version", m->app_version, "min_version", m->app_min_version,
                                      "secure_version", (json_int_t)m->secure_version));
    }
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(root);
    size_t len = text ? strlen(text) : 0;
    enum ds_class rc = DS_OK;
    if (!text)
        rc = ds_fail(e, DS_INPUT, "manifest: a text in it is not UTF-8");
    else if (len > DS_MANIFEST_MAX)
        rc = ds_fail(e, DS_INPUT, "manifest: longer than %d bytes", DS_MANIFEST_MAX);
    else
        ds_buf_add(ret, text, len);
    free(text);
    return rc;
}

static bool take_digest(const json_t *s, uint8_t ret[32])
{
    return json_is_string(s) && json_string_length(s) == 64 && ds_unhex(json_string_value(s), ret, 32);
}

static bool take_time(const json_t *root, int64_t *ret)
{
    char text[21], again[21], rest;
    struct tm t = {0};
    if (!ds_take_text(root, "created", text, sizeof text) ||
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%c", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec,
               &rest) != 6)
        return false;
    t.tm_year -= 1900;
    t.tm_mon--;
    *ret = timegm(&t);
    ds_utc_format(*ret, again);
    return strcmp(text, again) == 0;
}

static bool take_files(const json_t *root, ds_manifest *m)
{
    const json_t *list = json_object_get(root, "files"), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        char name[24];
        uint64_t size = 0;
        int part = 0;
        if (!ds_take_text(one, "part", name, sizeof name) || !ds_take_number(one, "size", DS_BUNDLE_PART_MAX, &size) ||
            size == 0)
            return false;
        while (part < DS_BUNDLE_PARTS && strcmp(ds_bundle_part_name((enum ds_bundle_part)part), name) != 0)
            part++;
        if (part == DS_BUNDLE_PARTS || m->parts[part].size ||
            !take_digest(json_object_get(one, "sha256"), m->parts[part].sha256))
            return false;
        m->parts[part].size = (uint32_t)size;
    }
    return m->parts[DS_PART_RECIPE].size != 0;
}

static bool take_burns(const json_t *root, ds_manifest *m)
{
    const json_t *list = json_object_get(root, "burns"), *one;
    size_t i;
    if (json_array_size(list) > DS_BURNS_MAX)
        return false;
    json_array_foreach(list, i, one)
    {
        ds_burn *b = &m->burns.list[m->burns.count++];
        char when[16];
        int w = 0;
        if (!ds_take_text(one, "when", when, sizeof when) || !ds_take_text(one, "field", b->field, sizeof b->field) ||
            !ds_take_text(one, "value", b->value, sizeof b->value))
            return false;
        while (w < DS_BURN_WHENS && strcmp(ds_burn_when_name((enum ds_burn_when)w), when) != 0)
            w++;
        if (w == DS_BURN_WHENS)
            return false;
        b->when = (enum ds_burn_when)w;
    }
    return true;
}

static bool take_trusted(const json_t *root, ds_manifest *m)
{
    const json_t *list = json_object_get(root, "trusted"), *one;
    size_t i;
    if (json_array_size(list) > sizeof m->trusted / sizeof *m->trusted)
        return false;
    json_array_foreach(list, i, one)
    {
        if (!take_digest(one, m->trusted[m->trusted_count++]))
            return false;
    }
    return true;
}

static bool take_images(const json_t *root, ds_manifest *m)
{
    const json_t *mfg = json_object_get(root, "mfg"), *app = json_object_get(root, "app");
    uint64_t secure = 0;
    if (!mfg && !app)
        return true;
    bool good = ds_take_text(mfg, "version", m->mfg_version, sizeof m->mfg_version) &&
                ds_take_text(mfg, "min_version", m->mfg_min_version, sizeof m->mfg_min_version) &&
                ds_take_text(app, "version", m->app_version, sizeof m->app_version) &&
                ds_take_text(app, "min_version", m->app_min_version, sizeof m->app_min_version) &&
                ds_take_number(app, "secure_version", UINT32_MAX, &secure) && m->app_version[0];
    m->secure_version = (uint32_t)secure;
    return good;
}

static enum ds_class take_all(const json_t *root, ds_manifest *m, ds_err *e)
{
    uint64_t format = 0;
    if (!ds_take_number(root, "bundle", INT64_MAX, &format))
        return ds_fail(e, DS_INPUT, "not a bundle's manifest");
    if (format != FORMAT)
        return ds_hint((ds_fail(e, DS_INPUT, "manifest: its format %llu is not known", (unsigned long long)format), e),
                       "update devstamp");
    bool good =
        ds_take_text(root, "product", m->product, sizeof m->product) && m->product[0] &&
        ds_take_text(root, "chip", m->chip, sizeof m->chip) && ds_take_text(root, "lock", m->lock, sizeof m->lock) &&
        ds_take_number(root, "release", INT64_MAX, &m->release) && m->release > 0 && take_time(root, &m->created_utc) &&
        take_files(root, m) && take_burns(root, m) && take_trusted(root, m) && take_images(root, m);
    return good ? DS_OK : ds_fail(e, DS_INPUT, "manifest: something is missing, or not as it must be");
}

enum ds_class ds_manifest_parse(ds_view text, ds_manifest *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf again = {0};
    ds_manifest *m = ds_alloc(sizeof *m);
    json_error_t why;
    json_t *root =
        text.len <= DS_MANIFEST_MAX ? json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &why) : NULL;
    enum ds_class rc = root ? take_all(root, m, e) : ds_fail(e, DS_INPUT, "manifest: no JSON");
    json_decref(root);
    if (!rc)
        rc = ds_manifest_write(m, &again, e);
    if (!rc && (again.len != text.len || memcmp(again.ptr, text.ptr, text.len) != 0))
        rc = ds_fail(e, DS_INPUT, "manifest: not in its one spelling, or it says more than is known here");
    if (!rc)
        *ret = *m;
    free(m);
    return rc;
}
