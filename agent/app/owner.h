// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Authenticity towards the person who owns the device: bytes in, bytes out, as the handler of an ESP-IDF protocomm
// endpoint is, or the console of a virtual device. Messages: proto/owner.proto; what is computed and why:
// docs/owner.md. One session at a time; only a device whose stamp is sealed answers, and only to whom knows the
// proof-of-possession secret of its label.
#ifndef DS_AGENT_OWNER_H
#define DS_AGENT_OWNER_H

#include "agent/core/agent.h"

#define DS_OWNER_ENDPOINT "devstamp-owner"      // name of the protocomm endpoint
#define DS_OWNER_MESSAGE_MAX DS_AGENT_OWNER_MAX // longest message that is read
#define DS_OWNER_REPLY_MAX 4736u                // longest reply: chain, signature and what is around them
#define DS_OWNER_TRIES 8u                       // wrong secrets in a row; then none is taken until the device restarts
#define DS_OWNER_SESSION_MS 600000u             // from Open; then its keys are gone, whatever came meanwhile
#define DS_OWNER_POP_MIN 8u
#define DS_OWNER_POP_MAX 64u
#define DS_OWNER_SSID_MAX 32u
#define DS_OWNER_PASSPHRASE_MIN 8u
#define DS_OWNER_PASSPHRASE_MAX 64u // 64: the key itself, in hex (IEEE 802.11, H.4)
#define DS_OWNER_EXTRA_MAX 512u

// What the owner hands over; valid during the call and wiped after it.
typedef struct ds_owner_credentials {
    const uint8_t *ssid, *passphrase; // not terminated
    size_t ssid_len, passphrase_len;  // passphrase: 0 for an open network
    const uint8_t *extra;             // what the product's app and firmware agreed on
    size_t extra_len;
} ds_owner_credentials;

// Take the credentials for good, as the owner is told so: OK once they are durable. BAD_REQUEST: they cannot be used;
// anything else: the device failed and the owner may try again. May be called again with the same ones.
typedef ds_status (*ds_owner_take_fn)(void *arg, const ds_owner_credentials *c);

// All of it is private to owner.c.
typedef struct ds_owner {
    ds_agent *a;
    ds_owner_take_fn take;
    void *take_arg;
    unsigned wrong;         // tags since the last right one
    uint32_t opened, timed; // sessions opened; the one that since_ms is of
    uint32_t since_ms;
    // from here on: the session, wiped when it is over
    enum { DS_OWNER_CLOSED, DS_OWNER_OPENED, DS_OWNER_PROVED, DS_OWNER_DONE } stage;
    uint8_t secret[32];  // of Y, until it was used
    uint8_t points[130]; // X | Y
    uint8_t tag[32];
    uint8_t proof_key[32], parcel_key[32], receipt_key[32];
    uint8_t signature[512];
    size_t signature_len;
    uint8_t parcel_digest[32]; // of the parcel that was taken
    uint32_t outcome;          // and what came of it
} ds_owner;

// a: the agent whose stamp is shown. Where messages come in another task than the one that polls the agent, a must be
// an agent of that task's own (ds_agent_init() with the same port, role DS_AGENT_APP and memory of its own), as an
// agent's memory is used by one task at a time. take may be NULL: then credentials are refused.
void ds_owner_init(ds_owner *o, ds_agent *a, ds_owner_take_fn take, void *take_arg);

// Answer one message: len bytes at in, a reply of at most DS_OWNER_REPLY_MAX bytes to ret, which must not overlap in.
// Returns the reply's length; 0 only where cap is less than DS_OWNER_REPLY_MAX. owner is a ds_owner: this is a
// ds_agent_owner_fn. Blocks for as long as the device needs for an ECDH or a signature. Wrong secrets count since boot:
// a caller must not start anew (ds_owner_init) between messages.
size_t ds_owner_handle(void *owner, const uint8_t *in, size_t len, uint8_t *ret, size_t cap);

// For a session's time, by any steady clock of milliseconds (that wraps): call it once a minute or more often, in turn
// with ds_owner_handle(). Closes a session that is older than DS_OWNER_SESSION_MS. True while one is open.
bool ds_owner_tick(ds_owner *o, uint32_t now_ms);

// Forget the session: the transport was closed. Wrong tries stay counted.
void ds_owner_close(ds_owner *o);

// A ds_owner_take_fn for firmware without a better place: strings "ssid" and "pass" in namespace "wifi" of encrypted
// storage; extra, where given, as blob "extra". They replace what an owner before handed over, its extra included;
// without an "ssid" there are none. agent is a ds_agent. BAD_REQUEST where a NUL is among the bytes.
ds_status ds_owner_store_wifi(void *agent, const ds_owner_credentials *c);

#endif
