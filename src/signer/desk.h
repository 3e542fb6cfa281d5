// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where many requests are worked on at once: threads that check requests and let the token sign, and one that writes
// all certificates that are ready to the log, syncs once, and only then answers each. What one request may get never
// depends on others that are on their way: it waits until those it could get into conflict with (the same key or serial
// number, or the last certificates of a quota) are in the log or have failed, and is then judged as if it had come
// alone.
#ifndef DS_SIGNER_DESK_H
#define DS_SIGNER_DESK_H

#include "src/signer/issuer.h"

typedef struct ds_desk ds_desk;

// Start the threads. issuer is borrowed, and nobody else touches it until ds_desk_close, or between ds_desk_rest and
// the next ds_desk_put. Answers go to fd. Where the token fails, fd is shut down for reading.
enum ds_class ds_desk_open(ds_issuer *issuer, int fd, ds_desk **ret, ds_err *e) DS_MUST;

// A request for a certificate or a key, which becomes the desk's.
void ds_desk_put(ds_desk *d, Devstamp__Signer__Request *request);

// Entries of the log as they are on disk, answered now, beside whatever is worked on. request is borrowed.
void ds_desk_tell_entries(ds_desk *d, const Devstamp__Signer__Request *request);

// Wait until all that was put is answered. false: the token failed, and nothing will be answered any more.
bool ds_desk_rest(ds_desk *d);

// Finish what is being signed, forget what is not, end the threads. false: the token failed.
bool ds_desk_close(ds_desk *d);

// Answer with a failure.
enum ds_class ds_desk_send_failure(int fd, uint64_t id, ds_err *failure, ds_err *e) DS_MUST;

#endif
