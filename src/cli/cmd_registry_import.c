// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp registry import-log and import-crl: what the registry learns from signers and their CAs.
#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/cli/cli.h"
#include "src/cli/cmd_registry.h"
#include "src/cloud/registry_import.h"

#include <inttypes.h>
#include <stdio.h>

enum { CRL_MAX = 256 << 20 };

int ds_registry_cmd_import_log(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    ds_registry_log_result done;
    char ca[65];
    enum ds_class rc = ds_registry_open(o->registry, false, &r, &e);
    if (!rc)
        rc = ds_registry_import_log(r, o->log, o->head, &done, &e);
    ds_registry_close(r);
    if (rc)
        return ds_cli_fail(&e);
    ds_hex(done.ca, sizeof done.ca, ca);
    if (o->json)
        return ds_registry_print_json(json_pack("{s:s, s:I, s:I, s:I}", "ca_id", ca, "entries",
                                                (json_int_t)done.entries, "new", (json_int_t)done.fresh, "waiting",
                                                (json_int_t)done.waiting));
    printf("%" PRIu64 " entries of CA %.16s, %" PRIu64 " of them new\n", done.entries, ca, done.fresh);
    if (done.waiting)
        printf("%" PRIu64 " more wait for a head that the log key signed\n", done.waiting);
    return DS_EXIT_OK;
}

int ds_registry_cmd_import_crl(const ds_registry_options *o)
{
    ds_err e = DS_ERR_INIT;
    ds_registry *r = NULL;
    ds_registry_crl_result done;
    char ca[65];
    DS_CLEANUP_BUF ds_buf crl = {0};
    enum ds_class rc = ds_file_read(o->crl, CRL_MAX, &crl, &e);
    if (!rc)
        rc = ds_registry_open(o->registry, false, &r, &e);
    if (!rc && ds_registry_import_crl(r, ds_buf_view(&crl), ds_utc_now(), &done, &e))
        rc = ds_wrap(&e, "CRL %s", o->crl);
    ds_registry_close(r);
    if (rc)
        return ds_cli_fail(&e);
    if (done.stale)
        fputs("devstamp: its next update is past: there is a newer list\n", stderr);
    ds_hex(done.ca, sizeof done.ca, ca);
    if (o->json)
        return ds_registry_print_json(json_pack("{s:s, s:i, s:i, s:i, s:i, s:b}", "ca_id", ca, "listed",
                                                (int)done.listed, "new", (int)done.fresh, "devices", (int)done.devices,
                                                "cas", (int)done.cas, "stale", done.stale));
    printf("%u certificates of %s, %u of them new, %u of registered devices\n", done.listed, done.subject, done.fresh,
           done.devices);
    if (done.cas)
        printf("%u registered CAs are revoked by it, and inactive now\n", done.cas);
    return DS_EXIT_OK;
}
