// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim run: the supervisor of a simulation's devices.
#include "sim/cmd.h"
#include "sim/control.h"
#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: devstamp-sim run --state DIR [--device SPEC]... [options]\n"
    "\n"
    "Runs virtual devices until SIGTERM or SIGINT. Their flash and eFuses are kept in DIR/0, DIR/1, ...;\n"
    "without --device the devices that DIR holds already go on.\n"
    "\n"
    "  --device SPEC     chip=esp32|esp32c3 and, with commas between, any of mac=24:0a:c4:00:00:01, rev=0.4,\n"
    "                    flash=4MB, image=FILE (what a fresh flash holds), fault=PLAN (with + for its commas),\n"
    "                    timing=on, seed=N, power=off (until ctl on)\n"
    "  --base-port P     device N listens on P+2N (plain TCP) and P+2N+1 (RFC 2217); else any free ports\n"
    "  --ready-file F    written once every device listens; as DIR/devices.json\n"
    "  --with-parent     end when standard input ends\n"
    "\n"
    "A fault plan: cut@N or off@N (power fails at the Nth flash write; off: and stays off), again@N (once more,\n"
    "N writes later), hang@N (the wire goes silent after N bytes), drop=P, double=P, flip=P (of a million bytes),\n"
    "seed=S.\n";

enum { OPT_STATE = 256, OPT_DEVICE, OPT_BASE_PORT, OPT_READY, OPT_PARENT };

static const struct option options[] = {
    {"state", required_argument, NULL, OPT_STATE},         {"device", required_argument, NULL, OPT_DEVICE},
    {"base-port", required_argument, NULL, OPT_BASE_PORT}, {"ready-file", required_argument, NULL, OPT_READY},
    {"with-parent", no_argument, NULL, OPT_PARENT},        {0},
};

typedef struct supervisor {
    const char *state, *ready_file;
    const char *specs[DS_SIM_DEVICES_MAX];
    unsigned spec_count;
    uint16_t base_port;
    bool with_parent;
    int lock, signals;
    char *json_path;
    ds_sim_device devices[DS_SIM_DEVICES_MAX];
    unsigned count;
    ds_sim_control control;
} supervisor;

static enum ds_class parse(supervisor *s, int argc, char **argv, ds_err *e)
{
    uint64_t n = 0;
    enum ds_class rc = DS_OK;
    for (int c; !rc && (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == OPT_STATE)
            s->state = optarg;
        else if (c == OPT_DEVICE && s->spec_count < DS_SIM_DEVICES_MAX)
            s->specs[s->spec_count++] = optarg;
        else if (c == OPT_DEVICE)
            rc = ds_fail(e, DS_USAGE, "more than %u devices", DS_SIM_DEVICES_MAX);
        else if (c == OPT_BASE_PORT)
            rc = ds_sim_cmd_number("--base-port", optarg, UINT16_MAX - 2 * DS_SIM_DEVICES_MAX, &n, e);
        else if (c == OPT_READY)
            s->ready_file = optarg;
        else if (c == OPT_PARENT)
            s->with_parent = true;
        else
            rc = DS_USAGE;
    }
    s->base_port = (uint16_t)n;
    if (!rc)
        rc = ds_sim_cmd_arguments(argc, 0, e);
    if (!rc && !s->state) {
        ds_fail(e, DS_USAGE, "--state is missing");
        return DS_USAGE;
    }
    return rc;
}

static enum ds_class lock_state(supervisor *s, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/lock", s->state);
    if (mkdir(s->state, 0700) != 0 && errno != EEXIST)
        return ds_fail_errno(e, DS_STORE, errno, "%s", s->state);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
        return ds_fail(e, DS_POLICY, "%s: a simulation runs here already", s->state);
    // What one that was killed left behind must not be taken for ours.
    s->json_path = ds_asprintf("%s/devices.json", s->state);
    unlink(s->json_path);
    if (s->ready_file)
        unlink(s->ready_file);
    return DS_OK;
}

static enum ds_class catch_signals(supervisor *s, ds_err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || (s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "signals");
    return DS_OK;
}

static enum ds_class add_device(supervisor *s, const ds_sim_device_spec *spec, ds_err *e)
{
    unsigned i = s->count;
    uint16_t port = s->base_port ? (uint16_t)(s->base_port + 2 * i) : 0;
    enum ds_class rc = ds_sim_device_open(&s->devices[i], s->state, i, spec, port, e);
    if (!rc)
        s->count++;
    return rc;
}

static enum ds_class add_described(supervisor *s, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (unsigned i = 0; i < s->spec_count && !rc; i++) {
        ds_sim_device_spec spec;
        rc = ds_sim_device_spec_parse(s->specs[i], i, &spec, e);
        if (rc)
            ds_sim_device_spec_free(&spec);
        else
            rc = add_device(s, &spec, e);
    }
    return rc;
}

static enum ds_class add_kept(supervisor *s, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (unsigned i = 0; i < DS_SIM_DEVICES_MAX && !rc; i++) {
        ds_sim_device_files files;
        ds_sim_device_spec spec;
        ds_sim_device_files_init(&files, s->state, i);
        bool there = access(files.spec, F_OK) == 0;
        rc = there ? ds_sim_device_files_spec(&files, &spec, e) : DS_OK;
        ds_sim_device_files_free(&files);
        if (!there)
            break;
        if (!rc)
            rc = add_device(s, &spec, e);
    }
    if (!rc && s->count == 0)
        return ds_fail(e, DS_USAGE, "%s holds no device, and no --device is given", s->state);
    return rc;
}

static enum ds_class announce(supervisor *s, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf json = {0};
    for (unsigned i = 0; i < s->count; i++) {
        const ds_sim_device *d = &s->devices[i];
        char mac[18];
        ds_sim_mac_text(d->spec.mac, mac);
        printf("device %u: %s %s tcp://127.0.0.1:%u rfc2217://127.0.0.1:%u %s\n", i, d->spec.chip->name, mac,
               d->consoles[DS_SIM_CONSOLE_TCP].port, d->consoles[DS_SIM_CONSOLE_RFC2217].port,
               d->consoles[DS_SIM_CONSOLE_PTY].pty);
    }
    fflush(stdout);
    ds_sim_control_json(s->devices, s->count, false, &json);
    enum ds_class rc = ds_file_write_unsynced(s->json_path, ds_buf_view(&json), 0644, e);
    if (!rc && s->ready_file)
        rc = ds_file_write_unsynced(s->ready_file, ds_buf_view(&json), 0644, e);
    return rc;
}

// Standard input had something to say: only its end matters.
static bool parent_gone(void)
{
    char buf[256];
    ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

enum { FD_SIGNAL, FD_PARENT, FD_CONTROL, FD_DEVICES = FD_CONTROL + DS_SIM_CONTROL_FDS };

static struct pollfd *device_fds(struct pollfd *p, size_t device)
{
    return p + FD_DEVICES + device * DS_SIM_DEVICE_FDS;
}

// One round; false when it is time to stop.
static bool serve(supervisor *s, struct pollfd *p, ds_err *e)
{
    nfds_t n = FD_DEVICES + s->count * DS_SIM_DEVICE_FDS;
    p[FD_SIGNAL] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    p[FD_PARENT] = (struct pollfd){.fd = s->with_parent ? STDIN_FILENO : -1, .events = POLLIN};
    ds_sim_control_poll(&s->control, p + FD_CONTROL);
    for (unsigned i = 0; i < s->count; i++)
        ds_sim_device_poll(&s->devices[i], device_fds(p, i));
    if (poll(p, n, DS_SIM_CONSOLE_PTY_TICK_MS) < 0 && errno != EINTR) {
        ds_fail_errno(e, DS_INTERNAL, errno, "wait for the devices");
        return false;
    }
    if (p[FD_SIGNAL].revents || (p[FD_PARENT].revents && parent_gone()))
        return false;
    for (unsigned i = 0; i < s->count; i++)
        ds_sim_device_serve(&s->devices[i], device_fds(p, i));
    ds_sim_control_serve(&s->control, p + FD_CONTROL);
    for (unsigned i = 0; i < s->count; i++)
        ds_sim_device_tick(&s->devices[i]);
    return true;
}

static enum ds_class supervise(supervisor *s, ds_err *e)
{
    struct pollfd p[FD_DEVICES + DS_SIM_DEVICES_MAX * DS_SIM_DEVICE_FDS];
    enum ds_class rc = lock_state(s, e);
    if (!rc)
        rc = catch_signals(s, e);
    ds_sim_cpu_prepare();
    if (!rc)
        rc = s->spec_count ? add_described(s, e) : add_kept(s, e);
    if (!rc)
        rc = ds_sim_control_open(&s->control, s->state, s->devices, s->count, e);
    if (!rc)
        rc = announce(s, e);
    if (rc)
        return rc;
    while (serve(s, p, e))
        ;
    return e->cls;
}

static void clean_up(supervisor *s)
{
    ds_sim_control_close(&s->control);
    for (unsigned i = 0; i < s->count; i++)
        ds_sim_device_close(&s->devices[i]);
    if (s->json_path)
        unlink(s->json_path);
    free(s->json_path);
    if (s->signals >= 0)
        close(s->signals);
    if (s->lock >= 0)
        close(s->lock);
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    supervisor *s = ds_alloc(sizeof *s);
    *s = (supervisor){.lock = -1, .signals = -1, .control = {.listener = -1, .client = -1}};
    enum ds_class rc = parse(s, argc, argv, e);
    if (!rc) {
        rc = supervise(s, e);
        clean_up(s);
    }
    free(s);
    return rc;
}

const ds_sim_verb ds_sim_cmd_run = {"run", "run virtual devices", usage, run};
