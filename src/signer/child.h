// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The signer's process as its parent handles it: start by fork and exec of this same program, ask, end. The parent
// never loads a PKCS#11 module and never reads a PIN.
#ifndef DS_SIGNER_CHILD_H
#define DS_SIGNER_CHILD_H

#include "proto/signer.pb-c.h"
#include "src/signer/args.h"

#include <sys/types.h>

typedef struct ds_child {
    pid_t pid; // 0: none
    int fd;
} ds_child;

// Start it. Where the PIN comes by descriptor, config.pin_fd is closed here (the standard three become /dev/null), also
// on a failure to start: only the child may have it, and no other program that is started later may inherit it.
// DS_USAGE, and it stays: it is no descriptor that this program was given.
enum ds_class ds_child_start(const ds_signer_args *args, ds_child *ret, ds_err *e) DS_MUST;

// Send a request and wait for its reply; timeout_ms negative: for ever. On DS_OK *ret is the caller's
// (devstamp__signer__reply__free_unpacked); a reply that reports a failure becomes that failure, with the token's code;
// failures of the way there have code 0. *ret_state says what can still be done with the child.
enum ds_child_state {
    DS_CHILD_FINE,
    DS_CHILD_LOST,   // gone, or cannot be trusted to be in step any more
    DS_CHILD_SILENT, // gave no answer in time
};
enum ds_class ds_child_ask(const ds_child *c, const Devstamp__Signer__Request *request, int64_t timeout_ms,
                           Devstamp__Signer__Reply **ret, enum ds_child_state *ret_state, ds_err *e) DS_MUST;

// What a reply reports, as a failure; it must report one.
enum ds_class ds_child_reported(const Devstamp__Signer__Reply *reply, ds_err *e);
// The same where it reports one, DS_OK where not; and what can still be done with the child.
enum ds_class ds_child_judge(const Devstamp__Signer__Reply *reply, enum ds_child_state *ret_state, ds_err *e) DS_MUST;

// Close the socket, which ends it; kill it where it does not end by itself; wait.
void ds_child_end(ds_child *c);
// Kill it at once; wait, but not for ever: a driver may hold it.
void ds_child_kill(ds_child *c);

#endif
