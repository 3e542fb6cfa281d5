// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The CPU; see chip.h and cpu.h. A run never returns: it ends by _exit(), so that nothing of the supervisor it was
// forked from is flushed or cleaned up twice.
#include "sim/cpu.h"

#include "sim/console_wire.h"

#include <openssl/ssl.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

void ds_sim_print(ds_sim_chip *c, const char *fmt, ...)
{
    char text[1024];
    ds_buf out = {0};
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n <= 0)
        return;
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            ds_buf_add_u8(&out, '\r');
        ds_buf_add_u8(&out, (uint8_t)*p);
    }
    c->wire->write(c->wire->ctx, out.ptr, out.len);
    ds_buf_free(&out);
}

void ds_sim_reset_now(ds_sim_chip *c)
{
    (void)c;
    _exit(DS_SIM_EXIT_RESET);
}

// Everything from reset on.
static _Noreturn void run(ds_sim_chip *c)
{
    if (c->strap_download)
        ds_sim_rom_download(c);
    else
        ds_sim_boot(c);
    // The ROM was told to run what is in flash, or the console is gone.
    ds_sim_reset_now(c);
}

// In the new process: nothing of the supervisor's but fd (moved to 3) and the standard streams stays open.
static int isolate(int fd, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(DS_SIM_EXIT_OFF);
    (void)prctl(PR_SET_NAME, "devstamp-cpu");
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // A terminal's Ctrl-C is for the supervisor, which then ends the runs.
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    if (dup2(fd, 3) < 0)
        _exit(DS_SIM_EXIT_OFF);
    (void)close_range(4, ~0u, 0);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        close(null);
    }
    return 3;
}

static _Noreturn void child(const ds_sim_cpu_spec *spec, int fd)
{
    ds_sim_shared *s = spec->shared;
    ds_sim_console_wire console;
    ds_sim_wire wire;
    ds_err e = DS_ERR_INIT;
    s->chip_baud = spec->strap_download ? 0 : 115200;
    ds_sim_console_wire_init(&console, fd, s, &wire);
    ds_sim_chip chip = {
        .chip = spec->chip,
        .wire = &wire,
        .fault = &s->fault,
        .timing = &s->timing,
        .reset = spec->reset,
        .strap_download = spec->strap_download,
    };
    if (ds_sim_flash_open(spec->flash_path, spec->flash_size, &s->fault, &s->timing, &chip.flash, &e) ||
        ds_sim_efuse_open(spec->efuse_path, spec->chip, spec->mac, spec->revision, &s->fault, &chip.efuse, &e)) {
        dprintf(STDERR_FILENO, "devstamp-sim: %s\n", e.text);
        _exit(EXIT_FAILURE);
    }
    run(&chip);
}

void ds_sim_cpu_prepare(void)
{
    // A TLS context fetches nearly all ciphers, digests and kinds of keys. Where it cannot be made, nothing is lost.
    SSL_CTX_free(SSL_CTX_new(TLS_client_method()));
}

enum ds_class ds_sim_cpu_start(const ds_sim_cpu_spec *spec, int *ret_fd, pid_t *ret_pid, ds_err *e)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "console socket");
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        int err = errno;
        close(fds[0]);
        close(fds[1]);
        return ds_fail_errno(e, DS_INTERNAL, err, "start the processor");
    }
    if (pid == 0)
        child(spec, isolate(fds[1], parent));
    close(fds[1]);
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    *ret_fd = fds[0];
    *ret_pid = pid;
    return DS_OK;
}
