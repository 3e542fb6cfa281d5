// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A private key that is not in memory: OpenSSL pads, for PKCS#1 v1.5 as for PSS (RFC 8017, 8 and 9), and what is left,
// one number to the power of d, is computed elsewhere. RSA_METHOD is OpenSSL's interface for that which needs no
// provider of its own; it is marked deprecated for other uses of RSA.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "agent/port/posix/tls.h"

#include "src/base/secret.h"

#include <openssl/rsa.h>

#include <pthread.h>
#include <string.h>

enum { MODULUS_MAX = 512 };

static RSA_METHOD *method;
static int spec_index = -1; // of the ds_tls_spec among an RSA's own data

static int private_operation(int len, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    const ds_tls_spec *spec = RSA_get_ex_data(rsa, spec_index);
    int size = RSA_size(rsa);
    uint8_t message[MODULUS_MAX];
    if (!spec || size > MODULUS_MAX)
        return -1;
    int padded = padding == RSA_PKCS1_PADDING ? RSA_padding_add_PKCS1_type_1(message, size, from, len)
                 : padding == RSA_NO_PADDING  ? RSA_padding_add_none(message, size, from, len)
                                              : 0;
    bool ok = padded == 1 && spec->sign(spec->sign_ctx, spec->key, message, to, (size_t)size);
    ds_wipe(message, sizeof message);
    return ok ? size : -1;
}

static void make_method(void)
{
    method = RSA_meth_dup(RSA_get_default_method());
    spec_index = RSA_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    if (method)
        RSA_meth_set_priv_enc(method, private_operation);
}

// The public key of the certificate, with the method.
static RSA *public_half(X509 *certificate)
{
    EVP_PKEY *key = certificate ? X509_get0_pubkey(certificate) : NULL;
    const RSA *of = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? EVP_PKEY_get0_RSA(key) : NULL;
    RSA *rsa = of ? RSA_new() : NULL;
    if (!rsa)
        return NULL;
    BIGNUM *n = BN_dup(RSA_get0_n(of)), *e = BN_dup(RSA_get0_e(of));
    if (n && e && RSA_set0_key(rsa, n, e, NULL) == 1)
        return rsa;
    BN_free(n);
    BN_free(e);
    RSA_free(rsa);
    return NULL;
}

EVP_PKEY *ds_tls_key_elsewhere(const ds_tls_spec *spec, X509 *certificate)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    RSA *rsa = method && spec_index >= 0 ? public_half(certificate) : NULL;
    EVP_PKEY *key = rsa ? EVP_PKEY_new() : NULL;
    // RSA_set_ex_data() takes what it keeps without const; it is only ever read here.
    void *kept;
    memcpy(&kept, &spec, sizeof kept);
    if (key && RSA_set_method(rsa, method) == 1 && RSA_set_ex_data(rsa, spec_index, kept) == 1 &&
        EVP_PKEY_set1_RSA(key, rsa) == 1) {
        RSA_free(rsa);
        return key;
    }
    EVP_PKEY_free(key);
    RSA_free(rsa);
    return NULL;
}
