// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests, checked the same way by station and signer. Source: RFC 2986, RFC 5280.
#ifndef DS_PKI_CSR_H
#define DS_PKI_CSR_H

#include "src/base/buf.h"

typedef struct ds_csr_info {
    int key_type; // Devstamp__KeyType values: 1 RSA-2048, 2 RSA-3072, 3 P-256, 4 P-384; 0 anything else
    uint8_t public_key_digest[32]; // SHA-256 of SubjectPublicKeyInfo DER
    char subject[256];             // RFC 4514 order as in the CSR: "CN=…,O=…"
} ds_csr_info;

// Parse DER of at most 8 KiB; verify its own signature, key type and strength (RSA: exponent 65537, odd modulus of
// exact size; EC: named curve, point on it). DS_INPUT says what is wrong.
enum ds_class ds_csr_check(ds_view der, ds_csr_info *ret, ds_err *e) DS_MUST;

#endif
