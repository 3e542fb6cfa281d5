// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp label: a device's proof-of-possession QR code, from the ledger.
#include "src/cli/cli.h"

#include "src/base/secret.h"
#include "src/ledger/ledger.h"
#include "src/station/line.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp label --ledger FILE [--text] SERIAL|MAC\n"
    "\n"
    "Prints the QR code that the device's label carries: serial number and proof-of-possession\n"
    "secret. Whoever reads it can claim the device: print it where only the label goes.\n"
    "\n"
    "  --text  the QR code's text instead, one line, for a label printer or devstamp verify\n";

static int print_label(const char *path, const char *who, bool as_text)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger *ledger = NULL;
    ds_ledger_device d = {0};
    char *qr = NULL;
    enum ds_class rc = ds_ledger_open(path, true, &ledger, &e);
    if (!rc)
        rc = ds_ledger_find(ledger, who, &d, &e);
    if (!rc && !d.pop[0])
        rc = ds_hint((ds_fail(&e, DS_INPUT, "%s has no proof of possession here", d.serial), &e),
                     d.stage[0] ? "print the label where it was provisioned: secrets do not travel between ledgers"
                                : "provision it first");
    if (!rc) {
        qr = as_text ? ds_label_text(d.serial, d.pop, &e) : ds_label_qr(d.serial, d.pop, &e);
        rc = qr ? DS_OK : e.cls;
    }
    ds_ledger_close(ledger);
    if (!rc && as_text)
        puts(qr);
    else if (!rc)
        printf("%s (%s)\n%s", d.serial, d.product, qr);
    ds_wipe_free(qr);
    ds_wipe(&d, sizeof d);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_cmd_label(int argc, char **argv)
{
    static const struct option names[] = {
        {"ledger", required_argument, NULL, 'l'},
        {"text", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    bool as_text = false;
    for (int c; (c = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        if (c == 'h')
            return ds_cli_usage(usage, true);
        if (c != 'l' && c != 't')
            return ds_cli_usage(usage, false);
        as_text = as_text || c == 't';
        path = c == 'l' ? optarg : path;
    }
    if (!path || optind + 1 != argc)
        return ds_cli_usage(usage, false);
    return print_label(path, argv[optind], as_text);
}
