// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// RSASSA-PSS by the token itself; see token.h. Not through libp11, which pads here and wants raw RSA of the module:
// many that speak for a key service in a network do not do that. Source: PKCS#11 2.40 mechanisms, 2.1.10.
#include "src/pki/token_int.h"

#include <string.h>

// A mechanism's parameter and the digest are only read, but PKCS#11 wants them writable.
static CK_RV begin(ds_token *t, const ds_token_key *k, const ds_secret *pin)
{
    CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA256, CKG_MGF1_SHA256, 32};
    CK_MECHANISM how = {CKM_RSA_PKCS_PSS, &pss, sizeof pss};
    CK_RV rv = t->fn->C_SignInit(t->session, &how, k->private_h);
    if (rv == CKR_OK && k->each_use && pin && pin->ptr)
        rv = t->fn->C_Login(t->session, CKU_CONTEXT_SPECIFIC, pin->ptr, pin->len);
    return rv;
}

enum ds_class ds_token_sign_pss(ds_token *t, const ds_token_key *k, const ds_secret *pin, const uint8_t digest[32],
                                uint8_t *ret, size_t *ret_len, ds_err *e)
{
    uint8_t copy[32];
    CK_ULONG len = *ret_len;
    memcpy(copy, digest, sizeof copy);
    CK_RV rv = begin(t, k, pin);
    if (rv == CKR_OK)
        rv = t->fn->C_Sign(t->session, copy, sizeof copy, ret, &len);
    if (rv != CKR_OK)
        return ds_token_fail(e, rv, "sign");
    *ret_len = len;
    return DS_OK;
}
