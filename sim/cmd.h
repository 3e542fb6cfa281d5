// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The verbs of devstamp-sim: one table, one file a verb.
#ifndef DS_SIM_CMD_H
#define DS_SIM_CMD_H

#include "src/base/buf.h"

#include <getopt.h>

typedef struct ds_sim_verb {
    const char *name;
    const char *summary;
    const char *usage;                                      // text of --help
    enum ds_class (*run)(int argc, char **argv, ds_err *e); // argv[0] is the verb; --help is dealt with
} ds_sim_verb;

extern const ds_sim_verb ds_sim_cmd_run, ds_sim_cmd_ctl, ds_sim_cmd_image, ds_sim_cmd_partitions, ds_sim_cmd_flash,
    ds_sim_cmd_decrypt;

// As getopt_long with long options alone (and -o); a bad one ends with '?' and the failure in e.
int ds_sim_cmd_option(int argc, char **argv, const struct option *options, ds_err *e);
// A number in C notation, at most max.
enum ds_class ds_sim_cmd_number(const char *what, const char *text, uint64_t max, uint64_t *ret, ds_err *e) DS_MUST;
// Exactly n arguments must be left.
enum ds_class ds_sim_cmd_arguments(int argc, unsigned n, ds_err *e) DS_MUST;
// value was given (not NULL), else DS_USAGE naming the option.
enum ds_class ds_sim_cmd_need(const void *value, const char *option, ds_err *e) DS_MUST;

#endif
