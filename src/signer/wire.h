// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Messages of proto/signer.proto over a socket: u32 little-endian length, then that many bytes.
#ifndef DS_SIGNER_WIRE_H
#define DS_SIGNER_WIRE_H

#include "src/base/buf.h"

#include <protobuf-c/protobuf-c.h>

enum { DS_WIRE_MAX = 65536 };

// Send one message. DS_TOKEN where the other side is gone (no SIGPIPE).
enum ds_class ds_wire_send(int fd, const ProtobufCMessage *message, ds_err *e) DS_MUST;

// Receive one message's bytes into ret (replaced). deadline_ms of ds_now_ms; negative: wait for ever. *ret_end: the
// other side closed between messages. DS_TOKEN: closed within one, oversized, or too slow.
enum ds_class ds_wire_recv(int fd, int64_t deadline_ms, ds_buf *ret, bool *ret_end, ds_err *e) DS_MUST;

// The same in two steps: append what ds_wire_send would send, and send what was gathered.
enum ds_class ds_wire_pack(const ProtobufCMessage *message, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_wire_send_packed(int fd, ds_view packed, ds_err *e) DS_MUST;

// Messages as they come, several by one system call. Zero-initialise but fd; free bytes.
typedef struct ds_wire_reader {
    int fd;
    ds_buf bytes;
    size_t used; // of bytes
} ds_wire_reader;
enum ds_wire_met {
    DS_WIRE_MESSAGE,
    DS_WIRE_END,  // the other side closed, between messages
    DS_WIRE_LATE, // not by the deadline; what came of a message is kept
};
// The next message, borrowed until the next call. deadline_ms and DS_TOKEN as of ds_wire_recv.
enum ds_class ds_wire_next(ds_wire_reader *r, int64_t deadline_ms, ds_view *ret, enum ds_wire_met *ret_met,
                           ds_err *e) DS_MUST;

#endif
