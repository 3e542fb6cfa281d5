// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The control socket, served; see control.h. One client at a time, which has two seconds to say what it wants.
#include "sim/control.h"

#include "sim/control_path.h"
#include "src/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MS 2000

enum ds_class ds_sim_control_open(ds_sim_control *c, const char *state, ds_sim_device *devices, unsigned count,
                                  ds_err *e)
{
    *c = (ds_sim_control){.devices = devices, .count = count, .listener = -1, .client = -1};
    c->path = ds_asprintf("%s/%s", state, DS_SIM_CONTROL_NAME);
    unlink(c->path); // left by a simulation that was killed: the caller holds the state's lock
    ds_sim_control_address a;
    enum ds_class rc = ds_sim_control_address_open(&a, state, e);
    if (rc)
        return rc;
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listener < 0 || bind(c->listener, (struct sockaddr *)&a.sun, sizeof a.sun) != 0 || listen(c->listener, 16))
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", c->path);
    ds_sim_control_address_close(&a);
    return rc;
}

static void client_close(ds_sim_control *c)
{
    if (c->client >= 0)
        close(c->client);
    c->client = -1;
    c->len = 0;
}

void ds_sim_control_close(ds_sim_control *c)
{
    client_close(c);
    if (c->listener >= 0)
        close(c->listener);
    c->listener = -1;
    if (c->path)
        unlink(c->path);
    free(c->path);
    c->path = NULL;
}

void ds_sim_control_poll(const ds_sim_control *c, struct pollfd p[DS_SIM_CONTROL_FDS])
{
    p[0] = (struct pollfd){.fd = c->client < 0 ? c->listener : -1, .events = POLLIN};
    p[1] = (struct pollfd){.fd = c->client, .events = POLLIN};
}

void ds_sim_control_json(const ds_sim_device *devices, unsigned count, bool status, ds_buf *out)
{
    ds_buf_add_u8(out, '[');
    for (unsigned i = 0; i < count; i++) {
        if (i)
            ds_buf_add(out, ",\n ", 3);
        ds_sim_device_json(&devices[i], status, out);
    }
    ds_buf_add(out, "]\n", 2);
}

static enum ds_class act(ds_sim_device *d, const char *verb, const char *arg, ds_err *e)
{
    if (strcmp(verb, "reset") == 0)
        ds_sim_device_reset(d, false);
    else if (strcmp(verb, "download") == 0)
        ds_sim_device_reset(d, true);
    else if (strcmp(verb, "off") == 0)
        ds_sim_device_power(d, false);
    else if (strcmp(verb, "on") == 0)
        ds_sim_device_power(d, true);
    else if (strcmp(verb, "fault") == 0)
        return ds_sim_device_fault(d, arg, e);
    else
        return ds_fail(e, DS_USAGE, "no such request '%s'", verb);
    return DS_OK;
}

// A device number or "all" as a range.
static bool parse_devices(const ds_sim_control *c, const char *text, unsigned *first, unsigned *last)
{
    *first = 0;
    *last = c->count;
    if (strcmp(text, "all") == 0)
        return true;
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n >= c->count)
        return false;
    *first = (unsigned)n;
    *last = (unsigned)n + 1;
    return true;
}

static enum ds_class perform(ds_sim_control *c, ds_buf *out, ds_err *e)
{
    char *rest = c->request;
    const char *verb = strsep(&rest, " "), *which = strsep(&rest, " ");
    unsigned first, last;
    if (!which || !parse_devices(c, which, &first, &last))
        return ds_fail(e, DS_USAGE, "no such device '%s'", which ? which : "");
    if (strcmp(verb, "status") == 0) {
        ds_sim_control_json(c->devices + first, last - first, true, out);
        return DS_OK;
    }
    enum ds_class rc = DS_OK;
    for (unsigned i = first; i < last && !rc; i++)
        rc = act(&c->devices[i], verb, rest ? rest : "", e);
    return rc;
}

static void answer(ds_sim_control *c)
{
    DS_CLEANUP_BUF ds_buf body = {0};
    DS_CLEANUP_BUF ds_buf out = {0};
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_FREE char *head = perform(c, &body, &e) ? ds_asprintf("error %s\n", e.text) : ds_strdup("ok\n");
    ds_buf_add(&out, head, strlen(head));
    ds_buf_add(&out, body.ptr, body.len);
    // All of it fits the socket's buffer (64 devices of half a kilobyte), so this does not wait.
    (void)send(c->client, out.ptr, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void read_request(ds_sim_control *c)
{
    ssize_t n = recv(c->client, c->request + c->len, sizeof c->request - 1 - c->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_close(c);
        return;
    }
    c->len += (size_t)n;
    c->request[c->len] = '\0';
    char *end = strchr(c->request, '\n');
    if (end) {
        *end = '\0';
        answer(c);
    }
    if (end || c->len == sizeof c->request - 1)
        client_close(c);
}

void ds_sim_control_serve(ds_sim_control *c, const struct pollfd p[DS_SIM_CONTROL_FDS])
{
    if (c->client >= 0 && p[1].revents)
        read_request(c);
    if (c->client >= 0 && ds_now_ms() >= c->deadline)
        client_close(c);
    if (c->client < 0 && (p[0].revents & POLLIN)) {
        c->client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
        c->deadline = ds_now_ms() + REQUEST_MS;
    }
}
