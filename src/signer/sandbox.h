// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the signer process gives up. Two steps, because a PKCS#11 module may need more while it starts than while it
// signs.
//
// At start (ds_sandbox_harden): no core dumps, not dumpable (no ptrace by others of the same user, /proc/PID/mem
// closed), no new privileges.
//
// After the seal, by a TPM perhaps, and the token are open (ds_sandbox_enter): terminal interrupts are ignored, since
// the station decides when the signer ends (until then they end it, so that a PIN prompt can be left), and a seccomp
// filter is set. It is a list of what is refused, since modules differ in what they need (files, threads, a local
// socket to pcscd or a TPM broker):
// - starting programs: execve, execveat; new processes: fork, vfork, clone without CLONE_THREAD (clone3 reports ENOSYS,
// so
//   that libc falls back to clone, whose flags can be judged)
// - reaching into others: ptrace, process_vm_readv, process_vm_writev, process_madvise, pidfd_getfd, kcmp,
// perf_event_open
// - the network: socket of any family but AF_UNIX; bind, listen, accept, accept4; io_uring, which would go around this
// filter
// - the kernel and its name spaces: modules, kexec, bpf, mounts, chroot, setns, unshare, userfaultfd, the keyring
// Each is refused with EPERM. System calls of another architecture end the process. What it does not do: connections to
// local sockets and use of files stay open, because tokens need them; a module that talks to a key service over the
// network cannot work behind this filter.
#ifndef DS_SIGNER_SANDBOX_H
#define DS_SIGNER_SANDBOX_H

#include "src/base/err.h"

enum ds_class ds_sandbox_harden(ds_err *e) DS_MUST;
enum ds_class ds_sandbox_enter(ds_err *e) DS_MUST;
// The same, but new sockets of any family may be made and connected: for one signature by a module that speaks to a key
// service, where whoever started it said so.
enum ds_class ds_sandbox_enter_online(ds_err *e) DS_MUST;

#endif
