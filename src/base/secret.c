// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Secrets; see secret.h.
#include "src/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

void ds_wipe(void *p, size_t len)
{
    sodium_memzero(p, len);
}

void ds_wipe_free(void *p)
{
    if (p)
        ds_wipe(p, malloc_usable_size(p));
    free(p);
}

void ds_random(void *p, size_t len)
{
    randombytes_buf(p, len);
}

enum ds_class ds_secret_new(ds_secret *ret, size_t len, ds_err *e)
{
    if (sodium_init() < 0)
        return ds_fail(e, DS_INTERNAL, "libsodium cannot start");
    uint8_t *p = sodium_malloc(len);
    if (!p)
        return ds_hint((ds_fail(e, DS_INTERNAL, "no guarded memory for %zu bytes", len), e),
                       "raise the limit of locked memory (ulimit -l)");
    memset(p, 0, len);
    *ret = (ds_secret){p, len};
    return DS_OK;
}

void ds_secret_free(ds_secret *s)
{
    if (!s)
        return;
    sodium_free(s->ptr); // wipes
    *s = (ds_secret){0};
}

// What ends a prompt, noted so that the terminal is as it was before this program ends by it. One prompt at a time.
static const int endings[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDINGS = sizeof endings / sizeof *endings };
static volatile sig_atomic_t ended_by;
static const sigset_t *outside; // while there is a prompt: the signals that were blocked before it

static void note_end(int number)
{
    ended_by = number;
}

// The signals reach a prompt here and nowhere else, so that none comes between looking and waiting.
static bool wait_key(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return !outside || ppoll(&p, 1, NULL, outside) > 0;
}

// Bytes up to a line end or end of file, straight into guarded memory; *ret_len = max + 1 says too long.
static enum ds_class read_line(int fd, ds_secret *buf, size_t *ret_len, ds_err *e)
{
    size_t len = 0;
    while (len < buf->len) {
        ssize_t n = wait_key(fd) ? read(fd, buf->ptr + len, 1) : -1;
        if (n < 0 && errno == EINTR && !ended_by)
            continue;
        if (n < 0)
            return ds_fail_errno(e, DS_INPUT, errno, "read secret");
        if (n == 0 || buf->ptr[len] == '\n')
            break;
        len++;
    }
    if (len > 0 && len < buf->len && buf->ptr[len - 1] == '\r')
        len--;
    *ret_len = len;
    return DS_OK;
}

enum ds_class ds_secret_read_line(int fd, size_t max, ds_secret *ret, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret line = {0};
    size_t len = 0;
    if (ds_secret_new(&line, max + 1, e) || read_line(fd, &line, &len, e))
        return e ? e->cls : DS_INPUT;
    if (len == 0)
        return ds_fail(e, DS_INPUT, "the secret is empty");
    if (len > max)
        return ds_fail(e, DS_INPUT, "the secret is longer than %zu bytes", max);
    ds_secret out = {0};
    if (ds_secret_new(&out, len, e))
        return DS_INTERNAL;
    memcpy(out.ptr, line.ptr, len);
    *ret = out;
    return DS_OK;
}

enum ds_class ds_secret_open_file(const char *path, int *ret, ds_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    struct stat st;
    enum ds_class rc = DS_OK;
    if (fstat(fd, &st) != 0)
        rc = ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = ds_fail(e, DS_INPUT, "%s: not a regular file", path);
    else if (st.st_mode & 077)
        rc = ds_hint((ds_fail(e, DS_POLICY, "%s: readable by others than its owner", path), e), "chmod 600 %s", path);
    if (rc)
        close(fd);
    else
        *ret = fd;
    return rc;
}

enum ds_class ds_secret_read_file(const char *path, size_t max, ds_secret *ret, ds_err *e)
{
    int fd = -1;
    enum ds_class rc = ds_secret_open_file(path, &fd, e);
    if (rc)
        return rc;
    rc = ds_secret_read_line(fd, max, ret, e);
    close(fd);
    return rc ? ds_wrap(e, "%s", path) : DS_OK;
}

enum ds_class ds_secret_read_all(int fd, size_t max, ds_secret *ret, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret all = {0};
    ds_secret out = {0};
    size_t len = 0;
    enum ds_class rc = ds_secret_new(&all, max + 1, e);
    while (!rc && len <= max) {
        ssize_t n = read(fd, all.ptr + len, max + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = ds_fail_errno(e, DS_INPUT, errno, "read secret");
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (!rc && (len == 0 || len > max))
        rc = len ? ds_fail(e, DS_INPUT, "the secret is longer than %zu bytes", max)
                 : ds_fail(e, DS_INPUT, "the secret is empty");
    if (!rc)
        rc = ds_secret_new(&out, len, e);
    if (rc)
        return rc;
    memcpy(out.ptr, all.ptr, len);
    *ret = out;
    return DS_OK;
}

static enum ds_class ask(int fd, const char *prompt, size_t max, ds_secret *ret, ds_err *e)
{
    struct termios old, quiet;
    struct sigaction note = {.sa_handler = note_end}, before[ENDINGS];
    sigset_t blocked, mask;
    if (tcgetattr(fd, &old) != 0)
        return ds_fail_errno(e, DS_INPUT, errno, "terminal");
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    ended_by = 0;
    sigemptyset(&blocked);
    for (size_t i = 0; i < ENDINGS; i++)
        sigaddset(&blocked, endings[i]);
    (void)pthread_sigmask(SIG_BLOCK, &blocked, &mask);
    outside = &mask;
    for (size_t i = 0; i < ENDINGS; i++) {
        (void)sigaction(endings[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN)
            (void)sigaction(endings[i], &note, NULL);
    }
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    (void)!write(fd, prompt, strlen(prompt));
    enum ds_class rc = ds_secret_read_line(fd, max, ret, e);
    (void)tcsetattr(fd, TCSAFLUSH, &old);
    (void)!write(fd, "\n", 1);
    for (size_t i = 0; i < ENDINGS; i++)
        (void)sigaction(endings[i], &before[i], NULL);
    int number = ended_by;
    ended_by = 0;
    outside = NULL;
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (number)
        (void)raise(number);
    return rc;
}

enum ds_class ds_secret_prompt(const char *prompt, size_t max, ds_secret *ret, ds_err *e)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return ds_hint((ds_fail(e, DS_INPUT, "no terminal to ask on"), e), "give a file or a file descriptor instead");
    enum ds_class rc = ask(fd, prompt, max, ret, e);
    close(fd);
    return rc;
}

enum ds_class ds_secret_no_dumps(ds_err *e)
{
    const struct rlimit none = {0, 0}; // programs started from here keep this one
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "forbid core dumps");
    return DS_OK;
}
