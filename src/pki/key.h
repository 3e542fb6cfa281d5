// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A CA's key behind a URI: "file:path" (PEM, readable by its owner alone; for development, the demo and an off-line
// root) or RFC 7512 "pkcs11:token=…;object=…". Used in the signer process only.
#ifndef DS_PKI_KEY_H
#define DS_PKI_KEY_H

#include "src/base/secret.h"
#include "src/pki/keytype.h"
#include "src/pki/pin_note.h"

typedef struct ds_key ds_key;

typedef struct ds_key_source {
    const char *uri;
    const char *module;      // PKCS#11 module path; NULL for files
    const ds_secret *pin;    // NULL for files; must outlive the ds_key where the key asks for it at each use
    const ds_pin_note *note; // NULL: none; must outlive the ds_key
    const char *serial;      // of the token that may be given the PIN; NULL: any that the URI names
} ds_key_source;

// Is uri one of the two kinds? ret_token: it is a token's. DS_USAGE otherwise.
enum ds_class ds_key_uri_check(const char *uri, bool *ret_token, ds_err *e) DS_MUST;

// Open an existing key. DS_INPUT/DS_POLICY: file missing, bad, or readable by others; DS_TOKEN as ds_token_open.
enum ds_class ds_key_open(const ds_key_source *src, ds_key **ret, ds_err *e) DS_MUST;
// Make a key: a new file (never over an old one), or inside the token.
enum ds_class ds_key_create(const ds_key_source *src, enum ds_key_type type, ds_key **ret, ds_err *e) DS_MUST;
// Undo ds_key_create: remove the stored key; k is only good for ds_key_free afterwards. Only when what it was made for
// failed.
void ds_key_destroy(ds_key *k);
void ds_key_free(ds_key *k);

// Borrowed. The private one signs (X509_sign) and may be a handle into a token.
EVP_PKEY *ds_key_private(const ds_key *k);
EVP_PKEY *ds_key_public(const ds_key *k);

// Must uses of the key come one after the other, because the token asks for the PIN or for a touch at each of them?
// Other keys may be used by several threads at once.
bool ds_key_is_serial(const ds_key *k);
// Before each use: log in again where the key wants the PIN each time and the module does not say so (a YubiKey's
// outside of slot 9c). At most one try of the PIN, and none where the token shows that few are left.
enum ds_class ds_key_ready(ds_key *k, ds_err *e) DS_MUST;
// Will a use wait for somebody to touch the token, as far as the token's attestation tells?
bool ds_key_wants_touch(const ds_key *k);
// As ds_token_attestation. DS_USAGE: the key is in a file.
enum ds_class ds_key_attestation(const ds_key *k, X509 **ret_leaf, STACK_OF(X509) * *ret_chain, ds_err *e) DS_MUST;

// Sign a SHA-256 digest as Secure Boot V2 wants it: RSASSA-PSS (SHA-256, salt of 32 bytes) or, of an EC key, ECDSA in
// DER. *ret_len is the room at first. DS_TOKEN as ds_key_failed tells it.
enum ds_class ds_key_sign_digest(ds_key *k, const uint8_t digest[32], uint8_t *ret, size_t *ret_len, ds_err *e) DS_MUST;
// Sign a message with the digest that belongs to the key (ds_key_digest_md): RSASSA-PKCS1-v1_5, or ECDSA in DER.
enum ds_class ds_key_sign(ds_key *k, ds_view message, uint8_t *ret, size_t *ret_len, ds_err *e) DS_MUST;
// Is it the signature of that message, made so? public_key is one of our types.
bool ds_key_verify(EVP_PKEY *public_key, ds_view message, ds_view signature);

// A use of the key failed: say why as far as that can be known (ds_token_explain), and note it where the token refused
// the PIN. Returns e's class.
enum ds_class ds_key_failed(const ds_key *k, ds_err *e);

// Write a private key as PEM (PKCS#8), mode 0600, never over an existing file.
enum ds_class ds_key_file_write(const char *path, EVP_PKEY *key, ds_err *e) DS_MUST;

#endif
