// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The access server's side of RFC 2217 (telnet COM-PORT-OPTION, RFC 854/855/856/858 below it) as a state machine over
// bytes: no sockets, no clock. The line is always 8-bit transparent; carriage returns are not touched.
#ifndef DS_SIM_RFC2217_H
#define DS_SIM_RFC2217_H

#include "src/base/buf.h"

#define DS_SIM_RFC2217_SUB_MAX 64u // longest subnegotiation kept; more is cut off

// What the client's bytes mean, in the order they came.
typedef struct ds_sim_rfc2217_ops {
    void (*data)(void *ctx, const uint8_t *data, size_t len);
    void (*lines)(void *ctx, bool dtr, bool rts); // true = asserted
    void (*baud)(void *ctx, uint32_t baud);
    void (*purge)(void *ctx, bool to_client, bool to_chip);
} ds_sim_rfc2217_ops;

typedef struct ds_sim_rfc2217 {
    const ds_sim_rfc2217_ops *ops;
    void *ctx;
    enum {
        DS_SIM_TELNET_DATA,
        DS_SIM_TELNET_IAC,
        DS_SIM_TELNET_OPTION, // after WILL, WONT, DO or DONT
        DS_SIM_TELNET_SUB,
        DS_SIM_TELNET_SUB_IAC,
    } state;
    uint8_t verb; // of DS_SIM_TELNET_OPTION
    uint8_t sub[DS_SIM_RFC2217_SUB_MAX];
    size_t sub_len;
    uint64_t us, him; // telnet options 0..63 in force: ours, the client's
    bool dtr, rts, brk;
    uint32_t baud;
    uint8_t data_bits, parity, stop_bits; // as the option's values
    uint8_t flow_out, flow_in;
    uint8_t line_mask, modem_mask;
} ds_sim_rfc2217;

// A new connection: lines released, 115200 8N1.
void ds_sim_rfc2217_init(ds_sim_rfc2217 *r, const ds_sim_rfc2217_ops *ops, void *ctx);

// Take bytes of the client; calls the ops and appends what must be sent back to reply.
void ds_sim_rfc2217_input(ds_sim_rfc2217 *r, const uint8_t *in, size_t len, ds_buf *reply);

// Append the chip's bytes, as they go to the client, to out.
void ds_sim_rfc2217_escape(const uint8_t *data, size_t len, ds_buf *out);

#endif
