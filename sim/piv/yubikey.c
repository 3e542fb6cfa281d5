// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual YubiKey at work; see yubikey.h.
#include "sim/piv/yubikey.h"

#include "src/base/clock.h"
#include "src/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { POWER_OFF = 0, POWER_ON = 1, RESET = 2, SAY_ATR = 4, TOUCH_MS = 15000 };

// A YubiKey 5's: T=1, historical bytes "YubiKey".
static const uint8_t atr[] = {0x3B, 0xFD, 0x13, 0,    0,    0x81, 0x31, 0xFE, 0x15, 0x80, 0x73, 0xC0,
                              0x21, 0xC0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4B, 0x65, 0x79, 0x40};

void ds_piv_yubikey_free(ds_piv_yubikey *y)
{
    ds_piv_reader_close(&y->reader);
    ds_piv_card_close(&y->card);
    ds_buf_free(&y->command);
    ds_buf_free(&y->answer);
}

static void power_lost(ds_piv_yubikey *y)
{
    ds_piv_card_reset(&y->card);
    y->waiting = DS_PIV_IDLE;
}

void ds_piv_yubikey_eject(ds_piv_yubikey *y)
{
    ds_piv_reader_eject(&y->reader);
    power_lost(y);
    y->seen = false;
}

enum ds_class ds_piv_yubikey_insert(ds_piv_yubikey *y, ds_err *e)
{
    return ds_piv_reader_insert(&y->reader, e);
}

static void send_answer(ds_piv_yubikey *y)
{
    y->waiting = DS_PIV_IDLE;
    if (ds_piv_reader_send(&y->reader, ds_buf_view(&y->answer), NULL))
        ds_piv_yubikey_eject(y);
}

// Run the command at hand and see what becomes of its answer.
static void run(ds_piv_yubikey *y)
{
    ds_piv_card_run(&y->card, ds_buf_view(&y->command), &y->answer);
    enum ds_piv_mishap mishap = ds_piv_fault_answer(&y->fault, ds_buf_view(&y->command), &y->answer);
    if (mishap == DS_PIV_IS_GONE) {
        ds_piv_yubikey_eject(y);
    } else if (mishap == DS_PIV_HANGS) {
        y->waiting = DS_PIV_FOR_EVER;
    } else if (y->fault.slow_ms) {
        y->waiting = DS_PIV_FOR_TIME;
        y->due_ms = ds_now_ms() + (int64_t)y->fault.slow_ms;
    } else {
        send_answer(y);
    }
}

static void take_command(ds_piv_yubikey *y)
{
    if (!ds_piv_card_wants_touch(&y->card, ds_buf_view(&y->command))) {
        run(y);
        return;
    }
    fprintf(stderr, "virtual YubiKey %" PRIu32 ": the light blinks, waiting for a touch (slot %02x)\n",
            y->card.state.serial, y->command.ptr[3]);
    y->waiting = DS_PIV_FOR_TOUCH;
    y->due_ms = ds_now_ms() + TOUCH_MS;
}

static void take_signal(ds_piv_yubikey *y, uint8_t what)
{
    if (what == SAY_ATR) {
        if (ds_piv_reader_send(&y->reader, (ds_view){atr, sizeof atr}, NULL))
            ds_piv_yubikey_eject(y);
        return;
    }
    power_lost(y);
}

void ds_piv_yubikey_serve(ds_piv_yubikey *y)
{
    if (ds_piv_reader_receive(&y->reader, &y->command, NULL)) {
        ds_piv_yubikey_eject(y);
        return;
    }
    y->seen = true;
    if (y->command.len == 1)
        take_signal(y, y->command.ptr[0]);
    else if (y->command.len > 1)
        take_command(y);
}

void ds_piv_yubikey_tick(ds_piv_yubikey *y)
{
    if ((y->waiting != DS_PIV_FOR_TOUCH && y->waiting != DS_PIV_FOR_TIME) || ds_now_ms() < y->due_ms)
        return;
    if (y->waiting == DS_PIV_FOR_TIME) {
        send_answer(y);
    } else {
        fprintf(stderr, "virtual YubiKey %" PRIu32 ": nobody touched it\n", y->card.state.serial);
        run(y);
    }
}

int ds_piv_yubikey_timeout(const ds_piv_yubikey *y)
{
    return y->waiting == DS_PIV_FOR_TOUCH || y->waiting == DS_PIV_FOR_TIME ? ds_ms_left(y->due_ms) : -1;
}

enum ds_class ds_piv_yubikey_touch(ds_piv_yubikey *y, ds_err *e)
{
    if (y->waiting != DS_PIV_FOR_TOUCH)
        return ds_fail(e, DS_POLICY, "it does not wait for a touch");
    ds_piv_card_touch(&y->card);
    run(y);
    return DS_OK;
}

enum ds_class ds_piv_yubikey_fault(ds_piv_yubikey *y, const char *plan, ds_err *e)
{
    enum ds_class rc = ds_piv_fault_parse(plan, &y->fault, e);
    if (!rc && y->waiting == DS_PIV_FOR_EVER)
        send_answer(y);
    return rc;
}

void ds_piv_yubikey_status(const ds_piv_yubikey *y, ds_buf *out)
{
    const ds_piv_card *c = &y->card;
    DS_CLEANUP_FREE char *text =
        ds_asprintf("{\"serial\":%" PRIu32 ",\"in\":%s,\"seen\":%s,\"pin_left\":%u,\"puk_left\":%u,\"verified\":%s,"
                    "\"touch\":%s,\"verifies\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"signatures\":%" PRIu64 "}\n",
                    c->state.serial, y->reader.link >= 0 ? "true" : "false", y->seen ? "true" : "false",
                    c->state.pin.left, c->state.puk.left, c->session.verified ? "true" : "false",
                    y->waiting == DS_PIV_FOR_TOUCH ? "true" : "false", c->verifies, c->wrong, c->signatures);
    ds_buf_add(out, text, strlen(text));
}
