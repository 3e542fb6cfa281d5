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

#endif
