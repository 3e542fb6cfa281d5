// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The control socket of the virtual YubiKey; see yubikey.h. A request is so short that it is read at once.
#include "sim/piv/yubikey.h"

#include "sim/control_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REQUEST_MAX = 512, REQUEST_S = 2 };

int ds_piv_control_open(const char *state, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/%s", state, DS_SIM_CONTROL_NAME);
    (void)unlink(path); // left by one that was killed: the caller holds the state's lock
    ds_sim_control_address a;
    if (ds_sim_control_address_open(&a, state, e))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a.sun, sizeof a.sun) != 0 || listen(fd, 16) != 0) {
        (void)ds_fail_errno(e, DS_STORE, errno, "%s", path);
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    ds_sim_control_address_close(&a);
    return fd;
}

static enum ds_class perform(ds_piv_yubikey *y, const char *request, ds_buf *out, ds_err *e)
{
    if (strcmp(request, "status") == 0)
        ds_piv_yubikey_status(y, out);
    else if (strcmp(request, "in") == 0)
        return ds_piv_yubikey_insert(y, e);
    else if (strcmp(request, "out") == 0)
        ds_piv_yubikey_eject(y);
    else if (strcmp(request, "touch") == 0)
        return ds_piv_yubikey_touch(y, e);
    else if (strncmp(request, "fault ", 6) == 0)
        return ds_piv_yubikey_fault(y, request + 6, e);
    else
        return ds_fail(e, DS_USAGE, "no such request '%s'", request);
    return DS_OK;
}

static bool read_line(int fd, char *ret)
{
    size_t len = 0;
    while (len < REQUEST_MAX - 1) {
        ssize_t n = recv(fd, ret + len, REQUEST_MAX - 1 - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        len += (size_t)n;
        ret[len] = '\0';
        char *end = strchr(ret, '\n');
        if (end) {
            *end = '\0';
            return true;
        }
    }
    return false;
}

void ds_piv_control_serve(int listener, ds_piv_yubikey *y)
{
    char request[REQUEST_MAX];
    const struct timeval limit = {.tv_sec = REQUEST_S};
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 && read_line(fd, request)) {
        DS_CLEANUP_BUF ds_buf body = {0};
        DS_CLEANUP_BUF ds_buf out = {0};
        ds_err e = DS_ERR_INIT;
        DS_CLEANUP_FREE char *head =
            perform(y, request, &body, &e) ? ds_asprintf("error %s\n", e.text) : ds_strdup("ok\n");
        ds_buf_add(&out, head, strlen(head));
        if (body.len)
            ds_buf_add(&out, body.ptr, body.len);
        (void)send(fd, out.ptr, out.len, MSG_NOSIGNAL | MSG_DONTWAIT); // fits the socket's buffer
    }
    close(fd);
}
