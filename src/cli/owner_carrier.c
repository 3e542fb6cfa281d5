// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The two carriers; see owner_carrier.h. Source for HTTP: ESP-IDF protocomm_httpd.c (v5.4): POST of the message to the
// endpoint's name, the reply in the body; a session cookie that must be sent again.
#include "src/cli/owner_carrier.h"

#include "src/base/clock.h"
#include "src/link/agent_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_MS = 30000, TRY_MS = 5000, CONNECT_MS = 10000 };

struct ds_owner_carrier {
    ds_transport *transport; // console
    ds_agent_client *agent;
    CURL *curl; // HTTP
    struct curl_slist *headers;
    char url[256];
};

// ---- Console

static void print_line(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "  | %s\n", line);
}

static enum ds_class explain(ds_err *e)
{
    uint32_t code = e ? e->code >> 16 & 0xFF : 0;
    if (code == DEVSTAMP__STATUS_CODE__CODE_NOT_ALLOWED || code == DEVSTAMP__STATUS_CODE__CODE_BAD_REQUEST) {
        e->hint[0] = '\0';
        return ds_hint(e, "it runs its manufacturing firmware, or one that answers no owner on its console");
    }
    return e ? e->cls : DS_DEVICE;
}

static enum ds_class console_exchange(void *ctx, const uint8_t *message, size_t len, uint8_t *reply, size_t cap,
                                      size_t *ret_len, ds_err *e)
{
    ds_owner_carrier *w = ctx;
    DS_CLEANUP_BUF ds_buf copy = {0}; // protobuf-c takes no pointers to const
    ds_buf_add(&copy, message, len);
    Devstamp__Owner owner = DEVSTAMP__OWNER__INIT;
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    owner.message = (ProtobufCBinaryData){.data = copy.ptr, .len = copy.len};
    q.body_case = DEVSTAMP__REQUEST__BODY_OWNER;
    q.owner = &owner;
    Devstamp__Response *r = NULL;
    enum ds_class rc = ds_agent_call(w->agent, &q, ds_now_ms() + CALL_MS, TRY_MS, &r, e);
    if (rc)
        return explain(e);
    if (r->body_case != DEVSTAMP__RESPONSE__BODY_OWNER || r->owner->message.len > cap)
        rc = ds_fail(e, DS_DEVICE, "the device answers another message than was asked for");
    if (!rc && r->owner->message.len)
        memcpy(reply, r->owner->message.data, r->owner->message.len);
    *ret_len = rc ? 0 : r->owner->message.len;
    devstamp__response__free_unpacked(r, NULL);
    return rc;
}

static enum ds_class console_open(ds_owner_carrier *w, const char *port, bool log, ds_err *e)
{
    if (ds_transport_open(port, &w->transport, e))
        return e ? e->cls : DS_DEVICE;
    w->agent = ds_agent_client_new(w->transport, log ? print_line : NULL, NULL);
    return DS_OK;
}

// ---- HTTP

typedef struct body {
    uint8_t *to;
    size_t len, cap;
} body;

static size_t on_data(char *data, size_t one, size_t count, void *arg)
{
    body *b = arg;
    size_t len = one * count;
    if (len > b->cap - b->len)
        return 0; // ends the transfer
    memcpy(b->to + b->len, data, len);
    b->len += len;
    return len;
}

static enum ds_class http_exchange(void *ctx, const uint8_t *message, size_t len, uint8_t *reply, size_t cap,
                                   size_t *ret_len, ds_err *e)
{
    ds_owner_carrier *w = ctx;
    body b = {.to = reply, .cap = cap};
    long status = 0;
    curl_easy_setopt(w->curl, CURLOPT_POSTFIELDS, (const char *)message);
    curl_easy_setopt(w->curl, CURLOPT_POSTFIELDSIZE, (long)len);
    curl_easy_setopt(w->curl, CURLOPT_WRITEDATA, (void *)&b);
    CURLcode rc = curl_easy_perform(w->curl);
    if (rc != CURLE_OK)
        return ds_hint((ds_fail(e, DS_NETWORK, "%s: %s", w->url, curl_easy_strerror(rc)), e),
                       "join the device's own network first, and check the address");
    curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return ds_hint((ds_fail(e, DS_NETWORK, "%s: HTTP status %ld", w->url, status), e),
                       "the device may not be waiting for its owner, or its endpoint has another name");
    *ret_len = b.len;
    return DS_OK;
}

// Straight to that address: no proxy, no redirect, nothing but HTTP.
static enum ds_class http_open(ds_owner_carrier *w, const char *url, ds_err *e)
{
    if (strlen(url) >= sizeof w->url)
        return ds_fail(e, DS_USAGE, "the address is longer than %zu characters", sizeof w->url - 1);
    snprintf(w->url, sizeof w->url, "%s", url);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    w->curl = curl_easy_init();
    w->headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    if (!w->curl || !w->headers)
        return ds_fail(e, DS_INTERNAL, "HTTP cannot be used");
    curl_easy_setopt(w->curl, CURLOPT_URL, w->url);
    curl_easy_setopt(w->curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(w->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(w->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(w->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(w->curl, CURLOPT_COOKIEFILE, ""); // kept in memory, for this run
    curl_easy_setopt(w->curl, CURLOPT_HTTPHEADER, w->headers);
    curl_easy_setopt(w->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(w->curl, CURLOPT_TIMEOUT_MS, (long)CALL_MS);
    curl_easy_setopt(w->curl, CURLOPT_WRITEFUNCTION, on_data);
    return DS_OK;
}

// ---- Either

enum ds_class ds_owner_carrier_open(const char *port, bool log, ds_owner_carrier **ret, ds_err *e)
{
    ds_owner_carrier *w = ds_alloc(sizeof *w);
    bool http = strncmp(port, "http://", 7) == 0;
    enum ds_class rc = http ? http_open(w, port, e) : console_open(w, port, log, e);
    if (rc) {
        ds_owner_carrier_close(w);
        return rc;
    }
    *ret = w;
    return DS_OK;
}

void ds_owner_carrier_close(ds_owner_carrier *w)
{
    if (!w)
        return;
    ds_agent_client_free(w->agent);
    ds_transport_close(w->transport);
    curl_slist_free_all(w->headers);
    if (w->curl)
        curl_easy_cleanup(w->curl);
    free(w);
}

ds_companion_transport ds_owner_carrier_transport(ds_owner_carrier *w)
{
    return (ds_companion_transport){.ctx = w, .exchange = w->curl ? http_exchange : console_exchange};
}
