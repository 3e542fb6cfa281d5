// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws policy, template: what devices may do, and how they are provisioned just in time or in bulk.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/cloud/aws/documents.h"

#include <string.h>

static const char policy_usage[] =
    "usage: devstamp cloud aws policy show --account ID\n"
    "       devstamp cloud aws policy put --name NAME (--account ID | --document FILE)\n"
    "\n"
    "  show                print the policy for devices: connect as the certificate's common name, use the topics "
    "below\n"
    "                      devstamp/NAME/ alone\n"
    "  put                 make it in the account; again is fine, another document under that name is not replaced\n"
    "\n"
    "  --name NAME         the policy's name\n"
    "  --account ID        the account, 12 digits\n"
    "  --document FILE     another document (JSON) instead\n"
    "\n" DS_CLOUD_COMMON;

static const char template_usage[] =
    "usage: devstamp cloud aws template jitp|bulk|bulk-ca --policy NAME\n"
    "\n"
    "Prints a provisioning template: a thing for each device, with its certificate, active, and this policy.\n"
    "\n"
    "  jitp                for 'register-ca --template': the thing is named as the certificate's common name\n"
    "  bulk                for 'bulk start --template': ThingName, SerialNumber, Product and CertificatePem come "
    "from\n"
    "                      the manifest, one JSON object a line\n"
    "  bulk-ca             the same, and CACertificatePem: of a CA that is registered\n"
    "  --policy NAME       the policy's name\n";

static void print_json(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
}

static bool is_account(const char *id)
{
    return id && strlen(id) == 12 && strspn(id, "0123456789") == 12;
}

static enum ds_class read_document(const char *path, json_t **ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    json_error_t why;
    enum ds_class rc = ds_cloud_text(path, &text, e);
    if (rc)
        return rc;
    *ret = json_loads((const char *)text.ptr, JSON_REJECT_DUPLICATES, &why);
    return *ret ? DS_OK : ds_fail(e, DS_INPUT, "%s: line %d: %s", path, why.line, why.text);
}

static enum ds_class put(ds_aws *c, const ds_cloud_args *o, const json_t *document, ds_err *e)
{
    bool fresh = false;
    enum ds_class rc = ds_aws_make_policy(c, o->name, document, &fresh, e);
    if (!rc && !ds_aws_is_dry(c))
        printf("policy %s %s\n", o->name, fresh ? "made" : "is there already");
    return rc;
}

static enum ds_class run(const ds_cloud_args *o, bool show, ds_err *e)
{
    ds_aws *c = NULL;
    json_t *document = NULL;
    enum ds_class rc = ds_aws_open(&o->cloud, &c, e);
    if (!rc && o->document)
        rc = read_document(o->document, &document, e);
    else if (!rc)
        document = ds_aws_device_policy(ds_aws_region(c), o->account);
    if (!rc && show)
        print_json(document);
    else if (!rc)
        rc = put(c, o, document, e);
    json_decref(document);
    ds_aws_close(c);
    return rc;
}

int ds_cloud_cmd_policy(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "name account document", policy_usage, &o, &code))
        return code;
    const char *verb = o.operands == argc - 1 ? argv[o.operands] : "";
    bool show = strcmp(verb, "show") == 0, sensible = show || (strcmp(verb, "put") == 0 && o.name);
    if (!sensible || !o.document == !o.account || (show && (o.document || o.name)) ||
        (o.account && !is_account(o.account)))
        return ds_cli_usage(policy_usage, false);
    return run(&o, show, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_cloud_cmd_template(int argc, char **argv)
{
    ds_cloud_args o = {0};
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "policy", template_usage, &o, &code))
        return code;
    const char *kind = o.operands == argc - 1 ? argv[o.operands] : "";
    bool with_ca = strcmp(kind, "bulk-ca") == 0, bulk = with_ca || strcmp(kind, "bulk") == 0;
    if (!o.policy || (!bulk && strcmp(kind, "jitp") != 0))
        return ds_cli_usage(template_usage, false);
    json_t *j = bulk ? ds_aws_template_bulk(o.policy, with_ca) : ds_aws_template_jitp(o.policy);
    print_json(j);
    json_decref(j);
    return DS_EXIT_OK;
}
