// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// TCP addresses; see address.h.
#include "src/signer/address.h"

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

enum { BACKLOG = 128 };

enum ds_class ds_address_parse(const char *text, ds_address *ret, ds_err *e)
{
    const char *colon = strrchr(text, ':');
    bool v6 = text[0] == '[' && colon && colon > text + 1 && colon[-1] == ']';
    *ret = (ds_address){0};
    if (!colon || colon == text || !colon[1] || strlen(colon + 1) > 5 ||
        colon[1 + strspn(colon + 1, "0123456789")] != '\0' || (!v6 && memchr(text, ':', (size_t)(colon - text))))
        return ds_hint((ds_fail(e, DS_INPUT, "'%s' is no address", text), e), "write host:port");
    size_t len = (size_t)(colon - text);
    ret->host = v6 ? ds_asprintf("%.*s", (int)(len - 2), text + 1) : ds_asprintf("%.*s", (int)len, text);
    ret->port = ds_strdup(colon + 1);
    return DS_OK;
}

void ds_address_free(ds_address *a)
{
    free(a->host);
    free(a->port);
    *a = (ds_address){0};
}

static enum ds_class look_up(const ds_address *a, bool passive, struct addrinfo **ret, ds_err *e)
{
    const struct addrinfo wanted = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0};
    int err = getaddrinfo(a->host, a->port, &wanted, ret);
    return err ? ds_fail(e, DS_NETWORK, "look up %s: %s", a->host, gai_strerror(err)) : DS_OK;
}

// 0, or the errno of the failure.
static int finish_connect(int fd, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n = 0, err = 0;
    socklen_t len = sizeof err;
    do
        n = poll(&p, 1, ds_ms_left(deadline_ms));
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? errno : ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? errno : err;
}

static int connect_one(const struct addrinfo *a, int64_t deadline_ms, int *ret)
{
    int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    int err = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (err == EINPROGRESS)
        err = finish_connect(fd, deadline_ms);
    if (err)
        close(fd);
    else
        *ret = fd;
    return err;
}

static int listen_one(const struct addrinfo *a, int *ret)
{
    int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *ret = fd;
        return 0;
    }
    int err = errno;
    close(fd);
    return err;
}

enum ds_class ds_address_connect(const ds_address *a, int64_t deadline_ms, int *ret, ds_err *e)
{
    struct addrinfo *found = NULL;
    int err = EADDRNOTAVAIL;
    enum ds_class rc = look_up(a, false, &found, e);
    if (rc)
        return rc;
    for (const struct addrinfo *i = found; i && err; i = i->ai_next)
        err = connect_one(i, deadline_ms, ret);
    freeaddrinfo(found);
    return err ? ds_fail_errno(e, DS_NETWORK, err, "connect") : DS_OK;
}

enum ds_class ds_address_listen(const ds_address *a, int *ret, ds_err *e)
{
    struct addrinfo *found = NULL;
    int err = EADDRNOTAVAIL;
    enum ds_class rc = look_up(a, true, &found, e);
    if (rc)
        return rc;
    for (const struct addrinfo *i = found; i && err; i = i->ai_next)
        err = listen_one(i, ret);
    freeaddrinfo(found);
    return err ? ds_fail_errno(e, DS_NETWORK, err, "listen at %s:%s", a->host, a->port) : DS_OK;
}
