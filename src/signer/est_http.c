// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The exchanges; see est_http.h. What is trusted is set in the TLS context itself, last of all: libcurl would add the
// computer's own store of CAs to the one that is named.
#include "src/signer/est_http.h"

#include "src/base/clock.h"
#include "src/pki/key.h"
#include "src/pki/ossl.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BODY_MAX = 65536, LINE = 76 };

struct ds_est_http {
    const ds_signer_est *where;
    ds_key *key;
    X509_STORE *trusted;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static enum ds_class open_key(ds_est_http *h, ds_err *e)
{
    bool token = false;
    const ds_key_source source = {h->where->key, NULL, NULL, NULL, NULL};
    enum ds_class rc = ds_key_uri_check(h->where->key, &token, e);
    if (!rc && token)
        return ds_hint((ds_fail(e, DS_INPUT, "the key that is shown to an EST server is in a file"), e),
                       "the signer alone sees PINs, and has no part in EST: file:, mode 0600");
    return rc ? rc : ds_key_open(&source, &h->key, e);
}

static enum ds_class load_trusted(ds_est_http *h, ds_err *e)
{
    h->trusted = X509_STORE_new();
    if (!h->trusted || X509_STORE_load_file(h->trusted, h->where->ca) != 1)
        return ds_ossl_fail(e, DS_INPUT, "%s: CA certificates in PEM", h->where->ca);
    return DS_OK;
}

// Told before a device is touched and not at the first handshake.
static enum ds_class try_certificate(const ds_est_http *h, ds_err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    enum ds_class rc = DS_OK;
    if (!ctx)
        rc = ds_ossl_fail(e, DS_INTERNAL, "TLS");
    else if (SSL_CTX_use_certificate_chain_file(ctx, h->where->certificate) != 1)
        rc = ds_ossl_fail(e, DS_INPUT, "%s: certificates in PEM", h->where->certificate);
    else if (SSL_CTX_use_PrivateKey(ctx, ds_key_private(h->key)) != 1)
        rc = ds_hint((ds_ossl_fail(e, DS_INPUT, "%s is not the certificate of the key", h->where->certificate), e),
                     "name the key that the certificate was made for");
    SSL_CTX_free(ctx);
    return rc;
}

enum ds_class ds_est_http_new(const ds_signer_est *where, ds_est_http **ret, ds_err *e)
{
    ds_est_http *h = ds_alloc(sizeof *h);
    h->where = where;
    (void)pthread_once(&once, init_library);
    enum ds_class rc = open_key(h, e);
    if (!rc)
        rc = load_trusted(h, e);
    if (!rc)
        rc = try_certificate(h, e);
    if (rc) {
        ds_est_http_free(h);
        return rc;
    }
    *ret = h;
    return DS_OK;
}

void ds_est_http_free(ds_est_http *h)
{
    if (!h)
        return;
    ds_key_free(h->key);
    X509_STORE_free(h->trusted);
    free(h);
}

// libcurl's hook behind all that it sets by itself.
static CURLcode dress(CURL *curl, void *context, void *arg)
{
    (void)curl;
    const ds_est_http *h = arg;
    SSL_CTX *ctx = context;
    SSL_CTX_set1_cert_store(ctx, h->trusted);
    if (SSL_CTX_use_certificate_chain_file(ctx, h->where->certificate) != 1 ||
        SSL_CTX_use_PrivateKey(ctx, ds_key_private(h->key)) != 1)
        return CURLE_SSL_CERTPROBLEM;
    return CURLE_OK;
}

static size_t take_body(char *part, size_t size, size_t count, void *arg)
{
    ds_buf *body = arg;
    if (body->len + size * count > BODY_MAX)
        return 0;
    ds_buf_add(body, part, size * count);
    return size * count;
}

// Base64 in lines.
static void put_request(ds_view csr, ds_buf *ret)
{
    enum { BYTES = LINE / 4 * 3 };
    for (size_t off = 0; off < csr.len; off += BYTES) {
        unsigned char line[LINE + 1];
        size_t len = csr.len - off < BYTES ? csr.len - off : BYTES;
        int n = EVP_EncodeBlock(line, csr.ptr + off, (int)len);
        ds_buf_add(ret, line, (size_t)n);
        ds_buf_add_u8(ret, '\n');
    }
}

typedef struct exchange {
    CURL *curl;
    struct curl_slist *headers;
    char *url;
    ds_buf request;
    char why[CURL_ERROR_SIZE];
} exchange;

static void close_exchange(exchange *x)
{
    curl_easy_cleanup(x->curl);
    curl_slist_free_all(x->headers);
    ds_buf_free(&x->request);
    free(x->url);
}

static bool add_header(exchange *x, const char *line)
{
    struct curl_slist *more = curl_slist_append(x->headers, line);
    x->headers = more ? more : x->headers;
    return more != NULL;
}

#define SET(option, value) (curl_easy_setopt(x->curl, CURLOPT_##option, value) == CURLE_OK)

// Whom it trusts, and as whom it goes.
static bool set_tls(const exchange *x, ds_est_http *h)
{
    return SET(CAINFO, h->where->ca) && SET(CAPATH, NULL) && SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           SET(SSL_VERIFYPEER, 1L) && SET(SSL_VERIFYHOST, 2L) && SET(SSL_SESSIONID_CACHE, 0L) &&
           SET(SSL_CTX_FUNCTION, dress) && SET(SSL_CTX_DATA, (void *)h);
}

static bool set_http(exchange *x, ds_est_reply *reply, long left_ms)
{
    return SET(URL, x->url) && SET(PROTOCOLS_STR, "https") && SET(NOPROXY, "*") && SET(FOLLOWLOCATION, 0L) &&
           SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(NOSIGNAL, 1L) && SET(FORBID_REUSE, 1L) &&
           SET(TIMEOUT_MS, left_ms) && SET(CONNECTTIMEOUT_MS, left_ms) && SET(ERRORBUFFER, x->why) &&
           SET(WRITEFUNCTION, take_body) && SET(WRITEDATA, (void *)&reply->body);
}

static bool set_post(exchange *x, ds_view csr)
{
    put_request(csr, &x->request);
    return add_header(x, "Content-Type: application/pkcs10") && add_header(x, "Content-Transfer-Encoding: base64") &&
           add_header(x, "Expect:") && SET(HTTPHEADER, x->headers) && SET(POSTFIELDSIZE, (long)x->request.len) &&
           SET(POSTFIELDS, (const char *)x->request.ptr);
}

static bool is_certs_only(const char *type)
{
    static const char word[] = "application/pkcs7-mime";
    size_t len = sizeof word - 1;
    return type && strncasecmp(type, word, len) == 0 && (!type[len] || strchr("; ", type[len]));
}

static void read_facts(const exchange *x, ds_est_reply *ret)
{
    long sent = 0;
    curl_off_t retry = 0;
    char *type = NULL;
    (void)curl_easy_getinfo(x->curl, CURLINFO_REQUEST_SIZE, &sent);
    (void)curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &ret->status);
    (void)curl_easy_getinfo(x->curl, CURLINFO_RETRY_AFTER, &retry);
    (void)curl_easy_getinfo(x->curl, CURLINFO_CONTENT_TYPE, &type);
    ret->sent = sent > 0;
    ret->retry_after_s = (int64_t)retry;
    ret->certificates = is_certs_only(type);
}

// A refusal of our certificate comes as an alert, with TLS 1.3 in place of an answer.
static enum ds_class explain(const exchange *x, CURLcode code, const ds_est_reply *reply, ds_err *e)
{
    const char *why = x->why[0] ? x->why : curl_easy_strerror(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return ds_hint((ds_fail(e, DS_POLICY, "its certificate is not good: %s", why), e),
                       "signer.est.ca is the CA that vouches for the host in signer.est.url");
    if (strstr(why, "alert") && !strstr(why, "protocol version"))
        return ds_hint((ds_fail(e, DS_POLICY, "it refuses this station's certificate: %s", why), e),
                       "signer.est.certificate is one that the server knows");
    if (code == CURLE_WRITE_ERROR)
        return ds_fail(e, DS_NETWORK, "an answer of more than %d bytes", BODY_MAX);
    if (code == CURLE_OPERATION_TIMEDOUT && reply->sent)
        return ds_fail(e, DS_NETWORK, "no answer in time");
    if (reply->sent)
        return ds_fail(e, DS_NETWORK, "the answer was cut off: %s", why);
    if (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR)
        return ds_hint((ds_fail(e, DS_NETWORK, "it closed the connection before the request"), e),
                       "perhaps it does not take this station's certificate: its log tells");
    return ds_fail(e, DS_NETWORK, "%s", why);
}

enum ds_class ds_est_http_ask(ds_est_http *h, const ds_est_question *q, ds_est_reply *ret, ds_err *e)
{
    const char *label = h->where->label;
    exchange open = {.curl = curl_easy_init()}, *x = &open;
    *ret = (ds_est_reply){.sent = false};
    x->url =
        ds_asprintf("%s/.well-known/est/%s%s%s", h->where->url, label ? label : "", label ? "/" : "", q->operation);
    int left_ms = ds_ms_left(q->deadline_ms);
    enum ds_class rc = DS_OK;
    if (!x->curl || !set_tls(x, h) || !set_http(x, ret, left_ms ? left_ms : 1) ||
        (q->csr.len && !set_post(x, q->csr))) {
        rc = ds_fail(e, DS_INTERNAL, "HTTPS cannot be set up; libcurl must be the one on OpenSSL");
    } else {
        CURLcode code = curl_easy_perform(x->curl);
        ERR_clear_error();
        read_facts(x, ret);
        if (code != CURLE_OK)
            rc = explain(x, code, ret, e);
    }
    close_exchange(x);
    return rc;
}
