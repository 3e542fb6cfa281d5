// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The listening side's connections; see front.h. The caller's thread accepts, and tells those who wait for an answer
// that it is worked on; each connection has a thread of its own, and so at most one request under way.
#include "src/signer/front.h"

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/pki/cert.h"
#include "src/signer/address.h"
#include "src/signer/front_http.h"
#include "src/signer/front_serve.h"
#include "src/signer/front_source.h"
#include "src/signer/remote.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    STACK = 512 * 1024,
    TELL_MS = 5000,   // between two words to those who wait for an answer
    TELL_WAIT_MS = 0, // who does not even take that is gone
    PLACE_MS = 5000,  // how long a new connection waits for the place of an idle one
    LEAVING = 64,     // room for those who were sent away and have not gone
};

enum phase { STRANGER, IDLE, BUSY, HTTP, GOING };
enum { FOR_STATIONS, FOR_EST, LISTENERS };

typedef struct connection {
    struct connection *next; // in the order they came
    ds_front *front;
    int fd;
    ds_tls *tls;
    int station; // -1: not known yet
    bool est;
    enum phase phase;
    pthread_mutex_t sending; // while it is busy: its thread and the one that accepts
    ds_front_source source;
    char peer[64];
} connection;

struct ds_front {
    const ds_front_config *config;
    ds_signer *signer;
    ds_tls_side *side;
    ds_front_http *http; // NULL: no EST
    int fd[LISTENERS];   // -1: none
    pthread_mutex_t lock;
    pthread_cond_t changed; // a connection ended
    connection *first;
    unsigned total, total_max, strangers;
    unsigned counts[DS_FRONT_STATIONS];        // connections of each station
    pthread_mutex_t asking[DS_FRONT_STATIONS]; // one request a station that makes the signer rest
    bool stopping;
    ds_front_complaints strange, complaints[DS_FRONT_STATIONS]; // of strangers, of each station
};

// Which station shows this certificate?
static int know(void *arg, X509 *certificate, bool chained)
{
    const ds_front *f = arg;
    const ds_front_config *c = f->config;
    ds_cert_info info;
    if (ds_cert_describe(certificate, &info, NULL))
        return -1;
    char name[64] = "";
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
    bool named = chained && len > 0 && strlen(name) == (size_t)len;
    for (size_t i = 0; i < c->station_count; i++) {
        const ds_front_station *s = &c->stations[i];
        if (s->pinned ? memcmp(info.fingerprint, s->fingerprint, 32) == 0 : named && strcmp(s->name, name) == 0)
            return (int)i;
    }
    return -1;
}

static enum ds_class listen_at(const char *address, int *ret, ds_err *e)
{
    ds_address where = {0};
    enum ds_class rc = ds_address_parse(address, &where, e);
    if (!rc)
        rc = ds_address_listen(&where, ret, e);
    ds_address_free(&where);
    return rc;
}

enum ds_class ds_front_open(const ds_front_config *config, ds_signer *signer, ds_front **ret, ds_err *e)
{
    ds_front *f = ds_alloc(sizeof *f);
    pthread_condattr_t monotonic;
    f->config = config;
    f->signer = signer;
    f->fd[FOR_STATIONS] = f->fd[FOR_EST] = -1;
    f->total_max = 4 * config->strangers + LEAVING;
    for (size_t i = 0; i < config->station_count; i++)
        f->total_max += config->stations[i].connections;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&f->lock, NULL);
    for (size_t i = 0; i < DS_FRONT_STATIONS; i++)
        (void)(pthread_mutex_init(&f->asking[i], NULL), pthread_mutex_init(&f->complaints[i].lock, NULL));
    pthread_mutex_init(&f->strange.lock, NULL);
    enum ds_class rc = ds_tls_server(&config->self, config->ca, know, f, &f->side, e);
    if (!rc)
        rc = listen_at(config->address, &f->fd[FOR_STATIONS], e);
    if (!rc && config->est_address)
        rc = ds_front_http_new(config, signer, f->complaints, &f->http, e);
    if (!rc && config->est_address)
        rc = listen_at(config->est_address, &f->fd[FOR_EST], e);
    if (rc)
        ds_front_close(f);
    else
        *ret = f;
    return rc;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        return 0;
    if (a.ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, &a, sizeof six);
        return ntohs(six.sin6_port);
    }
    struct sockaddr_in four;
    memcpy(&four, &a, sizeof four);
    return ntohs(four.sin_port);
}

unsigned ds_front_port(const ds_front *f)
{
    return port_of(f->fd[FOR_STATIONS]);
}

unsigned ds_front_est_port(const ds_front *f)
{
    return f->fd[FOR_EST] < 0 ? 0 : port_of(f->fd[FOR_EST]);
}

// Of a stranger; what they can cause to be written has its bound.
static void complain(connection *c, const ds_err *e)
{
    ds_front_complain(&c->front->strange, NULL, c->peer, e->text);
}

static const ds_front_station *station_of(const connection *c)
{
    return &c->front->config->stations[c->station];
}

static bool tell_to_go(connection *c)
{
    if (c->phase == STRANGER)
        c->front->strangers--;
    c->phase = GOING;
    (void)shutdown(c->fd, SHUT_RDWR);
    return true;
}

// The station's oldest idle connection, told to go; the lock is held.
static bool send_idle_away(ds_front *f, int station)
{
    for (connection *c = f->first; c; c = c->next)
        if (c->phase == IDLE && c->station == station)
            return tell_to_go(c);
    return false;
}

// How many strangers a source has; going: those too that were told to go and are still there.
static unsigned count_source(const ds_front *f, const ds_front_source *source, bool going)
{
    unsigned n = 0;
    for (const connection *c = f->first; c; c = c->next)
        if ((c->phase == STRANGER || (going && c->phase == GOING && c->station < 0)) &&
            ds_front_source_same(&c->source, source))
            n++;
    return n;
}

static bool send_stranger_away(ds_front *f, const ds_front_source *source)
{
    for (connection *c = f->first; c; c = c->next)
        if (c->phase == STRANGER && ds_front_source_same(&c->source, source))
            return tell_to_go(c);
    return false;
}

// A place for a newcomer from that source; the lock is held. A source has half of the places at most, and takes another
// one's place only where that one has more: no source alone comes near the others.
static bool make_room(ds_front *f, const ds_front_source *source)
{
    unsigned share = (f->config->strangers + 1) / 2, most = count_source(f, source, false);
    const ds_front_source *from = source;
    if (f->total >= f->total_max || count_source(f, source, true) >= 2 * f->config->strangers + LEAVING / 2)
        return false;
    if (most >= share)
        return send_stranger_away(f, source);
    if (f->strangers < f->config->strangers)
        return true;
    for (const connection *c = f->first; c; c = c->next) {
        unsigned n = c->phase == STRANGER ? count_source(f, &c->source, false) : 0;
        if (n > most) {
            most = n;
            from = &c->source;
        }
    }
    return send_stranger_away(f, from);
}

// A known station's place among its own. false: it has too many requests under way.
static bool find_place(connection *c, int station)
{
    ds_front *f = c->front;
    unsigned limit = f->config->stations[station].connections;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PLACE_MS / 1000;
    pthread_mutex_lock(&f->lock);
    bool good = c->phase == STRANGER; // not sent away meanwhile
    if (good) {
        c->phase = GOING; // nobody's stranger, and nobody's idle one yet
        f->strangers--;
    }
    if (good && f->counts[station] >= limit)
        good = send_idle_away(f, station);
    while (good && f->counts[station] >= limit && !f->stopping)
        if (pthread_cond_timedwait(&f->changed, &f->lock, &until) != 0)
            good = false;
    if (good && !f->stopping) {
        f->counts[station]++;
        c->station = station;
        c->phase = c->est ? HTTP : IDLE;
    }
    good = good && !f->stopping;
    pthread_mutex_unlock(&f->lock);
    return good;
}

static int64_t message_deadline(const ds_front *f)
{
    return ds_now_ms() + (int64_t)f->config->message_s * 1000;
}

static bool send_failure(connection *c, uint64_t id, ds_err *failure)
{
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    reply.id = id;
    reply.error_class = failure->cls;
    reply.error_text = failure->text;
    reply.error_hint = failure->hint;
    reply.error_code = failure->code;
    return !ds_tls_send(c->tls, &reply.base, message_deadline(c->front), NULL);
}

// "It is worked on." Who does not take that is gone.
static void tell(connection *c, bool touch)
{
    Devstamp__Signer__Wait body = DEVSTAMP__SIGNER__WAIT__INIT;
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    body.touch = touch;
    reply.body_case = DEVSTAMP__SIGNER__REPLY__BODY_WAIT;
    reply.wait = &body;
    if (ds_tls_send(c->tls, &reply.base, ds_now_ms() + TELL_WAIT_MS, NULL))
        (void)shutdown(c->fd, SHUT_RDWR);
}

static void tell_touch(void *arg)
{
    connection *c = arg;
    pthread_mutex_lock(&c->sending);
    tell(c, true);
    pthread_mutex_unlock(&c->sending);
}

// From now on its thread does not use the connection, or does again. false: it is to go.
static bool set_phase(connection *c, enum phase phase)
{
    ds_front *f = c->front;
    pthread_mutex_lock(&c->sending);
    pthread_mutex_lock(&f->lock);
    bool good = c->phase != GOING;
    if (good)
        c->phase = phase;
    pthread_mutex_unlock(&f->lock);
    pthread_mutex_unlock(&c->sending);
    return good;
}

static bool answer(connection *c, const Devstamp__Signer__Request *request)
{
    ds_front *f = c->front;
    const ds_front_case what = {f->config, station_of(c), f->signer, &f->complaints[c->station], tell_touch, c};
    ds_err e = DS_ERR_INIT;
    Devstamp__Signer__Reply *reply = NULL;
    bool rests = request->body_case != DEVSTAMP__SIGNER__REQUEST__BODY_SIGN;
    if (!set_phase(c, BUSY))
        return false;
    if (rests)
        pthread_mutex_lock(&f->asking[c->station]);
    enum ds_class rc = ds_front_answer(&what, request, &reply, &e);
    if (rests)
        pthread_mutex_unlock(&f->asking[c->station]);
    bool good = set_phase(c, IDLE);
    if (reply) {
        reply->id = request->id;
        good = !ds_tls_send(c->tls, &reply->base, message_deadline(f), NULL) && good;
        devstamp__signer__reply__free_unpacked(reply, NULL);
    } else if (rc) {
        good = send_failure(c, request->id, &e) && good;
    }
    return good;
}

static bool sent_away(connection *c)
{
    pthread_mutex_lock(&c->front->lock);
    bool away = c->phase == GOING || c->front->stopping;
    pthread_mutex_unlock(&c->front->lock);
    return away;
}

// Requests of a known station, until it goes or is sent away.
static void serve(connection *c)
{
    ds_front *f = c->front;
    const ds_tls_wait wait = {.idle_ms = (int64_t)f->config->idle_s * 1000,
                              .whole_ms = (int64_t)f->config->message_s * 1000,
                              .max = DS_REMOTE_REQUEST_MAX};
    DS_CLEANUP_BUF ds_buf bytes = {0};
    for (bool good = true; good && !sent_away(c);) {
        ds_err e = DS_ERR_INIT;
        enum ds_wire_met met = DS_WIRE_MESSAGE;
        enum ds_class rc = ds_tls_recv(c->tls, &wait, &bytes, &met, &e);
        if ((!rc && met != DS_WIRE_MESSAGE) || (rc && sent_away(c)))
            return;
        Devstamp__Signer__Request *request = rc ? NULL : devstamp__signer__request__unpack(NULL, bytes.len, bytes.ptr);
        if (!rc && !request)
            (void)ds_fail(&e, DS_INPUT, "a request that cannot be read");
        if (!request) {
            ds_front_complain(&f->complaints[c->station], station_of(c)->name, c->peer, e.text);
            if (e.cls != DS_POLICY)
                (void)send_failure(c, 0, &e);
            return;
        }
        good = answer(c, request);
        devstamp__signer__request__free_unpacked(request, NULL);
    }
}

static void meet(connection *c)
{
    ds_front *f = c->front;
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = ds_tls_open(f->side, c->fd, NULL, &c->tls, &e);
    if (!rc)
        rc = ds_tls_handshake(c->tls, ds_now_ms() + (int64_t)f->config->handshake_s * 1000, &e);
    if (rc) {
        complain(c, &e);
        return;
    }
    int station = ds_tls_known(c->tls);
    bool placed = find_place(c, station);
    if (c->est) {
        if (placed)
            ds_front_http_serve(f->http, c->tls, (unsigned)station);
        return;
    }
    if (placed) {
        serve(c);
        return;
    }
    (void)ds_fail_errno(&e, DS_NETWORK, EAGAIN, "%u requests of this station are under way",
                        f->config->stations[station].connections);
    (void)send_failure(c, 0, &e);
}

static void *run_connection(void *arg)
{
    connection *c = arg;
    ds_front *f = c->front;
    meet(c);
    if (c->tls)
        ds_tls_bye(c->tls);
    pthread_mutex_lock(&c->sending); // who accepts may be about to tell it something
    pthread_mutex_lock(&f->lock);
    connection **at = &f->first;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (c->phase == STRANGER)
        f->strangers--;
    if (c->station >= 0)
        f->counts[c->station]--;
    pthread_mutex_unlock(&f->lock);
    pthread_mutex_unlock(&c->sending);
    ds_tls_free(c->tls);
    close(c->fd);
    pthread_mutex_destroy(&c->sending);
    free(c);
    pthread_mutex_lock(&f->lock);
    f->total--;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void name_peer(const struct sockaddr *a, socklen_t len, char ret[64])
{
    char host[46], port[8];
    if (getnameinfo(a, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(ret, 64, "%s port %s", host, port);
    else
        snprintf(ret, 64, "somebody");
}

// Into the list, with a thread of its own. false: there is no room.
static bool admit(ds_front *f, connection *c)
{
    pthread_attr_t attr;
    pthread_t thread;
    pthread_mutex_lock(&f->lock);
    bool room = make_room(f, &c->source);
    if (room) {
        connection **at = &f->first;
        while (*at)
            at = &(*at)->next;
        *at = c;
        f->total++;
        f->strangers++;
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, STACK);
        if (pthread_create(&thread, &attr, run_connection, c) != 0) {
            *at = NULL;
            f->total--;
            f->strangers--;
            room = false;
        }
        pthread_attr_destroy(&attr);
    }
    pthread_mutex_unlock(&f->lock);
    return room;
}

static void accept_one(ds_front *f, int listener)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    int on = 1, fd = accept4(f->fd[listener], (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            ds_sleep_ms(100); // out of descriptors: others end
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    connection *c = ds_alloc(sizeof *c);
    *c = (connection){.front = f, .fd = fd, .station = -1, .est = listener == FOR_EST, .phase = STRANGER};
    pthread_mutex_init(&c->sending, NULL);
    c->source = ds_front_source_of(&peer);
    name_peer((struct sockaddr *)&peer, len, c->peer);
    if (admit(f, c))
        return;
    close(fd);
    pthread_mutex_destroy(&c->sending);
    free(c);
}

// A connection's thread takes both locks the other way round, so that here only who is free at once is told.
static void tell_all(ds_front *f)
{
    pthread_mutex_lock(&f->lock);
    for (connection *c = f->first; c; c = c->next)
        if (c->phase == BUSY && pthread_mutex_trylock(&c->sending) == 0) {
            tell(c, false);
            pthread_mutex_unlock(&c->sending);
        }
    pthread_mutex_unlock(&f->lock);
}

// Nobody is listened to any more; who waits for an answer gets it.
static void end_all(ds_front *f)
{
    pthread_mutex_lock(&f->lock);
    f->stopping = true;
    for (connection *c = f->first; c; c = c->next)
        (void)shutdown(c->fd, c->phase == BUSY ? SHUT_RD : SHUT_RDWR);
    while (f->total) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += TELL_MS / 1000;
        pthread_mutex_unlock(&f->lock);
        tell_all(f);
        pthread_mutex_lock(&f->lock);
        if (f->total)
            (void)pthread_cond_timedwait(&f->changed, &f->lock, &until);
    }
    pthread_mutex_unlock(&f->lock);
}

static void stop_listening(ds_front *f)
{
    for (int i = 0; i < LISTENERS; i++) {
        if (f->fd[i] >= 0)
            close(f->fd[i]);
        f->fd[i] = -1;
    }
}

enum ds_class ds_front_run(ds_front *f, int stop_fd, ds_err *e)
{
    enum ds_class rc = DS_OK;
    int64_t tell_at_ms = ds_now_ms() + TELL_MS;
    for (;;) {
        struct pollfd p[LISTENERS + 1] = {{.fd = f->fd[0], .events = POLLIN}, {.fd = f->fd[1], .events = POLLIN}};
        p[LISTENERS] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
        int ready = poll(p, LISTENERS + 1, ds_ms_left(tell_at_ms));
        if (ready < 0 && errno != EINTR) {
            rc = ds_fail_errno(e, DS_NETWORK, errno, "wait for stations");
            break;
        }
        if (ready > 0 && p[LISTENERS].revents)
            break;
        for (int i = 0; ready > 0 && i < LISTENERS; i++)
            if (p[i].revents)
                accept_one(f, i);
        if (ds_now_ms() >= tell_at_ms) {
            tell_all(f);
            tell_at_ms = ds_now_ms() + TELL_MS;
        }
    }
    stop_listening(f);
    end_all(f);
    return rc;
}

void ds_front_close(ds_front *f)
{
    if (!f)
        return;
    stop_listening(f);
    ds_front_http_free(f->http);
    ds_tls_side_free(f->side);
    for (size_t i = 0; i < DS_FRONT_STATIONS; i++)
        pthread_mutex_destroy(&f->asking[i]);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
