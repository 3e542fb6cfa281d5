// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// SLIP; see slip.h. An empty frame (END END) only re-opens: the second END is the start of the next frame.
#include "src/base/slip.h"

enum { END = 0xC0, ESC = 0xDB, ESC_END = 0xDC, ESC_ESC = 0xDD };

void ds_slip_encode(ds_buf *out, ds_view payload)
{
    ds_buf_add_u8(out, END);
    for (size_t i = 0; i < payload.len; i++) {
        uint8_t c = payload.ptr[i];
        if (c == END)
            ds_buf_add(out, (const uint8_t[]){ESC, ESC_END}, 2);
        else if (c == ESC)
            ds_buf_add(out, (const uint8_t[]){ESC, ESC_ESC}, 2);
        else
            ds_buf_add_u8(out, c);
    }
    ds_buf_add_u8(out, END);
}

void ds_slip_init(ds_slip *s, size_t max_payload)
{
    *s = (ds_slip){.max = max_payload};
}

void ds_slip_deinit(ds_slip *s)
{
    ds_buf_free(&s->frame);
}

void ds_slip_reset(ds_slip *s)
{
    ds_buf_clear(&s->frame);
    s->inside = s->escaped = s->broken = false;
}

static enum ds_slip_event end_of_frame(ds_slip *s)
{
    bool broken = s->broken || s->escaped;
    if (!broken && s->frame.len == 0) {
        s->inside = true; // END END: the second one opens
        return DS_SLIP_MORE;
    }
    s->inside = s->escaped = s->broken = false;
    return broken ? DS_SLIP_BAD : DS_SLIP_FRAME;
}

enum ds_slip_event ds_slip_push(ds_slip *s, uint8_t byte)
{
    if (!s->inside) {
        if (byte != END)
            return DS_SLIP_TEXT;
        ds_buf_clear(&s->frame);
        s->inside = true;
        return DS_SLIP_MORE;
    }
    if (byte == END)
        return end_of_frame(s);
    if (s->escaped) {
        s->escaped = false;
        if (byte == ESC_END)
            byte = END;
        else if (byte == ESC_ESC)
            byte = ESC;
        else
            s->broken = true;
    } else if (byte == ESC) {
        s->escaped = true;
        return DS_SLIP_MORE;
    }
    if (s->frame.len >= s->max)
        s->broken = true;
    if (!s->broken)
        ds_buf_add_u8(&s->frame, byte);
    return DS_SLIP_MORE;
}
