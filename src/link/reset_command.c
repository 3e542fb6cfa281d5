// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The external reset command (relay, power switch). It runs by the shell in a process group of its own, without our
// descriptors, and what it says ends up in the error text when it fails.
#include "src/link/reset.h"

#include "src/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct said {
    char text[160]; // the last bytes it said, printable ones
    size_t len;
} said;

static bool is_ours(const char *var)
{
    return strncmp(var, "DEVSTAMP_RESET=", 15) == 0 || strncmp(var, "DEVSTAMP_SLOT=", 14) == 0;
}

// The environment with the two variables set; pointers to environ's strings are borrowed.
static char **make_env(char *reset, char *slot)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **env = ds_alloc((n + 3) * sizeof *env);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_ours(environ[i]))
            env[k++] = environ[i];
    }
    env[k++] = reset;
    env[k] = slot;
    return env;
}

static int spawn_shell(const char *command, char **env, int out_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, standard;
    sigemptyset(&none);
    sigfillset(&standard);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, out_fd, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1); // whatever libraries left open
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &standard);
    char sh[] = "sh", dash_c[] = "-c";
    DS_CLEANUP_FREE char *text = ds_strdup(command);
    char *argv[] = {sh, dash_c, text, NULL};
    int err = posix_spawn(ret_pid, "/bin/sh", &files, &attr, argv, env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return err;
}

static void hear(said *s, int fd)
{
    char buf[512];
    ssize_t n = read(fd, buf, sizeof buf);
    for (ssize_t i = 0; i < n; i++) {
        char c = buf[i] >= ' ' && buf[i] < 0x7F ? buf[i] : ' ';
        if (c == ' ' && (s->len == 0 || s->text[s->len - 1] == ' '))
            continue;
        if (s->len == sizeof s->text - 1)
            memmove(s->text, s->text + 1, --s->len);
        s->text[s->len++] = c;
    }
    while (s->len && s->text[s->len - 1] == ' ' && n <= 0)
        s->len--;
    s->text[s->len] = '\0';
}

// Wait for pid until deadline, listening to fd; false where the time is over. What it left running in the background
// may hold fd open for ever: only the end of pid counts.
static bool wait_end(pid_t pid, int fd, int64_t deadline_ms, said *s, int *ret_status)
{
    for (;;) {
        pid_t done = waitpid(pid, ret_status, WNOHANG);
        if (done == pid || (done < 0 && errno != EINTR)) {
            hear(s, fd);
            hear(s, fd);
            return true;
        }
        int left = ds_ms_left(deadline_ms);
        if (!left)
            return false;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, left < 10 ? left : 10) > 0) {
            if (p.revents & POLLIN)
                hear(s, fd);
            else
                ds_sleep_ms(left < 10 ? left : 10); // it closed its output and works on
        }
    }
}

static enum ds_class judge(int status, const said *s, ds_err *e)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return DS_OK;
    const char *sep = s->len ? ": " : "";
    if (WIFEXITED(status))
        ds_fail(e, DS_DEVICE, "the reset command ended with exit code %d%s%s", WEXITSTATUS(status), sep, s->text);
    else
        ds_fail(e, DS_DEVICE, "the reset command was ended by signal %d%s%s", WTERMSIG(status), sep, s->text);
    return ds_hint(e, "run the slot's reset command by hand with DEVSTAMP_RESET and DEVSTAMP_SLOT set, to see why");
}

static enum ds_class supervise(pid_t pid, int fd, int timeout_ms, ds_err *e)
{
    said s = {.len = 0};
    int status = 0;
    if (wait_end(pid, fd, ds_now_ms() + timeout_ms, &s, &status))
        return judge(status, &s, e);
    kill(-pid, SIGKILL); // its own group, made for it
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    ds_fail(e, DS_DEVICE, "the reset command did not end within %d ms and was killed", timeout_ms);
    return ds_hint(e, "let the command return at once; what goes on after it belongs into the background");
}

enum ds_class ds_reset_run_command(const char *command, const char *slot, bool download, int timeout_ms, ds_err *e)
{
    if (!command || !command[0]) {
        ds_fail(e, DS_INPUT, "the slot's reset command is empty");
        return ds_hint(e, "write the command into the station file");
    }
    int out[2];
    if (pipe2(out, O_CLOEXEC))
        return ds_fail_errno(e, DS_INTERNAL, errno, "make a pipe");
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    DS_CLEANUP_FREE char *reset_var = ds_asprintf("DEVSTAMP_RESET=%s", download ? "download" : "run");
    DS_CLEANUP_FREE char *slot_var = ds_asprintf("DEVSTAMP_SLOT=%s", slot ? slot : "");
    char **env = make_env(reset_var, slot_var);
    pid_t pid = 0;
    int err = spawn_shell(command, env, out[1], &pid);
    free(env);
    close(out[1]);
    enum ds_class cls =
        err ? ds_fail_errno(e, DS_DEVICE, err, "start the reset command") : supervise(pid, out[0], timeout_ms, e);
    close(out[0]);
    return cls;
}
