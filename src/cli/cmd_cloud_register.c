// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws register: the ledger's devices, certificate by certificate.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/cloud/aws/register.h"

#include <string.h>

static const char usage[] =
    "usage: devstamp cloud aws register --ledger FILE [options]\n"
    "\n"
    "Registers every certificate that a device confirmed and the ledger does not have as registered, within the "
    "service's\n"
    "limits, and notes it in the ledger. Cut off anywhere it is run again. Exit 0: all are registered; 1: some were\n"
    "refused or are in another state, each is named.\n"
    "\n"
    "  --ledger FILE       the record\n"
    "  --with-ca FILE      their CA is registered too: this is its certificate (default: without a CA)\n"
    "  --policy NAME       attach this policy\n"
    "  --things            make a thing for each, named as its serial number, and attach the certificate\n"
    "  --inactive          register them switched off\n"
    "  --jobs N            work on N devices at once, where the way to the region is long (1, at most 16)\n"
    "  --all               those too that the ledger has as registered\n"
    "  --json              for machines\n"
    "\n" DS_CLOUD_COMMON;

typedef struct told {
    json_t *list; // NULL: print
} told;

static void line(void *arg, const char *device, const char *id, const char *what)
{
    const told *t = arg;
    DS_CLEANUP_FREE char *shown = ds_cloud_clean(what);
    if (t->list)
        json_array_append_new(t->list, json_pack("{s:s, s:s, s:s}", "device", device, "certificate", id, "what", what));
    else
        printf("device %s (certificate %s): %s\n", device, id, shown);
}

static void print_result(const ds_aws_registered *r, json_t *list)
{
    const struct {
        const char *name, *text;
        unsigned n;
    } rows[] = {
        {"registered", "registered", r->registered},
        {"already", "were there, and are noted now", r->already},
        {"before", "registered before", r->before},
        {"waiting", "not confirmed by their devices yet", r->waiting},
        {"revoked", "revoked, left out", r->revoked},
        {"differing", "there in another state", r->differing},
        {"failed", "refused", r->failed},
    };
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_object_set_new(o, rows[i].name, json_integer(rows[i].n));
        if (!list && rows[i].n)
            printf("%u %s\n", rows[i].n, rows[i].text);
    }
    if (list) {
        json_object_set(o, "devices", list);
        json_dumpf(o, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(o);
}

static enum ds_class read_ca(const char *path, ds_buf *ret, ds_err *e)
{
    return path ? ds_cloud_text(path, ret, e) : DS_OK;
}

typedef struct clients {
    ds_aws *list[DS_AWS_JOBS];
    size_t count;
} clients;

// They keep to the limits together. A dry run is one's, so that what is printed is in order.
static enum ds_class open_clients(const ds_cloud_args *o, clients *ret, ds_err *e)
{
    ds_aws_config cfg = o->cloud;
    enum ds_class rc = DS_OK;
    for (size_t wanted = o->dry_run ? 1 : o->job_count; !rc && ret->count < wanted; ret->count += rc == DS_OK) {
        rc = ds_aws_open(&cfg, &ret->list[ret->count], e);
        cfg.limits_of = ret->list[0];
    }
    return rc;
}

static void close_clients(clients *c)
{
    while (c->count)
        ds_aws_close(c->list[--c->count]);
}

static enum ds_class run(const ds_cloud_args *o, const clients *c, json_t *list, ds_aws_registered *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf ca = {0};
    ds_ledger *l = NULL;
    ds_aws_call probe = {0};
    told t = {list};
    enum ds_class rc = o->policy ? ds_aws_path(&probe, "", o->policy, "", e) : DS_OK;
    if (!rc)
        rc = read_ca(o->with_ca, &ca, e);
    if (!rc)
        rc = ds_ledger_open(o->ledger, o->dry_run, &l, e);
    const ds_aws_registration r = {
        .ca_pem = (const char *)ca.ptr,
        .policy = o->policy,
        .things = o->things,
        .inactive = o->inactive,
        .all = o->all,
        .line = line,
        .arg = &t,
    };
    if (!rc)
        rc = ds_aws_register_all(c->list, c->count, l, &r, ret, e);
    ds_ledger_close(l);
    return rc;
}

int ds_cloud_cmd_register(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    clients c = {0};
    ds_aws_registered r = {0};
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "ledger with-ca policy things inactive all json jobs", usage, &o, &code))
        return code;
    if (o.operands != argc || !o.ledger || (o.json && o.dry_run))
        return ds_cli_usage(usage, false);
    json_t *list = o.json ? json_array() : NULL;
    enum ds_class rc = open_clients(&o, &c, &e);
    if (!rc)
        rc = run(&o, &c, list, &r, &e);
    close_clients(&c);
    if (!o.dry_run)
        print_result(&r, list);
    json_decref(list);
    if (rc)
        return ds_cli_fail(&e);
    return r.differing + r.failed ? DS_EXIT_SOME_FAILED : DS_EXIT_OK;
}
