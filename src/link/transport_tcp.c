// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device behind a plain TCP connection: bytes only, no line rate and no control lines.
#include "src/link/transport_open.h"

#include "src/base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 5000

typedef struct tcp {
    ds_transport base;
    ds_fdio io;
} tcp;

static tcp *self(ds_transport *t)
{
    return (tcp *)(void *)t;
}

static enum ds_class tcp_read(ds_transport *t, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len, ds_err *e)
{
    return ds_fdio_read(&self(t)->io, buf, cap, timeout_ms, ret_len, e);
}

static enum ds_class tcp_write(ds_transport *t, ds_view data, ds_err *e)
{
    return ds_fdio_write(&self(t)->io, data, e);
}

static enum ds_class tcp_set_baud(ds_transport *t, uint32_t baud, ds_err *e)
{
    (void)t, (void)baud, (void)e;
    return DS_OK;
}

static enum ds_class tcp_set_lines(ds_transport *t, bool dtr, bool rts, ds_err *e)
{
    (void)t, (void)dtr, (void)rts;
    ds_fail(e, DS_DEVICE, "a plain TCP connection has no control lines");
    return ds_hint(e, "use rfc2217:// where the server speaks it, or give the slot a reset command");
}

static enum ds_class tcp_flush(ds_transport *t, ds_err *e)
{
    return ds_fdio_discard(&self(t)->io, e);
}

static void tcp_close(ds_transport *t)
{
    close(self(t)->io.fd);
    free(t);
}

// Split "host:port" or "[v6]:port" in place.
static bool split(char *s, char **ret_host, char **ret_port)
{
    char *colon = strrchr(s, ':');
    if (!colon || colon == s || !colon[1])
        return false;
    *colon = '\0';
    *ret_port = colon + 1;
    *ret_host = s;
    if (s[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        *ret_host = s + 1;
    }
    return strpbrk(*ret_port, "/ ") == NULL;
}

// 0, or the errno of the failure.
static int finish_connect(int fd, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n;
    do
        n = poll(&p, 1, ds_ms_left(deadline_ms));
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? errno : ETIMEDOUT;
    int err = 0;
    socklen_t len = sizeof err;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? errno : err;
}

static int connect_one(const struct addrinfo *a, int64_t deadline_ms, int *ret_fd)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return errno;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    int err = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (err == EINPROGRESS)
        err = finish_connect(fd, deadline_ms);
    if (err) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

enum ds_class ds_tcp_connect(const char *host_port, ds_fdio *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *copy = ds_strdup(host_port);
    char *host, *port;
    if (!split(copy, &host, &port)) {
        ds_fail(e, DS_INPUT, "the address is not host:port");
        return ds_hint(e, "write for instance tcp://127.0.0.1:4000 or tcp://[::1]:4000");
    }
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(host, port, &want, &list);
    if (rc) {
        ds_fail(e, DS_DEVICE, "%s", gai_strerror(rc));
        return ds_hint(e, "check the host name and the port number");
    }
    int64_t deadline_ms = ds_now_ms() + CONNECT_MS;
    int err = ETIMEDOUT, fd = -1;
    for (const struct addrinfo *a = list; a && err; a = a->ai_next)
        err = connect_one(a, deadline_ms, &fd);
    freeaddrinfo(list);
    if (err) {
        ds_fail_errno(e, DS_DEVICE, err, "connect");
        return ds_hint(e, "check that the device, or the program that serves its port, runs at this address");
    }
    *ret = (ds_fdio){.fd = fd, .is_socket = true};
    return DS_OK;
}

enum ds_class ds_tcp_open(const char *host_port, ds_transport **ret, ds_err *e)
{
    ds_fdio io;
    enum ds_class cls = ds_tcp_connect(host_port, &io, e);
    if (cls)
        return cls;
    tcp *t = ds_alloc(sizeof *t);
    t->base = (ds_transport){
        .read = tcp_read,
        .write = tcp_write,
        .set_baud = tcp_set_baud,
        .set_lines = tcp_set_lines,
        .flush_input = tcp_flush,
        .close = tcp_close,
    };
    t->io = io;
    *ret = &t->base;
    return DS_OK;
}
