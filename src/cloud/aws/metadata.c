// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Credentials from the services of a container or an instance; see keys.h. Source: Amazon ECS Developer Guide, "Task
// IAM role"; AWS SDKs and Tools Reference Guide, "Container credential provider" (which hosts plain HTTP may go to);
// Amazon EC2 User Guide, "Retrieve instance metadata" (IMDSv2).
#include "src/cloud/aws/keys.h"

#include "src/base/clock.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS = 1000, TOTAL_MS = 5000, TOKEN_MAX = 4096 };

static const char *from_env(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

// RFC 3339 with seconds and Z; 0 where it is none.
static int64_t time_of(const char *text)
{
    struct tm tm = {0};
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    return end ? (int64_t)timegm(&tm) : 0;
}

static enum ds_class take(json_t *j, const char *name, bool must, ds_secret *ret, ds_err *e)
{
    json_t *text = json_object_get(j, name);
    if (!json_is_string(text) || !json_string_length(text))
        return must ? ds_fail(e, DS_INPUT, "the answer has no %s", name) : DS_OK;
    return ds_aws_key_text(name, json_string_value(text), json_string_length(text), ret, e);
}

static enum ds_class read_keys(const ds_aws_answer *a, ds_aws_keys *ret, ds_err *e)
{
    json_t *j = a->body.len ? json_loadb((const char *)a->body.ptr, a->body.len, 0, NULL) : NULL;
    enum ds_class rc = take(j, "AccessKeyId", true, &ret->id, e);
    if (!rc)
        rc = take(j, "SecretAccessKey", true, &ret->secret, e);
    if (!rc)
        rc = take(j, "Token", false, &ret->token, e);
    ret->expires_utc = time_of(json_string_value(json_object_get(j, "Expiration")));
    json_decref(j);
    return rc;
}

static enum ds_class get(ds_aws_http *h, const char *method, const char *url, const char *header,
                         const ds_secret *secret_header, ds_aws_answer *ret, ds_err *e)
{
    const ds_aws_exchange x = {.method = method,
                               .url = url,
                               .headers = {header},
                               .secret_header = secret_header,
                               .body = strcmp(method, "PUT") == 0 ? "" : NULL,
                               .connect_ms = CONNECT_MS,
                               .total_ms = TOTAL_MS};
    enum ds_class rc = ds_aws_http_do(h, &x, ret, e);
    if (!rc && ret->status != 200) {
        rc = ds_fail(e, DS_INPUT, "HTTP status %ld", ret->status);
        ds_aws_answer_free(ret);
    }
    return rc;
}

// ---- Container

// May keys come from there unencrypted? From this machine, and from where the services live, only.
static bool plain_allowed(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1",     "localhost",      "[::1]",
                                        "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    if (strncasecmp(url, "https://", 8) == 0)
        return true;
    if (strncasecmp(url, "http://", 7) != 0 || strchr(url, '@')) // what stands before it is no host
        return false;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        size_t len = strlen(hosts[i]);
        if (strncmp(url + 7, hosts[i], len) == 0 && (url[7 + len] == ':' || url[7 + len] == '/' || !url[7 + len]))
            return true;
    }
    return false;
}

// "Authorization: <token>", of a file or the environment; empty where neither is named.
static enum ds_class authorization(ds_secret *ret, ds_err *e)
{
    static const char name[] = "Authorization: ";
    const char *path = from_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *plain = from_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    ds_secret token = {0};
    if (!path && !plain)
        return DS_OK;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (path && fd < 0)
        return ds_fail(e, DS_INPUT, "%s cannot be read", path);
    enum ds_class rc = path ? ds_secret_read_line(fd, TOKEN_MAX, &token, e) : DS_OK;
    if (fd >= 0)
        close(fd);
    const char *text = path ? (const char *)token.ptr : plain;
    size_t len = path ? token.len : strlen(plain);
    if (!rc && (len > TOKEN_MAX || memchr(text, '\n', len) || memchr(text, '\r', len)))
        rc = ds_fail(e, DS_INPUT, "the container's authorization token is more than a line");
    if (!rc)
        rc = ds_secret_new(ret, sizeof name + len, e);
    if (!rc) {
        memcpy(ret->ptr, name, sizeof name - 1);
        memcpy(ret->ptr + sizeof name - 1, text, len);
    }
    ds_secret_free(&token);
    return rc;
}

enum ds_class ds_aws_keys_container(ds_aws_http *h, ds_aws_keys *ret, bool *found, ds_err *e)
{
    const char *relative = from_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = from_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    ds_aws_answer a = {0};
    ds_secret header = {0};
    *found = relative || full;
    if (!*found)
        return DS_OK;
    DS_CLEANUP_FREE char *url = relative ? ds_asprintf("http://169.254.170.2%s", relative) : ds_strdup(full);
    if ((relative && relative[0] != '/') || !plain_allowed(url))
        return ds_fail(e, DS_INPUT, "keys do not come from %s: neither HTTPS nor this machine", url);
    snprintf(ret->source, sizeof ret->source, "container");
    enum ds_class rc = authorization(&header, e);
    if (!rc)
        rc = get(h, "GET", url, NULL, header.len ? &header : NULL, &a, e);
    if (!rc)
        rc = read_keys(&a, ret, e);
    ds_aws_answer_free(&a);
    ds_secret_free(&header);
    return rc ? ds_wrap(e, "container's credential service") : DS_OK;
}

// ---- Instance

static const char *metadata_host(void)
{
    const char *named = from_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    return named ? named : "http://169.254.169.254";
}

static enum ds_class session_header(const ds_aws_answer *a, ds_secret *ret, ds_err *e)
{
    static const char name[] = "X-aws-ec2-metadata-token: ";
    size_t len = a->body.len;
    if (!len || len > TOKEN_MAX || memchr(a->body.ptr, '\n', len) || memchr(a->body.ptr, '\r', len))
        return ds_fail(e, DS_INPUT, "no session token");
    enum ds_class rc = ds_secret_new(ret, sizeof name + len, e);
    if (rc)
        return rc;
    memcpy(ret->ptr, name, sizeof name - 1);
    memcpy(ret->ptr + sizeof name - 1, a->body.ptr, len);
    return DS_OK;
}

// The first role's name, which becomes part of the next address.
static enum ds_class role_name(const ds_aws_answer *a, char ret[129], ds_err *e)
{
    size_t len = 0;
    while (len < a->body.len && len < 128 && a->body.ptr[len] > ' ' && a->body.ptr[len] <= '~' &&
           a->body.ptr[len] != '/')
        ret[len] = (char)a->body.ptr[len], len++;
    ret[len] = '\0';
    return len ? DS_OK : ds_fail(e, DS_INPUT, "the instance has no role");
}

static enum ds_class ask_instance(ds_aws_http *h, const char *base, const ds_secret *session, ds_aws_keys *ret,
                                  ds_err *e)
{
    static const char path[] = "/latest/meta-data/iam/security-credentials/";
    DS_CLEANUP_FREE char *list = ds_asprintf("%s%s", base, path);
    DS_CLEANUP_FREE char *one = NULL;
    ds_aws_answer a = {0};
    char role[129];
    enum ds_class rc = get(h, "GET", list, NULL, session, &a, e);
    if (!rc)
        rc = role_name(&a, role, e);
    ds_aws_answer_free(&a);
    if (rc)
        return rc;
    one = ds_asprintf("%s%s", list, role);
    rc = get(h, "GET", one, NULL, session, &a, e);
    if (!rc)
        rc = read_keys(&a, ret, e);
    ds_aws_answer_free(&a);
    return rc;
}

enum ds_class ds_aws_keys_instance(ds_aws_http *h, ds_aws_keys *ret, bool *found, ds_err *e)
{
    const char *disabled = from_env("AWS_EC2_METADATA_DISABLED"), *base = metadata_host();
    DS_CLEANUP_FREE char *url = ds_asprintf("%s/latest/api/token", base);
    ds_secret session = {0};
    ds_aws_answer a = {0};
    *found = false;
    if (disabled && strcasecmp(disabled, "true") == 0)
        return DS_OK;
    enum ds_class rc = get(h, "PUT", url, "X-aws-ec2-metadata-token-ttl-seconds: 21600", NULL, &a, e);
    if (rc == DS_NETWORK)
        return DS_OK; // this is no instance
    if (!rc)
        rc = session_header(&a, &session, e);
    ds_aws_answer_free(&a);
    *found = true;
    snprintf(ret->source, sizeof ret->source, "instance");
    if (!rc)
        rc = ask_instance(h, base, &session, ret, e);
    ds_secret_free(&session);
    return rc ? ds_wrap(e, "instance's metadata service") : DS_OK;
}
