// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A key's attestation, as the token shows it among its certificates; see token.h. ykcs11 lists, for each key that was
// made in the token, an attestation it asks the token for, and the certificate of the attestation key (slot f9).
#include "src/pki/token_int.h"

#include "src/pki/attest.h"
#include "src/pki/cert.h"

#include <openssl/x509v3.h>

enum { CERTS_MAX = 64, CERT_MAX = 8192 };

static CK_ULONG list_certificates(ds_token *t, CK_OBJECT_HANDLE found[CERTS_MAX])
{
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_ATTRIBUTE query = {CKA_CLASS, &class, sizeof class};
    CK_ULONG count = 0;
    if (t->fn->C_FindObjectsInit(t->session, &query, 1) != CKR_OK)
        return 0;
    if (t->fn->C_FindObjects(t->session, found, CERTS_MAX, &count) != CKR_OK)
        count = 0;
    (void)t->fn->C_FindObjectsFinal(t->session);
    return count;
}

static X509 *read_certificate(ds_token *t, CK_OBJECT_HANDLE object)
{
    uint8_t der[CERT_MAX];
    X509 *cert = NULL;
    size_t len = ds_token_attribute(t, object, CKA_VALUE, der, sizeof der);
    return len && !ds_cert_parse((ds_view){der, len}, &cert, NULL) ? cert : NULL;
}

static bool is_of_key(X509 *cert, const ds_token_key *k)
{
    return ds_attestation_is(cert) && X509_get0_pubkey(cert) && EVP_PKEY_eq(X509_get0_pubkey(cert), k->public_key) == 1;
}

enum ds_class ds_token_attestation(ds_token *t, const ds_token_key *k, X509 **ret_leaf, STACK_OF(X509) * *ret_chain,
                                   ds_err *e)
{
    CK_OBJECT_HANDLE found[CERTS_MAX];
    CK_ULONG count = list_certificates(t, found);
    X509 *leaf = NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    if (!chain)
        return ds_fail(e, DS_INTERNAL, "out of memory");
    for (CK_ULONG i = 0; i < count; i++) {
        X509 *cert = read_certificate(t, found[i]);
        if (cert && !leaf && is_of_key(cert, k))
            leaf = cert;
        else if (!cert || X509_check_ca(cert) != 1 || sk_X509_push(chain, cert) <= 0)
            X509_free(cert);
    }
    if (leaf) {
        *ret_leaf = leaf;
        *ret_chain = chain;
        return DS_OK;
    }
    sk_X509_pop_free(chain, X509_free);
    return ds_hint((ds_fail(e, DS_TOKEN, "token \"%s\" shows no attestation of the key", t->identity.label), e),
                   "a key that was imported has none, nor have tokens that are no YubiKeys; from files: --attestation");
}
