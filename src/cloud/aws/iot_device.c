// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Calls on devices' certificates, policies and things; see iot.h.
#include "src/cloud/aws/iot.h"

#include "src/base/clock.h"

#include <string.h>

enum { DETACH_TRIES = 10, THINGS_MAX = 32 };

static enum ds_class describe(ds_aws *c, const char *id, json_t **ret, ds_err *e)
{
    ds_aws_call call = {.action = "DescribeCertificate", .method = "GET"};
    enum ds_class rc = ds_aws_path(&call, "/certificates/", id, "", e);
    return rc ? rc : ds_aws_do(c, &call, ret, e);
}

// What is there already under our certificate's id: nobody else's certificate has it, but another account may own it.
static enum ds_class take_existing(ds_aws *c, const char *id, char **ret_arn, char ret_status[24], ds_err *e)
{
    json_t *answer = NULL;
    const char *arn = NULL, *status = NULL;
    enum ds_class rc = describe(c, id, &answer, e);
    const json_t *d = json_object_get(answer, "certificateDescription");
    if (ds_aws_is(rc, e, DS_AWS_NOT_FOUND))
        rc = ds_hint((ds_fail(e, DS_POLICY, "the service says that it exists, and not in this account and region"), e),
                     "it may be registered by another account of yours: see there");
    if (!rc)
        rc = ds_aws_text(c, d, "certificateArn", &arn, e);
    if (!rc)
        rc = ds_aws_text(c, d, "status", &status, e);
    if (!rc) {
        *ret_arn = ds_strdup(arn);
        snprintf(ret_status, 24, "%s", status);
    }
    json_decref(answer);
    return rc;
}

static enum ds_class take_fresh(ds_aws *c, const ds_aws_device *d, const json_t *answer, char **ret_arn,
                                char ret_status[24], ds_err *e)
{
    const char *arn = NULL, *id = NULL;
    char hex[65];
    ds_hex(d->id, 32, hex);
    enum ds_class rc = ds_aws_text(c, answer, "certificateArn", &arn, e);
    if (!rc)
        rc = ds_aws_text(c, answer, "certificateId", &id, e);
    if (!rc && !ds_aws_is_dry(c) && strcmp(id, hex) != 0)
        rc = ds_fail(e, DS_NETWORK, "the service registered %.64s, asked for was %s", id, hex);
    if (rc)
        return rc;
    *ret_arn = ds_strdup(arn);
    snprintf(ret_status, 24, "%s", d->active ? "ACTIVE" : "INACTIVE");
    return DS_OK;
}

enum ds_class ds_aws_register_device(ds_aws *c, const ds_aws_device *d, char **ret_arn, char ret_status[24],
                                     bool *ret_fresh, ds_err *e)
{
    json_t *body = json_object(), *answer = NULL;
    const ds_aws_call call = {.action = d->ca_pem ? "RegisterCertificate" : "RegisterCertificateWithoutCA",
                              .method = "POST",
                              .path = {0},
                              .body = body};
    ds_aws_call made = call;
    char hex[65];
    snprintf(made.path, sizeof made.path, "/certificate/register%s", d->ca_pem ? "" : "-no-ca");
    ds_hex(d->id, 32, hex);
    json_object_set_new(body, "certificatePem", json_string(d->pem));
    if (d->ca_pem)
        json_object_set_new(body, "caCertificatePem", json_string(d->ca_pem));
    json_object_set_new(body, "status", json_string(d->active ? "ACTIVE" : "INACTIVE"));
    enum ds_class rc = ds_aws_do(c, &made, &answer, e);
    *ret_fresh = !rc;
    if (!rc)
        rc = take_fresh(c, d, answer, ret_arn, ret_status, e);
    else if (ds_aws_is(rc, e, DS_AWS_EXISTS))
        rc = take_existing(c, hex, ret_arn, ret_status, e);
    json_decref(answer);
    json_decref(body);
    return rc;
}

enum ds_class ds_aws_set_certificate(ds_aws *c, const char *id, const char *status, ds_err *e)
{
    ds_aws_call call = {.action = "UpdateCertificate", .method = "PUT", .query = {{"newStatus", status}}};
    enum ds_class rc = ds_aws_path(&call, "/certificates/", id, "", e);
    return rc ? rc : ds_aws_do(c, &call, NULL, e);
}

static enum ds_class detach_thing(ds_aws *c, const char *thing, const char *arn, ds_err *e)
{
    ds_aws_call call = {.action = "DetachThingPrincipal", .method = "DELETE", .principal = arn};
    enum ds_class rc = ds_aws_path(&call, "/things/", thing, "/principals", e);
    if (!rc)
        rc = ds_aws_do(c, &call, NULL, e);
    return ds_aws_is(rc, e, DS_AWS_NOT_FOUND) ? DS_OK : rc;
}

static enum ds_class detach_things(ds_aws *c, const char *arn, ds_err *e)
{
    const ds_aws_call call = {
        .action = "ListPrincipalThings", .method = "GET", .path = "/principals/things", .principal = arn};
    json_t *answer = NULL;
    enum ds_class rc = ds_aws_do(c, &call, &answer, e);
    const json_t *things = json_object_get(answer, "things");
    for (size_t i = 0; !rc && i < json_array_size(things) && i < THINGS_MAX; i++) {
        const char *name = json_string_value(json_array_get(things, i));
        rc = name ? detach_thing(c, name, arn, e) : DS_OK;
    }
    json_decref(answer);
    return rc;
}

// Taking it from a thing works in the background at the service, so that deleting may have to wait for it.
static enum ds_class delete_now(ds_aws *c, const char *id, ds_err *e)
{
    ds_aws_call call = {.action = "DeleteCertificate", .method = "DELETE", .query = {{"forceDelete", "true"}}};
    enum ds_class rc = ds_aws_path(&call, "/certificates/", id, "", e);
    if (rc)
        return rc;
    for (unsigned i = 0; i < DETACH_TRIES; i++) {
        rc = ds_aws_do(c, &call, NULL, e);
        if (!ds_aws_is(rc, e, DS_AWS_CONFLICT))
            break;
        ds_sleep_ms(500 * (int64_t)(i + 1));
    }
    return rc;
}

enum ds_class ds_aws_delete_certificate(ds_aws *c, const char *id, ds_err *e)
{
    json_t *answer = NULL;
    const char *arn = NULL, *status = NULL;
    enum ds_class rc = describe(c, id, &answer, e);
    const json_t *d = json_object_get(answer, "certificateDescription");
    if (!rc)
        rc = ds_aws_text(c, d, "certificateArn", &arn, e);
    if (!rc)
        rc = ds_aws_text(c, d, "status", &status, e);
    if (!rc)
        rc = detach_things(c, arn, e);
    if (!rc && strcmp(status, "INACTIVE") != 0 && strcmp(status, "REVOKED") != 0)
        rc = ds_aws_set_certificate(c, id, "INACTIVE", e);
    if (!rc)
        rc = delete_now(c, id, e);
    json_decref(answer);
    return ds_aws_is(rc, e, DS_AWS_NOT_FOUND) ? DS_OK : rc;
}

enum ds_class ds_aws_attach_policy(ds_aws *c, const char *policy, const char *arn, ds_err *e)
{
    json_t *body = json_object();
    ds_aws_call call = {.action = "AttachPolicy", .method = "PUT", .body = body};
    json_object_set_new(body, "target", json_string(arn));
    enum ds_class rc = ds_aws_path(&call, "/target-policies/", policy, "", e);
    if (!rc)
        rc = ds_aws_do(c, &call, NULL, e);
    json_decref(body);
    return rc;
}

static bool is_thing_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t len = strlen(name);
    return len > 0 && len <= 128 && strspn(name, letters) == len;
}

enum ds_class ds_aws_make_thing(ds_aws *c, const char *name, const char *arn, ds_err *e)
{
    if (!is_thing_name(name))
        return ds_fail(e, DS_USAGE, "'%.64s' cannot be a thing's name: letters, digits, _ and - only", name);
    json_t *body = json_object();
    ds_aws_call make = {.action = "CreateThing", .method = "POST", .body = body};
    ds_aws_call attach = {.action = "AttachThingPrincipal", .method = "PUT", .principal = arn};
    enum ds_class rc = ds_aws_path(&make, "/things/", name, "", e);
    if (!rc)
        rc = ds_aws_path(&attach, "/things/", name, "/principals", e);
    if (!rc)
        rc = ds_aws_do(c, &make, NULL, e);
    if (ds_aws_is(rc, e, DS_AWS_EXISTS)) // with other attributes: somebody described it further, which is theirs
        rc = DS_OK;
    if (!rc)
        rc = ds_aws_do(c, &attach, NULL, e);
    json_decref(body);
    return rc;
}
