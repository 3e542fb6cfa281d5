// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's requests from the station's side, over a console that also carries log text. Each call sends, retries
// after a lost or damaged answer (requests are idempotent) and waits until its deadline; Progress, and answers to what
// was asked before, keep a call alive.
#ifndef DS_LINK_AGENT_CLIENT_H
#define DS_LINK_AGENT_CLIENT_H

#include "proto/stamp.pb-c.h"
#include "src/base/buf.h"
#include "src/link/transport.h"

typedef struct ds_agent_client ds_agent_client;

// log (may be NULL) gets each line of console text, without its end, printable characters only.
ds_agent_client *ds_agent_client_new(ds_transport *t, void (*log)(void *arg, const char *line), void *arg);
void ds_agent_client_free(ds_agent_client *c); // leaves t open

// Send req (its id is set here) and return the answer; the caller frees it with devstamp__response__free_unpacked(r,
// NULL). A non-zero status becomes DS_DEVICE with the status word in e->code and its words in e->text. deadline_ms: of
// ds_now_ms(); try_ms: how long one try waits for an answer or a sign of life before the request is sent again.
// After DS_AGENT_SILENT_TRIES tries in a row without any sign of life the device is gone, whatever the deadline.
#define DS_AGENT_SILENT_TRIES 6
enum ds_class ds_agent_call(ds_agent_client *c, Devstamp__Request *req, int64_t deadline_ms, int try_ms,
                            Devstamp__Response **ret, ds_err *e) DS_MUST;

// Called from within log: what the console says makes waiting useless (the device restarted). The present call gives up
// with DS_DEVICE and ECONNRESET as its code.
void ds_agent_client_interrupt(ds_agent_client *c);

// The next call, if it is of the same kind as the last one, which got no answer, repeats it: with the same id, so that
// a device that answers late is heard. For requests whose answer is as good whenever it was made.
void ds_agent_client_repeat(ds_agent_client *c);

// Drop what was received and not looked at yet: before a reset, so that old words are not taken for new ones.
void ds_agent_client_drop(ds_agent_client *c);

// Read console text (discarding frames) until deadline or until a line contains needle; true if it was seen.
bool ds_agent_wait_text(ds_agent_client *c, const char *needle, int64_t deadline_ms);

// The words of a status: "image: bad signature (0x070a0123)".
void ds_status_text(uint32_t status, char *ret, size_t cap);
// What to do next about it; NULL where nothing useful can be said.
const char *ds_status_hint(uint32_t status);

#endif
