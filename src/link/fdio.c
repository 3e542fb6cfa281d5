// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading and writing within a time; see fdio.h. A tty whose USB adapter was pulled out polls as hung up and reads 0
// bytes or EIO; a closed connection reads 0 bytes or fails. All of these are "the port vanished".
#include "src/link/fdio.h"

#include "src/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static enum ds_class vanished(const ds_fdio *io, int err, ds_err *e)
{
    const char *what = io->is_socket ? "the connection was closed" : "the port vanished";
    if (err)
        ds_fail_errno(e, DS_DEVICE, err, "%s", what);
    else
        ds_fail(e, DS_DEVICE, "%s", what);
    if (io->is_socket)
        return ds_hint(e, "check the device's power and the program that serves its port, then run again");
    return ds_hint(e, "check the cable and the device's power, then run again");
}

// Poll for events until deadline; *ret_revents = 0 on timeout.
static enum ds_class wait_for(const ds_fdio *io, short events, int64_t deadline_ms, short *ret_revents, ds_err *e)
{
    struct pollfd p = {.fd = io->fd, .events = events};
    for (;;) {
        int n = poll(&p, 1, ds_ms_left(deadline_ms));
        if (n >= 0) {
            *ret_revents = n > 0 ? p.revents : 0;
            return DS_OK;
        }
        if (errno != EINTR)
            return ds_fail_errno(e, DS_INTERNAL, errno, "wait for the port");
    }
}

enum ds_class ds_fdio_read(const ds_fdio *io, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len, ds_err *e)
{
    *ret_len = 0;
    short revents = 0;
    enum ds_class cls = wait_for(io, POLLIN, ds_now_ms() + timeout_ms, &revents, e);
    if (cls || !revents)
        return cls;
    ssize_t n = read(io->fd, buf, cap);
    if (n > 0) {
        *ret_len = (size_t)n;
        return DS_OK;
    }
    if (n == 0) // a tty without minimum reads 0 bytes when another reader was faster
        return io->is_socket || (revents & (POLLHUP | POLLERR | POLLNVAL)) ? vanished(io, 0, e) : DS_OK;
    if (errno == EAGAIN || errno == EINTR)
        return DS_OK;
    return vanished(io, errno, e);
}

static ssize_t write_some(const ds_fdio *io, ds_view data)
{
    if (io->is_socket)
        return send(io->fd, data.ptr, data.len, MSG_NOSIGNAL);
    return write(io->fd, data.ptr, data.len);
}

enum ds_class ds_fdio_write(const ds_fdio *io, ds_view data, ds_err *e)
{
    int64_t deadline_ms = ds_now_ms() + DS_FDIO_WRITE_MS;
    while (data.len) {
        ssize_t n = write_some(io, data);
        if (n >= 0) {
            data.ptr += n;
            data.len -= (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return vanished(io, errno, e);
        short revents = 0;
        enum ds_class cls = wait_for(io, POLLOUT, deadline_ms, &revents, e);
        if (cls)
            return cls;
        if (!revents) {
            ds_fail_errno(e, DS_DEVICE, ETIMEDOUT, "the port takes no data");
            return ds_hint(e, "check flow control and the cable");
        }
    }
    return DS_OK;
}

enum ds_class ds_fdio_discard(const ds_fdio *io, ds_err *e)
{
    uint8_t junk[4096];
    for (int i = 0; i < 256; i++) {
        size_t n = 0;
        enum ds_class cls = ds_fdio_read(io, junk, sizeof junk, 0, &n, e);
        if (cls || n == 0)
            return cls;
    }
    return DS_OK;
}
