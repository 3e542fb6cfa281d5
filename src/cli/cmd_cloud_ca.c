// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws ca: registered CAs, shown and switched.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/base/clock.h"

#include <string.h>

static const char usage[] =
    "usage: devstamp cloud aws ca status [CA] [--json]\n"
    "       devstamp cloud aws ca activate CA\n"
    "       devstamp cloud aws ca deactivate CA\n"
    "       devstamp cloud aws ca auto-registration on|off CA\n"
    "       devstamp cloud aws ca jitp on CA (--template FILE --role-arn ARN | --template-name NAME)\n"
    "       devstamp cloud aws ca jitp off CA\n"
    "\n"
    "  status             all CAs of the account and region, or one\n"
    "  activate           devices whose certificates are by this CA may be registered\n"
    "  deactivate         they may not any more; those that are registered stay ('devstamp cloud aws deactivate')\n"
    "  auto-registration  register devices when they connect first, or do not\n"
    "  jitp               provision them then by a template ('devstamp cloud aws template jitp'), or do not\n"
    "\n"
    "  CA: --ca-id ID | --dir DIR (DIR/subca.pem) | --certificate FILE\n"
    "  --json              for machines\n"
    "\n" DS_CLOUD_COMMON;

static void print_ca(const json_t *d)
{
    static const char *const names[] = {"certificateId", "status", "autoRegistrationStatus", "certificateMode"};
    char at[21];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = json_string_value(json_object_get(d, names[i]));
        DS_CLEANUP_FREE char *shown = ds_cloud_clean(v ? v : "");
        if (v)
            printf("%s%s", i ? "  " : "", shown);
    }
    double created = json_number_value(json_object_get(d, "creationDate"));
    if (created > 0 && created < 253402300799.0) {
        ds_utc_format((int64_t)created, at);
        printf("  since %s", at);
    }
    putchar('\n');
}

static enum ds_class show_item(void *arg, const json_t *item, ds_err *e)
{
    json_t *list = arg;
    (void)e;
    json_t *copy = json_deep_copy(item);
    json_array_append_new(list, copy);
    return DS_OK;
}

static enum ds_class gather(ds_aws *c, const ds_cloud_args *o, json_t *list, ds_err *e)
{
    char id[65];
    if (!o->ca_id && !o->dir && !o->certificate)
        return ds_aws_each_ca(c, show_item, list, e);
    json_t *answer = NULL;
    enum ds_class rc = ds_cloud_ca_id(o, id, e);
    if (!rc)
        rc = ds_aws_describe_ca(c, id, &answer, e);
    const json_t *d = json_object_get(answer, "certificateDescription");
    json_t *copy = d ? json_deep_copy(d) : NULL;
    if (copy && json_object_get(answer, "registrationConfig"))
        json_object_set(copy, "registrationConfig", json_object_get(answer, "registrationConfig"));
    if (copy)
        json_array_append_new(list, copy);
    json_decref(answer);
    return rc;
}

static enum ds_class status(ds_aws *c, const ds_cloud_args *o, ds_err *e)
{
    json_t *list = json_array();
    enum ds_class rc = gather(c, o, list, e);
    for (size_t i = 0; !rc && !o->json && i < json_array_size(list); i++)
        print_ca(json_array_get(list, i));
    if (!rc && o->json && !ds_aws_is_dry(c)) {
        json_dumpf(list, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    if (!rc && !o->json && !ds_aws_is_dry(c) && !json_array_size(list))
        printf("no CA is registered in %s\n", ds_aws_region(c));
    json_decref(list);
    return rc;
}

static enum ds_class change(ds_aws *c, const ds_cloud_args *o, const char *new_status, const char *automatic, ds_err *e)
{
    char id[65];
    enum ds_class rc = ds_cloud_ca_id(o, id, e);
    if (!rc)
        rc = ds_aws_update_ca(c, id, new_status, automatic, e);
    if (!rc && !ds_aws_is_dry(c))
        printf("%s %s\n", id,
               new_status                         ? new_status
               : strcmp(automatic, "ENABLE") == 0 ? "auto-registration on"
                                                  : "auto-registration off");
    return rc;
}

static enum ds_class jitp(ds_aws *c, const ds_cloud_args *o, bool on, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    char id[65];
    enum ds_class rc = ds_cloud_ca_id(o, id, e);
    if (!rc && o->template_file)
        rc = ds_cloud_text(o->template_file, &text, e);
    const ds_aws_jitp p = {(const char *)text.ptr, o->role_arn, o->template_name};
    if (!rc)
        rc = ds_aws_set_jitp(c, id, &p, e);
    if (!rc && !ds_aws_is_dry(c))
        printf("%s provisioning at first connect %s\n", id, on ? "on" : "off");
    return rc;
}

typedef struct act {
    const char *verb, *word, *status, *automatic;
    enum { SHOW, CHANGE, JITP_ON, JITP_OFF } kind;
} act;

// What the words on the command line ask for; NULL: nothing.
static const act *find_act(int count, char **words)
{
    static const act acts[] = {
        {"status", NULL, NULL, NULL, SHOW},
        {"activate", NULL, "ACTIVE", NULL, CHANGE},
        {"deactivate", NULL, "INACTIVE", NULL, CHANGE},
        {"auto-registration", "on", NULL, "ENABLE", CHANGE},
        {"auto-registration", "off", NULL, "DISABLE", CHANGE},
        {"jitp", "on", NULL, NULL, JITP_ON},
        {"jitp", "off", NULL, NULL, JITP_OFF},
    };
    for (size_t i = 0; count > 0 && i < sizeof acts / sizeof *acts; i++) {
        const act *a = &acts[i];
        if (strcmp(words[0], a->verb) != 0 || count != (a->word ? 2 : 1))
            continue;
        if (!a->word || strcmp(words[1], a->word) == 0)
            return a;
    }
    return NULL;
}

// A template with its role, or the name of one, for "jitp on" alone.
static bool is_sensible(const act *a, const ds_cloud_args *o)
{
    bool named = o->template_name, given = o->template_file && o->role_arn;
    bool none = !o->template_name && !o->template_file && !o->role_arn;
    return a->kind == JITP_ON ? named != given && (given || (!o->template_file && !o->role_arn)) : none;
}

static enum ds_class run(ds_aws *c, const ds_cloud_args *o, const act *a, ds_err *e)
{
    if (a->kind == SHOW)
        return status(c, o, e);
    return a->kind == CHANGE ? change(c, o, a->status, a->automatic, e) : jitp(c, o, a->kind == JITP_ON, e);
}

int ds_cloud_cmd_ca(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "ca-id dir certificate json template role-arn template-name", usage, &o, &code))
        return code;
    const act *a = find_act(argc - o.operands, argv + o.operands);
    if (!a || !is_sensible(a, &o))
        return ds_cli_usage(usage, false);
    ds_aws *c = NULL;
    enum ds_class rc = ds_aws_open(&o.cloud, &c, &e);
    if (!rc)
        rc = run(c, &o, a, &e);
    ds_aws_close(c);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
