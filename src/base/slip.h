// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// SLIP framing (RFC 1055): END C0, ESC DB, DB DC for C0, DB DD for DB; as the ESP ROM and our agent use it, with an END
// on both sides of a frame.
#ifndef DS_BASE_SLIP_H
#define DS_BASE_SLIP_H

#include "src/base/buf.h"

// Append END, the escaped payload, END to out.
void ds_slip_encode(ds_buf *out, ds_view payload);

enum ds_slip_event {
    DS_SLIP_MORE = 0, // the byte was taken, nothing is complete
    DS_SLIP_TEXT,     // a byte outside any frame: console text
    DS_SLIP_FRAME,    // frame holds a whole, non-empty payload until the next call
    DS_SLIP_BAD,      // a malformed or oversized frame was dropped
};

// A decoder. Text between frames is told apart from frames by position alone; where the END in front of a frame was
// lost, the frame shows as text and the decoder is back in step at the next END.
typedef struct ds_slip {
    ds_buf frame;
    size_t max; // longest payload accepted
    bool inside, escaped, broken;
} ds_slip;

void ds_slip_init(ds_slip *s, size_t max_payload);
void ds_slip_deinit(ds_slip *s);
void ds_slip_reset(ds_slip *s);

// Feed one byte.
enum ds_slip_event ds_slip_push(ds_slip *s, uint8_t byte);

#endif
