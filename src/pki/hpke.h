// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One message sealed to a public key: HPKE (RFC 9180), base mode, single shot, with DHKEM(P-256, HKDF-SHA256),
// HKDF-SHA256, AES-128-GCM. Whoever has the public key may seal: what is opened tells nothing of its sender.
#ifndef DS_PKI_HPKE_H
#define DS_PKI_HPKE_H

#include "src/base/secret.h"
#include "src/pki/ossl.h"

enum { DS_HPKE_PUBLIC = 65, DS_HPKE_TAG = 16 }; // an uncompressed point (SEC 1); what sealing adds

typedef struct ds_hpke_terms {
    const char *info; // what the message is for
    ds_view aad;      // authenticated with it
} ds_hpke_terms;

// Seal plain to recipient (DS_HPKE_PUBLIC bytes). ret_sender: the ephemeral public key; the ciphertext with its tag is
// appended to ret. DS_INPUT: recipient is no point of the curve.
enum ds_class ds_hpke_seal(ds_view recipient, const ds_hpke_terms *terms, const ds_secret *plain,
                           uint8_t ret_sender[DS_HPKE_PUBLIC], ds_buf *ret, ds_err *e) DS_MUST;

// Open what was sealed to key, a P-256 key pair. DS_INPUT: it was sealed to another key, for something else, or was
// changed.
enum ds_class ds_hpke_open(EVP_PKEY *key, const ds_hpke_terms *terms, ds_view sender, ds_view sealed, ds_secret *ret,
                           ds_err *e) DS_MUST;

// The public half of a P-256 key, as an uncompressed point. DS_INPUT: it is another kind of key.
enum ds_class ds_hpke_public(EVP_PKEY *key, uint8_t ret[DS_HPKE_PUBLIC], ds_err *e) DS_MUST;

#endif
