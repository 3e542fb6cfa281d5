// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The stamp in storage, and the stage it means. Nothing is remembered between requests: what counts is what storage
// holds, so that a power loss anywhere changes nothing about the answers.
#include "agent/core/internal.h"

#include <string.h>

ds_status ds_store_mark(ds_agent *a, enum ds_area area, const char *key, bool *ret)
{
    uint8_t mark = 0;
    size_t len = 0;
    ds_status s = a->port->value_get(a->port->ctx, area, DS_AGENT_NAMESPACE, key, &mark, 1, &len);
    if (s != DS_STATUS_OK && !DS_STATUS_IS(s, NOT_FOUND))
        return s;
    *ret = s == DS_STATUS_OK && len == 1 && mark == 1;
    return DS_STATUS_OK;
}

ds_status ds_store_area(ds_agent *a, enum ds_area *ret)
{
    bool moved = false;
    ds_security security = {0};
    a->port->security(a->port->ctx, &security);
    // Without flash encryption the encrypted area must not even be opened: its keys would be made, and lie readable.
    if (a->role == DS_AGENT_APP && security.flash_encryption) {
        ds_status s = ds_store_mark(a, DS_AREA_ENCRYPTED, DS_VALUE_MOVED, &moved);
        if (s != DS_STATUS_OK)
            return s;
    }
    *ret = moved ? DS_AREA_ENCRYPTED : DS_AREA_PLAIN;
    return DS_STATUS_OK;
}

ds_status ds_store_get(ds_agent *a, const char *key, void *buf, size_t cap, size_t *ret_len)
{
    enum ds_area area;
    ds_status s = ds_store_area(a, &area);
    if (s != DS_STATUS_OK)
        return s;
    return a->port->value_get(a->port->ctx, area, DS_AGENT_NAMESPACE, key, buf, cap, ret_len);
}

ds_status ds_store_has(ds_agent *a, const char *key, bool *ret)
{
    uint8_t first;
    size_t len;
    ds_status s = ds_store_get(a, key, &first, 1, &len);
    mbedtls_platform_zeroize(&first, 1);
    if (s != DS_STATUS_OK && !DS_STATUS_IS(s, NO_SPACE) && !DS_STATUS_IS(s, NOT_FOUND))
        return s;
    *ret = !DS_STATUS_IS(s, NOT_FOUND);
    return DS_STATUS_OK;
}

ds_status ds_store_text(ds_agent *a, const char *key, char *buf, size_t cap)
{
    size_t len = 0;
    ds_status s = ds_store_get(a, key, buf, cap - 1, &len);
    if (s != DS_STATUS_OK)
        len = 0;
    buf[len] = 0;
    return DS_STATUS_IS(s, NOT_FOUND) ? DS_STATUS_OK : s;
}

static ds_status stage_of_area(ds_agent *a, enum ds_area area, int *ret)
{
    bool key = false, chain = false, done = false;
    ds_status s = ds_store_has(a, DS_VALUE_KEY, &key);
    if (s == DS_STATUS_OK && !key)
        s = ds_store_has(a, DS_VALUE_DSIG, &key);
    if (s == DS_STATUS_OK)
        s = ds_store_has(a, DS_VALUE_CHAIN, &chain);
    if (s == DS_STATUS_OK)
        s = ds_store_mark(a, area, DS_VALUE_DONE, &done);
    if (s != DS_STATUS_OK)
        return s;
    *ret = !key     ? DEVSTAMP__STAGE__STAGE_FRESH
           : !chain ? DEVSTAMP__STAGE__STAGE_KEYED
           : !done  ? DEVSTAMP__STAGE__STAGE_CERTIFIED
                    : DEVSTAMP__STAGE__STAGE_STAMPED;
    return DS_STATUS_OK;
}

ds_status ds_store_stage(ds_agent *a, int *ret)
{
    enum ds_area area;
    ds_status s = ds_store_area(a, &area);
    int stage;
    if (s == DS_STATUS_OK)
        s = stage_of_area(a, area, &stage);
    if (s != DS_STATUS_OK)
        return s;
    bool stamped = stage == DEVSTAMP__STAGE__STAGE_STAMPED;
    if (stamped && area == DS_AREA_ENCRYPTED && a->port->area_is_blank(a->port->ctx, DS_AREA_PLAIN)) {
        enum ds_anchor anchor = DS_ANCHOR_NONE;
        s = ds_chain_anchor(a, &anchor);
        if (anchor == DS_ANCHOR_SAME)
            stage = DEVSTAMP__STAGE__STAGE_SEALED;
    }
    *ret = stage;
    return s;
}

int ds_agent_stage(ds_agent *a)
{
    int stage;
    return ds_store_stage(a, &stage) == DS_STATUS_OK ? stage : -1;
}

ds_value ds_value_of(const char *name_space, const char *key, enum ds_value_type type, const uint8_t *data, size_t len)
{
    ds_value v = {.type = type, .data = data, .len = len};
    strncpy(v.name_space, name_space, DS_AGENT_NAME_MAX);
    strncpy(v.key, key, DS_AGENT_NAME_MAX);
    return v;
}

typedef struct same_search {
    const ds_value *v;
    bool same;
} same_search;

static ds_status compare_one(void *arg, const char *name_space, const char *key, enum ds_value_type type,
                             const uint8_t *data, size_t len)
{
    same_search *s = arg;
    if (strcmp(name_space, s->v->name_space) == 0 && strcmp(key, s->v->key) == 0)
        s->same = type == s->v->type && len == s->v->len && (len == 0 || memcmp(data, s->v->data, len) == 0);
    return DS_STATUS_OK;
}

ds_status ds_store_same(ds_agent *a, enum ds_area area, const ds_value *v, bool *ret)
{
    same_search search = {.v = v};
    ds_status s = a->port->value_each(a->port->ctx, area, compare_one, &search);
    if (s == DS_STATUS_OK)
        *ret = search.same;
    return s;
}

ds_status ds_store_put(ds_agent *a, enum ds_area area, const ds_value *v)
{
    bool same = false;
    ds_status s = a->port->value_set(a->port->ctx, area, v->name_space, v->key, v->type, v->data, v->len);
    if (s == DS_STATUS_OK)
        s = ds_store_same(a, area, v, &same);
    if (s != DS_STATUS_OK)
        return s;
    return same ? DS_STATUS_OK : DS_STATUS(VALUE, FLASH);
}

typedef struct next_search {
    const ds_value *before;
    ds_value best;
    uint8_t *buf;
    size_t cap;
    bool found;
} next_search;

static int compare_names(const char *name_space, const char *key, const ds_value *v)
{
    int order = strcmp(name_space, v->name_space);
    return order != 0 ? order : strcmp(key, v->key);
}

static ds_status next_one(void *arg, const char *name_space, const char *key, enum ds_value_type type,
                          const uint8_t *data, size_t len)
{
    next_search *n = arg;
    if (compare_names(name_space, key, n->before) <= 0)
        return DS_STATUS_OK;
    if (n->found && compare_names(name_space, key, &n->best) >= 0)
        return DS_STATUS_OK;
    if (len > n->cap || strlen(name_space) > DS_AGENT_NAME_MAX || strlen(key) > DS_AGENT_NAME_MAX)
        return DS_STATUS(VALUE, NO_SPACE);
    if (len > 0)
        memcpy(n->buf, data, len);
    n->best = ds_value_of(name_space, key, type, n->buf, len);
    n->found = true;
    return DS_STATUS_OK;
}

ds_status ds_store_next(ds_agent *a, enum ds_area area, ds_value *v, uint8_t *buf, size_t cap, bool *ret_found)
{
    next_search search = {.before = v, .buf = buf, .cap = cap};
    ds_status s = a->port->value_each(a->port->ctx, area, next_one, &search);
    if (s != DS_STATUS_OK)
        return s;
    *ret_found = search.found;
    if (search.found)
        *v = search.best;
    return DS_STATUS_OK;
}
