// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// TLS 1.3 over sockets that do not block; see tls.h. No session is kept and no ticket given: each connection shows its
// certificates.
#include "src/signer/tls.h"

#include "src/base/clock.h"
#include "src/pki/key.h"
#include "src/signer/issuer.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { CERTIFICATES_MAX = 16384, BYE_MS = 1000 };

struct ds_tls_side {
    SSL_CTX *ctx;
    ds_pin pin;
    ds_key *key;
    bool client, serial; // serial: the key is in a token, one use after the other
    pthread_mutex_t lock;
    ds_tls_know_fn know;
    void *arg;
    bool has_ca;
};

struct ds_tls {
    ds_tls_side *side;
    SSL *ssl;
    int fd, known;
};

static enum ds_class open_key(const ds_tls_self *self, ds_tls_side *s, ds_err *e)
{
    const ds_signer_config pin = {.pin = DS_PIN_FILE, .pin_file = self->pin_file};
    enum ds_class rc = ds_key_uri_check(self->key, &s->serial, e);
    if (!rc && s->serial && self->pin_file)
        rc = ds_issuer_read_pin(&pin, self->certificate, &s->pin, e);
    const ds_key_source source = {self->key, self->module, &s->pin.secret, &s->pin.note, NULL};
    return rc ? rc : ds_key_open(&source, &s->key, e);
}

static enum ds_class show_self(const ds_tls_self *self, ds_tls_side *s, ds_err *e)
{
    if (SSL_CTX_use_certificate_chain_file(s->ctx, self->certificate) != 1)
        return ds_ossl_fail(e, DS_INPUT, "%s: certificates in PEM", self->certificate);
    enum ds_class rc = open_key(self, s, e);
    if (rc)
        return rc;
    if (SSL_CTX_use_PrivateKey(s->ctx, ds_key_private(s->key)) != 1)
        return ds_hint((ds_ossl_fail(e, DS_INPUT, "%s is not the certificate of the key", self->certificate), e),
                       "name the key that the certificate was made for");
    return DS_OK;
}

static enum ds_class make(const ds_tls_self *self, const char *ca, ds_tls_side *s, ds_err *e)
{
    s->ctx = SSL_CTX_new(s->client ? TLS_client_method() : TLS_server_method());
    if (!s->ctx || SSL_CTX_set_min_proto_version(s->ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(s->ctx, 0) != 1)
        return ds_ossl_fail(e, DS_INTERNAL, "TLS");
    (void)SSL_CTX_set_session_cache_mode(s->ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_clear_mode(s->ctx, SSL_MODE_AUTO_RETRY); // so that what is no data does not outlast a deadline
    (void)SSL_CTX_set_mode(s->ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_max_cert_list(s->ctx, CERTIFICATES_MAX);
    SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    s->has_ca = ca != NULL;
    if (ca && SSL_CTX_load_verify_file(s->ctx, ca) != 1)
        return ds_ossl_fail(e, DS_INPUT, "%s: CA certificates in PEM", ca);
    return show_self(self, s, e);
}

static ds_tls_side *new_side(bool client)
{
    ds_tls_side *s = ds_alloc(sizeof *s);
    s->client = client;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

enum ds_class ds_tls_client(const ds_tls_self *self, const char *ca, ds_tls_side **ret, ds_err *e)
{
    ds_tls_side *s = new_side(true);
    enum ds_class rc = make(self, ca, s, e);
    if (rc)
        ds_tls_side_free(s);
    else
        *ret = s;
    return rc;
}

static bool dates_are_good(X509 *certificate)
{
    return X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0 &&
           X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

// In place of OpenSSL's own check, which knows chains alone.
static int verify(X509_STORE_CTX *store, void *arg)
{
    ds_tls_side *s = arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    ds_tls *t = SSL_get_app_data(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    bool chained = s->has_ca && X509_verify_cert(store) == 1;
    if (!dates_are_good(leaf)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_HAS_EXPIRED);
        return 0;
    }
    t->known = s->know(s->arg, leaf, chained);
    if (t->known < 0)
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    else
        X509_STORE_CTX_set_error(store, X509_V_OK);
    return t->known >= 0;
}

enum ds_class ds_tls_server(const ds_tls_self *self, const char *ca, ds_tls_know_fn know, void *arg, ds_tls_side **ret,
                            ds_err *e)
{
    ds_tls_side *s = new_side(false);
    s->know = know;
    s->arg = arg;
    enum ds_class rc = make(self, ca, s, e);
    if (rc) {
        ds_tls_side_free(s);
        return rc;
    }
    SSL_CTX_set_cert_verify_callback(s->ctx, verify, s);
    *ret = s;
    return DS_OK;
}

void ds_tls_side_free(ds_tls_side *s)
{
    if (!s)
        return;
    SSL_CTX_free(s->ctx);
    ds_key_free(s->key);
    ds_pin_free(&s->pin);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

// A certificate names hosts by name or by address.
static bool expect(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true;
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

enum ds_class ds_tls_open(ds_tls_side *side, int fd, const char *host, ds_tls **ret, ds_err *e)
{
    ds_tls *t = ds_alloc(sizeof *t);
    *t = (ds_tls){.side = side, .fd = fd, .known = -1, .ssl = SSL_new(side->ctx)};
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1 || (host && !expect(t->ssl, host))) {
        ds_tls_free(t);
        return ds_ossl_fail(e, DS_INTERNAL, "TLS");
    }
    SSL_set_app_data(t->ssl, t);
    if (side->client)
        SSL_set_connect_state(t->ssl);
    else
        SSL_set_accept_state(t->ssl);
    *ret = t;
    return DS_OK;
}

void ds_tls_free(ds_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    ERR_clear_error();
    free(t);
}

int ds_tls_known(const ds_tls *t)
{
    return t->known;
}

// Why it went no further. The other side's alert, and a certificate that is not good, are no accidents.
static enum ds_class explain(const ds_tls *t, int kind, int err, ds_err *e)
{
    unsigned long last = ERR_peek_last_error();
    int reason = ERR_GET_LIB(last) == ERR_LIB_SSL ? ERR_GET_REASON(last) : 0;
    long verified = SSL_get_verify_result(t->ssl);
    if (kind == SSL_ERROR_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return ds_ossl_fail(e, DS_POLICY, "the other side's certificate is not good (%s)",
                            X509_verify_cert_error_string(verified));
    if (kind == SSL_ERROR_SSL && reason > SSL_AD_REASON_OFFSET)
        return ds_ossl_fail(e, DS_POLICY, "the other side refuses our certificate");
    if (kind == SSL_ERROR_SSL && reason != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return ds_ossl_fail(e, DS_NETWORK, "TLS");
    ERR_clear_error();
    if (kind == SSL_ERROR_SYSCALL && err)
        return ds_fail_errno(e, DS_NETWORK, err, "TLS");
    return ds_fail(e, DS_NETWORK, "the other side closed the connection");
}

// After a call that returned n: wait for what it wants. *ret_again: call again.
static enum ds_class settle(const ds_tls *t, int n, int64_t deadline_ms, bool *ret_again, ds_err *e)
{
    int err = errno, kind = SSL_get_error(t->ssl, n);
    *ret_again = kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
    if (!*ret_again)
        return explain(t, kind, err, e);
    struct pollfd p = {.fd = t->fd, .events = kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT};
    int left = ds_ms_left(deadline_ms), ready = left ? poll(&p, 1, left) : 0;
    if (ready < 0 && errno != EINTR)
        return ds_fail_errno(e, DS_NETWORK, errno, "wait");
    *ret_again = ready != 0;
    return ready ? DS_OK : ds_fail(e, DS_NETWORK, "the other side is too slow");
}

static enum ds_class shake(ds_tls *t, int64_t deadline_ms, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (bool again = true; !rc && again;) {
        ERR_clear_error();
        int n = SSL_do_handshake(t->ssl);
        if (n == 1)
            return DS_OK;
        rc = settle(t, n, deadline_ms, &again, e);
    }
    return rc;
}

enum ds_class ds_tls_handshake(ds_tls *t, int64_t deadline_ms, ds_err *e)
{
    ds_tls_side *s = t->side;
    if (!s->serial)
        return shake(t, deadline_ms, e);
    pthread_mutex_lock(&s->lock);
    enum ds_class rc = ds_key_ready(s->key, e);
    if (!rc)
        rc = shake(t, deadline_ms, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum ds_class write_all(ds_tls *t, ds_view bytes, int64_t deadline_ms, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (bool again = true; !rc && again;) {
        ERR_clear_error();
        int n =
            SSL_write(t->ssl, bytes.ptr, (int)bytes.len); // all of it or nothing yet: partial writes are not asked for
        if (n > 0)
            return DS_OK;
        rc = settle(t, n, deadline_ms, &again, e);
    }
    return rc;
}

enum ds_class ds_tls_send(ds_tls *t, const ProtobufCMessage *message, int64_t deadline_ms, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf out = {0};
    enum ds_class rc = ds_wire_pack(message, &out, e);
    return rc ? rc : write_all(t, ds_buf_view(&out), deadline_ms, e);
}

// Up to len bytes; *ret_end: the other side closed before the first of them.
static enum ds_class read_all(ds_tls *t, uint8_t *data, size_t len, int64_t deadline_ms, bool *ret_end, ds_err *e)
{
    size_t got = 0;
    enum ds_class rc = DS_OK;
    *ret_end = false;
    while (!rc && got < len) {
        ERR_clear_error();
        bool again = true;
        int n = SSL_read(t->ssl, data + got, (int)(len - got));
        if (n > 0)
            got += (size_t)n;
        else if (SSL_get_error(t->ssl, n) == SSL_ERROR_ZERO_RETURN && !got)
            return *ret_end = true, DS_OK;
        else
            rc = settle(t, n, deadline_ms, &again, e);
    }
    return rc;
}

// Until the first byte is there, or the other side closed.
static enum ds_class await(ds_tls *t, int64_t deadline_ms, enum ds_wire_met *ret_met, ds_err *e)
{
    uint8_t byte;
    for (;;) {
        ERR_clear_error();
        bool again = true;
        int n = SSL_peek(t->ssl, &byte, 1);
        *ret_met = n > 0 ? DS_WIRE_MESSAGE : DS_WIRE_END;
        if (n > 0 || SSL_get_error(t->ssl, n) == SSL_ERROR_ZERO_RETURN)
            return DS_OK;
        enum ds_class rc = settle(t, n, deadline_ms, &again, e);
        if (rc && ds_now_ms() >= deadline_ms && SSL_want_read(t->ssl)) {
            *ret_met = DS_WIRE_LATE;
            return DS_OK;
        }
        if (rc)
            return rc;
    }
}

enum ds_class ds_tls_recv(ds_tls *t, const ds_tls_wait *wait, ds_buf *ret, enum ds_wire_met *ret_met, ds_err *e)
{
    uint8_t head[4];
    bool end = false;
    enum ds_class rc = await(t, ds_now_ms() + wait->idle_ms, ret_met, e);
    if (rc || *ret_met != DS_WIRE_MESSAGE)
        return rc;
    int64_t deadline_ms = ds_now_ms() + wait->whole_ms;
    rc = read_all(t, head, sizeof head, deadline_ms, &end, e);
    if (rc)
        return rc;
    uint32_t len = ds_le32(head);
    if (len > wait->max)
        return ds_fail(e, DS_NETWORK, "a message of %u bytes, and %zu are allowed", len, wait->max);
    ds_buf_clear(ret);
    ds_buf_resize(ret, len, 0);
    rc = len ? read_all(t, ret->ptr, len, deadline_ms, &end, e) : DS_OK;
    return !rc && end ? ds_fail(e, DS_NETWORK, "the other side closed within a message") : rc;
}

// What the other side sent so far, to fd. false: no more will come.
static bool carry_in(ds_tls *t, int fd, size_t max, size_t *taken)
{
    uint8_t part[4096];
    for (;;) {
        ERR_clear_error();
        int n = SSL_read(t->ssl, part, sizeof part), kind = SSL_get_error(t->ssl, n);
        if (n <= 0)
            return kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
        *taken += (size_t)n;
        if (*taken > max || send(fd, part, (size_t)n, MSG_NOSIGNAL) != n) // max fits into the socket's buffer
            return false;
    }
}

void ds_tls_pump(ds_tls *t, int fd, size_t max, int64_t part_ms)
{
    uint8_t part[4096];
    size_t taken = 0;
    bool open = true, writable = true;
    int64_t deadline_ms = ds_now_ms() + part_ms;
    for (;;) {
        if (open && (!carry_in(t, fd, max, &taken) || ds_now_ms() >= deadline_ms)) {
            open = false; // a request that is whole by now is answered
            (void)shutdown(fd, SHUT_WR);
        }
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = open ? t->fd : -1, .events = POLLIN}};
        if (poll(p, 2, open ? ds_ms_left(deadline_ms) : -1) < 0 && errno != EINTR)
            return;
        if (!p[0].revents)
            continue;
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n <= 0)
            return;
        writable = writable && !write_all(t, (ds_view){part, (size_t)n}, ds_now_ms() + part_ms, NULL);
    }
}

void ds_tls_bye(ds_tls *t)
{
    uint8_t rest[4096];
    int64_t deadline_ms = ds_now_ms() + BYE_MS;
    if (SSL_is_init_finished(t->ssl))
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
    (void)shutdown(t->fd, SHUT_WR);
    for (;;) {
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        int left = ds_ms_left(deadline_ms);
        if (!left || poll(&p, 1, left) <= 0 || recv(t->fd, rest, sizeof rest, 0) <= 0)
            return;
    }
}
