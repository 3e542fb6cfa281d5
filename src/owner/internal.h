// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the parts of the owner's side share: the session, and what is computed (proto/owner.proto).
#ifndef DS_OWNER_INTERNAL_H
#define DS_OWNER_INTERNAL_H

#include "src/owner/companion.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    DS_COMPANION_POINT = 65,
    DS_COMPANION_KEY = 32,
    DS_COMPANION_SEAL = 16, // bytes that sealing adds
    DS_COMPANION_CERTS_MAX = 8,
    DS_COMPANION_MESSAGE_MAX = 1024,
};
#define DS_COMPANION_TAG "devstamp owner 1" // its NUL counts

typedef struct ds_companion_keys {
    uint8_t tag[DS_COMPANION_KEY], proof[DS_COMPANION_KEY], parcel[DS_COMPANION_KEY], receipt[DS_COMPANION_KEY];
} ds_companion_keys;

enum ds_companion_stage {
    DS_COMPANION_IDLE,
    DS_COMPANION_OPENING,
    DS_COMPANION_CHALLENGING,
    DS_COMPANION_GENUINE,
    DS_COMPANION_HANDING,
    DS_COMPANION_DONE,
};

struct ds_companion {
    STACK_OF(X509) * roots;
    char name[DS_COMPANION_NAME_MAX + 1];
    uint8_t pop[DS_COMPANION_POP_MAX];
    size_t pop_len;
    int64_t now_utc;
    uint32_t piece;

    enum ds_companion_stage stage;
    EVP_PKEY *ephemeral;                                                  // of X, until it was used
    uint8_t transcript[sizeof DS_COMPANION_TAG + 2 * DS_COMPANION_POINT]; // tag, NUL, X, Y
    ds_companion_keys keys;
    uint8_t message[DS_COMPANION_MESSAGE_MAX];
    uint8_t proof[DS_COMPANION_REPLY_MAX]; // as far as it has come
    size_t proof_len, proof_total;
    ds_companion_device device;
};

static inline uint8_t *ds_companion_point_x(ds_companion *c)
{
    return c->transcript + sizeof DS_COMPANION_TAG;
}
static inline uint8_t *ds_companion_point_y(ds_companion *c)
{
    return c->transcript + sizeof DS_COMPANION_TAG + DS_COMPANION_POINT;
}

// Record a failure with one of our codes; what OpenSSL queued is dropped.
enum ds_class ds_companion_fail(ds_err *e, enum ds_class cls, enum ds_companion_code code, const char *fmt, ...)
    DS_PRINTF(4, 5);

// ---- crypto.c

// A fresh key pair and its point. NULL on failure.
EVP_PKEY *ds_companion_keypair(uint8_t ret_point[DS_COMPANION_POINT]);
// x coordinate of the product; false where peer is no uncompressed point of P-256.
bool ds_companion_ecdh(EVP_PKEY *own, const uint8_t peer[DS_COMPANION_POINT], uint8_t ret[DS_COMPANION_KEY]);
bool ds_companion_derive(const uint8_t *transcript, size_t len, const uint8_t z[DS_COMPANION_KEY], const uint8_t *pop,
                         size_t pop_len, ds_companion_keys *ret);
// data: len bytes, with room for DS_COMPANION_SEAL more; in place.
bool ds_companion_seal(const uint8_t key[DS_COMPANION_KEY], uint8_t *data, size_t len);
bool ds_companion_unseal(const uint8_t key[DS_COMPANION_KEY], uint8_t *data, size_t len, size_t *ret_len);

// ---- check.c

// Is this chain (concatenated DER) one of the product's, for the device of the label, and the signature over the
// transcript by its key? Fills c->device.
enum ds_class ds_companion_check(ds_companion *c, const uint8_t *chain, size_t len, const uint8_t *signature,
                                 size_t signature_len, ds_err *e) DS_MUST;
// Certificates of a PEM text; NULL where there is none, or one that cannot be read. Free with sk_X509_pop_free.
STACK_OF(X509) * ds_companion_read_roots(const char *pem, size_t len);

#endif
