// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside the signer process: private keys for devices that do not make their own (docs/key-origin.md). A key lives in
// guarded memory between being made and being sealed to its device, and nowhere else.
#ifndef DS_SIGNER_KEYMAKER_H
#define DS_SIGNER_KEYMAKER_H

#include "proto/signer.pb-c.h"
#include "src/pki/hpke.h"
#include "src/signer/profile.h"

// Once, before any key: OpenSSL's private numbers live in guarded memory (locked, not dumped, between guard pages,
// wiped).
enum ds_class ds_keymaker_guard(ds_err *e) DS_MUST;

// A key that is sealed to a device already. Zero-initialise; ds_made_key_free.
typedef struct ds_made_key {
    ds_buf spki; // SubjectPublicKeyInfo, DER
    uint8_t encapsulated[DS_HPKE_PUBLIC];
    ds_buf sealed;
} ds_made_key;
void ds_made_key_free(ds_made_key *k);

// Make one as asked. DS_POLICY: no profile of that recipe says that the signer makes keys, of that type. DS_INPUT: the
// transport key is none.
enum ds_class ds_keymaker_make(const ds_profiles *p, const Devstamp__Signer__MakeKey *request, ds_made_key *ret,
                               ds_err *e) DS_MUST;

// Seal a key to a device's transport key, as its agent opens it: what ImportKey carries.
enum ds_class ds_keymaker_seal(EVP_PKEY *key, ds_view transport, ds_made_key *ret, ds_err *e) DS_MUST;

// The key and the request of a stamp: made, sealed to the pool's key, and put into request->sign->csr, as if a device
// had sent it. DS_POLICY: no profile of that recipe says that keys come from a pool.
enum ds_class ds_keymaker_stamp(const ds_profiles *p, Devstamp__Signer__MakeStamp *request, ds_made_key *ret,
                                ds_err *e) DS_MUST;

// A stamp's key, opened with the pool's key (NULL: there is none) and sealed to a device.
enum ds_class ds_keymaker_open(const ds_profiles *p, EVP_PKEY *pool_key, const Devstamp__Signer__OpenStamp *request,
                               ds_made_key *ret, ds_err *e) DS_MUST;

#endif
