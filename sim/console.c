// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Consoles; see console.h. A UART has no flow control: what a client does not take is lost once a mebibyte waits for
// it.
#include "sim/console.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define OUT_MAX (1u << 20)

static void sent(ds_buf *b, size_t n)
{
    memmove(b->ptr, b->ptr + n, b->len - n);
    b->len -= n;
}

static bool pending(int err)
{
    return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}

static void client_gone(ds_sim_console *c)
{
    ds_buf_clear(&c->out);
    if (c->kind == DS_SIM_CONSOLE_PTY) {
        c->idle = true;
        return;
    }
    close(c->fd);
    c->fd = -1;
    // An adapter that nobody has open lets go of both lines.
    if (c->telnet.dtr || c->telnet.rts)
        c->ops->lines(c->ctx, false, false);
    ds_sim_rfc2217_init(&c->telnet, c->ops, c->ctx);
}

static void flush_out(ds_sim_console *c)
{
    while (c->out.len > 0) {
        ssize_t n = write(c->fd, c->out.ptr, c->out.len);
        if (n < 0 && pending(errno))
            return;
        if (n <= 0) {
            client_gone(c);
            return;
        }
        sent(&c->out, (size_t)n);
    }
}

void ds_sim_console_send(ds_sim_console *c, const uint8_t *data, size_t len)
{
    if (c->fd < 0 || (c->kind == DS_SIM_CONSOLE_PTY && c->idle) || len == 0 || c->out.len + len > OUT_MAX)
        return;
    bool was_empty = c->out.len == 0;
    if (c->kind == DS_SIM_CONSOLE_RFC2217)
        ds_sim_rfc2217_escape(data, len, &c->out);
    else
        ds_buf_add(&c->out, data, len);
    if (was_empty)
        flush_out(c);
}

static enum ds_class open_tcp(ds_sim_console *c, uint16_t port, ds_err *e)
{
    const int on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listener < 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "socket");
    (void)setsockopt(c->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(c->listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(c->listener, 8) != 0 ||
        getsockname(c->listener, (struct sockaddr *)&a, &len) != 0) {
        ds_fail_errno(e, DS_INPUT, errno, "listen on 127.0.0.1:%u", port);
        return ds_hint(e, "choose another --base-port, or leave it out and take any that is free");
    }
    c->port = ntohs(a.sin_port);
    return DS_OK;
}

static enum ds_class open_pty(ds_sim_console *c, ds_err *e)
{
    struct termios t;
    c->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (c->fd < 0 || grantpt(c->fd) != 0 || unlockpt(c->fd) != 0 || ptsname_r(c->fd, c->pty, sizeof c->pty) != 0 ||
        tcgetattr(c->fd, &t) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "pseudo-terminal");
    cfmakeraw(&t);
    cfsetspeed(&t, B115200);
    if (tcsetattr(c->fd, TCSANOW, &t) != 0 || fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "pseudo-terminal %s", c->pty);
    // Opened and closed once: from then on the master knows whether anybody is there.
    int slave = open(c->pty, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "%s", c->pty);
    close(slave);
    c->idle = true;
    return DS_OK;
}

enum ds_class ds_sim_console_open(ds_sim_console *c, enum ds_sim_console_kind kind, uint16_t port,
                                  const ds_sim_console_ops *ops, void *ctx, ds_err *e)
{
    *c = (ds_sim_console){.kind = kind, .ops = ops, .ctx = ctx, .listener = -1, .fd = -1};
    ds_sim_rfc2217_init(&c->telnet, ops, ctx);
    enum ds_class rc = kind == DS_SIM_CONSOLE_PTY ? open_pty(c, e) : open_tcp(c, port, e);
    if (rc)
        ds_sim_console_close(c);
    return rc;
}

void ds_sim_console_close(ds_sim_console *c)
{
    if (c->fd >= 0)
        close(c->fd);
    if (c->listener >= 0)
        close(c->listener);
    c->fd = c->listener = -1;
    ds_buf_free(&c->out);
}

static bool has_client(const ds_sim_console *c)
{
    return c->fd >= 0 && !(c->kind == DS_SIM_CONSOLE_PTY && c->idle);
}

void ds_sim_console_poll(const ds_sim_console *c, bool may_read, struct pollfd p[DS_SIM_CONSOLE_FDS])
{
    p[0] = (struct pollfd){.fd = c->listener, .events = POLLIN};
    p[1] = (struct pollfd){.fd = has_client(c) ? c->fd : -1};
    p[1].events = (short)((may_read ? POLLIN : 0) | (c->out.len ? POLLOUT : 0));
}

static uint32_t pty_baud(int fd)
{
    static const struct {
        speed_t code;
        uint32_t baud;
    } known[] = {{B9600, 9600},     {B19200, 19200},   {B38400, 38400},   {B57600, 57600},     {B115200, 115200},
                 {B230400, 230400}, {B460800, 460800}, {B921600, 921600}, {B1500000, 1500000}, {B2000000, 2000000}};
    struct termios t;
    if (tcgetattr(fd, &t) != 0)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (cfgetospeed(&t) == known[i].code)
            return known[i].baud;
    return 0;
}

static void input(ds_sim_console *c, const uint8_t *data, size_t len)
{
    if (c->kind == DS_SIM_CONSOLE_RFC2217) {
        ds_sim_rfc2217_input(&c->telnet, data, len, &c->out);
        flush_out(c);
        return;
    }
    if (c->kind == DS_SIM_CONSOLE_PTY && pty_baud(c->fd) != c->pty_baud) {
        c->pty_baud = pty_baud(c->fd);
        c->ops->baud(c->ctx, c->pty_baud);
    }
    c->ops->data(c->ctx, data, len);
}

static void read_client(ds_sim_console *c)
{
    uint8_t buf[4096];
    ssize_t n = read(c->fd, buf, sizeof buf);
    if (n > 0)
        input(c, buf, (size_t)n);
    else if (n == 0 || !pending(errno))
        client_gone(c);
}

static bool client_hung_up(const ds_sim_console *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

// A client that came back at once finds its old connection not yet taken down: finish that one first.
static bool busy(ds_sim_console *c)
{
    while (c->fd >= 0 && client_hung_up(c))
        read_client(c);
    return c->fd >= 0;
}

static void accept_client(ds_sim_console *c)
{
    const int on = 1;
    int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (busy(c)) {
        static const char refused[] = "devstamp-sim: port already in use\r\n";
        (void)send(fd, refused, sizeof refused - 1, MSG_NOSIGNAL);
        close(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->fd = fd;
    ds_sim_rfc2217_init(&c->telnet, c->ops, c->ctx);
    c->ops->baud(c->ctx, c->kind == DS_SIM_CONSOLE_RFC2217 ? c->telnet.baud : 0);
}

void ds_sim_console_serve(ds_sim_console *c, const struct pollfd p[DS_SIM_CONSOLE_FDS])
{
    if (has_client(c) && (p[1].revents & POLLOUT))
        flush_out(c);
    // Hanging up is seen by the read that finds nothing more.
    if (has_client(c) && (p[1].revents & (POLLIN | POLLHUP | POLLERR)))
        read_client(c);
    if (p[0].revents & POLLIN)
        accept_client(c);
}

void ds_sim_console_tick(ds_sim_console *c)
{
    struct pollfd p = {.fd = c->fd};
    if (c->kind == DS_SIM_CONSOLE_PTY && c->idle && poll(&p, 1, 0) == 0)
        c->idle = false;
}
