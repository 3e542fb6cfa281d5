// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// How a run of the line is shown: a live table in a terminal, plain lines in a pipe, JSON for machines.
#ifndef DS_CLI_PROGRESS_H
#define DS_CLI_PROGRESS_H

#include "src/station/line.h"

enum ds_progress_mode { DS_PROGRESS_LINES, DS_PROGRESS_TABLE, DS_PROGRESS_JSON };

typedef struct ds_progress {
    enum ds_progress_mode mode;
    const ds_slot_result *results; // all slots, for the summary once all are finished
    ds_slot_result *shown;         // as each slot last told: the table is drawn from copies, while slots go on
    unsigned count;
    unsigned drawn; // lines of the table on the screen
} ds_progress;

// A table where standard output is a terminal that is tall enough, else lines; json decides otherwise.
void ds_progress_init(ds_progress *p, const ds_slot_result *results, unsigned count, bool json);

void ds_progress_deinit(ds_progress *p);

// A ds_line_observer; arg is the ds_progress.
void ds_progress_observe(void *arg, unsigned slot_index, const ds_slot_result *r);

// What became of it all: failures with hints, the count, or the JSON document.
void ds_progress_summary(const ds_progress *p);

// The JSON document of a run that could not begin: no slots, and the error.
void ds_progress_no_run(const ds_err *why);

// The JSON document, into a file.
enum ds_class ds_progress_report(const ds_progress *p, const char *path, ds_err *e) DS_MUST;

#endif
