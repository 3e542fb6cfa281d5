// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Strict DER; see tlv.h.
#include "src/pki/tlv.h"

enum { DEPTH_MAX = 16 };

// Length octets from p[1] on (X.690, 10.1); how many bytes tag and length take, 0 where they are no DER.
static size_t read_length(ds_view v, size_t *ret_len)
{
    size_t count = v.ptr[1] & 0x7fu;
    if (v.ptr[1] < 0x80) {
        *ret_len = v.ptr[1];
        return 2;
    }
    if (count == 0 || count > 3 || v.len < 2 + count || v.ptr[2] == 0)
        return 0;
    *ret_len = 0;
    for (size_t i = 0; i < count; i++)
        *ret_len = *ret_len << 8 | v.ptr[2 + i];
    return *ret_len < 0x80 ? 0 : 2 + count;
}

bool ds_tlv_next(ds_view *rest, ds_tlv *ret)
{
    size_t len = 0;
    if (rest->len < 2 || (rest->ptr[0] & 0x1f) == 0x1f)
        return false;
    size_t head = read_length(*rest, &len);
    if (head == 0 || len > rest->len - head)
        return false;
    *ret = (ds_tlv){rest->ptr[0], {rest->ptr + head, len}, {rest->ptr, head + len}};
    *rest = (ds_view){rest->ptr + head + len, rest->len - head - len};
    return true;
}

static bool take(ds_view *rest, uint8_t tag, ds_tlv *ret)
{
    ds_view after = *rest;
    if (!ds_tlv_next(&after, ret) || ret->tag != tag)
        return false;
    *rest = after;
    return true;
}

bool ds_tlv_take(ds_view *rest, uint8_t tag, ds_view *ret)
{
    ds_tlv d;
    bool taken = take(rest, tag, &d);
    if (taken)
        *ret = d.body;
    return taken;
}

bool ds_tlv_take_whole(ds_view *rest, uint8_t tag, ds_view *ret)
{
    ds_tlv d;
    bool taken = take(rest, tag, &d);
    if (taken)
        *ret = d.whole;
    return taken;
}

// Subidentifiers end, and none begins with a zero digit (X.690, 8.19.2).
static bool is_oid(ds_view v)
{
    if (v.len == 0 || v.ptr[v.len - 1] & 0x80)
        return false;
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] == 0x80 && (i == 0 || !(v.ptr[i - 1] & 0x80)))
            return false;
    return true;
}

static bool is_sound(const ds_tlv *d)
{
    switch (d->tag) {
    case DS_TLV_BOOLEAN:
        return d->body.len == 1 && (d->body.ptr[0] == 0 || d->body.ptr[0] == 0xff);
    case DS_TLV_NULL:
        return d->body.len == 0;
    case DS_TLV_OID:
        return is_oid(d->body);
    default:
        return true;
    }
}

static bool whole(ds_view v, unsigned depth)
{
    ds_tlv d;
    if (depth == DEPTH_MAX)
        return false;
    while (v.len) {
        if (!ds_tlv_next(&v, &d))
            return false;
        if (d.tag & DS_TLV_CONSTRUCTED && !whole(d.body, depth + 1))
            return false;
        if (!is_sound(&d))
            return false;
    }
    return true;
}

bool ds_tlv_whole(ds_view v)
{
    return whole(v, 0);
}
