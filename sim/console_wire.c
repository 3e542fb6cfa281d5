// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The chip's end of its UART; see console_wire.h. While the timing model is on, a byte takes ten bits at the chip's
// rate, and where the host's rate is known and more than 5 % off, what arrives is noise, as on a real line.
#include "sim/console_wire.h"

#include "src/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool mismatch(const ds_sim_shared *s)
{
    uint64_t host = s->host_baud, chip = s->chip_baud;
    if (!s->timing.on || !host || !chip)
        return false;
    uint64_t off = host > chip ? host - chip : chip - host;
    return off * 20 > chip;
}

static void spend(ds_sim_console_wire *w, size_t len)
{
    ds_sim_shared *s = w->shared;
    uint32_t baud = s->chip_baud ? s->chip_baud : s->host_baud;
    if (baud)
        s->timing.baud = baud;
    ds_sim_timing_bytes(&s->timing, len);
}

// Faults and a wrong rate; out holds 2 * len.
static size_t distort(ds_sim_console_wire *w, const uint8_t *in, size_t len, uint8_t *out)
{
    size_t n = ds_sim_fault_wire(&w->shared->fault, in, len, out);
    if (mismatch(w->shared))
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)ds_sim_random(&w->rng);
    return n;
}

static int take_pending(ds_sim_console_wire *w, uint8_t *buf, size_t cap)
{
    size_t n = w->pending_len - w->pending_at;
    if (n > cap)
        n = cap;
    memcpy(buf, w->pending + w->pending_at, n);
    w->pending_at += n;
    return (int)n;
}

// -1 gone, 0 nothing within the time, 1 something arrived (which the faults may have swallowed).
static int fill(ds_sim_console_wire *w, int timeout_ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    int n = poll(&p, 1, timeout_ms);
    if (n == 0 || (n < 0 && errno == EINTR))
        return 0;
    uint8_t raw[DS_SIM_WIRE_CHUNK];
    ssize_t got = recv(w->fd, raw, sizeof raw, 0);
    if (got < 0 && errno == EINTR)
        return 0;
    if (n < 0 || got <= 0)
        return -1;
    spend(w, (size_t)got);
    w->pending_at = 0;
    w->pending_len = distort(w, raw, (size_t)got, w->pending);
    return 1;
}

static int wire_read(void *ctx, uint8_t *buf, size_t cap, int timeout_ms)
{
    ds_sim_console_wire *w = ctx;
    int64_t deadline = ds_now_ms() + (timeout_ms > 0 ? timeout_ms : 0);
    if (cap == 0)
        return 0;
    for (;;) {
        if (w->pending_at < w->pending_len)
            return take_pending(w, buf, cap);
        int rc = fill(w, timeout_ms < 0 ? -1 : ds_ms_left(deadline));
        if (rc < 0)
            return -1;
        if (rc == 0 && timeout_ms >= 0 && ds_ms_left(deadline) == 0)
            return 0;
    }
}

static void send_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(DS_SIM_EXIT_OFF);
        data += n;
        len -= (size_t)n;
    }
}

static void wire_write(void *ctx, const uint8_t *buf, size_t len)
{
    ds_sim_console_wire *w = ctx;
    while (len > 0) {
        size_t n = len < DS_SIM_WIRE_CHUNK ? len : DS_SIM_WIRE_CHUNK;
        uint8_t out[2 * DS_SIM_WIRE_CHUNK];
        spend(w, n);
        send_all(w->fd, out, distort(w, buf, n, out));
        buf += n;
        len -= n;
    }
}

static void wire_set_baud(void *ctx, uint32_t baud)
{
    ds_sim_console_wire *w = ctx;
    w->shared->chip_baud = baud;
}

void ds_sim_console_wire_init(ds_sim_console_wire *w, int fd, ds_sim_shared *shared, ds_sim_wire *ret)
{
    *w = (ds_sim_console_wire){.fd = fd, .shared = shared, .rng = 0x9E3779B97F4A7C15u};
    *ret = (ds_sim_wire){.ctx = w, .read = wire_read, .write = wire_write, .set_baud = wire_set_baud};
}
