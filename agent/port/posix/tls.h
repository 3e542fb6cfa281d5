// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The device's side of mutual TLS, from memory alone: no key and no certificate is ever a file.
#ifndef DS_AGENT_POSIX_TLS_H
#define DS_AGENT_POSIX_TLS_H

#include "src/base/buf.h"

#include <openssl/ssl.h>

typedef struct ds_tls_spec {
    ds_view key;      // PKCS#8, SEC1 or PKCS#1 DER
    ds_view chain;    // concatenated DER certificates, own first
    ds_view ca;       // whom the server must chain to: PEM certificates, or one DER certificate
    const char *host; // name or IP address the server's certificate must have
} ds_tls_spec;

// A client context of TLS 1.2 or newer that verifies the server; NULL where the material is not usable. SSL_CTX_free
// it.
SSL_CTX *ds_tls_new(const ds_tls_spec *spec);

#endif
