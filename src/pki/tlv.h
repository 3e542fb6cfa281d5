// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A strict reader of DER (X.690): definite lengths in their shortest form, tags of one byte. OpenSSL reads much that is
// no DER; whoever judges bytes reads them with this.
#ifndef DS_PKI_TLV_H
#define DS_PKI_TLV_H

#include "src/base/buf.h"

enum {
    DS_TLV_BOOLEAN = 0x01,
    DS_TLV_INTEGER = 0x02,
    DS_TLV_BIT_STRING = 0x03,
    DS_TLV_OCTET_STRING = 0x04,
    DS_TLV_NULL = 0x05,
    DS_TLV_OID = 0x06,
    DS_TLV_UTF8 = 0x0c,
    DS_TLV_PRINTABLE = 0x13,
    DS_TLV_IA5 = 0x16,
    DS_TLV_UTC_TIME = 0x17,
    DS_TLV_GENERALIZED_TIME = 0x18,
    DS_TLV_SEQUENCE = 0x30,
    DS_TLV_SET = 0x31,
    DS_TLV_CONTEXT = 0x80,     // [n], primitive
    DS_TLV_CONSTRUCTED = 0x20, // added to it
};

// One element: tag byte, contents, and the whole of it.
typedef struct ds_tlv {
    uint8_t tag;
    ds_view body, whole;
} ds_tlv;

// Take the next element off rest; false where there is none or it is no DER, and nothing changes.
bool ds_tlv_next(ds_view *rest, ds_tlv *ret);
// The same where it has that tag: its contents.
bool ds_tlv_take(ds_view *rest, uint8_t tag, ds_view *ret);
// The same: all of it, with tag and length.
bool ds_tlv_take_whole(ds_view *rest, uint8_t tag, ds_view *ret);

// Is the whole of v well-formed to its last level, constructed elements entered?
bool ds_tlv_whole(ds_view v);

static inline bool ds_view_equal(ds_view a, ds_view b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (a.ptr[i] != b.ptr[i])
            return false;
    return true;
}

#endif
