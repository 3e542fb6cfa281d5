// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// SLIP: any bytes decode within bounds, and what is encoded after them still arrives.
#include "src/base/slip.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ds_slip s;
    ds_slip_init(&s, 256);
    for (size_t i = 0; i < size; i++)
        if (ds_slip_push(&s, data[i]) == DS_SLIP_FRAME && s.frame.len > 256)
            abort();
    // Whatever came before, at most one frame is lost.
    ds_buf wire = {0};
    ds_slip_encode(&wire, (ds_view){(const uint8_t *)"resync", 6});
    ds_slip_encode(&wire, (ds_view){(const uint8_t *)"hello", 5});
    bool seen = false;
    for (size_t i = 0; i < wire.len; i++)
        if (ds_slip_push(&s, wire.ptr[i]) == DS_SLIP_FRAME)
            seen |= s.frame.len == 5 && memcmp(s.frame.ptr, "hello", 5) == 0;
    if (!seen)
        abort();
    ds_buf_free(&wire);
    ds_slip_deinit(&s);
    return 0;
}
