// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Framing; see frame.h. Sending streams the message through protobuf-c's append buffer, so that an answer needs no
// memory of its own beside the handler's.
#include "agent/core/frame.h"

enum { END = 0xC0, ESC = 0xDB, ESC_END = 0xDC, ESC_ESC = 0xDD };

static const uint8_t header[DS_FRAME_HEADER] = {'D', 'S', 1};

uint32_t ds_frame_crc(uint32_t crc, const uint8_t *data, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static bool frame_is_whole(const ds_agent *a)
{
    if (a->broken || a->escaped || a->frame_len < DS_FRAME_HEADER + DS_FRAME_CRC)
        return false;
    for (size_t i = 0; i < DS_FRAME_HEADER; i++)
        if (a->frame[i] != header[i])
            return false;
    size_t body = a->frame_len - DS_FRAME_CRC;
    uint32_t crc = ds_frame_crc(0, a->frame, body);
    for (size_t i = 0; i < DS_FRAME_CRC; i++)
        if (a->frame[body + i] != (uint8_t)(crc >> 8 * i))
            return false;
    return true;
}

static bool end_of_frame(ds_agent *a, size_t *ret_len)
{
    bool whole = frame_is_whole(a);
    if (whole)
        *ret_len = a->frame_len - DS_FRAME_HEADER - DS_FRAME_CRC;
    a->frame_len = 0;
    a->escaped = a->broken = false;
    return whole;
}

bool ds_frame_push(ds_agent *a, uint8_t byte, size_t *ret_len)
{
    if (byte == END)
        return end_of_frame(a, ret_len);
    if (a->escaped) {
        a->escaped = false;
        if (byte == ESC_END)
            byte = END;
        else if (byte == ESC_ESC)
            byte = ESC;
        else
            a->broken = true;
    } else if (byte == ESC) {
        a->escaped = true;
        return false;
    }
    if (a->frame_len >= DS_AGENT_FRAME_MAX + DS_FRAME_HEADER + DS_FRAME_CRC)
        a->broken = true;
    if (!a->broken)
        a->frame[a->frame_len++] = byte;
    return false;
}

// protobuf-c calls append with pieces of the packed message.
typedef struct sender {
    ProtobufCBuffer base;
    const ds_port *port;
    uint32_t crc;
    size_t len;
    uint8_t out[128];
} sender;

static void put_raw(sender *s, uint8_t byte)
{
    s->out[s->len++] = byte;
    if (s->len < sizeof s->out)
        return;
    s->port->console_write(s->port->ctx, s->out, s->len);
    s->len = 0;
}

static void put_escaped(sender *s, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != END && data[i] != ESC) {
            put_raw(s, data[i]);
            continue;
        }
        put_raw(s, ESC);
        put_raw(s, data[i] == END ? ESC_END : ESC_ESC);
    }
}

static void append(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
    sender *s = (sender *)buffer; // base is its first member
    s->crc = ds_frame_crc(s->crc, data, len);
    put_escaped(s, data, len);
}

void ds_frame_send(ds_agent *a, const ProtobufCMessage *message)
{
    sender s = {.base = {.append = append}, .port = a->port};
    put_raw(&s, END);
    append(&s.base, sizeof header, header);
    protobuf_c_message_pack_to_buffer(message, &s.base);
    uint8_t crc[DS_FRAME_CRC];
    for (size_t i = 0; i < sizeof crc; i++)
        crc[i] = (uint8_t)(s.crc >> 8 * i);
    put_escaped(&s, crc, sizeof crc);
    put_raw(&s, END);
    if (s.len > 0)
        s.port->console_write(s.port->ctx, s.out, s.len);
}
