// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws bulk: a registration task over a manifest that lies in S3.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include <string.h>

static const char usage[] =
    "usage: devstamp cloud aws bulk start --template FILE --bucket NAME --key KEY --role-arn ARN\n"
    "       devstamp cloud aws bulk status [--task ID] [--json]\n"
    "\n"
    "  start               register everything that the object of S3 lists, one JSON object a line; an account has "
    "one\n"
    "                      task at a time. Put the manifest there with your own tools\n"
    "  status              how far a task is; without --task: which are in progress\n"
    "\n"
    "  --template FILE     provisioning template ('devstamp cloud aws template bulk')\n"
    "  --bucket, --key     the object\n"
    "  --role-arn ARN      a role that may read it and register devices\n"
    "  --task ID           as 'start' prints it\n"
    "  --json              for machines\n"
    "\n" DS_CLOUD_COMMON;

static enum ds_class start(ds_aws *c, const ds_cloud_args *o, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf template_body = {0};
    char task[41];
    enum ds_class rc = ds_cloud_text(o->template_file, &template_body, e);
    const ds_aws_bulk b = {(const char *)template_body.ptr, o->bucket, o->key, o->role_arn};
    if (!rc)
        rc = ds_aws_start_bulk(c, &b, task, e);
    if (!rc && !ds_aws_is_dry(c))
        printf("%s\n", task);
    return rc;
}

static void print_task(const json_t *j)
{
    const char *status = json_string_value(json_object_get(j, "status"));
    const char *message = json_string_value(json_object_get(j, "message"));
    DS_CLEANUP_FREE char *shown = ds_cloud_clean(status ? status : "?");
    DS_CLEANUP_FREE char *said = ds_cloud_clean(message ? message : "");
    printf("%s: %lld registered, %lld refused, %lld %%%s%s\n", shown,
           (long long)json_integer_value(json_object_get(j, "successCount")),
           (long long)json_integer_value(json_object_get(j, "failureCount")),
           (long long)json_integer_value(json_object_get(j, "percentageProgress")), message ? ": " : "", said);
}

static void print_list(const json_t *ids)
{
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        DS_CLEANUP_FREE char *shown = ds_cloud_clean(id ? id : "?");
        printf("%s in progress\n", shown);
    }
    if (!json_array_size(ids))
        printf("no task is in progress\n");
}

static enum ds_class status(ds_aws *c, const ds_cloud_args *o, ds_err *e)
{
    json_t *j = NULL;
    enum ds_class rc = o->task ? ds_aws_describe_bulk(c, o->task, &j, e) : ds_aws_list_bulk(c, &j, e);
    bool show = !rc && !ds_aws_is_dry(c);
    if (show && o->json) {
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (show && o->task) {
        print_task(j);
    } else if (show) {
        print_list(j);
    }
    json_decref(j);
    return rc;
}

int ds_cloud_cmd_bulk(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    ds_aws *c = NULL;
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "template bucket key role-arn task json", usage, &o, &code))
        return code;
    const char *verb = o.operands == argc - 1 ? argv[o.operands] : "";
    bool all = o.template_file && o.bucket && o.key && o.role_arn,
         any = o.template_file || o.bucket || o.key || o.role_arn;
    bool starts = strcmp(verb, "start") == 0;
    if (starts ? !all || o.task || o.json : strcmp(verb, "status") != 0 || any)
        return ds_cli_usage(usage, false);
    enum ds_class rc = ds_aws_open(&o.cloud, &c, &e);
    if (!rc)
        rc = starts ? start(c, &o, &e) : status(c, &o, &e);
    ds_aws_close(c);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
