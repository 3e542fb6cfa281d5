// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// HTTPS for the station's side of EST (RFC 7030, 3.2 and 3.3): TLS 1.2 or later with certificates on both sides, one
// exchange on a connection. The server must be certified by the named CA for the host in its URL; no other CA of this
// computer counts, nothing is redirected, no proxy is used.
#ifndef DS_SIGNER_EST_HTTP_H
#define DS_SIGNER_EST_HTTP_H

#include "src/signer/signer.h"

typedef struct ds_est_http ds_est_http;

// Reads certificates and key (a file that its owner alone may read); connects to nobody. *where is borrowed until
// ds_est_http_free.
enum ds_class ds_est_http_new(const ds_signer_est *where, ds_est_http **ret, ds_err *e) DS_MUST;
void ds_est_http_free(ds_est_http *h);

typedef struct ds_est_reply {
    bool sent;             // the request has left, at least in part: the server may have done what it asks
    long status;           // HTTP's; 0: there was no answer
    int64_t retry_after_s; // 0: not told
    bool certificates;     // it says of itself that it is application/pkcs7-mime
    ds_buf body;           // at most 64 KiB; ds_buf_free, on a failure too
} ds_est_reply;

// GET or, with a request in DER, POST "/.well-known/est/[LABEL/]<operation>". DS_OK: there is an answer, whatever it
// says. DS_POLICY: one side does not take the other's certificate; DS_NETWORK: not reached, cut off, too slow, too
// long. Blocks until deadline_ms (of ds_now_ms) at the latest. Threads may share h.
typedef struct ds_est_question {
    const char *operation;
    ds_view csr; // empty: GET
    int64_t deadline_ms;
} ds_est_question;
enum ds_class ds_est_http_ask(ds_est_http *h, const ds_est_question *q, ds_est_reply *ret, ds_err *e) DS_MUST;

#endif
