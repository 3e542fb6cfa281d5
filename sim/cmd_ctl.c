// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim ctl: the hand at a running simulation's buttons and power switch.
#include "sim/cmd.h"
#include "sim/control.h"

#include <stdio.h>
#include <string.h>

static const char usage[] = "usage: devstamp-sim ctl --state DIR [--device N] VERB\n"
                            "\n"
                            "Without --device every device is meant.\n"
                            "\n"
                            "  reset         press and release the reset button\n"
                            "  download      the same with the boot button held: ROM download mode\n"
                            "  off, on       power\n"
                            "  status        print JSON\n"
                            "  fault PLAN    set a fault plan, counted from now (\"\" = none); see run --help\n";

enum { OPT_STATE = 256, OPT_DEVICE };

static const struct option options[] = {
    {"state", required_argument, NULL, OPT_STATE},
    {"device", required_argument, NULL, OPT_DEVICE},
    {0},
};

static const struct verb {
    const char *name;
    unsigned args;
} verbs[] = {{"reset", 0}, {"download", 0}, {"off", 0}, {"on", 0}, {"status", 0}, {"fault", 1}, {0}};

static enum ds_class check(int argc, char **argv, ds_err *e)
{
    if (optind >= argc)
        return ds_fail(e, DS_USAGE, "what to do is missing");
    const struct verb *v = verbs;
    while (v->name && strcmp(v->name, argv[optind]) != 0)
        v++;
    if (!v->name)
        return ds_fail(e, DS_USAGE, "no such request '%s'", argv[optind]);
    if (v->args && optind + 1 < argc && strchr(argv[optind + 1], '\n'))
        return ds_fail(e, DS_USAGE, "a fault plan is one line");
    return ds_sim_cmd_arguments(argc, 1 + v->args, e);
}

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    const char *state = NULL, *device = "all";
    for (int c; (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c == OPT_STATE)
            state = optarg;
        else if (c == OPT_DEVICE)
            device = optarg;
        else
            return DS_USAGE;
    }
    uint64_t n;
    enum ds_class rc = ds_sim_cmd_need(state, "--state", e);
    if (!rc && strcmp(device, "all") != 0)
        rc = ds_sim_cmd_number("--device", device, DS_SIM_DEVICES_MAX - 1, &n, e);
    if (!rc)
        rc = check(argc, argv, e);
    if (rc)
        return rc;
    DS_CLEANUP_BUF ds_buf answer = {0};
    const char *arg = argc > optind + 1 ? argv[optind + 1] : NULL;
    DS_CLEANUP_FREE char *request = ds_asprintf("%s %s%s%s", argv[optind], device, arg ? " " : "", arg ? arg : "");
    rc = ds_sim_control_ask(state, request, &answer, e);
    if (!rc && answer.len)
        fwrite(answer.ptr, 1, answer.len, stdout);
    return rc;
}

const ds_sim_verb ds_sim_cmd_ctl = {"ctl", "reset, switch, inspect or disturb devices of a running simulation", usage,
                                    run};
