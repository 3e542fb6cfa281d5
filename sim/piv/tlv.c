// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// BER-TLV; see tlv.h.
#include "sim/piv/tlv.h"

// A length of one, two or three bytes.
static bool take_length(ds_view *rest, size_t *ret)
{
    if (rest->len < 1)
        return false;
    uint8_t first = rest->ptr[0];
    size_t more = first < 0x80 ? 0 : first == 0x81 ? 1 : first == 0x82 ? 2 : SIZE_MAX;
    if (more == SIZE_MAX || rest->len < 1 + more)
        return false;
    size_t len = more ? 0 : first;
    for (size_t i = 1; i <= more; i++)
        len = len << 8 | rest->ptr[i];
    *rest = (ds_view){rest->ptr + 1 + more, rest->len - 1 - more};
    *ret = len;
    return true;
}

// Take the next element off rest; false at the end and where it is malformed.
static bool next(ds_view *rest, uint8_t *ret_tag, ds_view *ret_value)
{
    ds_view r = *rest;
    size_t len = 0;
    if (r.len < 2)
        return false;
    uint8_t tag = r.ptr[0];
    r = (ds_view){r.ptr + 1, r.len - 1};
    if (!take_length(&r, &len) || len > r.len)
        return false;
    *ret_tag = tag;
    *ret_value = (ds_view){r.ptr, len};
    *rest = (ds_view){r.ptr + len, r.len - len};
    return true;
}

bool ds_piv_tlv_find(ds_view data, uint8_t tag, ds_view *ret_value)
{
    uint8_t found;
    ds_view value;
    while (next(&data, &found, &value)) {
        if (found != tag)
            continue;
        *ret_value = value;
        return true;
    }
    return false;
}

void ds_piv_tlv_put(ds_buf *out, unsigned tag, ds_view value)
{
    if (tag > 0xFF)
        ds_buf_add_u8(out, (uint8_t)(tag >> 8));
    ds_buf_add_u8(out, (uint8_t)tag);
    if (value.len > 0xFF)
        ds_buf_add(out, (const uint8_t[]){0x82, (uint8_t)(value.len >> 8)}, 2);
    else if (value.len > 0x7F)
        ds_buf_add_u8(out, 0x81);
    ds_buf_add_u8(out, (uint8_t)value.len);
    if (value.len)
        ds_buf_add(out, value.ptr, value.len);
}
