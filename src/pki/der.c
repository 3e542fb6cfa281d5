// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A little DER; see der.h.
#include "src/pki/der.h"

// Tag and length in front of v: how many bytes they are, 0 where they are not ours to read.
static size_t head_of(ds_view v, uint8_t tag, size_t *ret_len)
{
    if (v.len < 2 || v.ptr[0] != tag)
        return 0;
    if (v.ptr[1] < 0x80) {
        *ret_len = v.ptr[1];
        return 2;
    }
    if (v.ptr[1] == 0x81 && v.len > 2 && v.ptr[2] >= 0x80) {
        *ret_len = v.ptr[2];
        return 3;
    }
    if (v.ptr[1] == 0x82 && v.len > 3 && v.ptr[2] != 0) {
        *ret_len = (size_t)v.ptr[2] << 8 | v.ptr[3];
        return 4;
    }
    return 0;
}

bool ds_der_take(ds_view *v, uint8_t tag, ds_view *ret_content, ds_view *ret_whole)
{
    size_t len = 0, head = head_of(*v, tag, &len);
    if (head == 0 || v->len - head < len)
        return false;
    if (ret_content)
        *ret_content = (ds_view){v->ptr + head, len};
    if (ret_whole)
        *ret_whole = (ds_view){v->ptr, head + len};
    *v = (ds_view){v->ptr + head + len, v->len - head - len};
    return true;
}

void ds_der_head(ds_buf *b, uint8_t tag, size_t len)
{
    ds_buf_add_u8(b, tag);
    if (len >= 0x100) {
        ds_buf_add_u8(b, 0x82);
        ds_buf_add_u8(b, (uint8_t)(len >> 8));
    } else if (len >= 0x80) {
        ds_buf_add_u8(b, 0x81);
    }
    ds_buf_add_u8(b, (uint8_t)len);
}

void ds_der_add(ds_buf *b, uint8_t tag, const void *content, size_t len)
{
    ds_der_head(b, tag, len);
    ds_buf_add(b, content, len);
}
