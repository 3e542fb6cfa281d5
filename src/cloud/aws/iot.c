// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Calls on CAs and the endpoint; see iot.h.
#include "src/cloud/aws/iot.h"

#include <string.h>

enum ds_class ds_aws_registration_code(ds_aws *c, char ret[65], ds_err *e)
{
    const ds_aws_call call = {.action = "GetRegistrationCode", .method = "GET", .path = "/registrationcode"};
    json_t *answer = NULL;
    const char *code = NULL;
    enum ds_class rc = ds_aws_do(c, &call, &answer, e);
    if (!rc)
        rc = ds_aws_text(c, answer, "registrationCode", &code, e);
    if (!rc && !ds_aws_is_dry(c) && (strlen(code) != 64 || strspn(code, "0123456789abcdefABCDEF") != 64))
        rc = ds_fail(e, DS_NETWORK, "the registration code is not 64 hex digits");
    if (!rc)
        snprintf(ret, 65, "%s", code);
    json_decref(answer);
    return rc;
}

static bool any_jitp(const ds_aws_jitp *p)
{
    return p->template_name || p->template_body;
}

static json_t *jitp_config(const ds_aws_jitp *p)
{
    json_t *config = json_object();
    if (p->template_name)
        json_object_set_new(config, "templateName", json_string(p->template_name));
    if (p->template_body) {
        json_object_set_new(config, "templateBody", json_string(p->template_body));
        json_object_set_new(config, "roleArn", json_string(p->role_arn));
    }
    return config;
}

static json_t *registration_body(const ds_aws_ca_registration *r)
{
    json_t *body = json_object();
    json_object_set_new(body, "caCertificate", json_string(r->ca_pem));
    if (r->verification_pem)
        json_object_set_new(body, "verificationCertificate", json_string(r->verification_pem));
    else
        json_object_set_new(body, "certificateMode", json_string("SNI_ONLY"));
    if (any_jitp(&r->jitp))
        json_object_set_new(body, "registrationConfig", jitp_config(&r->jitp));
    return body;
}

static enum ds_class check_id(ds_aws *c, const json_t *answer, const uint8_t id[32], ds_err *e)
{
    const char *told = NULL;
    char hex[65];
    ds_hex(id, 32, hex);
    enum ds_class rc = ds_aws_text(c, answer, "certificateId", &told, e);
    if (!rc && !ds_aws_is_dry(c) && strcmp(told, hex) != 0)
        rc = ds_fail(e, DS_NETWORK, "the service registered %.64s, asked for was %s", told, hex);
    return rc;
}

enum ds_class ds_aws_register_ca(ds_aws *c, const ds_aws_ca_registration *r, const uint8_t id[32], bool *ret_fresh,
                                 ds_err *e)
{
    json_t *body = registration_body(r), *answer = NULL;
    const ds_aws_call call = {.action = "RegisterCACertificate",
                              .method = "POST",
                              .path = "/cacertificate",
                              .query = {{"allowAutoRegistration", r->auto_registration ? "true" : "false"},
                                        {"setAsActive", r->active ? "true" : "false"}},
                              .body = body};
    char hex[65];
    enum ds_class rc = ds_aws_do(c, &call, &answer, e);
    json_decref(body);
    *ret_fresh = !rc;
    if (!rc) {
        rc = check_id(c, answer, id, e);
    } else if (ds_aws_is(rc, e, DS_AWS_EXISTS)) { // an answer that was lost, or a run before this one
        ds_hex(id, 32, hex);
        rc = ds_aws_describe_ca(c, hex, &answer, e);
    }
    json_decref(answer);
    return rc;
}

enum ds_class ds_aws_describe_ca(ds_aws *c, const char *id, json_t **ret, ds_err *e)
{
    ds_aws_call call = {.action = "DescribeCACertificate", .method = "GET"};
    enum ds_class rc = ds_aws_path(&call, "/cacertificate/", id, "", e);
    return rc ? rc : ds_aws_do(c, &call, ret, e);
}

enum ds_class ds_aws_update_ca(ds_aws *c, const char *id, const char *status, const char *automatic, ds_err *e)
{
    ds_aws_call call = {.action = "UpdateCACertificate", .method = "PUT"};
    size_t n = 0;
    enum ds_class rc = ds_aws_path(&call, "/cacertificate/", id, "", e);
    if (automatic) {
        call.query[n].name = "newAutoRegistrationStatus";
        call.query[n++].value = automatic;
    }
    if (status) {
        call.query[n].name = "newStatus";
        call.query[n].value = status;
    }
    return rc ? rc : ds_aws_do(c, &call, NULL, e);
}

enum ds_class ds_aws_set_jitp(ds_aws *c, const char *id, const ds_aws_jitp *jitp, ds_err *e)
{
    json_t *body = json_object();
    ds_aws_call call = {.action = "UpdateCACertificate", .method = "PUT", .body = body};
    if (any_jitp(jitp))
        json_object_set_new(body, "registrationConfig", jitp_config(jitp));
    else
        json_object_set_new(body, "removeAutoRegistration", json_true());
    enum ds_class rc = ds_aws_path(&call, "/cacertificate/", id, "", e);
    if (!rc)
        rc = ds_aws_do(c, &call, NULL, e);
    json_decref(body);
    return rc;
}

enum ds_class ds_aws_endpoint(ds_aws *c, char ret[256], ds_err *e)
{
    const ds_aws_call call = {.action = "DescribeEndpoint",
                              .method = "GET",
                              .path = "/endpoint",
                              .query = {{"endpointType", "iot:Data-ATS"}}};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    json_t *answer = NULL;
    const char *address = NULL;
    enum ds_class rc = ds_aws_do(c, &call, &answer, e);
    if (!rc)
        rc = ds_aws_text(c, answer, "endpointAddress", &address, e);
    size_t len = rc ? 0 : strlen(address);
    if (!rc && !ds_aws_is_dry(c) && (len == 0 || len > 240 || strspn(address, letters) != len))
        rc = ds_fail(e, DS_NETWORK, "the endpoint's address is none");
    if (!rc)
        snprintf(ret, 256, "%s", address);
    json_decref(answer);
    return rc;
}

// ---- Lists

static enum ds_class page_items(const json_t *answer, ds_aws_item_fn fn, void *arg, ds_err *e)
{
    const json_t *list = json_object_get(answer, "certificates");
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < json_array_size(list); i++)
        rc = fn(arg, json_array_get(list, i), e);
    return rc;
}

static enum ds_class each_page(ds_aws *c, ds_aws_call *call, ds_aws_item_fn fn, void *arg, ds_err *e)
{
    DS_CLEANUP_FREE char *marker = NULL;
    enum ds_class rc = DS_OK;
    do {
        json_t *answer = NULL;
        call->query[0].name = marker ? "marker" : "pageSize";
        call->query[0].value = marker ? marker : "250";
        call->query[1].name = marker ? "pageSize" : NULL;
        call->query[1].value = marker ? "250" : NULL;
        rc = ds_aws_do(c, call, &answer, e);
        if (!rc)
            rc = page_items(answer, fn, arg, e);
        const char *next = json_string_value(json_object_get(answer, "nextMarker"));
        char *kept = !rc && next && next[0] ? ds_strdup(next) : NULL;
        if (kept && marker && strcmp(kept, marker) == 0)
            rc = ds_fail(e, DS_NETWORK, "the list does not go on");
        ds_cleanup_free(&marker);
        marker = kept;
        json_decref(answer);
    } while (!rc && marker);
    return rc;
}

enum ds_class ds_aws_each_ca(ds_aws *c, ds_aws_item_fn fn, void *arg, ds_err *e)
{
    ds_aws_call call = {.action = "ListCACertificates", .method = "GET", .path = "/cacertificates"};
    return each_page(c, &call, fn, arg, e);
}

enum ds_class ds_aws_each_certificate(ds_aws *c, const char *ca_id, ds_aws_item_fn fn, void *arg, ds_err *e)
{
    ds_aws_call call = {.action = "ListCertificates", .method = "GET", .path = "/certificates"};
    enum ds_class rc = DS_OK;
    if (ca_id) {
        call.action = "ListCertificatesByCA";
        rc = ds_aws_path(&call, "/certificates-by-ca/", ca_id, "", e);
    }
    return rc ? rc : each_page(c, &call, fn, arg, e);
}
