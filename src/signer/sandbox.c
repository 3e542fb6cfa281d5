// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's cage; see sandbox.h.
#include "src/signer/sandbox.h"

#include "src/base/secret.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Who runs the line as root runs no signer that is: what is kept opens files of others (a token's folder, a TPM) and
// locks memory. Now, because threads that a module starts have what their starter has.
static enum ds_class drop_capabilities(ds_err *e)
{
    const uint32_t kept = 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_IPC_LOCK;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &head, caps) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "read the signer's capabilities");
    caps[0].permitted &= kept;
    caps[0].effective &= kept;
    caps[0].inheritable = 0;
    caps[1] = (struct __user_cap_data_struct){0};
    if (syscall(SYS_capset, &head, caps) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "drop the signer's capabilities");
    return DS_OK;
}

enum ds_class ds_sandbox_harden(ds_err *e)
{
    if (ds_secret_no_dumps(e))
        return DS_INTERNAL;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return ds_fail_errno(e, DS_INTERNAL, errno, "harden the signer process");
    (void)signal(SIGPIPE, SIG_IGN);
    return drop_capabilities(e);
}

static const int refused[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_madvise),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(bpf),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(open_by_handle_at),
};

static int build(scmp_filter_ctx filter, bool online)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    int rc = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused && rc == 0; i++)
        rc = seccomp_rule_add(filter, no, refused[i], 0);
    const struct scmp_arg_cmp network = {.arg = 0, .op = SCMP_CMP_NE, .datum_a = AF_UNIX};
    const struct scmp_arg_cmp process = {.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = CLONE_THREAD, .datum_b = 0};
    if (rc == 0 && !online)
        rc = seccomp_rule_add_array(filter, no, SCMP_SYS(socket), 1, &network);
    if (rc == 0)
        rc = seccomp_rule_add_array(filter, no, SCMP_SYS(clone), 1, &process);
    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); // every thread a module may have started
    return rc ? rc : seccomp_load(filter);
}

static enum ds_class enter(bool online, ds_err *e)
{
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGQUIT, SIG_IGN);
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return ds_fail(e, DS_INTERNAL, "system-call filter");
    int rc = build(filter, online);
    seccomp_release(filter);
    return rc ? ds_fail_errno(e, DS_INTERNAL, -rc, "system-call filter") : DS_OK;
}

enum ds_class ds_sandbox_enter(ds_err *e)
{
    return enter(false, e);
}

enum ds_class ds_sandbox_enter_online(ds_err *e)
{
    return enter(true, e);
}
