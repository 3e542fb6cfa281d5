// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Requests as they go out, limits and back-off, complaints in words, and the endpoint's line in a recipe.
#include "src/cloud/aws/client.h"
#include "src/cloud/aws/limit.h"
#include "src/cloud/aws/recipe_line.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static ds_aws *open_client(const char *region, const char *url)
{
    ds_err e = DS_ERR_INIT;
    ds_aws *c = NULL;
    const ds_aws_config cfg = {.region = region, .endpoint_url = url};
    return ds_aws_open(&cfg, &c, &e) ? NULL : c;
}

static void expect_url(const char *region, const char *url, const ds_aws_call *call, const char *expected,
                       const char *expected_body)
{
    ds_err e = DS_ERR_INIT;
    char *made = NULL, *body = NULL;
    ds_aws *c = open_client(region, url);
    assert_non_null(c);
    assert_int_equal(ds_aws_build(c, call, &made, &body, &e), DS_OK);
    assert_string_equal(made, expected);
    if (expected_body)
        assert_string_equal(body, expected_body);
    else
        assert_null(body);
    free(made);
    free(body);
    ds_aws_close(c);
}

static void test_build_host_of_the_region(void **state)
{
    (void)state;
    const ds_aws_call call = {.action = "GetRegistrationCode", .method = "GET", .path = "/registrationcode"};
    expect_url("eu-west-1", NULL, &call, "https://iot.eu-west-1.amazonaws.com/registrationcode", NULL);
    expect_url("cn-north-1", NULL, &call, "https://iot.cn-north-1.amazonaws.com.cn/registrationcode", NULL);
    expect_url("eu-west-1", "https://vpce.example:8443/", &call, "https://vpce.example:8443/registrationcode", NULL);
    static const char *const bad[] = {"http://a", "https://", "https://a/b", "https://u@a", "https://a?b", "a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(open_client("eu-west-1", bad[i]));
}

static void test_build_query_is_encoded_and_in_order(void **state)
{
    (void)state;
    ds_aws_call call = {.action = "ListCertificates",
                        .method = "GET",
                        .path = "/certificates",
                        .query = {{"marker", "a+/= &~é"}, {"pageSize", "250"}}};
    expect_url("eu-west-1", NULL, &call,
               "https://iot.eu-west-1.amazonaws.com/certificates?marker=a%2B%2F%3D%20%26~%C3%A9&pageSize=250", NULL);
    call.query[0].name = "z";
    ds_err e = DS_ERR_INIT;
    char *url = NULL, *body = NULL;
    ds_aws *c = open_client("eu-west-1", NULL);
    assert_int_equal(ds_aws_build(c, &call, &url, &body, &e), DS_INTERNAL);
    ds_aws_close(c);
}

static void test_build_body(void **state)
{
    (void)state;
    json_t *body = json_pack("{s:s}", "target", "arn\n");
    ds_aws_call call = {.action = "AttachPolicy", .method = "PUT", .path = "/target-policies/p", .body = body};
    expect_url("eu-west-1", NULL, &call, "https://iot.eu-west-1.amazonaws.com/target-policies/p",
               "{\"target\":\"arn\\n\"}");
    call.body = NULL;
    expect_url("eu-west-1", NULL, &call, "https://iot.eu-west-1.amazonaws.com/target-policies/p", "");
    json_decref(body);
}

static void test_path_takes_only_names_that_are_signed_as_they_are(void **state)
{
    static const char *const bad[] = {"", ".", "..", "a:b", "a/b", "a%20", "a b", "ü", "a?b"};
    ds_err e = DS_ERR_INIT;
    ds_aws_call call = {0};
    (void)state;
    assert_int_equal(ds_aws_path(&call, "/things/", "SN-1_a.b~", "/principals", &e), DS_OK);
    assert_string_equal(call.path, "/things/SN-1_a.b~/principals");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ds_aws_path(&call, "/things/", bad[i], "", &e), DS_USAGE);
}

static void test_limit_spaces_calls_of_a_kind_and_lets_other_kinds_be(void **state)
{
    ds_aws_limiter l = {0};
    (void)state;
    assert_int_equal(ds_aws_rate("RegisterCertificate"), 10);
    assert_int_equal(ds_aws_limit(&l, "RegisterCertificate", 1000), 0);
    assert_int_equal(ds_aws_limit(&l, "RegisterCertificate", 1000), 100);
    assert_int_equal(ds_aws_limit(&l, "RegisterCertificate", 1150), 50);
    assert_int_equal(ds_aws_limit(&l, "AttachPolicy", 1150), 0);
    assert_int_equal(ds_aws_limit(&l, "AttachPolicy", 1150), 67);       // never more than 15 in a second
    assert_int_equal(ds_aws_limit(&l, "RegisterCertificate", 9000), 0); // what was not used is not saved up
    assert_int_equal(ds_aws_limit(&l, "RegisterCertificate", 9000), 100);
    ds_aws_limiter slow = {.per_second = 1};
    assert_int_equal(ds_aws_limit(&slow, "NotListed", 0), 0);
    assert_int_equal(ds_aws_limit(&slow, "NotListed", 0), 1000);
}

static void test_back_off_doubles_to_an_end_and_heeds_what_is_told(void **state)
{
    (void)state;
    assert_int_equal(ds_aws_back_off(0, 0, 0), 250);
    assert_int_equal(ds_aws_back_off(0, 0, 250), 500);
    assert_int_equal(ds_aws_back_off(3, 0, 0), 2000);
    assert_int_equal(ds_aws_back_off(99, 0, 0), 10000);
    assert_in_range(ds_aws_back_off(99, 0, UINT32_MAX), 10000, 20000);
    assert_int_equal(ds_aws_back_off(0, 3, 0), 3000);
    assert_int_equal(ds_aws_back_off(0, 86400, 0), 60000);
}

static void expect_fault(long status, const char *type, const char *body, enum ds_class cls, enum ds_aws_fault fault,
                         const char *words)
{
    ds_err e = DS_ERR_INIT;
    ds_aws_answer a = {.status = status};
    snprintf(a.error_type, sizeof a.error_type, "%s", type);
    ds_buf_add(&a.body, body, strlen(body));
    assert_int_equal(ds_aws_explain(&a, &e), cls);
    assert_int_equal(e.code, fault);
    if (!strstr(e.text, words))
        fail_msg("'%s' is not in '%s'", words, e.text);
    ds_aws_answer_free(&a);
}

static void test_explain_by_header_body_or_status(void **state)
{
    (void)state;
    expect_fault(400, "ThrottlingException", "{}", DS_NETWORK, DS_AWS_THROTTLED, "too many calls");
    expect_fault(429, "", "", DS_NETWORK, DS_AWS_THROTTLED, "HTTP status 429");
    expect_fault(503, "", "<html>", DS_NETWORK, DS_AWS_PASSING, "HTTP status 503");
    expect_fault(409, "", "{\"__type\":\"com.amazonaws.iot#ResourceAlreadyExistsException\",\"message\":\"there\"}",
                 DS_POLICY, DS_AWS_EXISTS, "exists already: there");
    expect_fault(404, "ResourceNotFoundException", "{\"Message\":\"gone\"}", DS_INPUT, DS_AWS_NOT_FOUND, "gone");
    expect_fault(403, "", "[]", DS_POLICY, DS_AWS_OTHER, "refuses");
    expect_fault(403, "InvalidSignatureException",
                 "{\"message\":\"Credential should be scoped to correct service: 'execute-api'. \"}", DS_POLICY,
                 DS_AWS_OTHER_SCOPE, "scoped");
    expect_fault(400, "SomethingNewException", "{\"message\":5}", DS_INPUT, DS_AWS_OTHER, "SomethingNew");
}

static void expect_line(const char *text, const char *expected)
{
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf out = {0};
    enum ds_class rc =
        ds_aws_recipe_endpoint((ds_view){(const uint8_t *)text, strlen(text)}, "mqtts://new:8883", &out, &e);
    assert_int_equal(rc, expected ? DS_OK : DS_INPUT);
    assert_int_equal(out.len, expected ? strlen(expected) : 0);
    if (expected)
        assert_memory_equal(out.ptr, expected, out.len);
}

static void test_recipe_line_changes_the_value_and_nothing_else(void **state)
{
    (void)state;
    expect_line("stamp:\n  endpoint: a\n", "stamp:\n  endpoint: mqtts://new:8883\n");
    expect_line("stamp: # x\n    endpoint:   'a # b'  # c\r\nz: 1",
                "stamp: # x\n    endpoint:   mqtts://new:8883  # c\r\nz: 1");
    expect_line("stamp:\n\n # endpoint: no\n  v:\n    endpoint: not\n  endpoint: a#b",
                "stamp:\n\n # endpoint: no\n  v:\n    "
                "endpoint: not\n  endpoint: "
                "mqtts://new:8883");
    expect_line("endpoint: a\nother:\n  endpoint: b\n", NULL);
    expect_line("stamp: {endpoint: a}\n", NULL);
    expect_line("stamp:\n  endpoint: a\n  endpoint: b\n", NULL);
    expect_line("stamp:\n  endpoint:\n", NULL);
    expect_line("stamp:\n  endpoint: \"a\n", NULL);
    expect_line("stamp:\n  endpoint: 'a''b'\n", NULL);
    expect_line("stamp:\n  endpoint: 'a' b\n", NULL);
    expect_line("stamp:\n  endpoint: a\n    b\n", NULL);
    expect_line("stamp:\n  endpoint: >\n    b\n", NULL);
    expect_line("stamp:\n  endpointx: a\n", NULL);
    expect_line("", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_host_of_the_region),
        cmocka_unit_test(test_build_query_is_encoded_and_in_order),
        cmocka_unit_test(test_build_body),
        cmocka_unit_test(test_path_takes_only_names_that_are_signed_as_they_are),
        cmocka_unit_test(test_limit_spaces_calls_of_a_kind_and_lets_other_kinds_be),
        cmocka_unit_test(test_back_off_doubles_to_an_end_and_heeds_what_is_told),
        cmocka_unit_test(test_explain_by_header_body_or_status),
        cmocka_unit_test(test_recipe_line_changes_the_value_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
