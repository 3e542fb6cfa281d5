// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's side of a CA that speaks EST (RFC 7030), in place of a signer. What was not sent is tried again while
// the line waits, and so is what the server says is not ready (202, 503). A request that was sent and not answered is
// not repeated here: the server may have signed it, and each request is written down by the caller first.
#include "src/signer/client.h"
#include "src/signer/est_answer.h"
#include "src/signer/est_http.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/pki/cert.h"

#include <stdlib.h>
#include <string.h>

enum { PAUSE_S = 1, PAUSE_UNTOLD_S = 5, SAID_MAX = 120 };

struct ds_client_est {
    ds_signer_est where; // strings owned
    ds_est_http *http;
    ds_est_trust *trust;
};

static void free_owned(const char *text)
{
    void *p = NULL;
    memcpy(&p, &text, sizeof p);
    free(p);
}

void ds_client_stop_est(ds_signer *s)
{
    struct ds_client_est *c = s->est;
    if (!c)
        return;
    ds_est_http_free(c->http);
    ds_est_trust_free(c->trust);
    free_owned(c->where.url);
    free_owned(c->where.label);
    free_owned(c->where.ca);
    free_owned(c->where.device_ca);
    free_owned(c->where.certificate);
    free_owned(c->where.key);
    free(c);
    s->est = NULL;
}

// The first line of what the server says of it, as plain text: it goes to terminals and logs.
static void said(const ds_est_reply *r, char ret[SAID_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < r->body.len && n < SAID_MAX && r->body.ptr[i] != '\n' && r->body.ptr[i] != '\r'; i++)
        ret[n++] = r->body.ptr[i] >= 0x20 && r->body.ptr[i] < 0x7F ? (char)r->body.ptr[i] : '?';
    ret[n] = '\0';
}

static enum ds_class judge_status(const ds_est_reply *r, ds_err *e)
{
    char text[SAID_MAX + 1];
    said(r, text);
    const char *colon = text[0] ? ": " : "";
    if (r->status == 200 && !r->certificates)
        return ds_fail(e, DS_NETWORK, "the answer is not application/pkcs7-mime");
    if (r->status == 200)
        return DS_OK;
    if (r->status == 401)
        return ds_fail(e, DS_POLICY, "it wants a name and a password, which stations do not have");
    if (r->status == 404)
        return ds_hint((ds_fail(e, DS_INPUT, "no such path (404)%s%s", colon, text), e),
                       "see to signer.est.url and signer.est.label");
    if (r->status >= 400 && r->status < 500)
        return ds_fail(e, DS_POLICY, "it refuses (%ld)%s%s", r->status, colon, text);
    if (r->status >= 300 && r->status < 400)
        return ds_fail(e, DS_POLICY, "it sends us elsewhere (%ld), which is not followed", r->status);
    return ds_fail(e, DS_NETWORK, "it cannot (%ld)%s%s", r->status, colon, text);
}

static bool says_later(const ds_est_reply *r)
{
    return r->status == 202 || (r->status == 503 && r->retry_after_s > 0);
}

// Seconds until it is worth asking again; 0: it is not.
static int64_t pause_of(enum ds_class rc, const ds_est_reply *r)
{
    if (rc == DS_NETWORK && !r->sent)
        return PAUSE_S;
    if (rc || !says_later(r))
        return 0;
    return r->retry_after_s > 0 ? r->retry_after_s : PAUSE_UNTOLD_S;
}

static enum ds_class give_up(enum ds_class rc, const ds_est_reply *r, bool enrolls, int64_t pause_s, ds_err *e)
{
    if (!rc && says_later(r))
        return ds_hint((ds_fail(e, DS_NETWORK,
                                "not yet (%ld): it wants to be asked again in %lld s, and the line waits "
                                "no longer",
                                r->status, (long long)pause_s),
                        e),
                       "perhaps somebody has to approve there; run again later: the same request is asked");
    if (rc == DS_NETWORK && r->sent && enrolls)
        return ds_hint(e, "it may have signed all the same; run again: the same request is asked (docs/est.md)");
    return rc == DS_NETWORK ? ds_hint(e, "see that it runs and can be reached, and run again") : rc;
}

// Ask until there is an answer, for wait_ms at most. ret->body: ds_buf_free.
static enum ds_class ask(const struct ds_client_est *c, const char *operation, ds_view csr, int wait_ms,
                         ds_est_reply *ret, ds_err *e)
{
    int64_t end_ms = ds_now_ms() + wait_ms;
    bool told = false;
    for (;;) {
        const ds_est_question q = {operation, csr, ds_now_ms() + c->where.timeout_ms};
        *e = DS_ERR_INIT;
        enum ds_class rc = ds_est_http_ask(c->http, &q, ret, e);
        int64_t pause_s = pause_of(rc, ret);
        if (!pause_s && !rc)
            return judge_status(ret, e);
        if (!pause_s || pause_s > (end_ms - ds_now_ms()) / 1000)
            return give_up(rc, ret, csr.len > 0, pause_s, e);
        if (!told)
            ds_log(DS_LOG_WARN, "EST server %s: %s: the line waits up to %d s for it", c->where.url,
                   rc ? e->text : "not yet", ds_ms_left(end_ms) / 1000);
        told = true;
        ds_buf_free(&ret->body);
        ds_sleep_ms(pause_s * 1000);
    }
}

static enum ds_class take_ca(ds_signer *s, X509 *ca, ds_err *e)
{
    ds_cert_info info;
    enum ds_class rc = ds_cert_describe(ca, &info, e);
    if (!rc)
        rc = ds_cert_der(ca, &s->status.ca_certificate, e);
    if (rc)
        return rc;
    memcpy(s->status.ca_subject, info.subject, sizeof s->status.ca_subject);
    memcpy(s->status.ca_fingerprint, info.fingerprint, sizeof s->status.ca_fingerprint);
    s->status.est = true;
    return DS_OK;
}

static enum ds_class learn(ds_signer *s, ds_err *e)
{
    ds_est_reply reply;
    STACK_OF(X509) *shown = NULL;
    X509 *ca = NULL;
    enum ds_class rc = ask(s->est, "cacerts", (ds_view){NULL, 0}, 0, &reply, e);
    if (!rc)
        rc = ds_est_read(ds_buf_view(&reply.body), &shown, e);
    if (!rc)
        rc = ds_est_trust_learn(s->est->trust, shown, &ca, e);
    if (!rc)
        rc = take_ca(s, ca, e);
    sk_X509_pop_free(shown, X509_free);
    ds_buf_free(&reply.body);
    return rc ? ds_wrap(e, "EST server %s: cacerts", s->est->where.url) : DS_OK;
}

// Keys that the device does not make are the signer's work.
static enum ds_class check_profiles(const ds_signer_config *config, ds_err *e)
{
    for (size_t i = 0; i < config->profile_count; i++)
        if (config->profiles[i].origin != DS_ORIGIN_DEVICE)
            return ds_fail(e, DS_INPUT, "recipe of %s: an EST server has no part in keys that the device does not make",
                           config->profiles[i].recipe);
    return DS_OK;
}

enum ds_class ds_client_start_est(ds_signer *s, ds_err *e)
{
    const ds_signer_est *w = s->config.est;
    struct ds_client_est *c = ds_alloc(sizeof *c);
    s->est = c;
    s->config.est = NULL;
    c->where = (ds_signer_est){
        .url = ds_strdup(w->url),
        .label = w->label ? ds_strdup(w->label) : NULL,
        .ca = ds_strdup(w->ca),
        .device_ca = ds_strdup(w->device_ca),
        .certificate = ds_strdup(w->certificate),
        .key = ds_strdup(w->key),
        .timeout_ms = w->timeout_ms,
    };
    enum ds_class rc = check_profiles(&s->config, e);
    if (!rc)
        rc = ds_est_trust_new(c->where.device_ca, &c->trust, e);
    if (!rc)
        rc = ds_est_http_new(&c->where, &c->http, e);
    return rc ? rc : learn(s, e);
}

static enum ds_class take_certificate(const struct ds_client_est *c, const ds_est_reply *reply,
                                      const ds_sign_request *req, ds_buf *ret_der, ds_err *e)
{
    STACK_OF(X509) *came = NULL;
    enum ds_class rc = ds_est_read(ds_buf_view(&reply->body), &came, e);
    if (!rc && sk_X509_num(came) != 1)
        rc = ds_fail(e, DS_POLICY, "it gave %d certificates for one request", sk_X509_num(came));
    if (!rc)
        rc = ds_est_judge(c->trust, sk_X509_value(came, 0), req, e);
    if (!rc)
        rc = ds_cert_der(sk_X509_value(came, 0), ret_der, e);
    sk_X509_pop_free(came, X509_free);
    return rc;
}

enum ds_class ds_client_sign_est(ds_signer *s, const ds_sign_request *req, ds_buf *ret_der, ds_err *e)
{
    ds_err own = DS_ERR_INIT;
    ds_est_reply reply;
    enum ds_class rc = ask(s->est, "simpleenroll", req->csr, s->config.wait_ms, &reply, &own);
    if (!rc)
        rc = take_certificate(s->est, &reply, req, ret_der, &own);
    ds_buf_free(&reply.body);
    if (!rc)
        return DS_OK;
    (void)ds_wrap(&own, "EST server %s", s->est->where.url);
    if (e)
        *e = own;
    return rc;
}

static enum ds_class chain_of_est(const ds_signer *s, ds_view certificate, ds_signer_chain *ret, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    enum ds_class rc = ds_cert_parse(certificate, &cert, e);
    if (!rc)
        rc = ds_est_trust_chain(s->est->trust, cert, ret, e);
    return rc ? ds_wrap(e, "EST server %s: the certificate's chain", s->est->where.url) : DS_OK;
}

enum ds_class ds_signer_chain_of(const ds_signer *s, ds_view certificate, ds_signer_chain *ret, ds_err *e)
{
    *ret = (ds_signer_chain){.count = 0};
    if (s->est)
        return chain_of_est(s, certificate, ret, e);
    ret->count = 1;
    ds_buf_add(&ret->der[0], s->status.ca_certificate.ptr, s->status.ca_certificate.len);
    return DS_OK;
}

void ds_signer_chain_free(ds_signer_chain *c)
{
    for (size_t i = 0; i < DS_SIGNER_CHAIN_MAX; i++)
        ds_buf_free(&c->der[i]);
}
