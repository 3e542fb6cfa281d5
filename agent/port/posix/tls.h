// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The device's side of mutual TLS, from memory alone: no key and no certificate is ever a file.
#ifndef DS_AGENT_POSIX_TLS_H
#define DS_AGENT_POSIX_TLS_H

#include "src/base/buf.h"

#include <openssl/ssl.h>

// ret = in^d mod n with the RSA key that key stands for; big-endian, len bytes each. False where it cannot be used.
typedef bool (*ds_tls_sign)(void *ctx, ds_view key, const uint8_t *in, uint8_t *ret, size_t len);

typedef struct ds_tls_spec {
    ds_view key;      // PKCS#8, SEC1 or PKCS#1 DER; where sign is given, whatever that takes, kept by the caller
    ds_view chain;    // concatenated DER certificates, own first
    ds_view ca;       // whom the server must chain to: PEM certificates, or one DER certificate
    const char *host; // name or IP address the server's certificate must have
    ds_tls_sign sign; // NULL: the key is here
    void *sign_ctx;
} ds_tls_spec;

// A client context of TLS 1.2 or newer that verifies the server; NULL where the material is not usable. SSL_CTX_free
// it.
// spec must outlive it where it has sign.
SSL_CTX *ds_tls_new(const ds_tls_spec *spec);

// --- tls_key.c
// The private key that spec->sign stands for, its public half taken from this certificate; EVP_PKEY_free it. NULL where
// the certificate is for no RSA key.
EVP_PKEY *ds_tls_key_elsewhere(const ds_tls_spec *spec, X509 *certificate);

#endif
