// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Messages over a socket; see wire.h.
#include "src/signer/wire.h"

#include "src/base/clock.h"
#include "src/base/file.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum ds_class ds_wire_pack(const ProtobufCMessage *message, ds_buf *ret, ds_err *e)
{
    size_t len = protobuf_c_message_get_packed_size(message), before = ret->len;
    if (len > DS_WIRE_MAX)
        return ds_fail(e, DS_INPUT, "a message of %zu bytes is too long for the signer", len);
    ds_buf_add_le32(ret, (uint32_t)len);
    ds_buf_resize(ret, before + 4 + len, 0);
    (void)protobuf_c_message_pack(message, ret->ptr + before + 4);
    return DS_OK;
}

enum ds_class ds_wire_send_packed(int fd, ds_view packed, ds_err *e)
{
    size_t sent = 0;
    while (sent < packed.len) {
        ssize_t n = send(fd, packed.ptr + sent, packed.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ds_fail_errno(e, DS_TOKEN, n < 0 ? errno : EPIPE, "send to the other side of the signer's socket");
        sent += (size_t)n;
    }
    return DS_OK;
}

enum ds_class ds_wire_send(int fd, const ProtobufCMessage *message, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    enum ds_class rc = ds_wire_pack(message, &out, e);
    return rc ? rc : ds_wire_send_packed(fd, ds_buf_view(&out), e);
}

// Up to len bytes before the deadline; *ret_got short where the other side closed.
static enum ds_class recv_some(int fd, int64_t deadline_ms, uint8_t *data, size_t len, size_t *ret_got, ds_err *e)
{
    size_t got = 0;
    while (got < len) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, deadline_ms < 0 ? -1 : ds_ms_left(deadline_ms));
        if (ready == 0)
            return ds_fail(e, DS_TOKEN, "no answer in time");
        ssize_t n = ready < 0 ? -1 : recv(fd, data + got, len - got, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != ECONNRESET)
            return ds_fail_errno(e, DS_TOKEN, errno, "receive");
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return DS_OK;
}

enum ds_class ds_wire_recv(int fd, int64_t deadline_ms, ds_buf *ret, bool *ret_end, ds_err *e)
{
    uint8_t head[4];
    size_t got = 0;
    *ret_end = false;
    if (recv_some(fd, deadline_ms, head, sizeof head, &got, e))
        return DS_TOKEN;
    if (got == 0) {
        *ret_end = true;
        return DS_OK;
    }
    uint32_t len = got == sizeof head ? ds_le32(head) : 0;
    if (got < sizeof head || len > DS_WIRE_MAX)
        return ds_fail(e, DS_TOKEN, got < sizeof head ? "the other side closed within a message" : "oversized message");
    ds_buf_clear(ret);
    ds_buf_resize(ret, len, 0);
    if (len && recv_some(fd, deadline_ms, ret->ptr, len, &got, e))
        return DS_TOKEN;
    return len && got < len ? ds_fail(e, DS_TOKEN, "the other side closed within a message") : DS_OK;
}

// Is a whole message there?
static enum ds_class take_whole(ds_wire_reader *r, ds_view *ret, bool *ret_whole, ds_err *e)
{
    size_t there = r->bytes.len - r->used;
    uint32_t len = there >= 4 ? ds_le32(r->bytes.ptr + r->used) : 0;
    *ret_whole = there >= 4 && there - 4 >= len;
    if (len > DS_WIRE_MAX)
        return ds_fail(e, DS_TOKEN, "oversized message");
    if (*ret_whole) {
        *ret = (ds_view){r->bytes.ptr + r->used + 4, len};
        r->used += 4 + (size_t)len;
    }
    return DS_OK;
}

enum ds_class ds_wire_next(ds_wire_reader *r, int64_t deadline_ms, ds_view *ret, enum ds_wire_met *ret_met, ds_err *e)
{
    enum { PART = 16384 };
    for (;;) {
        bool whole = false;
        *ret_met = DS_WIRE_MESSAGE;
        enum ds_class rc = take_whole(r, ret, &whole, e);
        if (rc || whole)
            return rc;
        size_t rest = r->bytes.len - r->used;
        if (r->used && rest)
            memmove(r->bytes.ptr, r->bytes.ptr + r->used, rest);
        r->used = 0;
        ds_buf_resize(&r->bytes, rest, 0);
        struct pollfd p = {.fd = r->fd, .events = POLLIN};
        int ready = deadline_ms < 0 ? 1 : poll(&p, 1, ds_ms_left(deadline_ms));
        *ret_met = DS_WIRE_LATE;
        if (ready == 0)
            return DS_OK;
        ds_buf_resize(&r->bytes, rest + PART, 0);
        ssize_t n = ready < 0 ? -1 : recv(r->fd, r->bytes.ptr + rest, PART, 0);
        r->bytes.len = rest + (n > 0 ? (size_t)n : 0);
        if (n > 0 || (n < 0 && errno == EINTR))
            continue;
        if (n < 0 && errno != ECONNRESET)
            return ds_fail_errno(e, DS_TOKEN, errno, "receive");
        *ret_met = DS_WIRE_END;
        return rest ? ds_fail(e, DS_TOKEN, "the other side closed within a message") : DS_OK;
    }
}
