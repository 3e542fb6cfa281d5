// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside the seal: shared by its format, its cryptography and its unlockers.
#ifndef DS_SIGNER_SEAL_INT_H
#define DS_SIGNER_SEAL_INT_H

#include "src/signer/seal.h"

enum { SEAL_KEY = 32, SEAL_NONCE = 24, SEAL_TAG = 16, SEAL_WRAP = SEAL_NONCE + SEAL_KEY + SEAL_TAG, SEAL_PAD = 256 };
enum { SEAL_FIXED = 24, SEAL_LENGTH_AT = 8, SEAL_DIGEST = 32 };

// Header, parts and unlockers of s appended to ret; its length stays 0 for ds_seal_finish.
void ds_seal_put_head(const ds_seal *s, ds_buf *ret);
// Set the length and append the digest of the whole file.
void ds_seal_put_length(ds_buf *bytes, size_t whole);
void ds_seal_put_digest(ds_buf *bytes);

// What an unlocker gives, 32 bytes. DS_INTERNAL: memory.
enum ds_class ds_seal_share_passphrase(const ds_seal_unlocker *u, const ds_secret *passphrase, ds_secret *ret,
                                       ds_err *e) DS_MUST;
enum ds_class ds_seal_share_key(const ds_seal_unlocker *u, const ds_secret *key, ds_secret *ret, ds_err *e) DS_MUST;

// The data key, wrapped for one share, or for all count of them together; ret: SEAL_WRAP bytes.
enum ds_class ds_seal_wrap(const ds_secret *shares, size_t count, bool all, const ds_secret *data_key, uint8_t *ret,
                           ds_err *e) DS_MUST;
// False where the shares do not open it; else *ret is the caller's.
bool ds_seal_unwrap(const ds_secret *shares, size_t count, bool all, const uint8_t *wrap, ds_secret *ret);

// The secrets under the data key. put: nonce, length and ciphertext are appended to bytes, which holds everything
// before them, and its length field is set.
enum ds_class ds_seal_put_secrets(const ds_secret *data_key, const ds_secret *pin, ds_buf *bytes, ds_err *e) DS_MUST;
enum ds_class ds_seal_take_secrets(const ds_seal *s, const ds_secret *data_key, ds_secret *ret_pin, ds_err *e) DS_MUST;

#endif
