// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's process, from outside; see child.h.
#include "src/signer/child.h"
#include "src/signer/wire.h"

#include "src/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_SOCKET = 3, CHILD_PIN = 4, FIRST_FREE = 16, END_MS = 3000 };

// Between fork and exec, in a program with threads: async-signal-safe calls alone.
static void become(char *const argv[], int sock, int pin_fd)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    // first out of the way, then to their places, so that neither overwrites the other
    sock = fcntl(sock, F_DUPFD_CLOEXEC, FIRST_FREE);
    pin_fd = pin_fd < 0 ? -1 : fcntl(pin_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
    if (null < 0 || sock < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(sock, CHILD_SOCKET) < 0)
        _exit(127);
    if (pin_fd >= 0 ? dup2(pin_fd, CHILD_PIN) < 0 : (close(CHILD_PIN), false))
        _exit(127);
    (void)close_range(CHILD_PIN + 1, ~0U, 0);
    execv("/proc/self/exe", argv);
    _exit(127);
}

// The parent's end of the way the PIN takes. The standard descriptors stay open, so that no other file becomes one.
static void close_pin(int fd)
{
    int null = fd >= 0 && fd <= STDERR_FILENO ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    if (null >= 0) {
        (void)dup2(null, fd);
        close(null);
    } else if (fd > STDERR_FILENO) {
        close(fd);
    }
}

// Given by whoever started this program? Our own files are all close-on-exec.
static enum ds_class check_pin(int fd, bool seal, ds_err *e)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || flags & FD_CLOEXEC)
        return ds_hint((ds_fail(e, DS_USAGE, "file descriptor %d was not given to this program", fd), e),
                       "open it in the shell: devstamp ... %s %d %d<FILE", seal ? "--passphrase-fd" : "--pin-fd", fd,
                       fd);
    return DS_OK;
}

enum ds_class ds_child_start(const ds_signer_args *args, ds_child *ret, ds_err *e)
{
    ds_signer_args theirs = *args;
    theirs.fd = CHILD_SOCKET;
    theirs.config.pin_fd = CHILD_PIN;
    int pin_fd = args->config.pin == DS_PIN_FD ? args->config.pin_fd : -1;
    if (pin_fd >= 0 && check_pin(pin_fd, args->config.seal != NULL, e))
        return DS_USAGE;
    ds_signer_argv line;
    ds_signer_args_write(&theirs, &line);
    char *argv[DS_SIGNER_ARGV];
    memcpy(argv, line.argv, sizeof argv); // execv takes char *, and changes nothing
    int sv[2];
    bool paired = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0;
    pid_t pid = paired ? fork() : -1;
    if (pid == 0)
        become(argv, sv[1], pin_fd);
    int err = errno;
    close_pin(pin_fd);
    if (!paired)
        return ds_fail_errno(e, DS_INTERNAL, err, "socket pair");
    close(sv[1]);
    if (pid < 0) {
        close(sv[0]);
        return ds_fail_errno(e, DS_INTERNAL, err, "start the signer");
    }
    *ret = (ds_child){pid, sv[0]};
    return DS_OK;
}

enum ds_class ds_child_reported(const Devstamp__Signer__Reply *reply, ds_err *e)
{
    uint32_t cls = reply->error_class;
    (void)ds_fail(e, cls <= DS_INTERNAL ? (enum ds_class)cls : DS_INTERNAL, "%s", reply->error_text);
    if (e)
        e->code = reply->error_code;
    if (reply->error_hint[0])
        (void)ds_hint(e, "%s", reply->error_hint);
    return cls <= DS_INTERNAL ? (enum ds_class)cls : DS_INTERNAL;
}

enum ds_class ds_child_judge(const Devstamp__Signer__Reply *reply, enum ds_child_state *ret_state, ds_err *e)
{
    enum ds_class rc = reply->error_class ? ds_child_reported(reply, e) : DS_OK;
    *ret_state = rc == DS_TOKEN ? DS_CHILD_LOST : DS_CHILD_FINE; // the child ends after such a failure
    return rc;
}

enum ds_class ds_child_ask(const ds_child *c, const Devstamp__Signer__Request *request, int64_t timeout_ms,
                           Devstamp__Signer__Reply **ret, enum ds_child_state *ret_state, ds_err *e)
{
    int64_t deadline = timeout_ms < 0 ? -1 : ds_now_ms() + timeout_ms;
    DS_CLEANUP_BUF ds_buf bytes = {0};
    bool end = false;
    *ret_state = DS_CHILD_LOST;
    enum ds_class rc = ds_wire_send(c->fd, &request->base, e);
    if (!rc)
        rc = ds_wire_recv(c->fd, deadline, &bytes, &end, e);
    if (!rc && end)
        rc = ds_fail(e, DS_TOKEN, "the signer process ended while it was asked");
    if (rc) {
        if (deadline >= 0 && ds_now_ms() >= deadline)
            *ret_state = DS_CHILD_SILENT;
        if (e)
            e->code = 0; // codes are the token's alone
        return rc;
    }
    Devstamp__Signer__Reply *reply = devstamp__signer__reply__unpack(NULL, bytes.len, bytes.ptr);
    if (!reply)
        return ds_fail(e, DS_TOKEN, "the signer's answer cannot be read");
    rc = ds_child_judge(reply, ret_state, e);
    if (rc)
        devstamp__signer__reply__free_unpacked(reply, NULL);
    else
        *ret = reply;
    return rc;
}

static bool wait_end(pid_t pid)
{
    int64_t deadline = ds_now_ms() + END_MS;
    pid_t done;
    while ((done = waitpid(pid, NULL, WNOHANG)) == 0 && ds_now_ms() < deadline)
        ds_sleep_ms(2);
    return done != 0;
}

void ds_child_end(ds_child *c)
{
    if (c->pid <= 0)
        return;
    close(c->fd);
    if (!wait_end(c->pid)) {
        (void)kill(c->pid, SIGKILL);
        (void)wait_end(c->pid);
    }
    *c = (ds_child){0};
}

void ds_child_kill(ds_child *c)
{
    if (c->pid <= 0)
        return;
    (void)kill(c->pid, SIGKILL);
    close(c->fd);
    (void)wait_end(c->pid);
    *c = (ds_child){0};
}
