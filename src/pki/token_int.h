// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside the token: shared by token.c (module, slot, login) and token_key.c (objects).
#ifndef DS_PKI_TOKEN_INT_H
#define DS_PKI_TOKEN_INT_H

#include "src/pki/token.h"

#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

struct ds_token {
    char *module;
    void *handle;
    CK_FUNCTION_LIST *fn;
    bool initialised;
    P11KitUri *uri;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
    ds_pin_token identity;
    bool yubico;
    char serial[17];
    const ds_pin_note *note;
};

// Names for a message, quoted, separated by commas, printable; what does not fit is left out.
typedef struct ds_name_list {
    char text[160];
    size_t len;
} ds_name_list;
void ds_name_list_add(ds_name_list *l, const uint8_t *name, size_t len);

// Record a failed PKCS#11 call: class DS_TOKEN, the CKR_ value as code and in words, a hint.
enum ds_class ds_token_fail(ds_err *e, CK_RV rv, const char *what);

// Load t->module and start it.
enum ds_class ds_token_load(ds_token *t, ds_err *e) DS_MUST;

// A field that is filled up with spaces, as text; ret holds len + 1 bytes.
void ds_token_text(char *ret, const unsigned char *src, size_t len);

// One attribute of at most cap bytes; its length, 0 where there is none.
size_t ds_token_attribute(ds_token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *ret, size_t cap);

// Fill in k, of which private_h is known: id, label, public half.
enum ds_class ds_token_describe(ds_token *t, ds_token_key *k, ds_err *e) DS_MUST;

// How many tries of the PIN are left: 0, 1, 2; -1 where the token does not say.
int ds_token_tries(const CK_TOKEN_INFO *info);

// Is it one of Yubico's, behind Yubico's own module?
bool ds_token_is_yubico(const CK_TOKEN_INFO *info);

// The URI of a key by token and id; empty where it cannot be written.
void ds_token_write_uri(const CK_TOKEN_INFO *info, const ds_token_key *k, char *ret, size_t cap);

// A YubiKey's management key as its SO PIN: 48 hexadecimal digits. Anything else must not be sent: ykcs11 takes six to
// eight characters for the PIN, at the cost of a try. DS_INPUT.
enum ds_class ds_token_check_management_key(const ds_secret *key, ds_err *e) DS_MUST;

// CKA_ID of a YubiKey's attestation key, which every one holds from the beginning.
enum { DS_YUBIKEY_ATTESTATION_ID = 25 };

#endif
