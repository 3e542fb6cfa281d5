// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Private keys for devices; see keymaker.h. How they travel: proto/stamp.proto, ImportKey.
#include "src/signer/keymaker.h"

#include "src/pki/dn.h"
#include "src/pki/keytype.h"
#include "src/pki/request.h"
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

// How a private key travels, and what for. A stamp's is bound to its recipe: none opens as another recipe's.
static const char to_device[] = "devstamp key import 1";

static char *to_pool(const char *recipe)
{
    return ds_asprintf("devstamp pool stamp 2 %s", recipe);
}

static enum ds_class seal(EVP_PKEY *key, const char *info, ds_view to, ds_made_key *ret, ds_err *e)
{
    uint8_t digest[32];
    DS_CLEANUP_SECRET ds_secret der = {0};
    const ds_hpke_terms terms = {info, {digest, sizeof digest}};
    enum ds_class rc = encode_public(key, &ret->spki, e);
    if (!rc)
        rc = ds_key_der(key, &der, e);
    if (rc)
        return rc;
    SHA256(ret->spki.ptr, ret->spki.len, digest);
    return ds_hpke_seal(to, &terms, &der, ret->encapsulated, &ret->sealed, e);
}

enum ds_class ds_keymaker_seal(EVP_PKEY *key, ds_view transport, ds_made_key *ret, ds_err *e)
{
    return seal(key, to_device, transport, ret, e);
}

// key_type 0: any.
static enum ds_class may_make(const ds_profiles *p, const char *recipe, enum ds_origin origin, uint32_t key_type,
                              ds_err *e)
{
    for (size_t i = 0; i < p->count; i++) {
        const ds_signer_profile *profile = &p->profile[i];
        if (strcmp(profile->recipe, recipe) == 0 && profile->origin == origin &&
            (!key_type || profile->key_type == (int)key_type))
            return DS_OK;
    }
    const char *word = origin == DS_ORIGIN_STATION ? "station" : "remote";
    return ds_hint((ds_fail(e, DS_POLICY, "no recipe %.63s with origin: %s and a key of this type", recipe, word), e),
                   "name the recipe when the utility is started");
}

enum ds_class ds_keymaker_make(const ds_profiles *p, const Devstamp__Signer__MakeKey *request, ds_made_key *ret,
                               ds_err *e)
{
    DS_CLEANUP_PKEY EVP_PKEY *key = NULL;
    if (may_make(p, request->recipe, DS_ORIGIN_STATION, request->key_type, e))
        return DS_POLICY;
    enum ds_class rc = ds_key_make((enum ds_key_type)request->key_type, &key, e);
    return rc ? rc : ds_keymaker_seal(key, (ds_view){request->transport_key.data, request->transport_key.len}, ret, e);
}

enum ds_class ds_keymaker_stamp(const ds_profiles *p, Devstamp__Signer__MakeStamp *request, ds_made_key *ret, ds_err *e)
{
    Devstamp__Signer__Sign *sign = request->sign;
    DS_CLEANUP_PKEY EVP_PKEY *key = NULL;
    DS_CLEANUP_NAME X509_NAME *subject = NULL;
    DS_CLEANUP_BUF ds_buf csr = {0};
    if (!sign || sign->csr.len)
        return ds_fail(e, DS_INPUT, "the request for a stamp cannot be read");
    enum ds_class rc = may_make(p, sign->recipe, DS_ORIGIN_REMOTE, sign->key_type, e);
    if (!rc)
        rc = ds_dn_parse(sign->subject, &subject, e);
    if (!rc)
        rc = ds_key_make((enum ds_key_type)sign->key_type, &key, e);
    if (!rc)
        rc = ds_request_make(subject, key, &csr, e);
    DS_CLEANUP_FREE char *info = to_pool(sign->recipe);
    if (!rc)
        rc = seal(key, info, (ds_view){request->pool_key.data, request->pool_key.len}, ret, e);
    if (rc)
        return rc;
    sign->csr = (ProtobufCBinaryData){csr.len, csr.ptr}; // freed with the request
    csr = (ds_buf){0};
    return DS_OK;
}

enum ds_class ds_keymaker_open(const ds_profiles *p, EVP_PKEY *pool_key, const Devstamp__Signer__OpenStamp *request,
                               ds_made_key *ret, ds_err *e)
{
    const ds_view digest = {request->public_key_digest.data, request->public_key_digest.len};
    DS_CLEANUP_FREE char *info = to_pool(request->recipe);
    const ds_hpke_terms from = {info, digest}, to = {to_device, digest};
    DS_CLEANUP_SECRET ds_secret der = {0};
    if (!pool_key)
        return ds_hint((ds_fail(e, DS_INPUT, "the station file names no pool key"), e), "signer.pool_key");
    enum ds_class rc = may_make(p, request->recipe, DS_ORIGIN_REMOTE, 0, e);
    if (!rc)
        rc = ds_hpke_open(pool_key, &from, (ds_view){request->encapsulated.data, request->encapsulated.len},
                          (ds_view){request->sealed.data, request->sealed.len}, &der, e);
    return rc ? rc
              : ds_hpke_seal((ds_view){request->transport_key.data, request->transport_key.len}, &to, &der,
                             ret->encapsulated, &ret->sealed, e);
}
