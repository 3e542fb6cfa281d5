// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A run of the line: every slot of a station, in parallel, through the way of a device (docs/architecture.md).
#ifndef DS_STATION_LINE_H
#define DS_STATION_LINE_H

#include "src/ledger/ledger.h"
#include "src/signer/signer.h"
#include "src/station/recipe.h"
#include "src/station/stationfile.h"

#include <signal.h>

#define DS_STEP_COUNT 10

// The steps' names, in order; the same names as in models/.
extern const char *const ds_step_names[DS_STEP_COUNT];

enum ds_step_state {
    DS_STEP_WAITING,
    DS_STEP_RUNNING,
    DS_STEP_SKIPPED,
    DS_STEP_DONE,
    DS_STEP_FAILED,
    DS_STEP_NOT_HERE, // not for this platform
};

// What became of one slot.
typedef struct ds_slot_result {
    const char *slot;
    enum ds_step_state step_state[DS_STEP_COUNT];
    int64_t step_ms[DS_STEP_COUNT];
    unsigned step; // current, or the one that failed
    bool finished, ok;
    char serial[64], mac[18], note[96];
    char wants[48];      // what the running step waits for somebody to do; mostly empty
    const char *chip;    // title, NULL until known
    const char *product; // NULL until a recipe was chosen
    bool no_lock;        // a platform without a lock: passed does not mean locked
    int64_t total_ms;
    ds_err err; // why it failed
} ds_slot_result;

// Told on every change of a slot; calls are serialised.
typedef void (*ds_line_observer)(void *arg, unsigned slot_index, const ds_slot_result *result);

typedef struct ds_line_options {
    const ds_station *station;
    ds_recipe *const *recipes;
    unsigned recipe_count;
    ds_ledger *ledger;
    ds_signer *signer;
    ds_line_observer observer;
    void *observer_arg;
    bool verbose;                      // console text of devices to the log
    const volatile sig_atomic_t *stop; // set by a signal handler: no slot begins another step; NULL: never
} ds_line_options;

// Run all slots; results has station->slot_count elements and is filled. Returns how many devices failed.
unsigned ds_line_run(const ds_line_options *o, ds_slot_result *results);

// A key's worth of text as a QR code for a terminal (UTF-8 half blocks, quiet zone); caller frees. The payload of a
// device:
// {"ver":"v1","name":"<serial>","pop":"<pop>","transport":"ble"} as the ESP provisioning apps read it.
char *ds_label_qr(const char *serial, const char *pop, ds_err *e);
// That text itself, one line without its end; the caller wipes and frees it.
char *ds_label_text(const char *serial, const char *pop, ds_err *e);

#endif
