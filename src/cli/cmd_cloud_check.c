// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws check: cloud and ledger, held against each other both ways.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/cloud/aws/check.h"

static const char usage[] =
    "usage: devstamp cloud aws check --ledger FILE [CA] [--jitr] [--update] [--json]\n"
    "\n"
    "Lists every certificate on which cloud and ledger differ. Exit 0: none; 1: some, each is named.\n"
    "\n"
    "  --ledger FILE       the record\n"
    "  CA                  --ca-id ID, --dir DIR (DIR/subca.pem) or --certificate FILE: look only at this CA's\n"
    "                      certificates in the cloud (default: at all of the account)\n"
    "  --jitr              devices register themselves: one that never connected is counted, and no difference\n"
    "  --update            note in the ledger what the cloud has as registered and active\n"
    "  --json              for machines\n"
    "\n" DS_CLOUD_COMMON;

static void line(void *arg, const char *device, const char *id, const char *what)
{
    json_t *list = arg;
    DS_CLEANUP_FREE char *shown = ds_cloud_clean(what);
    if (list)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "device", device, "certificate", id, "what", what));
    else if (device[0])
        printf("device %s (certificate %s): %s\n", device, id, shown);
    else
        printf("certificate %s: %s\n", id, shown);
}

static void print_result(const ds_aws_checked *r, json_t *list)
{
    const struct {
        const char *name;
        unsigned n;
    } rows[] = {{"issued", r->issued},   {"installed", r->installed},    {"registered", r->registered},
                {"revoked", r->revoked}, {"in_cloud", r->in_cloud},      {"never_seen", r->never_seen},
                {"updated", r->updated}, {"differences", r->differences}};
    if (!list) {
        printf(
            "ledger: %u issued, %u of them installed, %u of those registered; %u revoked. cloud: %u. never seen: %u. "
            "%u noted. %u differences\n",
            r->issued, r->installed, r->registered, r->revoked, r->in_cloud, r->never_seen, r->updated, r->differences);
        return;
    }
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        json_object_set_new(o, rows[i].name, json_integer(rows[i].n));
    json_object_set(o, "list", list);
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
}

static enum ds_class run(const ds_cloud_args *o, ds_aws *c, json_t *list, ds_aws_checked *ret, ds_err *e)
{
    bool one_ca = o->ca_id || o->dir || o->certificate;
    char id[65];
    ds_ledger *l = NULL;
    enum ds_class rc = one_ca ? ds_cloud_ca_id(o, id, e) : DS_OK;
    if (!rc)
        rc = ds_ledger_open(o->ledger, !o->update || o->dry_run, &l, e);
    const ds_aws_checking k = {
        .ca_id = one_ca ? id : NULL, .jitr = o->jitr, .update = o->update, .line = line, .arg = list};
    if (!rc)
        rc = ds_aws_check(c, l, &k, ret, e);
    ds_ledger_close(l);
    return rc;
}

int ds_cloud_cmd_check(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    ds_aws *c = NULL;
    ds_aws_checked r = {0};
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "ledger ca-id dir certificate jitr update json", usage, &o, &code))
        return code;
    if (o.operands != argc || !o.ledger || (o.json && o.dry_run))
        return ds_cli_usage(usage, false);
    json_t *list = o.json ? json_array() : NULL;
    enum ds_class rc = ds_aws_open(&o.cloud, &c, &e);
    if (!rc)
        rc = run(&o, c, list, &r, &e);
    ds_aws_close(c);
    if (!rc && !o.dry_run)
        print_result(&r, list);
    json_decref(list);
    if (rc)
        return ds_cli_fail(&e);
    return r.differences ? DS_EXIT_SOME_FAILED : DS_EXIT_OK;
}
