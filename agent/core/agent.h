// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent: answers the station's requests on the device's console. Portable C99 on mbedTLS; no operating-system
// calls; no allocation but mbedTLS's own.
#ifndef DS_AGENT_H
#define DS_AGENT_H

#include "agent/core/port.h"

#define DS_AGENT_FRAME_MAX 8192u // payload of a frame
#define DS_AGENT_CHAIN_MAX 4096u // concatenated DER certificates
#define DS_AGENT_KEY_MAX 2560u   // DER private key (RSA-3072: about 1800)
#define DS_AGENT_OWNER_MAX 1024u // an owner's message on the console
#define DS_AGENT_NAMESPACE "stamp"
#define DS_AGENT_SERIAL_MAX 63u
#define DS_AGENT_ENDPOINT_MAX 255u

typedef struct ds_agent ds_agent;

// Answers a message of the person who owns the device (proto/owner.proto), len bytes at in; never fails, as whatever
// goes wrong is said in the reply. The reply goes to ret, at most cap bytes; returns its length.
typedef size_t (*ds_agent_owner_fn)(void *arg, const uint8_t *in, size_t len, uint8_t *ret, size_t cap);

struct ds_agent {
    const ds_port *port;
    enum { DS_AGENT_MFG, DS_AGENT_APP } role;
    // Working memory, given by the caller so that a firmware chooses where it lives.
    uint8_t *frame;   // DS_AGENT_FRAME_MAX + 16 bytes: frame being received, then the handler's working memory
    uint8_t *scratch; // DS_AGENT_FRAME_MAX + 16 bytes: decoded request; between requests free for the app side
    // Image being written.
    bool image_open;
    uint8_t image_place, image_begins;             // begins: since boot, those that were to write
    uint32_t image_size, image_next, image_erased; // erased up to, exclusive
    uint8_t image_sha256[32];
    ds_status last_status; // of the last step the device took by itself; shown by report
    bool endpoint_reached;
    // The key in the chip: bytes of its modulus, and how its last signature went (mbedTLS has no room for a status).
    uint16_t dsig_len;
    ds_status dsig_status;
    // The request being answered.
    uint32_t request_id, progress;
    int request_case;
    bool answering, repeated; // repeated: the same request, by id and kind, as the one before
    // The key pair of one transfer of a private key; see import.c.
    bool has_transport;
    uint8_t transport[32], transport_public[65];
    // Framing state; see frame.h.
    size_t frame_len;
    bool escaped, broken;
    // The app side's answer to Owner on the console; NULL: refused. Set after ds_agent_init().
    ds_agent_owner_fn owner;
    void *owner_arg;
};

// Prepare an agent; memory as described above stays the caller's. Whoever polls it needs about 8 KiB of stack with
// mbedTLS (a certificate chain is the deepest) and what mbedTLS allocates for one key.
void ds_agent_init(ds_agent *a, const ds_port *port, int role, uint8_t *frame, uint8_t *scratch);

// Wait at most timeout_ms for console bytes, once, and answer every whole request among them. False when the console is
// gone.
bool ds_agent_poll(ds_agent *a, uint32_t timeout_ms);

// The mfg firmware's main loop: answers until the console is gone.
void ds_agent_run(ds_agent *a);

// How far the device is (Devstamp__Stage), derived from what the area holds; -1 where that cannot be read.
int ds_agent_stage(ds_agent *a);

#endif
