// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Factory reset; see stamp.h. Which values came from the factory is noted when the stamp moves, as they cannot be told
// from the app's own afterwards: stamp/"born" holds a format byte and, for each value outside "stamp", the first four
// bytes of SHA-256(namespace NUL key NUL). A value of the app that has such a digest by chance is kept: one in some
// million devices, and harmless.
#include "agent/app/internal.h"
#include "agent/app/stamp.h"

#include <string.h>

enum { FORMAT = 1, DIGEST = 4, LIST_MAX = 1 + DIGEST * DS_AGENT_VALUES_MAX };

typedef struct list {
    uint8_t *bytes;
    size_t len;
    bool failed; // a digest could not be computed
} list;

static bool digest_name(const char *name_space, const char *key, uint8_t ret[32])
{
    uint8_t names[2 * (DS_AGENT_NAME_MAX + 1)];
    size_t a = strlen(name_space) + 1, b = strlen(key) + 1;
    if (a > DS_AGENT_NAME_MAX + 1 || b > DS_AGENT_NAME_MAX + 1)
        return false;
    memcpy(names, name_space, a);
    memcpy(names + a, key, b);
    return ds_sha256(names, a + b, ret);
}

static ds_status note_one(void *arg, const char *name_space, const char *key, enum ds_value_type type,
                          const uint8_t *data, size_t len)
{
    list *l = arg;
    uint8_t digest[32];
    (void)type, (void)data, (void)len;
    if (strcmp(name_space, DS_AGENT_NAMESPACE) == 0)
        return DS_STATUS_OK;
    if (l->len + DIGEST > LIST_MAX)
        return DS_STATUS(MIGRATE, NO_SPACE);
    if (!digest_name(name_space, key, digest))
        return DS_STATUS(MIGRATE, CRYPTO);
    memcpy(l->bytes + l->len, digest, DIGEST);
    l->len += DIGEST;
    return DS_STATUS_OK;
}

ds_status ds_app_note_born(ds_agent *a)
{
    list l = {.bytes = ds_agent_work(a), .len = 1};
    l.bytes[0] = FORMAT;
    ds_status s = a->port->value_each(a->port->ctx, DS_AREA_PLAIN, note_one, &l);
    if (s != DS_STATUS_OK)
        return s;
    ds_value v = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_BORN, DS_VALUE_BLOB, l.bytes, l.len);
    return ds_store_put(a, DS_AREA_ENCRYPTED, &v);
}

static bool keep(void *arg, const char *name_space, const char *key)
{
    list *l = arg;
    uint8_t digest[32];
    if (strcmp(name_space, DS_AGENT_NAMESPACE) == 0)
        return true;
    if (!digest_name(name_space, key, digest)) {
        l->failed = true;
        return true;
    }
    for (size_t at = 1; at < l->len; at += DIGEST)
        if (memcmp(l->bytes + at, digest, DIGEST) == 0)
            return true;
    return false;
}

static ds_status read_born(ds_agent *a, list *ret)
{
    *ret = (list){.bytes = ds_agent_work(a)};
    ds_status s = a->port->value_get(a->port->ctx, DS_AREA_ENCRYPTED, DS_AGENT_NAMESPACE, DS_VALUE_BORN, ret->bytes,
                                     LIST_MAX, &ret->len);
    if (s == DS_STATUS_OK && (ret->len < 1 || ret->bytes[0] != FORMAT || (ret->len - 1) % DIGEST != 0))
        s = DS_STATUS(OWNER, UNSUPPORTED);
    return s;
}

static ds_status set_mark(ds_agent *a, uint8_t mark)
{
    ds_value v = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_RESET, DS_VALUE_U8, &mark, 1);
    return ds_store_put(a, DS_AREA_ENCRYPTED, &v);
}

static ds_status complete(ds_agent *a)
{
    list born;
    ds_status s = read_born(a, &born);
    if (s == DS_STATUS_OK)
        s = a->port->values_clear(a->port->ctx, DS_AREA_ENCRYPTED, keep, &born);
    if (s == DS_STATUS_OK && born.failed)
        s = DS_STATUS(OWNER, CRYPTO);
    if (s == DS_STATUS_OK)
        s = set_mark(a, 0);
    if (s == DS_STATUS_OK)
        a->port->log(a->port->ctx, "app: factory reset complete");
    return s;
}

ds_status ds_stamp_reset(ds_agent *a)
{
    enum ds_area area;
    list born;
    if (a->port->values_clear == NULL)
        return DS_STATUS(OWNER, UNSUPPORTED);
    ds_status s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK && area != DS_AREA_ENCRYPTED)
        s = DS_STATUS(OWNER, NOT_ALLOWED);
    if (s == DS_STATUS_OK)
        s = read_born(a, &born); // a reset that cannot be completed is not begun
    if (s == DS_STATUS_OK)
        s = set_mark(a, 1);
    return s == DS_STATUS_OK ? complete(a) : s;
}

ds_status ds_stamp_reset_resume(ds_agent *a)
{
    enum ds_area area;
    bool begun = false;
    ds_status s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK && area == DS_AREA_ENCRYPTED)
        s = ds_store_mark(a, area, DS_VALUE_RESET, &begun);
    if (s != DS_STATUS_OK || !begun)
        return s;
    return a->port->values_clear != NULL ? complete(a) : DS_STATUS(OWNER, UNSUPPORTED);
}
