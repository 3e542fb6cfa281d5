// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One HTTP exchange over libcurl: with deadlines, a bounded answer, no proxy surprises and no redirects, and signed
// with Signature Version 4 where credentials are given. All of libcurl's memory is wiped when it is freed, since keys
// and session tokens pass through it. Not for threads.
#ifndef DS_AWS_HTTP_H
#define DS_AWS_HTTP_H

#include "src/base/secret.h"

// Key id, secret and session token are text with a terminating zero inside the guarded memory; token may be empty.
typedef struct ds_aws_keys {
    ds_secret id, secret, token;
    int64_t expires_utc; // 0: they do not
    char source[128];    // where they came from, for messages
} ds_aws_keys;
void ds_aws_keys_free(ds_aws_keys *k);

typedef struct ds_aws_http ds_aws_http;

// ca_file: PEM of the authorities to trust instead of the system's; NULL: the system's.
enum ds_class ds_aws_http_new(const char *ca_file, ds_aws_http **ret, ds_err *e) DS_MUST;
void ds_aws_http_free(ds_aws_http *h);

enum { DS_AWS_HEADERS = 4 };

typedef struct ds_aws_exchange {
    const char *method, *url;
    const char *headers[DS_AWS_HEADERS]; // "name: value"; NULL ends
    const ds_secret *secret_header;      // one more, as text with its terminating zero; NULL: none
    const char *body;                    // NULL: none
    bool once; // over a connection of its own: where one that was used before turns out dead, libcurl sends again
    long connect_ms, total_ms;
    // Signature; keys NULL: none. A signed path has unreserved characters and slashes only, and a query is in order of
    // its names and percent-encoded: libcurl 7.88 signs both as they are (docs/decisions/0014).
    const ds_aws_keys *keys;
    const char *region, *service;
} ds_aws_exchange;

typedef struct ds_aws_answer {
    long status;
    char error_type[96]; // x-amzn-errortype without what follows a colon; "" where there is none
    long retry_after_s;  // 0: not told
    ds_buf body;         // at most 4 MiB; a zero follows that len does not count
} ds_aws_answer;
void ds_aws_answer_free(ds_aws_answer *a); // wipes

// DS_NETWORK: no answer, or none that can be taken; any HTTP status is an answer. Blocks for total_ms at most.
enum ds_class ds_aws_http_do(ds_aws_http *h, const ds_aws_exchange *x, ds_aws_answer *ret, ds_err *e) DS_MUST;

#endif
