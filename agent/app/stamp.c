// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The stamp's values by type, and its key as a handle; see stamp.h.
#include "agent/app/stamp.h"

#include "agent/app/internal.h"

#include <string.h>

// Where the stamp lies. On a device that is tied to its certificate what lies in plain flash is not the device's, but
// what somebody who can write flash put there.
static ds_status trusted_area(ds_agent *a, enum ds_area *ret)
{
    uint8_t anchor[32];
    size_t len = 0;
    ds_status s = ds_store_area(a, ret);
    if (s != DS_STATUS_OK || *ret != DS_AREA_PLAIN || a->port->anchor_get == NULL)
        return s;
    s = a->port->anchor_get(a->port->ctx, anchor, &len);
    return s == DS_STATUS_OK && len > 0 ? DS_STATUS(VALUE, MISMATCH) : s;
}

static bool is_secret(const char *name_space, const char *key)
{
    static const char *const secrets[] = {DS_VALUE_KEY, DS_VALUE_DSIG_SECRET, DS_VALUE_NVS_SECRET};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strcmp(name_space, DS_AGENT_NAMESPACE) == 0 && strcmp(key, secrets[i]) == 0)
            return true;
    return false;
}

ds_status ds_stamp_value(ds_agent *a, const char *name_space, const char *key, void *buf, size_t cap, size_t *ret_len)
{
    enum ds_area area;
    *ret_len = 0;
    if (is_secret(name_space, key))
        return DS_STATUS(VALUE, NOT_ALLOWED);
    ds_status s = trusted_area(a, &area);
    return s == DS_STATUS_OK ? a->port->value_get(a->port->ctx, area, name_space, key, buf, cap, ret_len) : s;
}

ds_status ds_stamp_text(ds_agent *a, const char *name_space, const char *key, char *buf, size_t cap)
{
    size_t len = 0;
    if (cap == 0)
        return DS_STATUS(VALUE, NO_SPACE);
    ds_status s = ds_stamp_value(a, name_space, key, buf, cap - 1, &len);
    buf[s == DS_STATUS_OK ? len : 0] = 0;
    return s;
}

ds_status ds_stamp_u32(ds_agent *a, const char *name_space, const char *key, uint32_t *ret)
{
    uint8_t bytes[4] = {0};
    size_t len = 0;
    ds_status s = ds_stamp_value(a, name_space, key, bytes, sizeof bytes, &len);
    if (DS_STATUS_IS(s, NO_SPACE) || (s == DS_STATUS_OK && len != 1 && len != 2 && len != 4))
        return DS_STATUS(VALUE, MISMATCH);
    if (s == DS_STATUS_OK)
        *ret = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return s;
}

ds_status ds_stamp_serial(ds_agent *a, char ret[DS_AGENT_SERIAL_MAX + 1])
{
    return ds_stamp_text(a, DS_AGENT_NAMESPACE, "serial", ret, DS_AGENT_SERIAL_MAX + 1);
}

ds_status ds_stamp_endpoint(ds_agent *a, char ret[DS_AGENT_ENDPOINT_MAX + 1])
{
    return ds_stamp_text(a, DS_AGENT_NAMESPACE, "endpoint", ret, DS_AGENT_ENDPOINT_MAX + 1);
}

ds_status ds_stamp_endpoint_ca(ds_agent *a, void *buf, size_t cap, size_t *ret_len)
{
    return ds_stamp_value(a, DS_AGENT_NAMESPACE, "endpoint_ca", buf, cap, ret_len);
}

ds_status ds_stamp_chain(ds_agent *a, void *buf, size_t cap, size_t *ret_len)
{
    return ds_stamp_value(a, DS_AGENT_NAMESPACE, DS_VALUE_CHAIN, buf, cap, ret_len);
}

ds_status ds_stamp_pop(ds_agent *a, void *buf, size_t cap, size_t *ret_len)
{
    return ds_stamp_value(a, DS_AGENT_NAMESPACE, "pop", buf, cap, ret_len);
}

ds_status ds_stamp_key(ds_agent *a, mbedtls_pk_context *ret)
{
    ds_rng rng = {.a = a};
    enum ds_area area;
    mbedtls_pk_init(ret);
    ds_status s = ds_store_area(a, &area);
    if (s == DS_STATUS_OK && area != DS_AREA_ENCRYPTED)
        s = DS_STATUS(KEY, NOT_ALLOWED);
    return s == DS_STATUS_OK ? ds_key_load(a, &rng, ret) : s;
}

int ds_stamp_random(void *agent, unsigned char *buf, size_t len)
{
    ds_rng rng = {.a = agent};
    return ds_rng_draw(&rng, buf, len);
}
