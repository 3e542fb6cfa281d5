// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The TLS context of a device; see tls.h.
#include "agent/port/posix/tls.h"

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <limits.h>

// Of the kind that the certificate's key is: to try all kinds takes longer than all the rest here.
static EVP_PKEY *key_of(ds_view der, X509 *certificate)
{
    const unsigned char *at = der.ptr;
    EVP_PKEY *public = certificate ? X509_get0_pubkey(certificate) : NULL;
    EVP_PKEY *key =
        public && der.len <= LONG_MAX ? d2i_PrivateKey(EVP_PKEY_get_base_id(public), NULL, &at, (long)der.len) : NULL;
    if (key && at == der.ptr + der.len)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

static bool use_key(SSL_CTX *ctx, const ds_tls_spec *spec)
{
    X509 *certificate = SSL_CTX_get0_certificate(ctx);
    EVP_PKEY *key = spec->sign ? ds_tls_key_elsewhere(spec, certificate) : key_of(spec->key, certificate);
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
    EVP_PKEY_free(key);
    return ok;
}

static bool use_chain(SSL_CTX *ctx, ds_view der)
{
    const unsigned char *at = der.ptr, *end = der.ptr + der.len;
    for (bool own = true; at < end; own = false) {
        X509 *certificate = d2i_X509(NULL, &at, end - at);
        int ok = !certificate ? 0
                 : own        ? SSL_CTX_use_certificate(ctx, certificate)
                              : (int)SSL_CTX_add1_chain_cert(ctx, certificate);
        X509_free(certificate);
        if (ok != 1)
            return false;
    }
    return der.len > 0;
}

static X509 *next_ca(BIO *bio, bool is_der)
{
    return is_der ? d2i_X509_bio(bio, NULL) : PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

static bool trust_ca(SSL_CTX *ctx, ds_view ca)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = ca.len && ca.len <= INT_MAX ? BIO_new_mem_buf(ca.ptr, (int)ca.len) : NULL;
    unsigned count = 0;
    bool ok = bio, is_der = ca.len && ca.ptr[0] == 0x30;
    for (X509 *certificate; ok && (certificate = next_ca(bio, is_der)); count++) {
        ok = X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    return ok && count && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1;
}

static bool expect_host(SSL_CTX *ctx, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return *host &&
           (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 || X509_VERIFY_PARAM_set1_host(param, host, 0) == 1);
}

SSL_CTX *ds_tls_new(const ds_tls_spec *spec)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && use_chain(ctx, spec->chain) &&
        use_key(ctx, spec) && SSL_CTX_check_private_key(ctx) == 1 && trust_ca(ctx, spec->ca) &&
        expect_host(ctx, spec->host))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}
