// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A token behind a PKCS#11 module (OASIS PKCS#11 2.40), named by an RFC 7512 URI: found, logged in once, keys found or
// made inside it. Signing goes through libp11 (key.c); login and key generation do not, because libp11 0.4 keeps its
// own copy of the PIN, makes RSA keys only, and hides why a login failed.
//
// PIN safety: the token's own flags are read first, with a session open, because some modules (ykcs11) show the count
// of tries as of their last word with the token. With one try left or none, no login is tried at all; nor with two,
// where the flags are known to mean that (Yubico) and nobody asked for it (spend). A PIN is tried once for each
// ds_token_open; with a note (pin_note.h), one that was refused is not tried by the next process either. Where the
// serial number of the token is given, no other token is sent the PIN. Never fork after a token was opened. A process
// may open several keys of one token (the login is the process's); closing any of them ends the module for all.
#ifndef DS_PKI_TOKEN_H
#define DS_PKI_TOKEN_H

#include "src/base/secret.h"
#include "src/pki/keytype.h"
#include "src/pki/pin_note.h"

typedef struct ds_token ds_token;

// Who logs in. Nobody: what is public alone is seen. The officer (PKCS#11's SO): with the SO PIN, which of a YubiKey is
// the management key in hexadecimal.
enum ds_token_user { DS_TOKEN_USER, DS_TOKEN_OFFICER, DS_TOKEN_NOBODY };

typedef struct ds_token_access {
    const char *uri;
    const char *module;      // path; NULL: the URI's module-path
    enum ds_token_user user; // whose PIN it is
    const ds_secret *pin;    // not kept
    const ds_pin_note *note; // NULL: none; must outlive the token
    bool rw;                 // a session that can write
    const char *serial;      // of the one token that may be given the PIN, as it shows it; NULL: any the URI names
    bool spend;              // somebody who knows the PIN asks for a try although few are left: two are enough then
} ds_token_access;

// Load the module, find the one token the URI names, log in. DS_TOKEN with the CKR_ value as code: no such token, PIN
// wrong, few tries left, token gone. DS_USAGE: the URI cannot be used. DS_STORE: the note cannot be kept.
enum ds_class ds_token_open(const ds_token_access *access, ds_token **ret, ds_err *e) DS_MUST;
void ds_token_close(ds_token *t);

// The serial number of the one token the URI names; nothing is sent to it.
enum ds_class ds_token_identify(const char *uri, const char *module, char ret[17], ds_err *e) DS_MUST;

// What libp11 needs to find the same token again.
const char *ds_token_module(const ds_token *t);
unsigned long ds_token_slot(const ds_token *t);

// One private key and its public half. id and label as the token holds them.
typedef struct ds_token_key {
    uint8_t id[64];
    size_t id_len;
    char label[128];
    bool each_use;                     // the PIN is asked for at each use
    EVP_PKEY *public_key;              // owned
    unsigned long private_h, public_h; // object handles
} ds_token_key;
void ds_token_key_free(ds_token_key *k);

// The one key the URI names (object and/or id).
enum ds_class ds_token_find(ds_token *t, ds_token_key *ret, ds_err *e) DS_MUST;

// The public half of the one key the URI names, without any login.
enum ds_class ds_token_find_public(ds_token *t, ds_token_key *ret, ds_err *e) DS_MUST;

// Make a key pair inside the token under the URI's name: sensitive, not extractable. DS_POLICY where the name is taken,
// or where it is to replace a key that is not there. DS_TOKEN with CKR_ATTRIBUTE_TYPE_INVALID: the module takes no
// policies; nothing was made.
typedef struct ds_token_new {
    enum ds_key_type type;
    uint8_t pin_policy, touch_policy; // DS_PIN_POLICY_, DS_TOUCH_POLICY_ of attest.h; 0: the token's own
    bool replace;                     // the key of that id is overwritten: the URI must name one by id
} ds_token_new;
enum ds_class ds_token_generate(ds_token *t, const ds_token_new *what, ds_token_key *ret, ds_err *e) DS_MUST;

// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (CKM_RSA_PKCS_PSS) over a digest; pin where the key
// asks for it at each use. DS_TOKEN with CKR_MECHANISM_INVALID or CKR_MECHANISM_PARAM_INVALID: the module does not do
// that.
enum ds_class ds_token_sign_pss(ds_token *t, const ds_token_key *k, const ds_secret *pin, const uint8_t digest[32],
                                uint8_t *ret, size_t *ret_len, ds_err *e) DS_MUST;

// Remove a key pair again: only for undoing ds_token_generate.
void ds_token_destroy(ds_token *t, const ds_token_key *k);

// What the token says of a key's origin: its attestation and the certificates that go with it. No login is needed.
// DS_TOKEN: it shows none. Caller frees both (X509_free, sk_X509_pop_free).
enum ds_class ds_token_attestation(ds_token *t, const ds_token_key *k, X509 **ret_leaf, STACK_OF(X509) * *ret_chain,
                                   ds_err *e) DS_MUST;

// Of the token that was opened: label and serial number as text, and a URI of a key in it as ds_token_key_seen has it.
const char *ds_token_label(const ds_token *t);
const char *ds_token_serial(const ds_token *t);
enum ds_class ds_token_key_uri(ds_token *t, const ds_token_key *k, char ret[300], ds_err *e) DS_MUST;

// Log out and in again, with the PIN that was accepted before: for keys that want it before each use although the
// module says otherwise (ds_key_ready). One try, as at ds_token_open.
enum ds_class ds_token_login_again(ds_token *t, const ds_secret *pin, ds_err *e) DS_MUST;

// After a use of the key failed: was the token pulled out? Some modules report no more than an error then. Says so,
// with CKR_DEVICE_REMOVED as code; the token is good for ds_token_close alone afterwards. Returns e's class.
enum ds_class ds_token_explain(ds_token *t, ds_err *e);

// The token refused the PIN after the login: note it.
void ds_token_pin_refused(const ds_token *t);

// Say what to do about the CKR_ value that is e's code, where that is known. Returns e's class.
enum ds_class ds_token_hint(ds_err *e);

// Is this a CKR_ value that says something about the PIN (wrong, locked, expired, invalid)? Then it must not be tried
// again.
bool ds_token_code_is_pin(uint32_t code);

// What a look at a token shows without any PIN.
typedef struct ds_token_seen {
    char label[33], serial[17], maker[33], model[17];
    bool initialised;
    int tries;         // of the PIN: 0, 1, 2; -1 where the token shows no more than that there are some
    bool wrong_before; // a wrong PIN was entered since the last right one
} ds_token_seen;
typedef struct ds_token_key_seen {
    char uri[300]; // as --key and --sub-key take it
    char label[128];
    enum ds_key_type type; // DS_KEY_NONE: of a type that is not used here, and without a digest
    uint8_t digest[32];    // SHA-256 of the SubjectPublicKeyInfo, as bundles name their signers
    bool each_use;         // the PIN is asked for at each use
} ds_token_key_seen;

// Look at all tokens of a module. For each, on_token is called, then on_key for each of its keys. No login is tried:
// keys that a token hides without one are not seen.
typedef struct ds_token_visitor {
    void (*on_token)(void *arg, const ds_token_seen *token);
    void (*on_key)(void *arg, const ds_token_key_seen *key);
    void *arg;
} ds_token_visitor;
enum ds_class ds_token_survey(const char *module, const ds_token_visitor *visitor, ds_err *e) DS_MUST;

// RFC 7512 URI that names a key in a token and carries no PIN? DS_USAGE or DS_POLICY otherwise.
enum ds_class ds_token_uri_check(const char *uri, ds_err *e) DS_MUST;

// Do both URIs name the same token, as far as they tell?
bool ds_token_same(const char *uri_a, const char *uri_b);

#endif
