// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent: answers the station's requests on the device's console. Portable C99 on mbedTLS; no operating-system calls; no
// allocation but mbedTLS's own.
#ifndef DS_AGENT_H
#define DS_AGENT_H

#include "agent/core/port.h"

#define DS_AGENT_FRAME_MAX 8192u // payload of a frame
#define DS_AGENT_CHAIN_MAX 4096u // concatenated DER certificates
#define DS_AGENT_KEY_MAX 2560u   // DER private key (RSA-3072: about 1800)
#define DS_AGENT_NAMESPACE "stamp"

typedef struct ds_agent {
    const ds_port *port;
    enum { DS_AGENT_MFG, DS_AGENT_APP } role;
    // Working memory, given by the caller so that a firmware chooses where it lives.
    uint8_t *frame;   // DS_AGENT_FRAME_MAX + 16 bytes: frame being received
    uint8_t *scratch; // DS_AGENT_FRAME_MAX + 16 bytes: decoded message and reply
    // Image being written.
    bool image_open;
    uint8_t image_place;
    uint32_t image_size, image_next;
    uint8_t image_sha256[32];
    ds_status last_status; // of the last step the device took by itself; shown by report
    bool endpoint_reached;
    // Framing state; see frame.h.
    size_t frame_len;
    bool in_frame, escaped, overlong;
} ds_agent;

// Prepare an agent; memory as described above stays the caller's.
void ds_agent_init(ds_agent *a, const ds_port *port, int role, uint8_t *frame, uint8_t *scratch);

// Wait at most timeout_ms for console bytes and answer every whole request among them. False when the console is gone.
bool ds_agent_poll(ds_agent *a, uint32_t timeout_ms);

// The mfg firmware's main loop: answers for ever.
void ds_agent_run(ds_agent *a);

// How far the device is, derived from what the area holds.
int ds_agent_stage(ds_agent *a);

#endif
