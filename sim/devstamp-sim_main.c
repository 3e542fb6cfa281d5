// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp-sim: virtual devices to build, test and show devstamp with. Exit codes are those of the devstamp command
// (docs/exit-codes.md): the failure's class + 1.
#include "sim/cmd.h"
#include "sim/piv/cmd.h"

#include <stdio.h>
#include <string.h>

static const ds_sim_verb *const verbs[] = {
    &ds_sim_cmd_run,   &ds_sim_cmd_ctl,     &ds_sim_cmd_image,   &ds_sim_cmd_partitions,
    &ds_sim_cmd_flash, &ds_sim_cmd_decrypt, &ds_piv_cmd_yubikey, &ds_piv_cmd_yubikey_ctl,
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void usage(FILE *out)
{
    fputs("usage: devstamp-sim <verb> [options]\n\nvirtual devices of the ESP32 family, and a virtual YubiKey\n\n",
          out);
    for (int i = 0; i < VERBS; i++)
        fprintf(out, "  %-12s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs("\ndevstamp-sim <verb> --help tells more\n", out);
}

static int fail(const ds_err *e)
{
    fprintf(stderr, "devstamp-sim: %s\n", e->text);
    if (e->hint[0])
        fprintf(stderr, "  hint: %s\n", e->hint);
    return (int)e->cls + 1;
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int run(const ds_sim_verb *verb, int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    if (asks_help(argc, argv)) {
        fputs(verb->usage, stdout);
        return 0;
    }
    if (verb->run(argc, argv, &e) == DS_OK)
        return fflush(stdout) == 0 ? 0 : 1;
    if (e.cls == DS_USAGE)
        ds_hint(&e, "devstamp-sim %s --help", verb->name);
    return fail(&e);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return DS_USAGE + 1;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return 0;
    }
    for (int i = 0; i < VERBS; i++)
        if (strcmp(argv[1], verbs[i]->name) == 0)
            return run(verbs[i], argc - 1, argv + 1);
    fprintf(stderr, "devstamp-sim: no such verb '%s'\n", argv[1]);
    usage(stderr);
    return DS_USAGE + 1;
}
