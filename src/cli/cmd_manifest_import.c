// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp manifest import: devices to an endpoint's registry, serial numbers to a station's ledger.
#include "src/cli/cmd_manifest.h"

#include "src/cli/cmd_ledger.h"
#include "src/cloud/manifest_import.h"
#include "src/ledger/lists.h"

#include <stdio.h>

static const char usage[] =
    "usage: devstamp manifest import --signed-by KEY ... --registry FILE FILE ...\n"
    "       devstamp manifest import --signed-by KEY ... --ledger FILE FILE ...\n"
    "\n"
    "The first announces a manifest's devices to an endpoint: a CA with the policy 'manifest' admits them and no "
    "others.\n"
    "The second gives a ledger a list of serial numbers; a recipe with 'serial: \"{list}\"' takes them in their "
    "order,\n"
    "each once. Nothing is imported from a list that is not whole. The same again changes nothing.\n"
    "\n" DS_LIST_SIGNED_BY;

static enum ds_class to_registry(const ds_list_args *a, ds_roll_files *f, ds_err *e)
{
    ds_registry *r = NULL;
    ds_manifest_imported done = {0};
    enum ds_class rc = ds_registry_open(a->registry, false, &r, e);
    if (!rc)
        rc = ds_manifest_to_registry(f, r, &done, e);
    ds_registry_close(r);
    if (!rc)
        printf("%llu devices, %llu of them new here\n", (unsigned long long)done.devices,
               (unsigned long long)done.fresh);
    return rc;
}

static enum ds_class to_ledger(const ds_list_args *a, ds_roll_files *f, ds_err *e)
{
    ds_ledger *l = NULL;
    char product[64] = "";
    uint64_t added = 0, all = 0, used = 0;
    enum ds_class rc = ds_ledger_open(a->ledger, false, &l, e);
    if (!rc)
        rc = ds_manifest_to_ledger(f, l, product, &added, e);
    if (!rc)
        rc = ds_ledger_serials_count(l, product, &all, &used, e);
    ds_ledger_close(l);
    if (rc)
        return rc;
    DS_CLEANUP_FREE char *clean = ds_ledger_clean_text(product);
    printf("%llu serial numbers for %s%s; %llu are left of %llu\n", (unsigned long long)added, clean,
           added ? "" : ": imported before", (unsigned long long)(all - used), (unsigned long long)all);
    return DS_OK;
}

int ds_manifest_cmd_import(int argc, char **argv)
{
    ds_list_args a;
    ds_roll_files f;
    ds_err e = DS_ERR_INIT;
    int code = 0;
    if (!ds_list_args_read(argc, argv, usage, " signed-by registry ledger ", &a, &code))
        return code;
    if (!a.count || !a.signed_by_count || !a.registry == !a.ledger)
        return ds_cli_usage(usage, false);
    const ds_roll_options o = ds_list_options(&a, ds_list_tell_fault, NULL);
    if (ds_roll_survey(a.operands, a.count, &o, &f, &e))
        return ds_cli_fail(&e);
    enum ds_class rc = ds_list_demand_whole(&f, &e);
    if (!rc)
        rc = a.registry ? to_registry(&a, &f, &e) : to_ledger(&a, &f, &e);
    else
        rc = ds_hint(&e, "nothing was imported");
    ds_roll_files_free(&f);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
