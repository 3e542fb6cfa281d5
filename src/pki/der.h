// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A little DER (ITU-T X.690): taking apart what has a known form, and writing it.
#ifndef DS_PKI_DER_H
#define DS_PKI_DER_H

#include "src/base/buf.h"

// Take the first element off v: its content, and all of it with tag and length; both may be NULL. false, and v stays,
// where it has another tag, is not whole, is longer than 65535 bytes, or has a length that is not the shortest.
bool ds_der_take(ds_view *v, uint8_t tag, ds_view *ret_content, ds_view *ret_whole);

// Append tag and length of an element of len bytes (at most 65535), or all of it.
void ds_der_head(ds_buf *b, uint8_t tag, size_t len);
void ds_der_add(ds_buf *b, uint8_t tag, const void *content, size_t len);

#endif
