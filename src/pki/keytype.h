// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The kinds of key we work with, and no others. Sources: SP 800-57 part 1 (strength), RFC 5480 (named curves), RFC
// 8017.
#ifndef DS_PKI_KEYTYPE_H
#define DS_PKI_KEYTYPE_H

#include "src/pki/ossl.h"

// The first four are the values of devstamp.KeyType in stamp.proto; RSA-4096 is for CA keys alone.
enum ds_key_type {
    DS_KEY_NONE = 0,
    DS_KEY_RSA_2048 = 1,
    DS_KEY_RSA_3072 = 2,
    DS_KEY_ECDSA_P256 = 3,
    DS_KEY_ECDSA_P384 = 4,
    DS_KEY_RSA_4096 = 5,
};

typedef struct ds_key_kind {
    enum ds_key_type type;
    const char *name;  // as recipes and the command line spell it: "ecdsa-p256"
    const char *label; // as people read it: "ECDSA P-256"
    unsigned bits;
    const char *curve; // OpenSSL's group name; NULL for RSA
} ds_key_kind;

// What is known of a type; NULL for any other number.
const ds_key_kind *ds_key_kind_of(enum ds_key_type type);
// The type of that name ("ecdsa-p256"); DS_KEY_NONE where there is none.
enum ds_key_type ds_key_type_parse(const char *name);
// The type of a key; DS_KEY_NONE where it is none of ours.
enum ds_key_type ds_key_type_of(EVP_PKEY *key);

// Demand that a public key is sound: one of our types; RSA with an odd composite modulus of exact size and exponent
// 65537; EC on a named curve with its point on it; encoded in the one canonical way, so that one key has one digest.
// spki is the SubjectPublicKeyInfo as it was received. DS_INPUT says what is wrong. ret_digest: SHA-256 of the
// SubjectPublicKeyInfo.
enum ds_class ds_public_key_check(X509_PUBKEY *spki, enum ds_key_type *ret_type, uint8_t ret_digest[32],
                                  ds_err *e) DS_MUST;

// SHA-256 of a key's SubjectPublicKeyInfo.
enum ds_class ds_public_key_digest(EVP_PKEY *key, uint8_t ret[32], ds_err *e) DS_MUST;

// Make a key pair in this process's memory.
enum ds_class ds_key_make(enum ds_key_type type, EVP_PKEY **ret, ds_err *e) DS_MUST;

// The digest to sign with that key: SHA-384 for P-384, SHA-256 for all others.
const EVP_MD *ds_key_digest_md(EVP_PKEY *key);

#endif
