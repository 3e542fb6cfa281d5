// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim yubikey-ctl: the hand at a running virtual YubiKey.
#include "sim/piv/cmd.h"

#include "sim/control.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp-sim yubikey-ctl --state DIR VERB\n"
    "\n"
    "  status        print JSON: in, seen (the reader knows), pin_left, puk_left, verified, touch (it waits "
    "for\n"
    "                one), and since it runs: verifies (PINs it was given), wrong, signatures\n"
    "  out, in       pull it out, push it in\n"
    "  touch         touch it, while it waits for that\n"
    "  fault PLAN    slow=MS (each answer takes so long), hang@N (the Nth signature is never answered), wrong@N (it "
    "is\n"
    "                wrong), gone@N (the key is pulled out meanwhile); counted from now; \"\" = none\n";

enum { OPT_STATE = 256 };

static const struct option options[] = {{"state", required_argument, NULL, OPT_STATE}, {0}};

static enum ds_class run(int argc, char **argv, ds_err *e)
{
    const char *state = NULL;
    for (int c; (c = ds_sim_cmd_option(argc, argv, options, e)) != -1;) {
        if (c != OPT_STATE)
            return DS_USAGE;
        state = optarg;
    }
    enum ds_class rc = ds_sim_cmd_need(state, "--state", e);
    if (!rc && optind >= argc)
        rc = ds_fail(e, DS_USAGE, "what to do is missing");
    bool fault = !rc && strcmp(argv[optind], "fault") == 0;
    if (!rc)
        rc = ds_sim_cmd_arguments(argc, fault ? 2 : 1, e);
    if (rc)
        return rc;
    DS_CLEANUP_BUF ds_buf answer = {0};
    DS_CLEANUP_FREE char *request =
        ds_asprintf("%s%s%s", argv[optind], fault ? " " : "", fault ? argv[optind + 1] : "");
    if (strchr(request, '\n'))
        return ds_fail(e, DS_USAGE, "a request is one line");
    rc = ds_sim_control_ask(state, request, &answer, e);
    if (!rc && answer.len)
        fwrite(answer.ptr, 1, answer.len, stdout);
    return rc;
}

const ds_sim_verb ds_piv_cmd_yubikey_ctl = {"yubikey-ctl", "pull out, push in, touch or disturb a virtual YubiKey",
                                            usage, run};
