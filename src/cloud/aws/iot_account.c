// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Calls on policies, topic rules and bulk registration; see iot.h.
#include "src/cloud/aws/iot.h"

#include <string.h>

static char *text_of(const json_t *document)
{
    char *dumped = json_dumps(document, JSON_COMPACT);
    char *text = dumped ? ds_strdup(dumped) : NULL;
    void (*release)(void *) = NULL;
    json_get_alloc_funcs(NULL, &release);
    if (dumped)
        release(dumped);
    return text;
}

static enum ds_class compare_policy(ds_aws *c, const char *name, const json_t *document, ds_err *e)
{
    ds_aws_call call = {.action = "GetPolicy", .method = "GET"};
    json_t *answer = NULL;
    enum ds_class rc = ds_aws_path(&call, "/policies/", name, "", e);
    if (!rc)
        rc = ds_aws_do(c, &call, &answer, e);
    const char *text = json_string_value(json_object_get(answer, "policyDocument"));
    json_t *there = text ? json_loads(text, 0, NULL) : NULL;
    if (!rc && !json_equal(there, document))
        rc = ds_hint((ds_fail(e, DS_POLICY, "there is a policy '%s' with another document", name), e),
                     "choose another name: devices may depend on what is there");
    json_decref(there);
    json_decref(answer);
    return rc;
}

enum ds_class ds_aws_make_policy(ds_aws *c, const char *name, const json_t *document, bool *ret_fresh, ds_err *e)
{
    DS_CLEANUP_FREE char *text = text_of(document);
    json_t *body = json_object();
    ds_aws_call call = {.action = "CreatePolicy", .method = "POST", .body = body};
    json_object_set_new(body, "policyDocument", json_string(text));
    enum ds_class rc = ds_aws_path(&call, "/policies/", name, "", e);
    if (!rc)
        rc = ds_aws_do(c, &call, NULL, e);
    *ret_fresh = !rc;
    if (ds_aws_is(rc, e, DS_AWS_EXISTS))
        rc = compare_policy(c, name, document, e);
    json_decref(body);
    return rc;
}

static enum ds_class compare_rule(ds_aws *c, const char *name, const json_t *payload, ds_err *e)
{
    ds_aws_call call = {.action = "GetTopicRule", .method = "GET"};
    json_t *answer = NULL;
    enum ds_class rc = ds_aws_path(&call, "/rules/", name, "", e);
    if (!rc)
        rc = ds_aws_do(c, &call, &answer, e);
    const json_t *there = json_object_get(answer, "rule");
    bool same = json_equal(json_object_get(there, "sql"), json_object_get(payload, "sql")) &&
                json_equal(json_object_get(there, "actions"), json_object_get(payload, "actions"));
    if (!rc && !same)
        rc = ds_hint((ds_fail(e, DS_POLICY, "there is a rule '%s' that does something else", name), e),
                     "choose another name, or delete that rule");
    json_decref(answer);
    return rc;
}

enum ds_class ds_aws_make_rule(ds_aws *c, const char *name, const json_t *payload, bool *ret_fresh, ds_err *e)
{
    ds_aws_call call = {.action = "CreateTopicRule", .method = "POST", .body = payload};
    enum ds_class rc = ds_aws_path(&call, "/rules/", name, "", e);
    if (!rc)
        rc = ds_aws_do(c, &call, NULL, e);
    *ret_fresh = !rc;
    return ds_aws_is(rc, e, DS_AWS_EXISTS) ? compare_rule(c, name, payload, e) : rc;
}

// ---- Bulk

enum ds_class ds_aws_start_bulk(ds_aws *c, const ds_aws_bulk *b, char ret_task[41], ds_err *e)
{
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "templateBody", b->template_body, "inputFileBucket", b->bucket,
                             "inputFileKey", b->key, "roleArn", b->role_arn);
    const ds_aws_call call = {.action = "StartThingRegistrationTask",
                              .method = "POST",
                              .path = "/thing-registration-tasks",
                              .body = body,
                              .no_repeat = true};
    json_t *answer = NULL;
    const char *task = NULL;
    enum ds_class rc = body ? ds_aws_do(c, &call, &answer, e) : ds_fail(e, DS_INPUT, "the template is not UTF-8");
    if (ds_aws_is(rc, e, DS_AWS_PASSING)) {
        e->hint[0] = '\0';
        (void)ds_hint(e, "it may have been started: 'devstamp cloud aws bulk status' shows those in progress");
    }
    if (!rc)
        rc = ds_aws_text(c, answer, "taskId", &task, e);
    if (!rc)
        snprintf(ret_task, 41, "%s", task);
    json_decref(answer);
    json_decref(body);
    return rc;
}

enum ds_class ds_aws_describe_bulk(ds_aws *c, const char *task, json_t **ret, ds_err *e)
{
    ds_aws_call call = {.action = "DescribeThingRegistrationTask", .method = "GET"};
    enum ds_class rc = ds_aws_path(&call, "/thing-registration-tasks/", task, "", e);
    return rc ? rc : ds_aws_do(c, &call, ret, e);
}

enum ds_class ds_aws_list_bulk(ds_aws *c, json_t **ret, ds_err *e)
{
    const ds_aws_call call = {.action = "ListThingRegistrationTasks",
                              .method = "GET",
                              .path = "/thing-registration-tasks",
                              .query = {{"status", "InProgress"}}};
    json_t *answer = NULL;
    enum ds_class rc = ds_aws_do(c, &call, &answer, e);
    json_t *ids = json_object_get(answer, "taskIds");
    if (!rc)
        *ret = json_is_array(ids) ? json_incref(ids) : json_array();
    json_decref(answer);
    return rc;
}
