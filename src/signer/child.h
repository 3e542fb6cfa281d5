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

// Start it; config.pin_fd stays the caller's.
enum ds_class ds_child_start(const ds_signer_args *args, ds_child *ret, ds_err *e) DS_MUST;

// Send a request and wait for its reply; timeout_ms negative: for ever. On DS_OK *ret is the caller's
// (devstamp__signer__reply__free_unpacked); a reply that reports a failure becomes that failure, with the token's code;
// failures of the way there have code 0. *ret_lost: the child
// is gone or cannot be trusted to be in step any more.
enum ds_class ds_child_ask(const ds_child *c, const Devstamp__Signer__Request *request, int64_t timeout_ms,
                           Devstamp__Signer__Reply **ret, bool *ret_lost, ds_err *e) DS_MUST;

// Close the socket, which ends it; kill it where it does not end by itself; wait.
void ds_child_end(ds_child *c);

#endif
