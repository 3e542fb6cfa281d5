// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where credentials and the region come from: environment and profile files, in their order, and what is refused. The
// services of containers and instances are in tests/e2e/test_cloud_keys.py.
#include "src/cloud/aws/keys.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[64];
static ds_aws_http *http;

static void write_text(const char *name, const char *text)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/.aws/%s", home, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_CONFIG_FILE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI"};
    ds_err e = DS_ERR_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    snprintf(home, sizeof home, "/tmp/devstamp-aws-XXXXXX");
    assert_non_null(mkdtemp(home));
    DS_CLEANUP_FREE char *folder = ds_asprintf("%s/.aws", home);
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("HOME", home, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    return (int)ds_aws_http_new(NULL, &http, &e);
}

static int tear_down(void **state)
{
    (void)state;
    ds_aws_http_free(http);
    for (size_t i = 0; i < 2; i++) {
        DS_CLEANUP_FREE char *path = ds_asprintf("%s/.aws/%s", home, i ? "config" : "credentials");
        (void)unlink(path);
    }
    DS_CLEANUP_FREE char *folder = ds_asprintf("%s/.aws", home);
    (void)rmdir(folder);
    return rmdir(home);
}

static void expect_keys(const char *profile, const char *id, const char *secret, const char *token)
{
    ds_err e = DS_ERR_INIT;
    ds_aws_keys k = {0};
    assert_int_equal(ds_aws_keys_find(http, profile, &k, &e), DS_OK);
    assert_string_equal((const char *)k.id.ptr, id);
    assert_string_equal((const char *)k.secret.ptr, secret);
    if (token)
        assert_string_equal((const char *)k.token.ptr, token);
    else
        assert_int_equal(k.token.len, 0);
    ds_aws_keys_free(&k);
}

static void expect_none(const char *profile, const char *words)
{
    ds_err e = DS_ERR_INIT;
    ds_aws_keys k = {0};
    assert_int_equal(ds_aws_keys_find(http, profile, &k, &e), DS_INPUT);
    assert_non_null(strstr(e.text, words));
    assert_null(k.id.ptr);
}

static void test_keys_find_nothing_says_so(void **state)
{
    (void)state;
    expect_none(NULL, "there are no AWS credentials");
    expect_none("work", "there is no profile 'work'");
}

static void test_keys_find_environment_goes_first_but_not_before_a_named_profile(void **state)
{
    (void)state;
    write_text("credentials",
               "[default]\naws_access_key_id = FILE\naws_secret_access_key = fileSecret\n"
               "[work]\naws_access_key_id=WORK\naws_secret_access_key=a/b+c=\naws_session_token=tok==\n");
    expect_keys(NULL, "FILE", "fileSecret", NULL);
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    expect_none(NULL, "AWS_SECRET_ACCESS_KEY is not set");
    setenv("AWS_SECRET_ACCESS_KEY", "envSecret", 1);
    setenv("AWS_SESSION_TOKEN", "envToken", 1);
    expect_keys(NULL, "ENV", "envSecret", "envToken");
    setenv("AWS_PROFILE", "work", 1);
    expect_keys(NULL, "ENV", "envSecret", "envToken");
    expect_keys("work", "WORK", "a/b+c=", "tok==");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    expect_keys(NULL, "WORK", "a/b+c=", "tok==");
}

static void test_keys_find_config_has_profiles_with_their_word(void **state)
{
    (void)state;
    write_text("config", "[work]\naws_access_key_id = NOT\naws_secret_access_key = this\n"
                         "[profile  work ]\r\n# a comment\r\naws_access_key_id = CONF\r\n"
                         "  aws_secret_access_key = indented\r\naws_secret_access_key = right\r\n");
    expect_keys("work", "CONF", "right", NULL);
    expect_none("other", "there is no profile");
}

static void test_keys_find_other_ways_to_log_in_are_named(void **state)
{
    (void)state;
    write_text("config", "[profile a]\nrole_arn = arn\nsource_profile = b\n[profile s]\nsso_session = corp\n");
    expect_none("a", "role_arn");
    expect_none("s", "sso_session");
}

static void test_keys_find_half_a_key_or_a_broken_one_is_refused(void **state)
{
    (void)state;
    write_text("credentials", "[half]\naws_access_key_id = X\n[split]\naws_access_key_id = X Y\n"
                              "aws_secret_access_key = s\n[empty]\naws_access_key_id =\naws_secret_access_key = s\n");
    expect_none("half", "half a key");
    expect_none("split", "characters that no key has");
    expect_none("empty", "empty");
}

static void test_keys_find_container_only_where_keys_are_safe_on_their_way(void **state)
{
    static const char *const urls[] = {
        "http://example.com/", "http://127.0.0.1.example.com/", "http://localhostx/",
        "file:///etc/passwd",  "http://127.0.0.1@example.com/", "http://127.0.0.1:80@example.com/"};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", urls[i], 1);
        expect_none(NULL, "neither HTTPS nor this machine");
    }
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/", 1);
    expect_none(NULL, "neither HTTPS nor this machine");
}

static void expect_region(const char *option, const char *profile, const char *expected)
{
    ds_err e = DS_ERR_INIT;
    char region[DS_AWS_REGION] = "";
    enum ds_class rc = ds_aws_region_find(option, profile, region, &e);
    assert_int_equal(rc, expected ? DS_OK : DS_USAGE);
    if (expected)
        assert_string_equal(region, expected);
}

static void test_region_find_order(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    char region[DS_AWS_REGION];
    expect_region(NULL, NULL, NULL);
    write_text("config", "[default]\nregion = eu-west-1\n[profile cn]\nregion=cn-north-1\n");
    expect_region(NULL, NULL, "eu-west-1");
    expect_region(NULL, "cn", "cn-north-1");
    setenv("AWS_DEFAULT_REGION", "us-east-1", 1);
    expect_region(NULL, NULL, "us-east-1");
    setenv("AWS_REGION", "us-east-2", 1);
    expect_region(NULL, NULL, "us-east-2");
    expect_region("ap-south-1", NULL, "ap-south-1");
    assert_int_equal(ds_aws_region_find("evil.example/", NULL, region, &e), DS_INPUT);
    assert_int_equal(ds_aws_region_find("a-region-name-that-is-far-too-long", NULL, region, &e), DS_INPUT);
}

static void test_ini_find_takes_what_is_there_and_no_more(void **state)
{
    static const char text[] = "a=0\n[s]\na = 1 \na=2\n[t\na=3\n[s]\n;a=4\nb";
    size_t len = 0;
    (void)state;
    const ds_view v = {(const uint8_t *)text, sizeof text - 1};
    const char *found = ds_aws_ini_find(v, "s", "a", &len);
    assert_non_null(found);
    assert_int_equal(len, 1);
    assert_int_equal(*found, '2');
    assert_null(ds_aws_ini_find(v, "s", "b", &len));
    assert_null(ds_aws_ini_find(v, "t", "a", &len));
    assert_null(ds_aws_ini_find((ds_view){NULL, 0}, "s", "a", &len));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_keys_find_nothing_says_so),
        TEST(test_keys_find_environment_goes_first_but_not_before_a_named_profile),
        TEST(test_keys_find_config_has_profiles_with_their_word),
        TEST(test_keys_find_other_ways_to_log_in_are_named),
        TEST(test_keys_find_half_a_key_or_a_broken_one_is_refused),
        TEST(test_keys_find_container_only_where_keys_are_safe_on_their_way),
        TEST(test_region_find_order),
        TEST(test_ini_find_takes_what_is_there_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
