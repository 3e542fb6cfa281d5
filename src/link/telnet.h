// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Telnet as RFC 2217 needs it, without I/O: splits what a server sent into data and commands, answers option requests
// (RFC 854, 855, 856, 858) and remembers what the server acknowledged of COM-PORT-OPTION.
#ifndef DS_LINK_TELNET_H
#define DS_LINK_TELNET_H

#include "src/base/buf.h"

enum {
    DS_TELNET_IAC = 255,
    DS_TELNET_DONT = 254,
    DS_TELNET_DO = 253,
    DS_TELNET_WONT = 252,
    DS_TELNET_WILL = 251,
    DS_TELNET_SB = 250,
    DS_TELNET_SE = 240,
};

// COM-PORT-OPTION (RFC 2217, section 3): commands to the server; it answers with the code + 100.
enum {
    DS_COMPORT_SET_BAUDRATE = 1,
    DS_COMPORT_SET_DATASIZE = 2,
    DS_COMPORT_SET_PARITY = 3,
    DS_COMPORT_SET_STOPSIZE = 4,
    DS_COMPORT_SET_CONTROL = 5,
    DS_COMPORT_PURGE_DATA = 12,
    DS_COMPORT_ANSWER = 100,
};

enum {
    DS_CONTROL_NO_FLOW = 1,
    DS_CONTROL_DTR_ON = 8,
    DS_CONTROL_DTR_OFF = 9,
    DS_CONTROL_RTS_ON = 11,
    DS_CONTROL_RTS_OFF = 12,
};

enum ds_telnet_side { DS_TELNET_NO = 0, DS_TELNET_ASKED, DS_TELNET_YES, DS_TELNET_REFUSED };

#define DS_TELNET_OPTIONS 3

typedef struct ds_telnet {
    int state;
    uint8_t verb;    // WILL, WONT, DO, DONT in progress
    uint8_t sub[32]; // suboption in progress; longer ones are ignored
    size_t sub_len;
    enum ds_telnet_side us[DS_TELNET_OPTIONS], them[DS_TELNET_OPTIONS];
    ds_buf data;            // what the device sent
    ds_buf reply;           // to be sent to the server
    uint32_t acked;         // bit n: command n was answered
    uint32_t acked_control; // bit n: SET-CONTROL n was answered
    size_t purged;          // length of data when PURGE-DATA was answered last: what lies before is old
    uint32_t baud;          // of the last answer to SET-BAUDRATE
} ds_telnet;

// Zero-initialise first. Puts the opening requests into reply.
void ds_telnet_start(ds_telnet *t);
void ds_telnet_deinit(ds_telnet *t);
void ds_telnet_feed(ds_telnet *t, const uint8_t *p, size_t len);
// Did the server agree to COM-PORT-OPTION / refuse it?
bool ds_telnet_comport(const ds_telnet *t);
bool ds_telnet_comport_refused(const ds_telnet *t);

// Append data with every IAC doubled / a COM-PORT-OPTION command.
void ds_telnet_escape(ds_buf *out, ds_view data);
void ds_telnet_comport_command(ds_buf *out, uint8_t command, ds_view value);

#endif
