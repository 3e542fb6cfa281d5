// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Writing a little DER (ITU-T X.690); tlv.h reads it.
#ifndef DS_PKI_DER_H
#define DS_PKI_DER_H

#include "src/base/buf.h"

// Append tag and length of an element of len bytes (at most 65535), or all of it.
void ds_der_head(ds_buf *b, uint8_t tag, size_t len);
void ds_der_add(ds_buf *b, uint8_t tag, const void *content, size_t len);

#endif
