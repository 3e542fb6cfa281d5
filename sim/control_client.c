// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The control socket, asked; see control.h and control_path.h.
#include "sim/control.h"

#include "sim/control_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX (1u << 20)

enum ds_class ds_sim_control_address_open(ds_sim_control_address *a, const char *state, ds_err *e)
{
    *a = (ds_sim_control_address){.sun = {.sun_family = AF_UNIX}};
    a->folder = open(state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (a->folder < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", state);
    snprintf(a->sun.sun_path, sizeof a->sun.sun_path, "/proc/self/fd/%d/%s", a->folder, DS_SIM_CONTROL_NAME);
    return DS_OK;
}

void ds_sim_control_address_close(ds_sim_control_address *a)
{
    close(a->folder);
}

static enum ds_class connect_to(const char *state, int *ret, ds_err *e)
{
    ds_sim_control_address a;
    enum ds_class rc = ds_sim_control_address_open(&a, state, e);
    if (rc)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a.sun, sizeof a.sun) != 0) {
        rc = ds_fail_errno(e, DS_DEVICE, errno, "no simulation runs on %s", state);
        if (fd >= 0)
            close(fd);
    }
    ds_sim_control_address_close(&a);
    *ret = fd;
    return rc;
}

static enum ds_class exchange(int fd, const char *request, ds_buf *answer, ds_err *e)
{
    DS_CLEANUP_FREE char *line = ds_asprintf("%s\n", request);
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
        return ds_fail_errno(e, DS_DEVICE, errno, "ask the simulation");
    while (answer->len < ANSWER_MAX) {
        uint8_t buf[4096];
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ds_fail_errno(e, DS_DEVICE, errno, "ask the simulation");
        if (n == 0)
            break;
        ds_buf_add(answer, buf, (size_t)n);
    }
    ds_buf_add_u8(answer, '\0');
    return DS_OK;
}

enum ds_class ds_sim_control_ask(const char *state, const char *request, ds_buf *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf answer = {0};
    int fd = -1;
    enum ds_class rc = connect_to(state, &fd, e);
    if (rc)
        return rc;
    rc = exchange(fd, request, &answer, e);
    close(fd);
    if (rc)
        return rc;
    const char *text = answer.ptr ? (const char *)answer.ptr : "", *body = strchr(text, '\n');
    if (!body)
        return ds_fail(e, DS_DEVICE, "the simulation ended while it was asked");
    if (strncmp(text, "error ", 6) == 0)
        return ds_fail(e, DS_USAGE, "%.*s", (int)(body - text - 6), text + 6);
    ds_buf_add(ret, body + 1, strlen(body + 1));
    return DS_OK;
}

enum ds_class ds_sim_control_need_off(const char *state, unsigned index, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf status = {0};
    DS_CLEANUP_FREE char *request = ds_asprintf("status %u", index);
    enum ds_class rc = ds_sim_control_ask(state, request, &status, e);
    if (rc == DS_DEVICE)
        return DS_OK; // nothing runs
    if (rc)
        return rc;
    ds_buf_add_u8(&status, '\0');
    if (strstr((const char *)status.ptr, "\"power\":\"off\""))
        return DS_OK;
    ds_fail(e, DS_POLICY, "device %u is powered", index);
    return ds_hint(e, "devstamp-sim ctl --state %s --device %u off", state, index);
}
