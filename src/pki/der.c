// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Writing DER; see der.h.
#include "src/pki/der.h"

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
