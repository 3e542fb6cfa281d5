// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// pcscd and the wire to its driver; see reader.h.
#include "sim/piv/reader.h"

#include "src/base/clock.h"
#include "src/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT = 0x8C7B, START_MS = 20000, END_MS = 5000 };

static const char pcscd_path[] = "/usr/sbin/pcscd";
static const char driver_path[] = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
static const char missing[] = "install the packages pcscd and vsmartcard-vpcd";

static enum ds_class write_text(const char *path, const char *text, ds_err *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "%s", path);
    enum ds_class rc = ds_fd_write_all(fd, text, strlen(text), e);
    close(fd);
    return rc ? ds_wrap(e, "%s", path) : DS_OK;
}

static enum ds_class enter_namespaces(ds_err *e)
{
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | (user ? CLONE_NEWUSER : 0)) != 0)
        return ds_hint((ds_fail_errno(e, DS_POLICY, errno, "name spaces for the virtual reader"), e),
                       "run as root, or allow user namespaces (kernel.unprivileged_userns_clone=1)");
    if (user == 0)
        return DS_OK;
    DS_CLEANUP_FREE char *users = ds_asprintf("0 %u 1", user);
    DS_CLEANUP_FREE char *groups = ds_asprintf("0 %u 1", group);
    enum ds_class rc = write_text("/proc/self/setgroups", "deny", e);
    if (!rc)
        rc = write_text("/proc/self/uid_map", users, e);
    return rc ? rc : write_text("/proc/self/gid_map", groups, e);
}

static enum ds_class raise_loopback(ds_err *e)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "loopback");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    enum ds_class rc =
        ioctl(fd, SIOCSIFFLAGS, &request) == 0 ? DS_OK : ds_fail_errno(e, DS_INTERNAL, errno, "loopback");
    close(fd);
    return rc;
}

// pcscd has its socket in /run/pcscd and nowhere else: there stands our own folder, in this mount namespace.
static enum ds_class mount_run(const char *run, ds_err *e)
{
    int fd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", run);
    DS_CLEANUP_FREE char *source = ds_asprintf("/proc/self/fd/%d", fd);
    bool good = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") == 0 &&
                mkdir("/run/pcscd", 0755) == 0 && mount(source, "/run/pcscd", NULL, MS_BIND, NULL) == 0;
    enum ds_class rc = good ? DS_OK : ds_fail_errno(e, DS_INTERNAL, errno, "mount %s at /run/pcscd", run);
    close(fd);
    return rc;
}

// The name must hold "Yubico" (ykcs11 looks for it) and "YubiKey" (so does yubico-piv-tool).
static enum ds_class write_config(const char *folder, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/vpcd", folder);
    DS_CLEANUP_FREE char *text =
        ds_asprintf("FRIENDLYNAME \"Yubico YubiKey CCID (virtual)\"\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID "
                    "0x%X\n",
                    PORT, driver_path, PORT);
    return ds_file_write(path, (ds_view){(const uint8_t *)text, strlen(text)}, 0644, e);
}

// A pcscd of 2.0 asks polkit who may be a client, and refuses all where no polkitd runs; older ones do not know the
// option against that. Nobody but who can open the state's folder reaches this one.
static bool asks_polkit(void)
{
    static const char option[] = "disable-polkit";
    DS_CLEANUP_BUF ds_buf program = {0};
    return !ds_file_read(pcscd_path, 16 << 20, &program, NULL) &&
           memmem(program.ptr, program.len, option, sizeof option - 1) != NULL;
}

// No drop folder: real readers on USB are not for this pcscd.
static void become_pcscd(const char *config, const char *log, const char *nothing)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out < 0 || in < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(out, STDERR_FILENO) < 0 || setenv("PCSCLITE_HP_DROPDIR", nothing, 1) != 0)
        _exit(127);
    (void)execl(pcscd_path, pcscd_path, "--foreground", "--config", config, asks_polkit() ? "--disable-polkit" : NULL,
                (char *)NULL);
    _exit(127);
}

static enum ds_class make_folder(const char *path, ds_err *e)
{
    return mkdir(path, 0755) == 0 || errno == EEXIST ? DS_OK : ds_fail_errno(e, DS_STORE, errno, "%s", path);
}

static enum ds_class start_pcscd(const char *state, ds_piv_reader *r, ds_err *e)
{
    DS_CLEANUP_FREE char *config = ds_asprintf("%s/reader.conf.d", state);
    DS_CLEANUP_FREE char *nothing = ds_asprintf("%s/no-usb", state);
    DS_CLEANUP_FREE char *log = ds_asprintf("%s/pcscd.log", state);
    enum ds_class rc = make_folder(config, e);
    if (!rc)
        rc = make_folder(nothing, e);
    if (!rc)
        rc = write_config(config, e);
    if (rc)
        return rc;
    r->pcscd = fork();
    if (r->pcscd == 0)
        become_pcscd(config, log, nothing);
    if (r->pcscd < 0) {
        r->pcscd = 0;
        return ds_fail_errno(e, DS_INTERNAL, errno, "start pcscd");
    }
    return DS_OK;
}

static enum ds_class check_parts(const char *state, const char *path, ds_err *e)
{
    if (access(pcscd_path, X_OK) != 0)
        return ds_hint((ds_fail_errno(e, DS_INPUT, errno, "%s", pcscd_path), e), "%s", missing);
    if (access(driver_path, R_OK) != 0)
        return ds_hint((ds_fail_errno(e, DS_INPUT, errno, "%s", driver_path), e), "%s", missing);
    if (strncmp(state, "/run/", 5) == 0)
        return ds_fail(e, DS_USAGE, "the state cannot be below /run");
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return ds_hint((ds_fail(e, DS_USAGE, "%s is too long for a socket", path), e), "use a shorter --state");
    return DS_OK;
}

enum ds_class ds_piv_reader_open(const char *state, ds_piv_reader *ret, ds_err *e)
{
    *ret = (ds_piv_reader){.link = -1};
    DS_CLEANUP_FREE char *real = realpath(state, NULL);
    if (!real)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", state);
    DS_CLEANUP_FREE char *run = ds_asprintf("%s/run", real);
    ret->socket = ds_asprintf("%s/pcscd.comm", run);
    enum ds_class rc = check_parts(real, ret->socket, e);
    if (!rc)
        rc = make_folder(run, e);
    if (!rc)
        rc = enter_namespaces(e);
    if (!rc)
        rc = mount_run(run, e);
    if (!rc)
        rc = raise_loopback(e);
    if (!rc) {
        DS_CLEANUP_FREE char *pid_file = ds_asprintf("%s/pcscd.pid", run);
        (void)unlink(ret->socket); // left by one that was killed: the caller holds the state's lock
        (void)unlink(pid_file);
        rc = start_pcscd(real, ret, e);
    }
    if (rc)
        ds_piv_reader_close(ret);
    return rc;
}

void ds_piv_reader_close(ds_piv_reader *r)
{
    ds_piv_reader_eject(r);
    if (r->pcscd > 0) {
        int64_t deadline = ds_now_ms() + END_MS;
        (void)kill(r->pcscd, SIGTERM);
        while (waitpid(r->pcscd, NULL, WNOHANG) == 0) {
            if (ds_now_ms() >= deadline)
                (void)kill(r->pcscd, SIGKILL);
            ds_sleep_ms(5);
        }
    }
    free(r->socket);
    *r = (ds_piv_reader){.link = -1};
}

enum ds_class ds_piv_reader_insert(ds_piv_reader *r, ds_err *e)
{
    const struct sockaddr_in there = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int64_t deadline = ds_now_ms() + START_MS;
    while (r->link < 0) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, err;
        if (fd >= 0 && connect(fd, (const struct sockaddr *)&there, sizeof there) == 0 &&
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0) {
            r->link = fd;
            break;
        }
        err = errno;
        if (fd >= 0)
            close(fd);
        if (ds_now_ms() >= deadline || waitpid(r->pcscd, NULL, WNOHANG) != 0)
            return ds_hint((ds_fail_errno(e, DS_DEVICE, err, "reach pcscd's driver"), e), "see pcscd.log in the state");
        ds_sleep_ms(10);
    }
    return DS_OK;
}

void ds_piv_reader_eject(ds_piv_reader *r)
{
    if (r->link >= 0)
        close(r->link);
    r->link = -1;
}

static bool receive_all(int fd, uint8_t *ret, size_t len)
{
    while (len > 0) {
        int on = 1;
        // The driver sends a message in two parts, and the second waits for our acknowledgement of the first.
        (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        ssize_t n = recv(fd, ret, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        ret += n;
        len -= (size_t)n;
    }
    return true;
}

enum ds_class ds_piv_reader_receive(ds_piv_reader *r, ds_buf *ret, ds_err *e)
{
    uint8_t head[2];
    ds_buf_clear(ret);
    if (!receive_all(r->link, head, sizeof head))
        return ds_fail(e, DS_DEVICE, "pcscd has closed the link");
    ds_buf_resize(ret, (size_t)head[0] << 8 | head[1], 0);
    if (ret->len && !receive_all(r->link, ret->ptr, ret->len))
        return ds_fail(e, DS_DEVICE, "pcscd has closed the link");
    return DS_OK;
}

enum ds_class ds_piv_reader_send(ds_piv_reader *r, ds_view message, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    ds_buf_add(&out, (const uint8_t[]){(uint8_t)(message.len >> 8), (uint8_t)message.len}, 2);
    ds_buf_add(&out, message.ptr, message.len);
    if (send(r->link, out.ptr, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
        return ds_fail_errno(e, DS_DEVICE, errno, "pcscd has closed the link");
    return DS_OK;
}
