// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's frames on a console that also carries log text (proto/stamp.proto): tells frames and lines of text apart
// without ever losing step, and without I/O.
#ifndef DS_LINK_AGENT_WIRE_H
#define DS_LINK_AGENT_WIRE_H

#include "src/base/slip.h"

#define DS_AGENT_MESSAGE_MAX 8192u
#define DS_AGENT_LINE_MAX 512u

typedef struct ds_agent_wire {
    ds_slip slip;
    char line[DS_AGENT_LINE_MAX]; // the line so far, printable characters, terminated
    size_t line_len;
    int escape; // inside a terminal's control sequence
    void (*log)(void *arg, const char *line);
    void *arg;
    const char *watch; // borrowed; text to look for within a line, or NULL
    bool seen;         // it was there
} ds_agent_wire;

enum ds_agent_event {
    DS_AGENT_MORE = 0,
    DS_AGENT_MESSAGE, // a whole frame with a right CRC
    DS_AGENT_DAMAGED, // a frame that begins as ours and is not whole
};

void ds_agent_wire_init(ds_agent_wire *w, void (*log)(void *arg, const char *line), void *arg);
void ds_agent_wire_deinit(ds_agent_wire *w);

// Feed one byte. ret_message (borrowed until the next call) is set with DS_AGENT_MESSAGE.
enum ds_agent_event ds_agent_wire_push(ds_agent_wire *w, uint8_t byte, ds_view *ret_message);

// Nothing came for a while: what looks like the begin of a frame was cut off; its bytes become text.
void ds_agent_wire_idle(ds_agent_wire *w);

// Append the frame of a message.
void ds_agent_wire_encode(ds_buf *out, ds_view message);

#endif
