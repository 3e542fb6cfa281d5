// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// HTTP over libcurl; see http.h.
#include "src/cloud/aws/http.h"

#include <curl/curl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ANSWER_MAX = 4 << 20 };

struct ds_aws_http {
    CURL *curl;
    char *ca_file;
};

void ds_aws_keys_free(ds_aws_keys *k)
{
    ds_secret_free(&k->id);
    ds_secret_free(&k->secret);
    ds_secret_free(&k->token);
    *k = (ds_aws_keys){0};
}

void ds_aws_answer_free(ds_aws_answer *a)
{
    if (a->body.ptr)
        ds_wipe(a->body.ptr, a->body.cap);
    ds_buf_free(&a->body);
    *a = (ds_aws_answer){0};
}

// What realloc leaves behind would not be wiped.
static void *wiping_realloc(void *old, size_t len)
{
    size_t had = old ? malloc_usable_size(old) : 0;
    void *fresh = malloc(len ? len : 1);
    if (!fresh)
        return NULL;
    if (old)
        memcpy(fresh, old, had < len ? had : len);
    ds_wipe_free(old);
    return fresh;
}

static enum ds_class start_library(ds_err *e)
{
    static bool started;
    if (!started && curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, ds_wipe_free, wiping_realloc, strdup, calloc))
        return ds_fail(e, DS_INTERNAL, "HTTP cannot be used");
    started = true;
    return DS_OK;
}

enum ds_class ds_aws_http_new(const char *ca_file, ds_aws_http **ret, ds_err *e)
{
    enum ds_class rc = start_library(e);
    if (rc)
        return rc;
    ds_aws_http *h = ds_alloc(sizeof *h);
    h->curl = curl_easy_init();
    h->ca_file = ca_file ? ds_strdup(ca_file) : NULL;
    if (!h->curl) {
        ds_aws_http_free(h);
        return ds_fail(e, DS_INTERNAL, "HTTP cannot be used");
    }
    *ret = h;
    return DS_OK;
}

void ds_aws_http_free(ds_aws_http *h)
{
    if (!h)
        return;
    if (h->curl)
        curl_easy_cleanup(h->curl);
    free(h->ca_file);
    free(h);
}

static size_t on_body(char *data, size_t one, size_t count, void *arg)
{
    ds_aws_answer *a = arg;
    size_t len = one * count;
    if (len > ANSWER_MAX - a->body.len)
        return 0;                              // ends the transfer
    if (a->body.len + len + 1 > a->body.cap) { // moved by hand: what ds_buf leaves behind is not wiped
        ds_buf bigger = {0};
        ds_buf_resize(&bigger, 2 * (a->body.len + len + 1), 0);
        bigger.len = a->body.len;
        if (a->body.len)
            memcpy(bigger.ptr, a->body.ptr, a->body.len);
        if (a->body.ptr)
            ds_wipe(a->body.ptr, a->body.cap);
        ds_buf_free(&a->body);
        a->body = bigger;
    }
    memcpy(a->body.ptr + a->body.len, data, len);
    a->body.len += len;
    a->body.ptr[a->body.len] = '\0';
    return len;
}

static bool header_is(const char *line, size_t len, const char *name, char *ret, size_t cap)
{
    size_t n = strlen(name);
    if (len < n || strncasecmp(line, name, n) != 0)
        return false;
    while (n < len && line[n] == ' ')
        n++;
    size_t end = n;
    while (end < len && line[end] > ' ' && line[end] != ':' && end - n + 1 < cap)
        end++;
    memcpy(ret, line + n, end - n);
    ret[end - n] = '\0';
    return true;
}

static size_t on_header(char *data, size_t one, size_t count, void *arg)
{
    ds_aws_answer *a = arg;
    size_t len = one * count;
    char number[16];
    if (header_is(data, len, "retry-after:", number, sizeof number)) {
        long s = strtol(number, NULL, 10);
        a->retry_after_s = s > 0 ? s : 0;
    }
    (void)header_is(data, len, "x-amzn-errortype:", a->error_type, sizeof a->error_type);
    return len;
}

// What every exchange starts from: nothing of the one before stays but the connection.
static void set_up(ds_aws_http *h, const ds_aws_exchange *x, ds_aws_answer *a)
{
    CURL *c = h->curl;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, x->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, x->connect_ms);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, x->total_ms);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, (void *)a);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, (void *)a);
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, x->once ? 1L : 0L);
    if (h->ca_file) {
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    }
    if (strncmp(x->url, "http:", 5) == 0)
        curl_easy_setopt(c, CURLOPT_NOPROXY, "*"); // plain HTTP is for this machine's own metadata services
    if (x->body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, x->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)strlen(x->body));
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, x->method);
}

static enum ds_class sign(ds_aws_http *h, const ds_aws_exchange *x, ds_err *e)
{
    if (!x->keys)
        return DS_OK;
    DS_CLEANUP_FREE char *scope = ds_asprintf("aws:amz:%s:%s", x->region, x->service);
    if (curl_easy_setopt(h->curl, CURLOPT_AWS_SIGV4, scope) ||
        curl_easy_setopt(h->curl, CURLOPT_USERNAME, (const char *)x->keys->id.ptr) ||
        curl_easy_setopt(h->curl, CURLOPT_PASSWORD, (const char *)x->keys->secret.ptr))
        return ds_fail(e, DS_INTERNAL, "this libcurl cannot sign requests");
    return DS_OK;
}

static enum ds_class add_header(struct curl_slist **list, const char *line, ds_err *e)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        return ds_fail(e, DS_INTERNAL, "HTTP header");
    *list = longer;
    return DS_OK;
}

// No header is taken out by its empty name ("Expect:"): libcurl 7.88 would sign it and not send it.
static enum ds_class set_headers(const ds_aws_exchange *x, struct curl_slist **list, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t i = 0; !rc && i < DS_AWS_HEADERS && x->headers[i]; i++)
        rc = add_header(list, x->headers[i], e);
    if (!rc && x->secret_header)
        rc = add_header(list, (const char *)x->secret_header->ptr, e);
    if (!rc && x->keys && x->keys->token.len > 1) {
        static const char name[] = "x-amz-security-token: ";
        ds_secret line = {0};
        rc = ds_secret_new(&line, sizeof name + x->keys->token.len, e);
        if (!rc) {
            memcpy(line.ptr, name, sizeof name - 1);
            memcpy(line.ptr + sizeof name - 1, x->keys->token.ptr, x->keys->token.len);
            rc = add_header(list, (const char *)line.ptr, e);
        }
        ds_secret_free(&line);
    }
    return rc;
}

enum ds_class ds_aws_http_do(ds_aws_http *h, const ds_aws_exchange *x, ds_aws_answer *ret, ds_err *e)
{
    ds_aws_answer a = {0};
    struct curl_slist *headers = NULL;
    char why[CURL_ERROR_SIZE] = "";
    set_up(h, x, &a);
    enum ds_class rc = sign(h, x, e);
    if (!rc)
        rc = set_headers(x, &headers, e);
    if (!rc) {
        curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, why);
        CURLcode done = curl_easy_perform(h->curl);
        curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &a.status);
        if (done != CURLE_OK) {
            rc = ds_fail(e, DS_NETWORK, "%s", why[0] ? why : curl_easy_strerror(done));
            if (done == CURLE_PEER_FAILED_VERIFICATION || done == CURLE_SSL_CACERT_BADFILE)
                (void)ds_hint(e, "the server's certificate is not trusted: see --ca-file and the system's clock");
        }
    }
    curl_easy_reset(h->curl); // lets go of keys and headers
    curl_slist_free_all(headers);
    if (rc)
        ds_aws_answer_free(&a);
    else
        *ret = a;
    return rc;
}
