// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim yubikey: a virtual YubiKey in a reader of its own, until it is told to end.
#include "sim/piv/cmd.h"
#include "sim/piv/yubikey.h"

#include "sim/control_path.h"
#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: devstamp-sim yubikey --state DIR [options]\n"
    "\n"
    "Runs a virtual YubiKey (PIV, firmware 5.4.3) behind a pcscd of its own until SIGTERM or SIGINT. What the key "
    "holds\n"
    "is kept in DIR/card; a new one has the PIN 123456, the PUK 12345678 and the well-known management key, and\n"
    "DIR/maker-root.pem is the root its attestations lead to. Programs reach it, for instance by ykcs11, with\n"
    "PCSCLITE_CSOCK_NAME=DIR/run/pcscd.comm in their environment. Needs root or user namespaces, and the packages\n"
    "pcscd and vsmartcard-vpcd.\n"
    "\n"
    "  --serial N        serial number of a new key (default: any)\n"
    "  --out             it is not plugged in at first\n"
    "  --fault PLAN      slow=MS, hang@N, wrong@N, gone@N; see yubikey-ctl --help\n"
    "  --ready-file F    written once the key can be used: JSON with serial, label, socket, maker_root\n"
    "  --with-parent     end when standard input ends\n";

enum { OPT_STATE = 256, OPT_SERIAL, OPT_OUT, OPT_FAULT, OPT_READY, OPT_PARENT };

static const struct option options[] = {
    {"state", required_argument, NULL, OPT_STATE},
    {"serial", required_argument, NULL, OPT_SERIAL},
    {"out", no_argument, NULL, OPT_OUT},
    {"fault", required_argument, NULL, OPT_FAULT},
    {"ready-file", required_argument, NULL, OPT_READY},
    {"with-parent", no_argument, NULL, OPT_PARENT},
    {0},
};

typedef struct program {
    const char *state, *ready_file, *plan;
    uint32_t serial;
    bool out, with_parent;
    int lock, signals, control;
    ds_piv_yubikey key;
} program;

static enum ds_class parse(program *p, int argc, char **argv, ds_err *e)
{
    uint64_t n = 0;
    enum ds_class rc = DS_OK;
    for (int c; !rc && (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == OPT_STATE)
            p->state = optarg;
        else if (c == OPT_SERIAL)
            rc = ds_sim_cmd_number("--serial", optarg, UINT32_MAX, &n, e);
        else if (c == OPT_OUT)
            p->out = true;
        else if (c == OPT_FAULT)
            p->plan = optarg;
        else if (c == OPT_READY)
            p->ready_file = optarg;
        else if (c == OPT_PARENT)
            p->with_parent = true;
        else
            rc = DS_USAGE;
    }
    p->serial = (uint32_t)n;
    if (!rc)
        rc = ds_sim_cmd_arguments(argc, 0, e);
    if (!rc && !p->state) {
        (void)!ds_sim_cmd_need(p->state, "--state", e);
        return DS_USAGE;
    }
    return rc;
}

static enum ds_class lock_state(program *p, ds_err *e)
{
    if (mkdir(p->state, 0755) != 0 && errno != EEXIST)
        return ds_fail_errno(e, DS_STORE, errno, "%s", p->state);
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/lock", p->state);
    p->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->lock < 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", path);
    if (flock(p->lock, LOCK_EX | LOCK_NB) != 0)
        return ds_fail(e, DS_POLICY, "%s: a virtual YubiKey runs there already", p->state);
    return DS_OK;
}

static enum ds_class catch_signals(program *p, ds_err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || (p->signals = signalfd(-1, &set, SFD_CLOEXEC)) < 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "signals");
    return DS_OK;
}

static enum ds_class open_all(program *p, ds_err *e)
{
    enum ds_class rc = lock_state(p, e);
    if (rc)
        return rc;
    DS_CLEANUP_FREE char *card = ds_asprintf("%s/card", p->state);
    DS_CLEANUP_FREE char *root = ds_asprintf("%s/maker-root.pem", p->state);
    rc = ds_piv_fault_parse(p->plan ? p->plan : "", &p->key.fault, e);
    if (!rc)
        rc = ds_piv_card_open(card, p->serial, root, &p->key.card, e);
    if (!rc)
        rc = catch_signals(p, e);
    if (!rc)
        rc = ds_piv_reader_open(p->state, &p->key.reader, e);
    if (!rc && (p->control = ds_piv_control_open(p->state, e)) < 0)
        rc = e->cls;
    // Put in once in any case: then pcscd's driver is known to be there.
    if (!rc)
        rc = ds_piv_yubikey_insert(&p->key, e);
    if (!rc && p->out)
        ds_piv_yubikey_eject(&p->key);
    return rc;
}

static void close_all(program *p)
{
    ds_piv_yubikey_free(&p->key);
    const int fds[] = {p->control, p->signals, p->lock};
    if (p->control >= 0) {
        DS_CLEANUP_FREE char *path = ds_asprintf("%s/%s", p->state, DS_SIM_CONTROL_NAME);
        (void)unlink(path);
    }
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static enum ds_class say_ready(program *p, ds_err *e)
{
    const ds_piv_yubikey *y = &p->key;
    DS_CLEANUP_FREE char *text = ds_asprintf("{\"serial\":%" PRIu32 ",\"label\":\"YubiKey PIV #%" PRIu32
                                             "\",\"socket\":\"%s\",\"maker_root\":\"%s/maker-root.pem\"}\n",
                                             y->card.state.serial, y->card.state.serial, y->reader.socket, p->state);
    return ds_file_write(p->ready_file, (ds_view){(const uint8_t *)text, strlen(text)}, 0644, e);
}

// SIGTERM and SIGINT end it, pcscd's end is a failure.
static bool told_to_end(program *p, enum ds_class *ret, ds_err *e)
{
    struct signalfd_siginfo info;
    if (read(p->signals, &info, sizeof info) != sizeof info)
        return false;
    if (info.ssi_signo != SIGCHLD)
        return true;
    if (waitpid(p->key.reader.pcscd, NULL, WNOHANG) == 0)
        return false;
    p->key.reader.pcscd = 0;
    *ret = ds_hint((ds_fail(e, DS_DEVICE, "pcscd has ended"), e), "see pcscd.log in the state");
    return true;
}

static bool parent_gone(const struct pollfd *p)
{
    char buf[64];
    return p->revents && read(STDIN_FILENO, buf, sizeof buf) <= 0;
}

static enum ds_class serve(program *p, ds_err *e)
{
    enum { LINK, CONTROL, SIGNALS, PARENT };
    ds_piv_yubikey *y = &p->key;
    enum ds_class rc = DS_OK;
    bool said = !p->ready_file, end = false;
    while (!end && !rc) {
        struct pollfd fds[] = {
            [LINK] = {.fd = y->reader.link, .events = POLLIN},
            [CONTROL] = {.fd = p->control, .events = POLLIN},
            [SIGNALS] = {.fd = p->signals, .events = POLLIN},
            [PARENT] = {.fd = p->with_parent ? STDIN_FILENO : -1, .events = POLLIN},
        };
        if (poll(fds, sizeof fds / sizeof *fds, ds_piv_yubikey_timeout(y)) < 0 && errno != EINTR)
            return ds_fail_errno(e, DS_INTERNAL, errno, "poll");
        ds_piv_yubikey_tick(y);
        if (fds[LINK].revents && fds[LINK].fd == y->reader.link)
            ds_piv_yubikey_serve(y);
        if (fds[CONTROL].revents)
            ds_piv_control_serve(p->control, y);
        end = (fds[SIGNALS].revents && told_to_end(p, &rc, e)) || parent_gone(&fds[PARENT]);
        if (!said && (p->out || y->seen)) {
            said = true;
            rc = say_ready(p, e);
        }
    }
    return rc;
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    program p = {.lock = -1, .signals = -1, .control = -1, .key.reader.link = -1};
    enum ds_class rc = parse(&p, argc, argv, e);
    if (rc)
        return rc;
    rc = open_all(&p, e);
    if (!rc)
        rc = serve(&p, e);
    close_all(&p);
    return rc;
}

const ds_sim_verb ds_piv_cmd_yubikey = {"yubikey", "run a virtual YubiKey behind a pcscd of its own", usage, run};
