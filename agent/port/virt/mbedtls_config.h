// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the agent needs of mbedTLS 2.28 and no more: RSA and ECDSA keys (P-256, P-384), requests (PKCS#10), certificates
// read and verified, SHA-256 and SHA-384. Named by MBEDTLS_CONFIG_FILE.
#ifndef DS_PORT_VIRT_MBEDTLS_CONFIG_H
#define DS_PORT_VIRT_MBEDTLS_CONFIG_H

#define MBEDTLS_NO_PLATFORM_ENTROPY
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_MEMORY_BUFFER_ALLOC_C
#define MBEDTLS_MEMORY_DEBUG // counts the peak
// A pool that was overwritten ends the firmware; there is nowhere to print to.
#define MBEDTLS_PLATFORM_FPRINTF_MACRO(...) ((void)0)
#define MBEDTLS_PLATFORM_EXIT_MACRO(code) abort()

#define MBEDTLS_BIGNUM_C
#define MBEDTLS_GENPRIME
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECDSA_C
#define MBEDTLS_MPI_MAX_SIZE 512
#define MBEDTLS_ECP_WINDOW_SIZE 4

// Keys in a digital-signature peripheral (agent/core/dsig.c); a port without one needs the declarations all the same.
#define MBEDTLS_PK_RSA_ALT_SUPPORT
#define MBEDTLS_AES_C
#define MBEDTLS_CIPHER_MODE_CBC

#define MBEDTLS_MD_C
#define MBEDTLS_HMAC_DRBG_C // blinds point multiplications that are given no random numbers
#define MBEDTLS_SHA224_C    // 2.28 builds SHA-256 with it only
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA512_C // and SHA-384

#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_OID_C
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_PK_WRITE_C
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_CREATE_C
#define MBEDTLS_X509_CSR_PARSE_C
#define MBEDTLS_X509_CSR_WRITE_C
#define MBEDTLS_X509_REMOVE_INFO

#include <mbedtls/check_config.h>

#endif
