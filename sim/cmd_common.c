// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the verbs share; see cmd.h.
#include "sim/cmd.h"

#include <errno.h>
#include <stdlib.h>

int ds_sim_cmd_option(int argc, char **argv, const struct option *options, ds_err *e)
{
    opterr = 0;
    int c = getopt_long(argc, argv, ":o:", options, NULL);
    if (c == ':')
        ds_fail(e, DS_USAGE, "%s: the option needs a value", argv[optind - 1]);
    else if (c == '?')
        ds_fail(e, DS_USAGE, "%s: no such option", argv[optind - 1]);
    if (c != ':' && c != '?')
        return c;
    ds_hint(e, "devstamp-sim %s --help", argv[0]);
    return '?';
}

enum ds_class ds_sim_cmd_number(const char *what, const char *text, uint64_t max, uint64_t *ret, ds_err *e)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (*text < '0' || *text > '9' || errno || *end || v > max)
        return ds_fail(e, DS_USAGE, "%s: '%s' is not a number from 0 to %llu", what, text, (unsigned long long)max);
    *ret = v;
    return DS_OK;
}

enum ds_class ds_sim_cmd_arguments(int argc, unsigned n, ds_err *e)
{
    int left = argc - optind;
    return left == (int)n ? DS_OK : ds_fail(e, DS_USAGE, "%u arguments expected, %d given", n, left);
}

enum ds_class ds_sim_cmd_need(const void *value, const char *option, ds_err *e)
{
    return value ? DS_OK : ds_fail(e, DS_USAGE, "%s is missing", option);
}
