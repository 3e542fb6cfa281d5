// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reset strategies. Control lines: asserted pulls the pin to 0 V; RTS drives EN, DTR drives the boot strap, and the
// usual two transistors make both asserted the same as neither. Sequences: esptool's boot-mode-selection.rst and the
// behaviour of its reset strategies.
#include "src/link/reset.h"

#include "src/base/clock.h"
#include "src/link/transport_open.h"

typedef struct step {
    bool dtr, rts;
    uint16_t wait_ms; // afterwards
} step;

typedef struct sequence {
    unsigned count;
    step steps[5];
} sequence;

// One line changes at a time: for wires that cannot change both at the same moment.
static const sequence classic = {4, {{0, 1, 100}, {1, 1, 0}, {1, 0, 50}, {0, 0, 0}}};
static const sequence classic_slow = {4, {{0, 1, 100}, {1, 1, 0}, {1, 0, 550}, {0, 0, 0}}};
// Both lines change at the same moment, so that EN rises while the strap is already low.
static const sequence tight = {5, {{0, 0, 0}, {1, 1, 0}, {0, 1, 100}, {1, 0, 50}, {0, 0, 0}}};
static const sequence tight_slow = {5, {{0, 0, 0}, {1, 1, 0}, {0, 1, 100}, {1, 0, 550}, {0, 0, 0}}};
// The USB-Serial/JTAG peripheral decodes the lines itself and needs to see the way through (1,1).
static const sequence usb_jtag = {5, {{0, 0, 100}, {1, 0, 100}, {1, 1, 0}, {0, 1, 100}, {0, 0, 0}}};
static const sequence run = {2, {{0, 1, 100}, {0, 0, 0}}};
static const sequence run_usb = {2, {{0, 1, 200}, {0, 0, 200}}};

enum { USB_VID_ESPRESSIF = 0x303A, USB_PID_SERIAL_JTAG = 0x1001 };

static const sequence *choose(const ds_transport *t, bool download, unsigned attempt)
{
    static const sequence *const tight_first[] = {&tight, &tight_slow, &classic, &classic_slow};
    static const sequence *const one_by_one[] = {&classic, &classic_slow};
    if (t->usb_vid == USB_VID_ESPRESSIF && t->usb_pid == USB_PID_SERIAL_JTAG)
        return download ? &usb_jtag : &run_usb;
    if (!download)
        return &run;
    return t->tight_lines ? tight_first[attempt % 4] : one_by_one[attempt % 2];
}

static enum ds_class by_lines(ds_transport *t, bool download, unsigned attempt, ds_err *e)
{
    if (!t->has_lines) {
        ds_fail(e, DS_DEVICE, "this wire has no control lines");
        return ds_hint(e, "use rfc2217://, or set the slot's reset to a command or to none");
    }
    const sequence *s = choose(t, download, attempt);
    for (unsigned i = 0; i < s->count; i++) {
        enum ds_class cls = t->set_lines(t, s->steps[i].dtr, s->steps[i].rts, e);
        if (cls)
            return cls;
        ds_sleep_ms(s->steps[i].wait_ms);
    }
    return DS_OK;
}

enum ds_class ds_reset_attempt(const ds_reset *r, ds_transport *t, bool download, unsigned attempt, ds_err *e)
{
    // first, so that the boot log is readable from its first byte
    enum ds_class cls = r->kind == DS_RESET_NONE ? DS_OK : t->set_baud(t, DS_BAUD_START, e);
    if (cls)
        return ds_wrap(e, "reset");
    switch (r->kind) {
    case DS_RESET_LINES:
        cls = by_lines(t, download, attempt, e);
        break;
    case DS_RESET_COMMAND:
        cls = ds_reset_run_command(r->command, r->slot, download, DS_RESET_COMMAND_MS, e);
        break;
    default:
        ds_fail(e, DS_DEVICE, "this slot has no reset");
        ds_hint(e, download ? "start the device in download mode by hand, or give the slot a reset"
                            : "switch the device off and on, or give the slot a reset");
        return DS_DEVICE;
    }
    return cls ? ds_wrap(e, download ? "reset into download mode" : "reset") : DS_OK;
}

enum ds_class ds_reset_device(const ds_reset *r, ds_transport *t, bool download, ds_err *e)
{
    return ds_reset_attempt(r, t, download, 0, e);
}
