// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A virtual YubiKey that runs: the card in its reader, its faults, its touch, and the hand that pulls it out. Driven by
// one loop (run.c); asked through the control socket (control.c).
#ifndef DS_PIV_YUBIKEY_H
#define DS_PIV_YUBIKEY_H

#include "sim/piv/card.h"
#include "sim/piv/fault.h"
#include "sim/piv/reader.h"

enum ds_piv_waiting { DS_PIV_IDLE, DS_PIV_FOR_TOUCH, DS_PIV_FOR_TIME, DS_PIV_FOR_EVER };

typedef struct ds_piv_yubikey {
    ds_piv_card card;
    ds_piv_reader reader;
    ds_piv_fault fault;
    bool seen; // the reader has spoken to it since it was put in
    enum ds_piv_waiting waiting;
    int64_t due_ms; // end of the wait for a touch or for time
    ds_buf command, answer;
} ds_piv_yubikey;

void ds_piv_yubikey_free(ds_piv_yubikey *y);

// One message of the reader is there; or a wait has ended. How long until the latter: for poll(), -1 for ever.
void ds_piv_yubikey_serve(ds_piv_yubikey *y);
void ds_piv_yubikey_tick(ds_piv_yubikey *y);
int ds_piv_yubikey_timeout(const ds_piv_yubikey *y);

// What a hand does. DS_POLICY: it makes no sense now.
enum ds_class ds_piv_yubikey_insert(ds_piv_yubikey *y, ds_err *e) DS_MUST;
void ds_piv_yubikey_eject(ds_piv_yubikey *y);
enum ds_class ds_piv_yubikey_touch(ds_piv_yubikey *y, ds_err *e) DS_MUST;
enum ds_class ds_piv_yubikey_fault(ds_piv_yubikey *y, const char *plan, ds_err *e) DS_MUST;

// As a JSON object and a line end.
void ds_piv_yubikey_status(const ds_piv_yubikey *y, ds_buf *out);

// The control socket <state>/control: a request is a line "status", "in", "out", "touch" or "fault PLAN"; the answer is
// "ok" or "error <text>", a line end, and for status the JSON. One client after the other, which has two seconds.
int ds_piv_control_open(const char *state, ds_err *e); // -1: failed
void ds_piv_control_serve(int listener, ds_piv_yubikey *y);

#endif
