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
    char label[33];
};

// Record a failed PKCS#11 call: class DS_TOKEN, the CKR_ value as code and in words.
enum ds_class ds_token_fail(ds_err *e, CK_RV rv, const char *what);

#endif
