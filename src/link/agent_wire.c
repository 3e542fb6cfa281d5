// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Frames and log text on one console; see agent_wire.h. A frame that does not begin with 'D' 'S' 01 turns into text at
// the first byte that shows it, so that a stray END in a boot log costs nothing; the END that closes a damaged frame
// may as well open the next one.
#include "src/link/agent_wire.h"

#include "src/base/crc.h"

#include <string.h>

enum { END = 0xC0, ESC = 0x1B, HEADER = 3, CRC = 4 };
enum { NOT_ESCAPED = 0, ESCAPED, IN_SEQUENCE };

static const uint8_t header[HEADER] = {'D', 'S', 0x01};

void ds_agent_wire_init(ds_agent_wire *w, void (*log)(void *arg, const char *line), void *arg)
{
    *w = (ds_agent_wire){.log = log, .arg = arg};
    ds_slip_init(&w->slip, HEADER + DS_AGENT_MESSAGE_MAX + CRC);
}

void ds_agent_wire_deinit(ds_agent_wire *w)
{
    ds_slip_deinit(&w->slip);
}

static void end_line(ds_agent_wire *w)
{
    if (w->line_len && w->log)
        w->log(w->arg, w->line);
    w->line_len = 0;
}

static bool ends_with_watch(const ds_agent_wire *w)
{
    size_t n = w->watch ? strlen(w->watch) : 0;
    return n && n <= w->line_len && memcmp(w->line + w->line_len - n, w->watch, n) == 0;
}

// Skip colours and cursor movements (ECMA-48 control sequences); true where c belongs to one.
static bool in_escape(ds_agent_wire *w, uint8_t c)
{
    if (c == ESC) {
        w->escape = ESCAPED;
        return true;
    }
    if (w->escape == NOT_ESCAPED)
        return false;
    if (w->escape == ESCAPED)
        w->escape = c == '[' ? IN_SEQUENCE : NOT_ESCAPED;
    else if (c < 0x20 || c > 0x3F)
        w->escape = NOT_ESCAPED; // the final byte, or nonsense
    return c >= 0x20;
}

static void text(ds_agent_wire *w, uint8_t c)
{
    if (in_escape(w, c))
        return;
    if (c == '\n' || c == '\r') {
        end_line(w);
        return;
    }
    if (c == '\t')
        c = ' ';
    if (c < 0x20 || c > 0x7E)
        return;
    w->line[w->line_len++] = (char)c;
    w->line[w->line_len] = '\0';
    if (ends_with_watch(w))
        w->seen = true;
    if (w->line_len == sizeof w->line - 1)
        end_line(w);
}

// The frame so far is none of ours: its bytes are text.
static void give_up_frame(ds_agent_wire *w)
{
    for (size_t i = 0; i < w->slip.frame.len; i++)
        text(w, w->slip.frame.ptr[i]);
    ds_slip_reset(&w->slip);
}

static bool is_whole(ds_view f)
{
    return f.len >= HEADER + CRC && memcmp(f.ptr, header, HEADER) == 0 &&
           ds_le32(f.ptr + f.len - CRC) == ds_crc32(f.ptr, f.len - CRC);
}

enum ds_agent_event ds_agent_wire_push(ds_agent_wire *w, uint8_t byte, ds_view *ret_message)
{
    ds_slip *s = &w->slip;
    switch (ds_slip_push(s, byte)) {
    case DS_SLIP_TEXT:
        text(w, byte);
        return DS_AGENT_MORE;
    case DS_SLIP_FRAME:
        if (is_whole(ds_buf_view(&s->frame))) {
            *ret_message = (ds_view){s->frame.ptr + HEADER, s->frame.len - HEADER - CRC};
            return DS_AGENT_MESSAGE;
        }
        give_up_frame(w);
        ds_slip_push(s, END);
        return DS_AGENT_DAMAGED;
    case DS_SLIP_BAD:
        give_up_frame(w);
        ds_slip_push(s, END);
        return DS_AGENT_DAMAGED;
    default:
        break;
    }
    if (!s->inside)
        return DS_AGENT_MORE;
    size_t n = s->frame.len;
    if (s->broken || (n && n <= HEADER && s->frame.ptr[n - 1] != header[n - 1]))
        give_up_frame(w);
    return DS_AGENT_MORE;
}

void ds_agent_wire_idle(ds_agent_wire *w)
{
    if (w->slip.inside && w->slip.frame.len)
        give_up_frame(w);
}

void ds_agent_wire_encode(ds_buf *out, ds_view message)
{
    DS_CLEANUP_BUF ds_buf f = {0};
    ds_buf_add(&f, header, HEADER);
    ds_buf_add(&f, message.ptr, message.len);
    ds_buf_add_le32(&f, ds_crc32(f.ptr, f.len));
    ds_slip_encode(out, ds_buf_view(&f));
}
