// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Enrollment over Secure Transport (RFC 7030; base64 as RFC 8951 has it): cacerts, simpleenroll, simplereenroll, for a
// client that is known by its certificate, as a registration authority. A request names no recipe, device or dates:
//   recipe   the path's label (/.well-known/est/LABEL/simpleenroll), or the one recipe that the client may ask for
//   device   the serial number, and the address, that the recipe's subject has in the request's
//   serial   of the certificate: from recipe and key, so that the same request again gives the same certificate
// What is made of that is a request like a station's, and the signer judges it as one.
#ifndef DS_SIGNER_EST_H
#define DS_SIGNER_EST_H

#include "src/signer/front_serve.h"

enum { DS_EST_BODY_MAX = 16384 };

typedef struct ds_est_request {
    const char *method, *path;
    const char *content_type; // NULL: none
    ds_view body;
} ds_est_request;

typedef struct ds_est_answer {
    unsigned status;  // HTTP's
    const char *type; // of the body
    bool base64;      // "Content-Transfer-Encoding: base64"
    ds_buf body;      // ds_buf_free
} ds_est_answer;

void ds_est_serve(const ds_front_case *c, const ds_est_request *request, ds_est_answer *ret);

#endif
