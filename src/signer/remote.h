// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A signer on another computer, as the station's side asks it: a few connections, one request at a time on each, opened
// where they are wanted and opened again after a cut. A request that was cut off is asked again: the same request gives
// the same certificate.
#ifndef DS_SIGNER_REMOTE_H
#define DS_SIGNER_REMOTE_H

#include "proto/signer.pb-c.h"
#include "src/signer/signer.h"

// No message from a station to a signer is longer.
enum { DS_REMOTE_REQUEST_MAX = 32768 };

typedef struct ds_remote ds_remote;

// greet is the first request on each connection; welcome judges its answer, and a failure of its ends the connection
// (DS_POLICY: for good). known is called before greet is sent, and welcome is told what it said: others may learn more
// meanwhile. Both are called by whoever asks, several at once perhaps. Nothing is connected yet.
typedef struct ds_remote_greeting {
    Devstamp__Signer__Request *greet; // borrowed until ds_remote_free
    uint64_t (*known)(void *arg);
    enum ds_class (*welcome)(void *arg, uint64_t known, const Devstamp__Signer__StatusReply *status, ds_err *e);
    void *arg;
} ds_remote_greeting;
enum ds_class ds_remote_new(const ds_signer_remote *where, const ds_remote_greeting *greeting, ds_remote **ret,
                            ds_err *e) DS_MUST;
// Nobody may be asking.
void ds_remote_free(ds_remote *r);

typedef struct ds_remote_patience {
    int wait_ms;                 // how long a signer that cannot be reached is waited for
    void (*on_touch)(void *arg); // the token waits to be touched for this request; NULL: not told
    void *arg;
} ds_remote_patience;
// As ds_child_ask. Failures of the way there are DS_NETWORK; DS_POLICY: one side refuses the other. Thread-safe.
enum ds_class ds_remote_ask(ds_remote *r, Devstamp__Signer__Request *request, const ds_remote_patience *patience,
                            Devstamp__Signer__Reply **ret, ds_err *e) DS_MUST;

#endif
