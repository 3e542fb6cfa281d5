// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// HTTP for EST; see front_http.h. The library runs a thread for each connection, since the signer's client blocks.
#include "src/signer/front_http.h"
#include "src/signer/est.h"

#include "src/base/log.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MEMORY = 32768, UP_MAX = 65536 }; // of a connection; bytes from the other side

struct ds_front_http {
    const ds_front_config *config;
    ds_signer *signer;
    ds_front_complaints *complaints; // of each station
    struct MHD_Daemon *daemon;
};

// A request on its way in.
typedef struct incoming {
    ds_buf body;
    bool too_long;
} incoming;

static enum MHD_Result put_answer(struct MHD_Connection *connection, ds_est_answer *a)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(a->body.len, a->body.ptr, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result queued = MHD_NO;
    if (r && MHD_add_response_header(r, "Content-Type", a->type) == MHD_YES &&
        MHD_add_response_header(r, "Connection", "close") == MHD_YES &&
        (!a->base64 || MHD_add_response_header(r, "Content-Transfer-Encoding", "base64") == MHD_YES))
        queued = MHD_queue_response(connection, a->status, r);
    if (r)
        MHD_destroy_response(r);
    ds_buf_free(&a->body);
    return queued;
}

// Which station it is came with the connection, in place of an address.
static const ds_front_station *station_of(const ds_front_http *h, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct sockaddr_in6 a;
    if (!info || !info->client_addr)
        return NULL;
    memcpy(&a, info->client_addr, sizeof a);
    return a.sin6_port < h->config->station_count ? &h->config->stations[a.sin6_port] : NULL;
}

static void no_touch(void *arg)
{
    (void)arg; // HTTP has no word for it
}

static enum MHD_Result answer(const ds_front_http *h, struct MHD_Connection *connection, const char *path,
                              const char *method, const incoming *in)
{
    const ds_front_station *station = station_of(h, connection);
    if (!station)
        return MHD_NO;
    const ds_front_case c = {h->config, station, h->signer, &h->complaints[station - h->config->stations],
                             no_touch,  NULL};
    const ds_est_request request = {
        .method = method,
        .path = path,
        .content_type = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type"),
        .body = ds_buf_view(&in->body),
    };
    ds_est_answer a = {.status = 413, .type = "text/plain"};
    // A token may take longer than the other side may, and the library counts from the last byte that came.
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    if (!in->too_long)
        ds_est_serve(&c, &request, &a);
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, h->config->message_s);
    return put_answer(connection, &a);
}

// Called for a request's head, for each part of its body, and at its end.
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *part, size_t *len, void **state)
{
    (void)version;
    incoming *in = *state;
    if (!in) {
        *state = ds_alloc(sizeof *in);
        return MHD_YES;
    }
    if (*len == 0)
        return answer(arg, connection, path, method, in);
    in->too_long = in->too_long || in->body.len + *len > DS_EST_BODY_MAX;
    if (!in->too_long)
        ds_buf_add(&in->body, part, *len);
    *len = 0;
    return MHD_YES;
}

static void on_end(void *arg, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
    (void)arg, (void)connection, (void)why;
    incoming *in = *state;
    if (in)
        ds_buf_free(&in->body);
    free(in);
    *state = NULL;
}

enum ds_class ds_front_http_new(const ds_front_config *config, ds_signer *signer, ds_front_complaints *complaints,
                                ds_front_http **ret, ds_err *e)
{
    ds_front_http *h = ds_alloc(sizeof *h);
    *h = (ds_front_http){.config = config, .signer = signer, .complaints = complaints};
    h->daemon =
        MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                             MHD_USE_ITC | MHD_USE_POLL,
                         0, NULL, NULL, on_request, h, MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)DS_FRONT_TOTAL, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, config->message_s, MHD_OPTION_END);
    if (!h->daemon) {
        free(h);
        return ds_fail(e, DS_INTERNAL, "HTTP cannot be served");
    }
    *ret = h;
    return DS_OK;
}

void ds_front_http_free(ds_front_http *h)
{
    if (!h)
        return;
    MHD_stop_daemon(h->daemon);
    free(h);
}

void ds_front_http_serve(ds_front_http *h, ds_tls *tls, unsigned station)
{
    struct sockaddr_in6 who = {.sin6_family = AF_INET6, .sin6_port = (in_port_t)station};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        ds_log(DS_LOG_WARN, "socket pair: %s", strerror(errno));
        return;
    }
    // The other end is the library's, whatever comes of it.
    if (MHD_add_connection(h->daemon, pair[1], (struct sockaddr *)&who, sizeof who) == MHD_YES)
        ds_tls_pump(tls, pair[0], UP_MAX, (int64_t)h->config->message_s * 1000);
    else
        ds_log(DS_LOG_WARN, "HTTP takes no connection");
    close(pair[0]);
}
