// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The other end of a loopback TCP connection, played by a thread: what the tests of the link room talk to.
#ifndef LINK_PEER_H
#define LINK_PEER_H

#include "src/base/clock.h"
#include "src/link/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct peer {
    int listener, fd;
    uint16_t port;
    pthread_t thread;
    void (*play)(struct peer *p); // runs once a station has connected
    void *arg;
} peer;

static void *peer_main(void *arg)
{
    peer *p = arg;
    p->fd = accept(p->listener, NULL, NULL);
    if (p->fd >= 0) {
        int on = 1;
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        p->play(p);
        close(p->fd);
    }
    return NULL;
}

static inline void peer_start(peer *p, void (*play)(peer *), void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *p = (peer){.play = play, .arg = arg, .fd = -1};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->listener >= 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(p->listener, 1), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&a, &len), 0);
    p->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

// The station must have closed its end, or the peer's play must end by itself.
static inline void peer_join(peer *p)
{
    pthread_join(p->thread, NULL);
    close(p->listener);
}

static inline ds_transport *peer_open(const peer *p, const char *scheme)
{
    char address[64];
    snprintf(address, sizeof address, "%s://127.0.0.1:%u", scheme, p->port);
    ds_transport *t = NULL;
    ds_err e = DS_ERR_INIT;
    if (ds_transport_open(address, &t, &e))
        fail_msg("%s (%s)", e.text, e.hint);
    return t;
}

static inline bool peer_send(peer *p, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

// What the station sends; 0 when it has closed.
static inline size_t peer_recv(peer *p, uint8_t *buf, size_t cap)
{
    ssize_t n = recv(p->fd, buf, cap, 0);
    return n > 0 ? (size_t)n : 0;
}

#define assert_ok(call, e)                                 \
    do {                                                   \
        if ((call) != DS_OK)                               \
            fail_msg("%s (hint: %s)", (e).text, (e).hint); \
    } while (0)

#endif
