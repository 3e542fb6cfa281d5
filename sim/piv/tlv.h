// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// BER-TLV as PIV uses it: tags of one byte (two where written), lengths up to 65535. Source: NIST SP 800-73-4 part 2.
#ifndef DS_PIV_TLV_H
#define DS_PIV_TLV_H

#include "src/base/buf.h"

// The first element of that tag.
bool ds_piv_tlv_find(ds_view data, uint8_t tag, ds_view *ret_value);
void ds_piv_tlv_put(ds_buf *out, unsigned tag, ds_view value);

#endif
