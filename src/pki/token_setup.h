// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Making a token ready for its first key. A token of most makers is made new: C_InitToken with the officer's PIN (SO
// PIN), C_InitPIN with the user's; whatever it held is gone. A YubiKey is not: its C_InitToken resets the whole PIV
// application, so that here only its management key (the SO PIN), PUK and PIN are changed from the well-known ones it
// leaves the factory with; its keys stay.
#ifndef DS_PKI_TOKEN_SETUP_H
#define DS_PKI_TOKEN_SETUP_H

#include "src/pki/token.h"

// Find the token without any login. serial NULL: the one that is not initialised yet, or the one YubiKey.
// DS_TOKEN: none, or several; DS_POLICY: it is in use and was not named.
enum ds_class ds_token_pick(const char *module, const char *serial, ds_token **ret, ds_err *e) DS_MUST;
bool ds_token_is_yubikey(const ds_token *t);

typedef struct ds_token_setup {
    const char *label;  // of a token that is made new
    const char *erase;  // serial number of an initialised token that is to be made new all the same; NULL: none
    const char *in_use; // serial number of a YubiKey that may hold keys; NULL: none may be there
    ds_secret *so_pin, *pin, *puk; // new; of a YubiKey an empty one stays as it is. puk: of a YubiKey alone
    void (*on_done)(void *arg, const char *what); // after each part of a YubiKey
    void *arg;
} ds_token_setup;

// DS_POLICY: it holds keys, or is initialised, and was not named for that; nothing was changed. DS_INPUT: a new secret
// is none the token takes, or the well-known one; nothing was changed. DS_TOKEN: the token refused; on_done told what
// is done. Spends at most one try each of a YubiKey's PIN and PUK, and none where the token shows that the PIN has few.
enum ds_class ds_token_set_up(ds_token *t, const ds_token_setup *what, ds_err *e) DS_MUST;

#endif
