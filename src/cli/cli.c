// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What every verb shares; see cli.h.
#include "src/cli/cli.h"

#include "src/base/log.h"

#include <stdio.h>
#include <string.h>

int ds_cli_exit(enum ds_class cls)
{
    static const int codes[] = {DS_EXIT_OK,    DS_EXIT_USAGE,   DS_EXIT_INPUT,  DS_EXIT_DEVICE,  DS_EXIT_TOKEN,
                                DS_EXIT_STORE, DS_EXIT_NETWORK, DS_EXIT_POLICY, DS_EXIT_INTERNAL};
    return (size_t)cls < sizeof codes / sizeof *codes ? codes[cls] : DS_EXIT_INTERNAL;
}

int ds_cli_fail(const ds_err *e)
{
    ds_err shown = *e; // parts of it may come from a file or the network
    ds_log_clean(shown.text);
    ds_log_clean(shown.hint);
    fprintf(stderr, "devstamp: %s\n", shown.text);
    if (shown.hint[0])
        fprintf(stderr, "  hint: %s\n", shown.hint);
    return e->cls == DS_OK ? DS_EXIT_INTERNAL : ds_cli_exit(e->cls);
}

int ds_cli_usage(const char *usage, bool asked)
{
    fputs(usage, asked ? stdout : stderr);
    return asked ? DS_EXIT_OK : DS_EXIT_USAGE;
}

static void print_verbs(FILE *out, const char *program, const ds_verb *verbs)
{
    fprintf(out, "usage: %s <verb> [options]\n\n", program);
    for (const ds_verb *v = verbs; v->name; v++)
        if (v->summary)
            fprintf(out, "  %-12s %s\n", v->name, v->summary);
    fprintf(out, "\n'%s <verb> --help' tells more.\n", program);
}

int ds_cli_dispatch(const char *program, const ds_verb *verbs, int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_verbs(stdout, program, verbs);
        return DS_EXIT_OK;
    }
    for (const ds_verb *v = verbs; argc > 1 && v->name; v++)
        if (strcmp(argv[1], v->name) == 0) {
            static char name[64]; // getopt begins its complaints with argv[0]
            snprintf(name, sizeof name, "%s %s", program, v->name);
            argv[1] = name;
            return v->run(argc - 1, argv + 1);
        }
    if (argc > 1)
        fprintf(stderr, "%s: no verb '%s'\n\n", program, argv[1]);
    print_verbs(stderr, program, verbs);
    return DS_EXIT_USAGE;
}
