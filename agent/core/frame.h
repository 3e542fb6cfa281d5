// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Frames on the console: SLIP (RFC 1055) around 'D' 'S' 01, one protobuf message, CRC-32/ISO-HDLC little-endian; see
// proto/stamp.proto. Whatever lies between two END bytes is a candidate: text fails the header or the CRC and is
// forgotten, so that the receiver is in step again at the next END wherever one was lost, doubled or made up.
#ifndef DS_AGENT_FRAME_H
#define DS_AGENT_FRAME_H

#include "agent/core/agent.h"

#define DS_FRAME_HEADER 3u
#define DS_FRAME_CRC 4u

// CRC-32/ISO-HDLC over len more bytes; start with 0.
uint32_t ds_frame_crc(uint32_t crc, const uint8_t *data, size_t len);

// Take one byte. True when a->frame holds a whole frame: the message is at DS_FRAME_HEADER, *ret_len bytes. A message
// over DS_AGENT_FRAME_MAX bytes is dropped without harm. After a true, the next byte starts a new frame.
bool ds_frame_push(ds_agent *a, uint8_t byte, size_t *ret_len);

// Send a message as one frame; nothing is buffered but a few bytes on the stack.
void ds_frame_send(ds_agent *a, const ProtobufCMessage *message);

#endif
