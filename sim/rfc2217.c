// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// RFC 2217 server; see rfc2217.h. Options are answered only when their state changes (RFC 854), so that two sides never
// chase each other; the server starts nothing by itself, so that a client that is no telnet at all sees the chip's
// bytes.
#include "sim/rfc2217.h"

#include <string.h>

enum { SE = 240, SB = 250, WILL = 251, WONT = 252, DO = 253, DONT = 254, IAC = 255 };
enum { OPT_BINARY = 0, OPT_SGA = 3, OPT_COM_PORT = 44 };

// COM-PORT-OPTION commands of the client; the server's answer is the same + 100.
enum {
    SIGNATURE,
    SET_BAUDRATE,
    SET_DATASIZE,
    SET_PARITY,
    SET_STOPSIZE,
    SET_CONTROL,
    NOTIFY_LINESTATE,
    NOTIFY_MODEMSTATE,
    FLOWCONTROL_SUSPEND,
    FLOWCONTROL_RESUME,
    SET_LINESTATE_MASK,
    SET_MODEMSTATE_MASK,
    PURGE_DATA,
    ANSWER = 100,
};

// Values of SET-CONTROL.
enum {
    FLOW_OUT_QUERY = 0,
    FLOW_OUT_NONE = 1,
    FLOW_OUT_HARD = 3,
    BREAK_QUERY = 4,
    BREAK_ON,
    BREAK_OFF,
    DTR_QUERY,
    DTR_ON,
    DTR_OFF,
    RTS_QUERY,
    RTS_ON,
    RTS_OFF,
    FLOW_IN_QUERY,
    FLOW_IN_NONE,
    FLOW_IN_SOFT,
    FLOW_IN_HARD,
    FLOW_DCD,
    FLOW_DTR,
    FLOW_DSR,
};

#define MODEM_STATE 0x30 // clear to send and data set ready, as an adapter with three wires shows
#define BAUD_MAX 10000000u

void ds_sim_rfc2217_init(ds_sim_rfc2217 *r, const ds_sim_rfc2217_ops *ops, void *ctx)
{
    *r = (ds_sim_rfc2217){
        .ops = ops,
        .ctx = ctx,
        .baud = 115200,
        .data_bits = 8,
        .parity = 1,
        .stop_bits = 1,
        .flow_out = FLOW_OUT_NONE,
        .flow_in = FLOW_IN_NONE,
        .modem_mask = 0xFF,
    };
}

void ds_sim_rfc2217_escape(const uint8_t *data, size_t len, ds_buf *out)
{
    while (len > 0) {
        const uint8_t *iac = memchr(data, IAC, len);
        size_t n = iac ? (size_t)(iac - data) + 1 : len;
        ds_buf_add(out, data, n);
        if (iac)
            ds_buf_add_u8(out, IAC);
        data += n;
        len -= n;
    }
}

static void send_option(ds_buf *reply, uint8_t verb, uint8_t option)
{
    ds_buf_add(reply, (const uint8_t[]){IAC, verb, option}, 3);
}

static void send_sub(ds_buf *reply, uint8_t command, const void *value, size_t len)
{
    ds_buf_add(reply, (const uint8_t[]){IAC, SB, OPT_COM_PORT, command}, 4);
    ds_sim_rfc2217_escape(value, len, reply);
    ds_buf_add(reply, (const uint8_t[]){IAC, SE}, 2);
}

static void answer_u8(ds_buf *reply, uint8_t command, uint8_t value)
{
    send_sub(reply, (uint8_t)(command + ANSWER), &value, 1);
}

static bool supported(uint8_t option)
{
    return option == OPT_BINARY || option == OPT_SGA || option == OPT_COM_PORT;
}

// One side's option: want it on or off; yes/no are the words that answer it.
static void option_change(uint64_t *side, uint8_t option, bool on, uint8_t yes, uint8_t no, ds_buf *reply)
{
    if (!supported(option)) {
        if (on)
            send_option(reply, no, option);
        return;
    }
    uint64_t bit = UINT64_C(1) << option;
    if (((*side & bit) != 0) == on)
        return;
    *side ^= bit;
    send_option(reply, on ? yes : no, option);
}

static void option_input(ds_sim_rfc2217 *r, uint8_t option, ds_buf *reply)
{
    const uint64_t com_port = UINT64_C(1) << OPT_COM_PORT;
    bool before = ((r->us | r->him) & com_port) != 0;
    if (r->verb == DO || r->verb == DONT)
        option_change(&r->us, option, r->verb == DO, WILL, WONT, reply);
    else
        option_change(&r->him, option, r->verb == WILL, DO, DONT, reply);
    if (!before && ((r->us | r->him) & com_port) != 0)
        answer_u8(reply, NOTIFY_MODEMSTATE, MODEM_STATE & r->modem_mask);
}

// Set *field where the value is a setting (0 asks for the present one) of at most max; answer what holds.
static void setting(uint8_t *field, uint8_t min, uint8_t max, uint8_t command, uint8_t value, ds_buf *reply)
{
    if (value >= min && value <= max)
        *field = value;
    answer_u8(reply, command, *field);
}

static void set_baud(ds_sim_rfc2217 *r, const uint8_t *v, size_t len, ds_buf *reply)
{
    if (len < 4)
        return;
    uint32_t baud = (uint32_t)v[0] << 24 | (uint32_t)v[1] << 16 | (uint32_t)v[2] << 8 | v[3];
    if (baud > 0 && baud <= BAUD_MAX && baud != r->baud) {
        r->baud = baud;
        r->ops->baud(r->ctx, baud);
    }
    uint8_t now[4] = {(uint8_t)(r->baud >> 24), (uint8_t)(r->baud >> 16), (uint8_t)(r->baud >> 8), (uint8_t)r->baud};
    send_sub(reply, SET_BAUDRATE + ANSWER, now, sizeof now);
}

static void set_lines(ds_sim_rfc2217 *r, bool dtr, bool rts)
{
    if (dtr == r->dtr && rts == r->rts)
        return;
    r->dtr = dtr;
    r->rts = rts;
    r->ops->lines(r->ctx, dtr, rts);
}

// Apply a SET-CONTROL value; returns the one that now holds.
static uint8_t control(ds_sim_rfc2217 *r, uint8_t value)
{
    switch (value) {
    case BREAK_ON:
    case BREAK_OFF:
        r->brk = value == BREAK_ON;
        // fall through
    case BREAK_QUERY:
        return r->brk ? BREAK_ON : BREAK_OFF;
    case DTR_ON:
    case DTR_OFF:
        set_lines(r, value == DTR_ON, r->rts);
        // fall through
    case DTR_QUERY:
        return r->dtr ? DTR_ON : DTR_OFF;
    case RTS_ON:
    case RTS_OFF:
        set_lines(r, r->dtr, value == RTS_ON);
        // fall through
    case RTS_QUERY:
        return r->rts ? RTS_ON : RTS_OFF;
    case FLOW_IN_NONE:
    case FLOW_IN_SOFT:
    case FLOW_IN_HARD:
    case FLOW_DTR:
        r->flow_in = value;
        // fall through
    case FLOW_IN_QUERY:
        return r->flow_in;
    default: // outbound flow control: 1..3, 17, 19
        if ((value >= FLOW_OUT_NONE && value <= FLOW_OUT_HARD) || value == FLOW_DCD || value == FLOW_DSR)
            r->flow_out = value;
        return r->flow_out;
    }
}

static void signature(size_t asked_len, ds_buf *reply)
{
    static const char name[] = "devstamp-sim";
    if (asked_len == 0)
        send_sub(reply, SIGNATURE + ANSWER, name, sizeof name - 1);
}

static void com_port(ds_sim_rfc2217 *r, uint8_t command, const uint8_t *v, size_t len, ds_buf *reply)
{
    if (command == SIGNATURE) {
        signature(len, reply);
        return;
    }
    if (command == SET_BAUDRATE) {
        set_baud(r, v, len, reply);
        return;
    }
    if (command == NOTIFY_MODEMSTATE) { // a client may ask by sending one
        answer_u8(reply, command, MODEM_STATE & r->modem_mask);
        return;
    }
    if (len < 1)
        return;
    switch (command) {
    case SET_DATASIZE:
        setting(&r->data_bits, 5, 8, command, v[0], reply);
        break;
    case SET_PARITY:
        setting(&r->parity, 1, 5, command, v[0], reply);
        break;
    case SET_STOPSIZE:
        setting(&r->stop_bits, 1, 3, command, v[0], reply);
        break;
    case SET_CONTROL:
        answer_u8(reply, command, control(r, v[0]));
        break;
    case SET_LINESTATE_MASK:
        setting(&r->line_mask, 0, 255, command, v[0], reply);
        break;
    case SET_MODEMSTATE_MASK:
        setting(&r->modem_mask, 0, 255, command, v[0], reply);
        break;
    case PURGE_DATA:
        if (v[0] >= 1 && v[0] <= 3)
            r->ops->purge(r->ctx, (v[0] & 1) != 0, (v[0] & 2) != 0);
        answer_u8(reply, command, v[0]);
        break;
    default: // flow control by telnet: the buffers here are large enough without
        break;
    }
}

static void sub_end(ds_sim_rfc2217 *r, ds_buf *reply)
{
    if (r->sub_len >= 2 && r->sub[0] == OPT_COM_PORT)
        com_port(r, r->sub[1], r->sub + 2, r->sub_len - 2, reply);
}

static void sub_add(ds_sim_rfc2217 *r, uint8_t byte)
{
    if (r->sub_len < sizeof r->sub)
        r->sub[r->sub_len++] = byte;
}

// One byte after IAC, outside a subnegotiation.
static void command(ds_sim_rfc2217 *r, uint8_t byte)
{
    r->state = DS_SIM_TELNET_DATA;
    if (byte == IAC)
        r->ops->data(r->ctx, &byte, 1);
    else if (byte >= WILL) {
        r->verb = byte;
        r->state = DS_SIM_TELNET_OPTION;
    } else if (byte == SB) {
        r->sub_len = 0;
        r->state = DS_SIM_TELNET_SUB;
    }
}

static void telnet_byte(ds_sim_rfc2217 *r, uint8_t byte, ds_buf *reply)
{
    switch (r->state) {
    case DS_SIM_TELNET_DATA: // only IAC comes here
        r->state = DS_SIM_TELNET_IAC;
        break;
    case DS_SIM_TELNET_IAC:
        command(r, byte);
        break;
    case DS_SIM_TELNET_OPTION:
        option_input(r, byte, reply);
        r->state = DS_SIM_TELNET_DATA;
        break;
    case DS_SIM_TELNET_SUB:
        if (byte == IAC)
            r->state = DS_SIM_TELNET_SUB_IAC;
        else
            sub_add(r, byte);
        break;
    case DS_SIM_TELNET_SUB_IAC:
        r->state = DS_SIM_TELNET_SUB;
        if (byte == IAC) {
            sub_add(r, byte);
        } else {
            // SE; any other command ends a broken subnegotiation as well.
            r->state = DS_SIM_TELNET_DATA;
            if (byte == SE)
                sub_end(r, reply);
        }
        break;
    }
}

void ds_sim_rfc2217_input(ds_sim_rfc2217 *r, const uint8_t *in, size_t len, ds_buf *reply)
{
    for (size_t i = 0; i < len;) {
        if (r->state != DS_SIM_TELNET_DATA || in[i] == IAC) {
            telnet_byte(r, in[i++], reply);
            continue;
        }
        const uint8_t *iac = memchr(in + i, IAC, len - i);
        size_t n = iac ? (size_t)(iac - in) - i : len - i;
        r->ops->data(r->ctx, in + i, n);
        i += n;
    }
}
