// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One message to the endpoint: MQTT 3.1.1 over mutual TLS, QoS 1, acknowledged. A server that cannot be verified is
// never spoken to.
#include "agent/port/posix/posix.h"
#include "agent/port/posix/tls.h"
#include "src/base/clock.h"
#include "src/base/secret.h"

#include <mosquitto.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DEADLINE_MS 10000
#define LOOP_MS 100
#define KEEPALIVE_S 15
#define CA_MAX 8192u
#define SCHEME "mqtts://"
#define CA_NAMESPACE DS_AGENT_NAMESPACE
#define CA_KEY "endpoint_ca"

enum state { CONNECTING, PUBLISHING, ACKNOWLEDGED, FAILED };

typedef struct session {
    const ds_posix *p;
    enum state state;
    const char *topic, *payload;
    int message;
} session;

typedef struct address {
    char host[256];
    int port;
} address;

static void start_library(void)
{
    mosquitto_lib_init();
}

// "mqtts://host:port"; an IPv6 address in brackets.
static bool parse_endpoint(const char *text, address *ret)
{
    if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
        return false;
    const char *host = text + strlen(SCHEME), *colon = strrchr(host, ':');
    if (!colon || colon == host)
        return false;
    size_t len = (size_t)(colon - host);
    if (host[0] == '[' && colon[-1] == ']') {
        host++;
        len -= 2;
    }
    char *end;
    long port = strtol(colon + 1, &end, 10);
    if (!len || len >= sizeof ret->host || colon[1] < '0' || colon[1] > '9' || *end || port < 1 || port > 65535)
        return false;
    memcpy(ret->host, host, len);
    ret->host[len] = '\0';
    ret->port = (int)port;
    return true;
}

static void on_connect(struct mosquitto *m, void *arg, int rc)
{
    session *s = arg;
    s->state = PUBLISHING;
    if (rc || mosquitto_publish(m, &s->message, s->topic, (int)strlen(s->payload), s->payload, 1, false))
        s->state = FAILED;
}

static void on_publish(struct mosquitto *m, void *arg, int message)
{
    session *s = arg;
    (void)m;
    if (s->state == PUBLISHING && message == s->message)
        s->state = ACKNOWLEDGED;
}

static void on_disconnect(struct mosquitto *m, void *arg, int rc)
{
    session *s = arg;
    (void)m, (void)rc;
    if (s->state != ACKNOWLEDGED)
        s->state = FAILED;
}

static void on_log(struct mosquitto *m, void *arg, int level, const char *text)
{
    const session *s = arg;
    char line[160];
    (void)m;
    if (level != MOSQ_LOG_ERR)
        return;
    snprintf(line, sizeof line, "endpoint: %s", text);
    s->p->port.log(s->p->port.ctx, line);
}

// libmosquitto does not notice that a connection was refused, and would try until the deadline.
static bool wait_connected(struct mosquitto *m, int64_t deadline)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    struct pollfd fd = {.fd = mosquitto_socket(m), .events = POLLOUT};
    return fd.fd >= 0 && poll(&fd, 1, ds_ms_left(deadline)) == 1 &&
           getpeername(fd.fd, (struct sockaddr *)&peer, &len) == 0;
}

static bool talk(struct mosquitto *m, session *s, const address *to)
{
    int64_t deadline = ds_now_ms() + DEADLINE_MS;
    if (mosquitto_connect_async(m, to->host, to->port, KEEPALIVE_S) || !wait_connected(m, deadline))
        return false;
    while (s->state < ACKNOWLEDGED && ds_now_ms() < deadline)
        if (mosquitto_loop(m, LOOP_MS, 1))
            break;
    if (s->state != ACKNOWLEDGED)
        return false;
    if (mosquitto_disconnect(m) == MOSQ_ERR_SUCCESS)
        mosquitto_loop(m, LOOP_MS, 1);
    return true;
}

static bool say(session *s, const address *to, const char *client_id, SSL_CTX *tls)
{
    struct mosquitto *m = mosquitto_new(client_id, true, s);
    if (!m)
        return false;
    mosquitto_connect_callback_set(m, on_connect);
    mosquitto_publish_callback_set(m, on_publish);
    mosquitto_disconnect_callback_set(m, on_disconnect);
    mosquitto_log_callback_set(m, on_log);
    bool ok = mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311) == MOSQ_ERR_SUCCESS &&
              mosquitto_int_option(m, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0) == MOSQ_ERR_SUCCESS &&
              mosquitto_void_option(m, MOSQ_OPT_SSL_CTX, tls) == MOSQ_ERR_SUCCESS && talk(m, s, to);
    mosquitto_destroy(m);
    return ok;
}

// A server that hangs up must not end the process.
static bool say_without_sigpipe(session *s, const address *to, const char *client_id, SSL_CTX *tls)
{
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    bool ok = say(s, to, client_id, tls);
    if (!sigismember(&before, SIGPIPE)) {
        while (sigtimedwait(&pipe, NULL, &(struct timespec){0}) == SIGPIPE)
            continue;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return ok;
}

// The chip's own key, for whatever OpenSSL wants signed with it.
static bool sign_by_chip(void *ctx, ds_view data, const uint8_t *in, uint8_t *ret, size_t len)
{
    return ds_posix_dsig(ctx, data.ptr, data.len, in, ret, len) == DS_STATUS_OK;
}

ds_status ds_posix_publish(void *ctx, const ds_publish *message)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    ds_posix *p = ctx;
    address to;
    uint8_t ca[CA_MAX];
    size_t ca_len = 0;
    if (!parse_endpoint(message->endpoint, &to))
        return DS_STATUS(ENDPOINT, BAD_REQUEST);
    ds_status s = ds_posix_value_get(ctx, DS_AREA_ENCRYPTED, CA_NAMESPACE, CA_KEY, ca, sizeof ca, &ca_len);
    if (DS_POSIX_STATUS_IS(s, NOT_FOUND)) {
        p->port.log(p->port.ctx, "endpoint: no endpoint_ca in the stamp, the server could not be verified");
        return DS_STATUS(ENDPOINT, NETWORK);
    }
    if (s != DS_STATUS_OK)
        return s;
    pthread_once(&once, start_library);
    ds_tls_spec spec = {.key = {message->key, message->key_len},
                        .chain = {message->chain, message->chain_len},
                        .ca = {ca, ca_len},
                        .host = to.host,
                        .sign = message->key_in_dsig ? sign_by_chip : NULL,
                        .sign_ctx = ctx};
    SSL_CTX *tls = ds_tls_new(&spec);
    if (!tls)
        return DS_STATUS(ENDPOINT, CRYPTO);
    session talk_of = {.p = p, .topic = message->topic, .payload = message->payload};
    bool ok = say_without_sigpipe(&talk_of, &to, message->client_id, tls);
    SSL_CTX_free(tls);
    return ok ? DS_STATUS_OK : DS_STATUS(ENDPOINT, NETWORK);
}
