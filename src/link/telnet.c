// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Telnet for RFC 2217; see telnet.h. An option is answered only when its state changes (RFC 1143), so that two sides
// can never answer each other for ever.
#include "src/link/telnet.h"

#include <string.h>

enum { DATA = 0, COMMAND, OPTION, SUB, SUB_IAC };

enum { BINARY = 0, SGA = 3, COM_PORT = 44 };
enum { I_BINARY, I_SGA, I_COM_PORT };
static const uint8_t options[DS_TELNET_OPTIONS] = {BINARY, SGA, COM_PORT};

static void say(ds_telnet *t, uint8_t verb, uint8_t option)
{
    ds_buf_add(&t->reply, (const uint8_t[]){DS_TELNET_IAC, verb, option}, 3);
}

void ds_telnet_start(ds_telnet *t)
{
    for (size_t i = 0; i < DS_TELNET_OPTIONS; i++) {
        say(t, DS_TELNET_WILL, options[i]);
        t->us[i] = DS_TELNET_ASKED;
        if (options[i] == COM_PORT)
            continue; // the server's side of it is its own to offer
        say(t, DS_TELNET_DO, options[i]);
        t->them[i] = DS_TELNET_ASKED;
    }
}

void ds_telnet_deinit(ds_telnet *t)
{
    ds_buf_free(&t->data);
    ds_buf_free(&t->reply);
}

bool ds_telnet_comport(const ds_telnet *t)
{
    return t->us[I_COM_PORT] == DS_TELNET_YES || t->them[I_COM_PORT] == DS_TELNET_YES;
}

bool ds_telnet_comport_refused(const ds_telnet *t)
{
    return !ds_telnet_comport(t) && t->us[I_COM_PORT] == DS_TELNET_REFUSED;
}

// The other side wants (on) or refuses an option for one side of the connection.
static void agree(ds_telnet *t, enum ds_telnet_side *side, bool on, uint8_t yes, uint8_t no, uint8_t option)
{
    enum ds_telnet_side was = *side;
    *side = on ? DS_TELNET_YES : DS_TELNET_REFUSED;
    if (on && was != DS_TELNET_ASKED && was != DS_TELNET_YES)
        say(t, yes, option);
    else if (!on && was == DS_TELNET_YES)
        say(t, no, option);
}

static void on_option(ds_telnet *t, uint8_t verb, uint8_t option)
{
    bool about_us = verb == DS_TELNET_DO || verb == DS_TELNET_DONT;
    bool on = verb == DS_TELNET_DO || verb == DS_TELNET_WILL;
    for (size_t i = 0; i < DS_TELNET_OPTIONS; i++) {
        if (options[i] != option)
            continue;
        if (about_us)
            agree(t, &t->us[i], on, DS_TELNET_WILL, DS_TELNET_WONT, option);
        else
            agree(t, &t->them[i], on, DS_TELNET_DO, DS_TELNET_DONT, option);
        return;
    }
    if (on)
        say(t, about_us ? DS_TELNET_WONT : DS_TELNET_DONT, option);
}

static void on_suboption(ds_telnet *t)
{
    if (t->sub_len < 3 || t->sub_len > sizeof t->sub || t->sub[0] != COM_PORT)
        return;
    uint8_t command = (uint8_t)(t->sub[1] - DS_COMPORT_ANSWER);
    if (command >= 32)
        return;
    if (command == DS_COMPORT_SET_BAUDRATE) {
        if (t->sub_len < 6)
            return;
        t->baud = (uint32_t)t->sub[2] << 24 | (uint32_t)t->sub[3] << 16 | (uint32_t)t->sub[4] << 8 | t->sub[5];
    }
    if (command == DS_COMPORT_SET_CONTROL && t->sub[2] < 32)
        t->acked_control |= 1u << t->sub[2];
    if (command == DS_COMPORT_PURGE_DATA)
        t->purged = t->data.len;
    t->acked |= 1u << command;
}

static void add_sub(ds_telnet *t, uint8_t c)
{
    if (t->sub_len < sizeof t->sub)
        t->sub[t->sub_len] = c;
    if (t->sub_len <= sizeof t->sub)
        t->sub_len++;
}

static void on_command(ds_telnet *t, uint8_t c)
{
    t->state = DATA;
    if (c == DS_TELNET_IAC) {
        ds_buf_add_u8(&t->data, c);
    } else if (c >= DS_TELNET_WILL) {
        t->verb = c;
        t->state = OPTION;
    } else if (c == DS_TELNET_SB) {
        t->sub_len = 0;
        t->state = SUB;
    }
}

static void push(ds_telnet *t, uint8_t c)
{
    switch (t->state) {
    case COMMAND:
        on_command(t, c);
        break;
    case OPTION:
        t->state = DATA;
        on_option(t, t->verb, c);
        break;
    case SUB:
        if (c == DS_TELNET_IAC)
            t->state = SUB_IAC;
        else
            add_sub(t, c);
        break;
    case SUB_IAC:
        if (c == DS_TELNET_IAC) {
            add_sub(t, c);
            t->state = SUB;
        } else {
            t->state = DATA;
            if (c == DS_TELNET_SE)
                on_suboption(t);
        }
        break;
    default:
        t->state = COMMAND; // only an IAC comes here in the data state
        break;
    }
}

void ds_telnet_feed(ds_telnet *t, const uint8_t *p, size_t len)
{
    while (len) {
        if (t->state == DATA) {
            const uint8_t *iac = memchr(p, DS_TELNET_IAC, len);
            size_t plain = iac ? (size_t)(iac - p) : len;
            ds_buf_add(&t->data, p, plain);
            p += plain;
            len -= plain;
            if (!len)
                return;
        }
        push(t, *p++);
        len--;
    }
}

void ds_telnet_escape(ds_buf *out, ds_view data)
{
    while (data.len) {
        const uint8_t *iac = memchr(data.ptr, DS_TELNET_IAC, data.len);
        size_t n = iac ? (size_t)(iac - data.ptr) + 1 : data.len;
        ds_buf_add(out, data.ptr, n);
        if (iac)
            ds_buf_add_u8(out, DS_TELNET_IAC);
        data.ptr += n;
        data.len -= n;
    }
}

void ds_telnet_comport_command(ds_buf *out, uint8_t command, ds_view value)
{
    ds_buf_add(out, (const uint8_t[]){DS_TELNET_IAC, DS_TELNET_SB, COM_PORT, command}, 4);
    ds_telnet_escape(out, value);
    ds_buf_add(out, (const uint8_t[]){DS_TELNET_IAC, DS_TELNET_SE}, 2);
}
