// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A serial port behind a server that speaks RFC 2217: line rate and control lines by COM-PORT-OPTION. Acknowledgements
// are waited for within ACK_MS; a server that once gave none is not waited for again.
#include "src/link/transport_open.h"

#include "src/base/clock.h"
#include "src/link/telnet.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NEGOTIATE_MS 3000
#define ACK_MS 1000
// While an acknowledgement is awaited, data of the device is kept up to here and then dropped.
#define BACKLOG_MAX (1u << 20)

typedef struct rfc2217 {
    ds_transport base;
    ds_fdio io;
    ds_telnet telnet;
    size_t taken; // of telnet.data
    ds_buf tx;
    bool dtr, rts, lines_known;
    bool silent; // the server does not acknowledge
} rfc2217;

static rfc2217 *self(ds_transport *t)
{
    return (rfc2217 *)(void *)t;
}

static void drop_data(rfc2217 *s)
{
    ds_buf_clear(&s->telnet.data);
    s->taken = 0;
}

static enum ds_class send_reply(rfc2217 *s, ds_err *e)
{
    if (!s->telnet.reply.len)
        return DS_OK;
    enum ds_class cls = ds_fdio_write(&s->io, ds_buf_view(&s->telnet.reply), e);
    ds_buf_clear(&s->telnet.reply);
    return cls;
}

// One read from the wire; *ret_any: something came.
static enum ds_class receive(rfc2217 *s, int timeout_ms, bool *ret_any, ds_err *e)
{
    uint8_t raw[4096];
    size_t n = 0;
    enum ds_class cls = ds_fdio_read(&s->io, raw, sizeof raw, timeout_ms, &n, e);
    *ret_any = n > 0;
    if (cls || !n)
        return cls;
    if (s->telnet.data.len - s->taken > BACKLOG_MAX)
        drop_data(s);
    ds_telnet_feed(&s->telnet, raw, n);
    return send_reply(s, e);
}

static enum ds_class rfc2217_read(ds_transport *t, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len, ds_err *e)
{
    rfc2217 *s = self(t);
    *ret_len = 0;
    int64_t deadline_ms = ds_now_ms() + timeout_ms;
    while (s->taken == s->telnet.data.len) {
        drop_data(s);
        bool any;
        enum ds_class cls = receive(s, ds_ms_left(deadline_ms), &any, e);
        if (cls)
            return cls;
        if (!s->telnet.data.len && !ds_ms_left(deadline_ms))
            return DS_OK; // nothing, or commands only
    }
    size_t n = s->telnet.data.len - s->taken;
    n = n < cap ? n : cap;
    memcpy(buf, s->telnet.data.ptr + s->taken, n);
    s->taken += n;
    *ret_len = n;
    return DS_OK;
}

static enum ds_class rfc2217_write(ds_transport *t, ds_view data, ds_err *e)
{
    rfc2217 *s = self(t);
    ds_buf_clear(&s->tx);
    ds_telnet_escape(&s->tx, data);
    return ds_fdio_write(&s->io, ds_buf_view(&s->tx), e);
}

static void command_u8(rfc2217 *s, uint8_t command, uint8_t value)
{
    ds_telnet_comport_command(&s->tx, command, (ds_view){&value, 1});
    s->telnet.acked &= ~(1u << command);
    if (command == DS_COMPORT_SET_CONTROL)
        s->telnet.acked_control &= ~(1u << value);
}

static void command_baud(rfc2217 *s, uint32_t baud)
{
    uint8_t be[4] = {(uint8_t)(baud >> 24), (uint8_t)(baud >> 16), (uint8_t)(baud >> 8), (uint8_t)baud};
    ds_telnet_comport_command(&s->tx, DS_COMPORT_SET_BAUDRATE, (ds_view){be, sizeof be});
    s->telnet.acked &= ~(1u << DS_COMPORT_SET_BAUDRATE);
}

// Send the prepared commands and wait for the answers in the masks.
static enum ds_class send_commands(rfc2217 *s, uint32_t acks, uint32_t controls, ds_err *e)
{
    enum ds_class cls = ds_fdio_write(&s->io, ds_buf_view(&s->tx), e);
    ds_buf_clear(&s->tx);
    int64_t deadline_ms = ds_now_ms() + ACK_MS;
    while (!cls && !s->silent) {
        if ((s->telnet.acked & acks) == acks && (s->telnet.acked_control & controls) == controls)
            return DS_OK;
        if (!ds_ms_left(deadline_ms)) {
            s->silent = true;
            break;
        }
        bool any;
        cls = receive(s, ds_ms_left(deadline_ms), &any, e);
    }
    return cls;
}

static enum ds_class rfc2217_set_baud(ds_transport *t, uint32_t baud, ds_err *e)
{
    rfc2217 *s = self(t);
    ds_buf_clear(&s->tx);
    s->telnet.baud = 0;
    command_baud(s, baud);
    enum ds_class cls = send_commands(s, 1u << DS_COMPORT_SET_BAUDRATE, 0, e);
    if (cls)
        return cls;
    uint32_t got = s->telnet.baud;
    if (!got || (got > baud ? got - baud : baud - got) <= baud / 32)
        return DS_OK;
    ds_fail(e, DS_DEVICE, "the server sets %u baud instead of %u", got, baud);
    return ds_hint(e, "choose a rate that the server's serial port can do");
}

static enum ds_class rfc2217_set_lines(ds_transport *t, bool dtr, bool rts, ds_err *e)
{
    rfc2217 *s = self(t);
    uint32_t controls = 0;
    ds_buf_clear(&s->tx);
    if (!s->lines_known || s->dtr != dtr) {
        uint8_t value = dtr ? DS_CONTROL_DTR_ON : DS_CONTROL_DTR_OFF;
        command_u8(s, DS_COMPORT_SET_CONTROL, value);
        controls |= 1u << value;
    }
    if (!s->lines_known || s->rts != rts) {
        uint8_t value = rts ? DS_CONTROL_RTS_ON : DS_CONTROL_RTS_OFF;
        command_u8(s, DS_COMPORT_SET_CONTROL, value);
        controls |= 1u << value;
    }
    s->dtr = dtr;
    s->rts = rts;
    s->lines_known = true;
    return controls ? send_commands(s, 0, controls, e) : DS_OK;
}

static enum ds_class rfc2217_flush(ds_transport *t, ds_err *e)
{
    rfc2217 *s = self(t);
    ds_buf_clear(&s->tx);
    drop_data(s);
    s->telnet.purged = 0;
    command_u8(s, DS_COMPORT_PURGE_DATA, 1); // what the server holds for us
    enum ds_class cls = send_commands(s, 1u << DS_COMPORT_PURGE_DATA, 0, e);
    if (cls || !s->silent) {
        s->taken = s->telnet.purged < s->telnet.data.len ? s->telnet.purged : s->telnet.data.len;
        return cls;
    }
    // without acknowledgement, what is here by now is all that can be known
    bool any = true;
    for (int i = 0; i < 256 && any && !cls; i++)
        cls = receive(s, 0, &any, e);
    drop_data(s);
    return cls;
}

static void rfc2217_close(ds_transport *t)
{
    rfc2217 *s = self(t);
    if (s->io.fd >= 0)
        close(s->io.fd);
    ds_telnet_deinit(&s->telnet);
    ds_buf_free(&s->tx);
    free(s);
}

static enum ds_class negotiate(rfc2217 *s, ds_err *e)
{
    ds_telnet_start(&s->telnet);
    enum ds_class cls = send_reply(s, e);
    int64_t deadline_ms = ds_now_ms() + NEGOTIATE_MS;
    while (!cls && !ds_telnet_comport(&s->telnet)) {
        if (ds_telnet_comport_refused(&s->telnet) || !ds_ms_left(deadline_ms)) {
            ds_fail(e, DS_DEVICE, "the server does not speak RFC 2217");
            return ds_hint(e, "check the port number, or write tcp:// for a plain connection");
        }
        bool any;
        cls = receive(s, ds_ms_left(deadline_ms), &any, e);
    }
    return cls;
}

static enum ds_class configure(rfc2217 *s, ds_err *e)
{
    static const uint8_t settings[][2] = {
        {DS_COMPORT_SET_DATASIZE, 8},
        {DS_COMPORT_SET_PARITY, 1},   // none
        {DS_COMPORT_SET_STOPSIZE, 1}, // one
        {DS_COMPORT_SET_CONTROL, DS_CONTROL_NO_FLOW},
    };
    command_baud(s, DS_BAUD_START);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        command_u8(s, settings[i][0], settings[i][1]);
    return send_commands(s, 1u << DS_COMPORT_SET_BAUDRATE, 0, e);
}

enum ds_class ds_rfc2217_open(const char *host_port, ds_transport **ret, ds_err *e)
{
    ds_fdio io;
    enum ds_class cls = ds_tcp_connect(host_port, &io, e);
    if (cls)
        return cls;
    rfc2217 *s = ds_alloc(sizeof *s);
    s->base = (ds_transport){
        .read = rfc2217_read,
        .write = rfc2217_write,
        .set_baud = rfc2217_set_baud,
        .set_lines = rfc2217_set_lines,
        .flush_input = rfc2217_flush,
        .close = rfc2217_close,
        .has_lines = true,
    };
    s->io = io;
    cls = negotiate(s, e);
    if (!cls)
        cls = configure(s, e);
    if (cls) {
        rfc2217_close(&s->base);
        return cls;
    }
    *ret = &s->base;
    return DS_OK;
}
