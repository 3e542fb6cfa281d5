// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The stamp's values: what the station may write, and the digest over all of them that completes the stamp. Both rules
// are told at WriteValue and FinishStamp in proto/stamp.proto.
#include "agent/core/internal.h"

#include <mbedtls/md.h>

#include <string.h>

enum { TEXT_OR_BLOB = -1 };

typedef struct stamp_rule {
    const char *key;
    int type; // ds_value_type or TEXT_OR_BLOB
    size_t max;
} stamp_rule;

static const stamp_rule rules[] = {
    {"serial", DS_VALUE_STRING, DS_AGENT_SERIAL_MAX},
    {"endpoint", DS_VALUE_STRING, DS_AGENT_ENDPOINT_MAX},
    {"endpoint_ca", TEXT_OR_BLOB, DS_AGENT_VALUE_MAX},
    {"pop", TEXT_OR_BLOB, DS_AGENT_VALUE_MAX},
    {"close_dl", DS_VALUE_U8, 1},
    {DS_VALUE_KEY_DS, DS_VALUE_U8, 1},
    {DS_VALUE_NVS_HMAC, DS_VALUE_U8, 1},
};

static bool name_ok(const char *name)
{
    size_t len = strlen(name);
    if (len < 1 || len > DS_AGENT_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return true;
}

static bool data_fits_type(const Devstamp__WriteValue *q)
{
    static const uint8_t sizes[] = {
        [DS_VALUE_U8] = 1, [DS_VALUE_U16] = 2, [DS_VALUE_U32] = 4, [DS_VALUE_I32] = 4, [DS_VALUE_U64] = 8,
    };
    size_t type = (size_t)q->type;
    if (type >= sizeof sizes / sizeof sizes[0] || q->data.len > DS_AGENT_VALUE_MAX)
        return false;
    if (type == DS_VALUE_STRING)
        return q->data.len < DS_AGENT_VALUE_MAX && (q->data.len == 0 || memchr(q->data.data, 0, q->data.len) == NULL);
    return type == DS_VALUE_BLOB || q->data.len == sizes[type];
}

static bool serial_ok(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] <= ' ' || data[i] > '~' || strchr("\"\\/+#", data[i]) != NULL)
            return false;
    return true;
}

// A value in the stamp's own namespace must be one of the station's, of its type.
static ds_status check_stamp_value(const Devstamp__WriteValue *q)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const stamp_rule *rule = &rules[i];
        if (strcmp(q->key, rule->key) != 0)
            continue;
        bool type_ok = rule->type == TEXT_OR_BLOB ? (int)q->type == DS_VALUE_STRING || (int)q->type == DS_VALUE_BLOB
                                                  : (int)q->type == rule->type;
        if (!type_ok || q->data.len < 1 || q->data.len > rule->max)
            return DS_STATUS(VALUE, BAD_REQUEST);
        if (i == 0 && !serial_ok(q->data.data, q->data.len))
            return DS_STATUS(VALUE, BAD_REQUEST);
        if (rule->type == DS_VALUE_U8 && q->data.data[0] > 1)
            return DS_STATUS(VALUE, BAD_REQUEST);
        return DS_STATUS_OK;
    }
    return DS_STATUS(VALUE, NOT_ALLOWED);
}

ds_status ds_handle_write_value(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)r;
    const Devstamp__WriteValue *w = q->write_value;
    if (!name_ok(w->name_space) || !name_ok(w->key) || !data_fits_type(w))
        return DS_STATUS(VALUE, BAD_REQUEST);
    if (strcmp(w->name_space, DS_AGENT_NAMESPACE) == 0) {
        ds_status s = check_stamp_value(w);
        if (s != DS_STATUS_OK)
            return s;
    }
    ds_value v = ds_value_of(w->name_space, w->key, (enum ds_value_type)w->type, w->data.data, w->data.len);
    bool done = false, same = false;
    ds_status s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_DONE, &done);
    if (s == DS_STATUS_OK && done)
        s = ds_store_same(a, DS_AREA_PLAIN, &v, &same);
    if (s != DS_STATUS_OK || same)
        return s;
    return done ? DS_STATUS(VALUE, EXISTS) : ds_store_put(a, DS_AREA_PLAIN, &v);
}

static bool is_agents_own(const ds_value *v)
{
    static const char *const own[] = {DS_VALUE_KEY,  DS_VALUE_CHAIN,       DS_VALUE_DONE,       DS_VALUE_MOVED,
                                      DS_VALUE_DSIG, DS_VALUE_DSIG_SECRET, DS_VALUE_NVS_SECRET, DS_VALUE_IMPORTED};
    if (strcmp(v->name_space, DS_AGENT_NAMESPACE) != 0)
        return false;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(v->key, own[i]) == 0)
            return true;
    return false;
}

static bool digest_value(mbedtls_md_context_t *md, const ds_value *v)
{
    uint8_t head[5] = {(uint8_t)v->type};
    for (size_t i = 0; i < 4; i++)
        head[1 + i] = (uint8_t)(v->len >> 8 * i);
    return mbedtls_md_update(md, (const uint8_t *)v->name_space, strlen(v->name_space) + 1) == 0 &&
           mbedtls_md_update(md, (const uint8_t *)v->key, strlen(v->key) + 1) == 0 &&
           mbedtls_md_update(md, head, sizeof head) == 0 && mbedtls_md_update(md, v->data, v->len) == 0;
}

static ds_status digest_area(ds_agent *a, mbedtls_md_context_t *md, uint32_t *ret_count)
{
    ds_value v = {.key = ""};
    uint32_t count = 0;
    for (bool found = true;;) {
        ds_status s = ds_store_next(a, DS_AREA_PLAIN, &v, a->frame, DS_AGENT_WORK, &found);
        if (s != DS_STATUS_OK)
            return s;
        if (!found)
            break;
        if (is_agents_own(&v))
            continue;
        if (!digest_value(md, &v))
            return DS_STATUS(VALUE, CRYPTO);
        count++;
        a->port->alive(a->port->ctx);
    }
    *ret_count = count;
    return DS_STATUS_OK;
}

static ds_status digest_stamp(ds_agent *a, uint8_t ret[32], uint32_t *ret_count)
{
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    ds_status s = DS_STATUS_OK;
    if (mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) != 0 || mbedtls_md_starts(&md) != 0)
        s = DS_STATUS(VALUE, CRYPTO);
    if (s == DS_STATUS_OK)
        s = digest_area(a, &md, ret_count);
    if (s == DS_STATUS_OK && mbedtls_md_finish(&md, ret) != 0)
        s = DS_STATUS(VALUE, CRYPTO);
    mbedtls_md_free(&md);
    return s;
}

// The app adds its marks and a list of the values where the stamp moves to, an area as large as this one. What it could
// not put there must be known now: by its first boot the device is locked.
static bool leaves_room(ds_agent *a, uint32_t count)
{
    enum { MARKS = 1024, LISTED = 4 };
    return count <= DS_AGENT_VALUES_MAX && a->port->area_free(a->port->ctx, DS_AREA_PLAIN) >= MARKS + LISTED * count;
}

ds_status ds_handle_finish_stamp(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    const Devstamp__FinishStamp *f = q->finish_stamp;
    uint8_t *digest = r->digest[0];
    if (f->digest.len != sizeof r->digest[0])
        return DS_STATUS(VALUE, BAD_REQUEST);
    int stage = 0;
    uint32_t count = 0;
    ds_status s = ds_store_stage(a, &stage);
    if (s == DS_STATUS_OK && stage < (int)DEVSTAMP__STAGE__STAGE_CERTIFIED)
        s = DS_STATUS(VALUE, NOT_ALLOWED);
    if (s == DS_STATUS_OK)
        s = digest_stamp(a, digest, &count);
    if (s == DS_STATUS_OK && stage == (int)DEVSTAMP__STAGE__STAGE_CERTIFIED && !leaves_room(a, count))
        s = DS_STATUS(VALUE, NO_SPACE);
    if (s == DS_STATUS_OK && (count != f->count || memcmp(digest, f->digest.data, f->digest.len) != 0))
        s = DS_STATUS(VALUE, MISMATCH);
    if (s != DS_STATUS_OK || stage != (int)DEVSTAMP__STAGE__STAGE_CERTIFIED)
        return s;
    // Before the mark, so that a complete stamp is protected as it asks: what comes next locks the chip.
    s = ds_protect(a);
    if (s != DS_STATUS_OK)
        return s;
    ds_value done = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_DONE, DS_VALUE_U8, (const uint8_t[]){1}, 1);
    s = ds_store_put(a, DS_AREA_PLAIN, &done);
    if (s == DS_STATUS_OK)
        a->port->log(a->port->ctx, "agent: stamp complete");
    return s;
}
