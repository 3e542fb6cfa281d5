// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws jitr-rule: a Lambda function's source, and the topic rule that calls it at a device's first
// connect.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/base/file.h"
#include "src/cloud/aws/documents.h"

#include <string.h>

static const char usage[] =
    "usage: devstamp cloud aws jitr-rule CA --policy NAME [-o FILE]\n"
    "       devstamp cloud aws jitr-rule CA --name RULE --lambda-arn ARN\n"
    "\n"
    "Just-in-time registration: a device that connects for the first time is announced, and a function lets it in. "
    "First\n"
    "print or write that function's source (Python), and make the function of it; then make the rule that calls it.\n"
    "\n"
    "  CA: --ca-id ID | --dir DIR (DIR/subca.pem) | --certificate FILE, registered with auto-registration\n"
    "  --policy NAME       the policy that devices get\n"
    "  -o, --output FILE   where the source goes (default: standard output)\n"
    "  --name RULE         the rule's name: letters, digits and _\n"
    "  --lambda-arn ARN    the function\n"
    "\n" DS_CLOUD_COMMON;

static bool is_policy_name(const char *name) // it becomes part of a program's text
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-";
    size_t len = strlen(name);
    return len > 0 && len <= 128 && strspn(name, letters) == len;
}

static bool is_rule_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t len = strlen(name);
    return len > 0 && len <= 128 && strspn(name, letters) == len;
}

static enum ds_class write_function(const ds_cloud_args *o, const char *ca_id, ds_err *e)
{
    DS_CLEANUP_FREE char *source = ds_aws_jitr_function(ca_id, o->policy);
    if (!o->output) {
        fputs(source, stdout);
        return DS_OK;
    }
    return ds_file_write(o->output, (ds_view){(const uint8_t *)source, strlen(source)}, 0644, e);
}

static enum ds_class make_rule(const ds_cloud_args *o, const char *ca_id, ds_err *e)
{
    ds_aws *c = NULL;
    bool fresh = false;
    json_t *payload = ds_aws_jitr_rule(ca_id, o->lambda_arn);
    enum ds_class rc = payload ? ds_aws_open(&o->cloud, &c, e) : ds_fail(e, DS_USAGE, "the function's ARN is no text");
    if (!rc)
        rc = ds_aws_make_rule(c, o->name, payload, &fresh, e);
    if (!rc && !ds_aws_is_dry(c))
        printf("rule %s %s\n", o->name,
               fresh ? "made; the function must allow iot.amazonaws.com to call it" : "is there already");
    ds_aws_close(c);
    json_decref(payload);
    return rc;
}

int ds_cloud_cmd_jitr_rule(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    char ca_id[65];
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "ca-id dir certificate policy output name lambda-arn", usage, &o, &code))
        return code;
    bool rule = o.name && o.lambda_arn && !o.policy && !o.output && is_rule_name(o.name);
    bool function = o.policy && !o.name && !o.lambda_arn && is_policy_name(o.policy);
    if (o.operands != argc || !(rule || function))
        return ds_cli_usage(usage, false);
    enum ds_class rc = ds_cloud_ca_id(&o, ca_id, &e);
    if (!rc)
        rc = rule ? make_rule(&o, ca_id, &e) : write_function(&o, ca_id, &e);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
