// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The client; see client.h. Source: AWS General Reference, "Signature Version 4 signing process"; AWS IoT API
// Reference.
#include "src/cloud/aws/client.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/cloud/aws/keys.h"
#include "src/cloud/aws/limit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 8, CONNECT_MS = 10000, TOTAL_MS = 60000, RENEW_S = 300 };

// How the service signs is named so since 2023; before it was "execute-api", and an endpoint may still say that.
static const char *const services[] = {"iot", "execute-api"};

// Calls of several clients, in threads of one process.
typedef struct limits {
    pthread_mutex_t mutex;
    ds_aws_limiter limiter;
} limits;

struct ds_aws {
    ds_aws_http *http;
    ds_aws_keys keys;
    limits own, *limits; // its own or another client's
    char region[DS_AWS_REGION];
    char *base, *profile;
    unsigned tries;
    size_t service; // index of services
    FILE *dry_run;
};

static enum ds_class set_base(ds_aws *c, const char *url, ds_err *e)
{
    if (!url) {
        c->base =
            ds_asprintf("https://iot.%s.amazonaws.com%s", c->region, strncmp(c->region, "cn-", 3) == 0 ? ".cn" : "");
        return DS_OK;
    }
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    c->base = ds_strdup(url);
    c->base[len] = '\0';
    const char *host = c->base + 8;
    if (strncmp(c->base, "https://", 8) != 0 || !host[0] || strpbrk(host, "/?#@ "))
        return ds_fail(e, DS_USAGE, "--endpoint-url must be https://host or https://host:port");
    return DS_OK;
}

enum ds_class ds_aws_open(const ds_aws_config *cfg, ds_aws **ret, ds_err *e)
{
    ds_aws *c = ds_alloc(sizeof *c);
    pthread_mutex_init(&c->own.mutex, NULL);
    c->own.limiter.per_second = cfg->per_second;
    c->limits = cfg->limits_of ? cfg->limits_of->limits : &c->own;
    c->tries = cfg->tries ? cfg->tries : TRIES;
    c->dry_run = cfg->dry_run;
    c->profile = cfg->profile ? ds_strdup(cfg->profile) : NULL;
    enum ds_class rc = ds_aws_region_find(cfg->region, cfg->profile, c->region, e);
    if (!rc)
        rc = set_base(c, cfg->endpoint_url, e);
    if (!rc)
        rc = ds_aws_http_new(cfg->ca_file, &c->http, e);
    if (rc) {
        ds_aws_close(c);
        return rc;
    }
    *ret = c;
    return DS_OK;
}

void ds_aws_close(ds_aws *c)
{
    if (!c)
        return;
    ds_aws_keys_free(&c->keys);
    ds_aws_http_free(c->http);
    pthread_mutex_destroy(&c->own.mutex);
    free(c->base);
    free(c->profile);
    free(c);
}

const char *ds_aws_region(const ds_aws *c)
{
    return c->region;
}

bool ds_aws_is_dry(const ds_aws *c)
{
    return c->dry_run != NULL;
}

// ---- The request

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

enum ds_class ds_aws_path(ds_aws_call *call, const char *before, const char *name, const char *after, ds_err *e)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if (!is_unreserved(name[i]))
            return ds_fail(e, DS_USAGE, "'%s': only letters, digits and -._~ can be in a name here", name);
    if (len == 0 || len > 200 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return ds_fail(e, DS_USAGE, "'%.40s' cannot be a name here", name);
    snprintf(call->path, sizeof call->path, "%s%s%s", before, name, after);
    return DS_OK;
}

static void add_encoded(ds_buf *b, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;
        const char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (is_unreserved(*text))
            ds_buf_add(b, text, 1);
        else
            ds_buf_add(b, escaped, sizeof escaped);
    }
}

enum ds_class ds_aws_build(const ds_aws *c, const ds_aws_call *call, char **ret_url, char **ret_body, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf url = {0};
    ds_buf_add(&url, c->base, strlen(c->base));
    ds_buf_add(&url, call->path, strlen(call->path));
    for (size_t i = 0; i < DS_AWS_QUERY && call->query[i].name; i++) {
        if (i > 0 && strcmp(call->query[i - 1].name, call->query[i].name) >= 0)
            return ds_fail(e, DS_INTERNAL, "%s: the query is out of order", call->action);
        ds_buf_add(&url, i ? "&" : "?", 1);
        add_encoded(&url, call->query[i].name);
        ds_buf_add(&url, "=", 1);
        add_encoded(&url, call->query[i].value);
    }
    ds_buf_add_u8(&url, 0);
    char *body = call->body ? json_dumps(call->body, JSON_COMPACT) : NULL;
    if (call->body && !body)
        return ds_fail(e, DS_INTERNAL, "%s: the request cannot be written", call->action);
    if (body) { // jansson's own memory, whatever allocator it has
        *ret_body = ds_strdup(body);
        void (*release)(void *) = free;
        json_get_alloc_funcs(NULL, &release);
        release(body);
    } else { // PUT and POST have a body, be it empty
        *ret_body = strcmp(call->method, "PUT") == 0 || strcmp(call->method, "POST") == 0 ? ds_strdup("") : NULL;
    }
    *ret_url = ds_strdup((const char *)url.ptr);
    return DS_OK;
}

static void print_request(const ds_aws *c, const ds_aws_call *call, const char *url)
{
    fprintf(c->dry_run, "%s %s\n", call->method, url);
    if (call->principal)
        fprintf(c->dry_run, "x-amzn-principal: %s\n", call->principal);
    if (call->body) {
        json_dumpf(call->body, c->dry_run, JSON_INDENT(2));
        fputc('\n', c->dry_run);
    }
    fputc('\n', c->dry_run);
}

// ---- The call

// Keys that end soon are looked for anew: a long run outlives those of an instance.
static enum ds_class fresh_keys(ds_aws *c, bool again, ds_err *e)
{
    bool over = c->keys.expires_utc && c->keys.expires_utc - RENEW_S < ds_utc_now();
    if (c->keys.id.len && !over && !again)
        return DS_OK;
    ds_aws_keys keys = {0};
    enum ds_class rc = ds_aws_keys_find(c->http, c->profile, &keys, e);
    if (rc)
        return rc;
    ds_aws_keys_free(&c->keys);
    c->keys = keys;
    return DS_OK;
}

static enum ds_class once(ds_aws *c, const ds_aws_call *call, const char *url, const char *body, ds_aws_answer *ret,
                          ds_err *e)
{
    DS_CLEANUP_FREE char *principal = call->principal ? ds_asprintf("x-amzn-principal: %s", call->principal) : NULL;
    const ds_aws_exchange x = {
        .method = call->method,
        .url = url,
        .headers = {body ? "content-type: application/json" : "accept: application/json", principal},
        .body = body,
        .once = call->no_repeat,
        .connect_ms = CONNECT_MS,
        .total_ms = TOTAL_MS,
        .keys = &c->keys,
        .region = c->region,
        .service = services[c->service],
    };
    enum ds_class rc = ds_aws_http_do(c->http, &x, ret, e);
    if (rc) {
        if (rc == DS_NETWORK && e)
            e->code = DS_AWS_PASSING;
        return rc;
    }
    if (ret->status >= 200 && ret->status < 300)
        return DS_OK;
    rc = ds_aws_explain(ret, e);
    return rc == DS_POLICY && c->keys.source[0] && e->code == DS_AWS_OTHER
               ? ds_wrap(e, "with keys of the %s", c->keys.source)
               : rc;
}

typedef struct attempt {
    unsigned count; // failures so far
    bool renewed, other_scope;
    long told_s;
} attempt;

// May the call be made again? Waits where it is to be later.
static bool try_again(ds_aws *c, const ds_aws_call *call, attempt *t, const ds_err *e)
{
    if (e->code == DS_AWS_EXPIRED && !t->renewed) {
        ds_err ignored = DS_ERR_INIT;
        t->renewed = true;
        return fresh_keys(c, true, &ignored) == DS_OK;
    }
    if (e->code == DS_AWS_OTHER_SCOPE && !t->other_scope) {
        t->other_scope = true;
        c->service = 1 - c->service;
        return true;
    }
    bool may = e->code == DS_AWS_THROTTLED || (e->code == DS_AWS_PASSING && !call->no_repeat);
    if (!may || t->count + 1 >= c->tries)
        return false;
    uint32_t random;
    ds_random(&random, sizeof random);
    int64_t wait = ds_aws_back_off(t->count++, t->told_s, random);
    ds_log(DS_LOG_INFO, "%s; again in %lld ms", e->text, (long long)wait);
    ds_sleep_ms(wait);
    return true;
}

static enum ds_class parse(const ds_aws_answer *a, json_t **ret, ds_err *e)
{
    json_error_t why;
    if (!ret)
        return DS_OK;
    *ret =
        a->body.len ? json_loadb((const char *)a->body.ptr, a->body.len, JSON_REJECT_DUPLICATES, &why) : json_object();
    if (json_is_object(*ret))
        return DS_OK;
    json_decref(*ret);
    *ret = NULL;
    return ds_fail(e, DS_NETWORK, "the answer is no JSON object");
}

static void wait_for_turn(ds_aws *c, const char *action)
{
    pthread_mutex_lock(&c->limits->mutex);
    int64_t wait = ds_aws_limit(&c->limits->limiter, action, ds_now_ms());
    pthread_mutex_unlock(&c->limits->mutex);
    ds_sleep_ms(wait);
}

static enum ds_class perform(ds_aws *c, const ds_aws_call *call, const char *url, const char *body, json_t **ret,
                             ds_err *e)
{
    ds_err here = DS_ERR_INIT;
    attempt t = {0};
    enum ds_class rc;
    do {
        ds_aws_answer a = {0};
        rc = fresh_keys(c, false, &here);
        if (rc)
            break;
        wait_for_turn(c, call->action);
        rc = once(c, call, url, body, &a, &here);
        t.told_s = a.retry_after_s;
        if (!rc)
            rc = parse(&a, ret, &here);
        ds_aws_answer_free(&a);
    } while (rc && try_again(c, call, &t, &here));
    if (rc && e)
        *e = here;
    return rc;
}

enum ds_class ds_aws_do(ds_aws *c, const ds_aws_call *call, json_t **ret, ds_err *e)
{
    DS_CLEANUP_FREE char *url = NULL, *body = NULL;
    enum ds_class rc = ds_aws_build(c, call, &url, &body, e);
    if (rc)
        return rc;
    if (c->dry_run) {
        print_request(c, call, url);
        if (ret)
            *ret = json_object();
        return DS_OK;
    }
    rc = perform(c, call, url, body, ret, e);
    return rc ? ds_wrap(e, "AWS IoT, %s", call->action) : DS_OK;
}

enum ds_class ds_aws_text(const ds_aws *c, const json_t *answer, const char *name, const char **ret, ds_err *e)
{
    static const struct {
        const char *name, *placeholder;
    } dry[] = {{"registrationCode", "<registrationCode>"},
               {"certificateId", "<certificateId>"},
               {"certificateArn", "<certificateArn>"},
               {"endpointAddress", "<endpointAddress>"},
               {"taskId", "<taskId>"},
               {"status", "<status>"}};
    *ret = json_string_value(json_object_get(answer, name));
    for (size_t i = 0; c->dry_run && !*ret && i < sizeof dry / sizeof *dry; i++)
        if (strcmp(dry[i].name, name) == 0)
            *ret = dry[i].placeholder;
    return *ret ? DS_OK : ds_fail(e, DS_NETWORK, "the answer has no %s", name);
}
