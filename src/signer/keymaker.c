// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Private keys for devices; see keymaker.h. How they travel: proto/stamp.proto, ImportKey.
#include "src/signer/keymaker.h"

#include "src/pki/keytype.h"
#include "src/signer/keyder.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

// A key of 3072 bits takes 4 KiB, and as many are made at once as the desk has threads.
enum { GUARDED = 512 * 1024, SMALLEST = 32 };

enum ds_class ds_keymaker_guard(ds_err *e)
{
    if (CRYPTO_secure_malloc_initialized() || CRYPTO_secure_malloc_init(GUARDED, SMALLEST) != 0)
        return DS_OK; // 2: it could not be locked; a process that dumps nothing goes on, as with ds_secret
    return ds_ossl_fail(e, DS_INTERNAL, "memory for keys cannot be guarded");
}

void ds_made_key_free(ds_made_key *k)
{
    ds_buf_free(&k->spki);
    ds_buf_free(&k->sealed);
    *k = (ds_made_key){0};
}

static enum ds_class encode_public(EVP_PKEY *key, ds_buf *ret, ds_err *e)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return ds_ossl_fail(e, DS_INTERNAL, "encode a public key");
    ds_buf_add(ret, der, (size_t)len);
    OPENSSL_free(der);
    return DS_OK;
}

enum ds_class ds_keymaker_seal(EVP_PKEY *key, ds_view transport, ds_made_key *ret, ds_err *e)
{
    uint8_t digest[32];
    DS_CLEANUP_SECRET ds_secret der = {0};
    const ds_hpke_terms terms = {"devstamp key import 1", {digest, sizeof digest}};
    enum ds_class rc = encode_public(key, &ret->spki, e);
    if (!rc)
        rc = ds_key_der(key, &der, e);
    if (rc)
        return rc;
    SHA256(ret->spki.ptr, ret->spki.len, digest);
    return ds_hpke_seal(transport, &terms, &der, ret->encapsulated, &ret->sealed, e);
}

static enum ds_class may_make(const ds_profiles *p, const Devstamp__Signer__MakeKey *request, ds_err *e)
{
    for (size_t i = 0; i < p->count; i++) {
        const ds_signer_profile *profile = &p->profile[i];
        if (strcmp(profile->recipe, request->recipe) == 0 && profile->origin == DS_ORIGIN_STATION &&
            profile->key_type == (int)request->key_type)
            return DS_OK;
    }
    return ds_hint(
        (ds_fail(e, DS_POLICY, "no recipe %.63s says that the station makes a key of this type", request->recipe), e),
        "its origin must be station");
}

enum ds_class ds_keymaker_make(const ds_profiles *p, const Devstamp__Signer__MakeKey *request, ds_made_key *ret,
                               ds_err *e)
{
    DS_CLEANUP_PKEY EVP_PKEY *key = NULL;
    if (may_make(p, request, e))
        return DS_POLICY;
    enum ds_class rc = ds_key_make((enum ds_key_type)request->key_type, &key, e);
    return rc ? rc : ds_keymaker_seal(key, (ds_view){request->transport_key.data, request->transport_key.len}, ret, e);
}
