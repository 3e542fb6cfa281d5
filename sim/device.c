// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A virtual device; see device.h.
#include "sim/device.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TO_CHIP_MAX (64u << 10) // the host's bytes kept while the CPU is busy
#define CRASH_PAUSE_MS 500
#define HASTY_MS 100 // a run shorter than this
#define HASTY_MAX 10 // so many in a row
#define HASTY_PAUSE_MS 200

static void to_host(ds_sim_device *d, const uint8_t *data, size_t len)
{
    for (int i = 0; i < DS_SIM_DEVICE_CONSOLES; i++)
        ds_sim_console_send(&d->consoles[i], data, len);
}

// False when the run's console is closed. Reads so much at a time that other devices get their turn.
static bool read_chip(ds_sim_device *d, bool discard)
{
    uint8_t buf[8192];
    for (int turn = 0; turn < 64; turn++) {
        ssize_t n = recv(d->fd, buf, sizeof buf, MSG_DONTWAIT);
        if (n > 0 && !discard)
            to_host(d, buf, (size_t)n);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (n <= 0)
            return false;
    }
    return true;
}

static void write_chip(ds_sim_device *d)
{
    while (d->fd >= 0 && d->to_chip.len > 0) {
        ssize_t n = send(d->fd, d->to_chip.ptr, d->to_chip.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; // full, or gone: then reading tells
        memmove(d->to_chip.ptr, d->to_chip.ptr + n, d->to_chip.len - (size_t)n);
        d->to_chip.len -= (size_t)n;
    }
}

// The process ended or was killed: collect it. Returns its wait status.
static int reap(ds_sim_device *d)
{
    int status = 0;
    while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(d->fd);
    d->fd = -1;
    d->pid = 0;
    ds_buf_clear(&d->to_chip);
    return status;
}

static void stop(ds_sim_device *d)
{
    d->start_at = 0;
    if (!d->pid)
        return;
    kill(d->pid, SIGKILL);
    (void)read_chip(d, false); // what had left the chip already
    (void)reap(d);
}

static void start(ds_sim_device *d, enum ds_sim_reset reset, bool strap_download)
{
    ds_err e = DS_ERR_INIT;
    ds_sim_cpu_spec run = {
        .chip = d->spec.chip,
        .flash_path = d->files.flash,
        .efuse_path = d->files.efuse,
        .flash_size = d->spec.flash_size,
        .revision = d->spec.revision,
        .shared = d->shared,
        .reset = reset,
        .strap_download = strap_download,
    };
    memcpy(run.mac, d->spec.mac, sizeof run.mac);
    d->start_at = 0;
    d->started_at = ds_now_ms();
    if (ds_sim_cpu_start(&run, &d->fd, &d->pid, &e)) {
        ds_log(DS_LOG_ERROR, "device %u: %s", d->index, e.text);
        d->start_at = d->started_at + CRASH_PAUSE_MS;
        return;
    }
    d->runs++;
}

static void start_later(ds_sim_device *d, enum ds_sim_reset reset, int64_t pause_ms)
{
    d->next_reset = reset;
    d->start_at = ds_now_ms() + pause_ms;
}

// A device in a reset loop must not eat the machine.
static int64_t hasty_pause(ds_sim_device *d)
{
    d->hasty = ds_now_ms() - d->started_at < HASTY_MS ? d->hasty + 1 : 0;
    return d->hasty > HASTY_MAX ? HASTY_PAUSE_MS : 0;
}

static void crashed(ds_sim_device *d, int status)
{
    d->crashes++;
    if (WIFSIGNALED(status))
        ds_log(DS_LOG_ERROR, "device %u: its processor was ended by signal %d", d->index, WTERMSIG(status));
    else
        ds_log(DS_LOG_ERROR, "device %u: its processor ended with code %d", d->index, WEXITSTATUS(status));
    start_later(d, DS_SIM_RESET_SW, CRASH_PAUSE_MS);
}

static void run_ended(ds_sim_device *d)
{
    int status = reap(d), code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == DS_SIM_EXIT_RESET)
        start_later(d, DS_SIM_RESET_SW, hasty_pause(d));
    else if (code == DS_SIM_EXIT_POWER_CUT && d->shared->fault.stay_off)
        d->power = false;
    else if (code == DS_SIM_EXIT_POWER_CUT)
        start_later(d, DS_SIM_RESET_POWERON, 0);
    else
        crashed(d, status);
}

void ds_sim_device_reset(ds_sim_device *d, bool download)
{
    stop(d);
    if (!d->power)
        return;
    d->lines.held = false;
    start(d, DS_SIM_RESET_POWERON, download);
}

void ds_sim_device_power(ds_sim_device *d, bool on)
{
    if (on == d->power)
        return;
    d->power = on;
    if (!on)
        stop(d);
    else if (!d->lines.held)
        start(d, DS_SIM_RESET_POWERON, ds_sim_lines_strap_low(&d->lines));
}

enum ds_class ds_sim_device_fault(ds_sim_device *d, const char *plan, ds_err *e)
{
    ds_sim_fault fault;
    enum ds_class rc = ds_sim_fault_parse(plan, &fault, e);
    if (rc)
        return rc;
    // The run must not see half a plan.
    siginfo_t info;
    if (d->pid && (kill(d->pid, SIGSTOP) != 0 || waitid(P_PID, (id_t)d->pid, &info, WSTOPPED | WEXITED | WNOWAIT) != 0))
        return ds_fail_errno(e, DS_INTERNAL, errno, "device %u: pause", d->index);
    fault.flash_ops = &d->shared->flash_ops;
    d->shared->flash_ops = 0;
    d->shared->fault = fault;
    if (d->pid)
        kill(d->pid, SIGCONT);
    return DS_OK;
}

static void lines_act(ds_sim_device *d, enum ds_sim_lines_act act)
{
    if (act == DS_SIM_LINES_HOLD)
        stop(d);
    else if (act == DS_SIM_LINES_RELEASE && d->power)
        start(d, DS_SIM_RESET_POWERON, ds_sim_lines_strap_low(&d->lines));
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    ds_sim_device *d = ctx;
    if (d->fd < 0)
        return;                         // a chip in reset hears nothing
    ds_buf_add(&d->to_chip, data, len); // sent when all that came in is there: an RFC 2217 client's FF are apart
}

static void on_lines(void *ctx, bool dtr, bool rts)
{
    ds_sim_device *d = ctx;
    lines_act(d, ds_sim_lines_set(&d->lines, dtr, rts, ds_now_ms()));
}

static void on_baud(void *ctx, uint32_t baud)
{
    ds_sim_device *d = ctx;
    write_chip(d);
    d->shared->host_baud = baud;
}

static void on_purge(void *ctx, bool to_client, bool to_chip)
{
    ds_sim_device *d = ctx;
    write_chip(d);
    if (to_client && d->fd >= 0)
        (void)read_chip(d, true);
    if (to_chip)
        ds_buf_clear(&d->to_chip);
}

static const ds_sim_console_ops console_ops = {on_data, on_lines, on_baud, on_purge};

static enum ds_class open_consoles(ds_sim_device *d, uint16_t base_port, ds_err *e)
{
    for (int i = 0; i < DS_SIM_DEVICE_CONSOLES; i++) {
        uint16_t port = base_port ? (uint16_t)(base_port + i) : 0;
        enum ds_class rc = ds_sim_console_open(&d->consoles[i], (enum ds_sim_console_kind)i, port, &console_ops, d, e);
        if (rc)
            return rc;
    }
    d->pty_link = ds_asprintf("%s/pty", d->files.dir);
    unlink(d->pty_link);
    if (symlink(d->consoles[DS_SIM_CONSOLE_PTY].pty, d->pty_link) != 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", d->pty_link);
    return DS_OK;
}

static enum ds_class open_shared(ds_sim_device *d, ds_err *e)
{
    void *p = mmap(NULL, sizeof *d->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return ds_fail_errno(e, DS_INTERNAL, errno, "shared memory");
    d->shared = p;
    if (d->spec.timing)
        ds_sim_timing_default(&d->shared->timing, d->spec.seed + d->index);
    return ds_sim_device_fault(d, d->spec.fault ? d->spec.fault : "", e);
}

enum ds_class ds_sim_device_open(ds_sim_device *d, const char *state, unsigned index, const ds_sim_device_spec *spec,
                                 uint16_t base_port, ds_err *e)
{
    *d = (ds_sim_device){.index = index, .spec = *spec, .fd = -1};
    for (int i = 0; i < DS_SIM_DEVICE_CONSOLES; i++)
        d->consoles[i].fd = d->consoles[i].listener = -1;
    ds_sim_device_files_init(&d->files, state, index);
    enum ds_class rc = ds_sim_device_files_prepare(&d->files, spec, e);
    if (!rc)
        rc = open_shared(d, e);
    if (!rc)
        rc = open_consoles(d, base_port, e);
    if (rc) {
        ds_wrap(e, "device %u", index);
        ds_sim_device_close(d);
        return rc;
    }
    ds_sim_device_power(d, !spec->off);
    return DS_OK;
}

void ds_sim_device_close(ds_sim_device *d)
{
    stop(d);
    for (int i = 0; i < DS_SIM_DEVICE_CONSOLES; i++)
        ds_sim_console_close(&d->consoles[i]);
    if (d->pty_link)
        unlink(d->pty_link);
    free(d->pty_link);
    if (d->shared)
        munmap(d->shared, sizeof *d->shared);
    ds_buf_free(&d->to_chip);
    ds_sim_device_files_free(&d->files);
    ds_sim_device_spec_free(&d->spec);
    *d = (ds_sim_device){.fd = -1};
}

void ds_sim_device_poll(const ds_sim_device *d, struct pollfd p[DS_SIM_DEVICE_FDS])
{
    for (size_t i = 0; i < DS_SIM_DEVICE_CONSOLES; i++)
        ds_sim_console_poll(&d->consoles[i], d->to_chip.len < TO_CHIP_MAX, p + i * DS_SIM_CONSOLE_FDS);
    short events = (short)(POLLIN | (d->to_chip.len ? POLLOUT : 0));
    p[DS_SIM_DEVICE_FDS - 1] = (struct pollfd){.fd = d->fd, .events = events};
}

void ds_sim_device_serve(ds_sim_device *d, const struct pollfd p[DS_SIM_DEVICE_FDS])
{
    const struct pollfd *run = &p[DS_SIM_DEVICE_FDS - 1];
    // An earlier device's or console's doing may have changed fd since the poll; then the next round sees it.
    if (run->fd == d->fd && d->fd >= 0 && run->revents) {
        write_chip(d);
        if (!read_chip(d, false))
            run_ended(d);
    }
    for (size_t i = 0; i < DS_SIM_DEVICE_CONSOLES; i++)
        ds_sim_console_serve(&d->consoles[i], p + i * DS_SIM_CONSOLE_FDS);
    write_chip(d);
}

void ds_sim_device_tick(ds_sim_device *d)
{
    int64_t now = ds_now_ms();
    lines_act(d, ds_sim_lines_tick(&d->lines, now));
    if (d->start_at && now >= d->start_at && d->power && !d->lines.held && !d->pid)
        start(d, d->next_reset, ds_sim_lines_strap_low(&d->lines));
    for (int i = 0; i < DS_SIM_DEVICE_CONSOLES; i++)
        ds_sim_console_tick(&d->consoles[i]);
}
