// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What differs between mbedTLS 2.28 and 3.x for the few calls the agent makes.
#ifndef DS_AGENT_COMPAT_H
#define DS_AGENT_COMPAT_H

#include <mbedtls/pk.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/version.h>

// Parameters of a mbedtls_pk_rsa_alt_sign_func and of a mbedtls_pk_rsa_alt_decrypt_func.
#if MBEDTLS_VERSION_MAJOR >= 3
#define DS_RSA_ALT_MODE
#else
#define DS_RSA_ALT_MODE int mode,
#endif

// size: of the buffer sig, at least MBEDTLS_PK_SIGNATURE_MAX_SIZE.
#if MBEDTLS_VERSION_MAJOR >= 3
#define DS_PK_SIGN(pk, md, hash, hash_len, sig, size, ret_len, f_rng, p_rng) \
    mbedtls_pk_sign((pk), (md), (hash), (hash_len), (sig), (size), (ret_len), (f_rng), (p_rng))
#define DS_PK_PARSE_KEY(pk, der, len, f_rng, p_rng) mbedtls_pk_parse_key((pk), (der), (len), NULL, 0, (f_rng), (p_rng))
#else
#define DS_PK_SIGN(pk, md, hash, hash_len, sig, size, ret_len, f_rng, p_rng) \
    ((void)(size), mbedtls_pk_sign((pk), (md), (hash), (hash_len), (sig), (ret_len), (f_rng), (p_rng)))
#define DS_PK_PARSE_KEY(pk, der, len, f_rng, p_rng) \
    ((void)(f_rng), (void)(p_rng), mbedtls_pk_parse_key((pk), (der), (len), NULL, 0))
#endif

#endif
