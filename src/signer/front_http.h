// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// HTTP (libmicrohttpd) for those who speak EST (est.h), behind the front's own TLS: the library sees a local socket for
// each connection whose station is known, and what it reads there has its bounds.
#ifndef DS_SIGNER_FRONT_HTTP_H
#define DS_SIGNER_FRONT_HTTP_H

#include "src/signer/front.h"
#include "src/signer/front_complaints.h"

typedef struct ds_front_http ds_front_http;

// Both are borrowed until ds_front_http_free, when nobody may be served any more.
enum ds_class ds_front_http_new(const ds_front_config *config, ds_signer *signer, ds_front_complaints *complaints,
                                ds_front_http **ret, ds_err *e) DS_MUST;
void ds_front_http_free(ds_front_http *h);

// One request of the station of that index over a connection that has shaken hands; returns once it is answered or
// given up, also where the other side did not wait for that.
void ds_front_http_serve(ds_front_http *h, ds_tls *tls, unsigned station);

#endif
