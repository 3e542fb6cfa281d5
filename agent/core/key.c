// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The device's key pair. It is made here, stored as one value (so that it is there wholly or not at all) and never
// leaves: only what can be read back from storage is reported. Private keys are PKCS#1 (RFC 8017) or SEC1 (RFC 5915)
// DER.
#include "agent/core/internal.h"

#include <mbedtls/ecp.h>
#include <mbedtls/md.h>
#include <mbedtls/rsa.h>

#include <string.h>

enum { RSA_EXPONENT = 65537, HASH_MAX = 64 };

typedef struct key_kind {
    Devstamp__KeyType type;
    mbedtls_pk_type_t pk;
    mbedtls_ecp_group_id group;
    unsigned bits;
} key_kind;

static const key_kind kinds[] = {
    {DEVSTAMP__KEY_TYPE__KEY_RSA_2048, MBEDTLS_PK_RSA, MBEDTLS_ECP_DP_NONE, 2048},
    {DEVSTAMP__KEY_TYPE__KEY_RSA_3072, MBEDTLS_PK_RSA, MBEDTLS_ECP_DP_NONE, 3072},
    {DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, MBEDTLS_PK_ECKEY, MBEDTLS_ECP_DP_SECP256R1, 256},
    {DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384, MBEDTLS_PK_ECKEY, MBEDTLS_ECP_DP_SECP384R1, 384},
};

static const key_kind *kind_of_type(int type)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if ((int)kinds[i].type == type)
            return &kinds[i];
    return NULL;
}

int ds_key_type(const mbedtls_pk_context *pk)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (mbedtls_pk_get_type(pk) == kinds[i].pk && mbedtls_pk_get_bitlen(pk) == kinds[i].bits)
            return (int)kinds[i].type;
    return DEVSTAMP__KEY_TYPE__KEY_NONE;
}

ds_status ds_key_load(ds_agent *a, ds_rng *rng, mbedtls_pk_context *pk)
{
    mbedtls_pk_init(pk);
    uint8_t *der = ds_agent_work(a);
    size_t len = 0;
    ds_status s = ds_store_get(a, DS_VALUE_KEY, der, DS_AGENT_KEY_MAX, &len);
    if (DS_STATUS_IS(s, NOT_FOUND))
        return ds_dsig_load(a, pk);
    if (s == DS_STATUS_OK && DS_PK_PARSE_KEY(pk, der, len, ds_rng_draw, rng) != 0)
        s = rng->failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, CRYPTO);
    mbedtls_platform_zeroize(der, DS_AGENT_KEY_MAX);
    return s;
}

uint8_t *ds_key_public(mbedtls_pk_context *pk, uint8_t *buf, size_t *ret_len)
{
    int len = mbedtls_pk_write_pubkey_der(pk, buf, DS_AGENT_SPKI_MAX);
    if (len <= 0)
        return NULL;
    *ret_len = (size_t)len;
    return buf + DS_AGENT_SPKI_MAX - len;
}

static bool hash_parts(mbedtls_md_type_t type, const char *tag, const ProtobufCBinaryData *parts, size_t count,
                       uint8_t ret[HASH_MAX])
{
    const mbedtls_md_info_t *info = mbedtls_md_info_from_type(type);
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    bool ok = info != NULL && mbedtls_md_setup(&md, info, 0) == 0 && mbedtls_md_starts(&md) == 0 &&
              mbedtls_md_update(&md, (const uint8_t *)tag, strlen(tag) + 1) == 0;
    for (size_t i = 0; ok && i < count; i++)
        ok = mbedtls_md_update(&md, parts[i].data, parts[i].len) == 0;
    ok = ok && mbedtls_md_finish(&md, ret) == 0;
    mbedtls_md_free(&md);
    return ok;
}

static ds_status sign_with(mbedtls_pk_context *pk, ds_rng *rng, const char *tag, const ProtobufCBinaryData *parts,
                           size_t count, ProtobufCBinaryData *signature)
{
    int key_type = ds_key_type(pk);
    bool p384 = key_type == (int)DEVSTAMP__KEY_TYPE__KEY_ECDSA_P384;
    mbedtls_md_type_t type = p384 ? MBEDTLS_MD_SHA384 : MBEDTLS_MD_SHA256;
    uint8_t hash[HASH_MAX];
    // Of a type that is known, or RSA in the chip, so that the signature fits.
    bool known = key_type != (int)DEVSTAMP__KEY_TYPE__KEY_NONE || mbedtls_pk_get_type(pk) == MBEDTLS_PK_RSA_ALT;
    if (!known || !hash_parts(type, tag, parts, count, hash))
        return DS_STATUS(KEY, CRYPTO);
    ds_agent_progress(rng->a);
    if (DS_PK_SIGN(pk, type, hash, p384 ? 48 : 32, signature->data, DS_KEY_SIGNATURE_MAX, &signature->len, ds_rng_draw,
                   rng) != 0)
        return rng->failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, CRYPTO);
    return DS_STATUS_OK;
}

ds_status ds_key_sign(ds_agent *a, const char *tag, const ProtobufCBinaryData *parts, size_t count,
                      ProtobufCBinaryData *signature)
{
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    ds_status s = ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK)
        s = sign_with(&pk, &rng, tag, parts, count, signature);
    mbedtls_pk_free(&pk);
    return s;
}

static int generate(const key_kind *kind, ds_rng *rng, mbedtls_pk_context *pk)
{
    int r = mbedtls_pk_setup(pk, mbedtls_pk_info_from_type(kind->pk));
    if (r != 0)
        return r;
    if (kind->pk == MBEDTLS_PK_RSA)
        return mbedtls_rsa_gen_key(mbedtls_pk_rsa(*pk), ds_rng_draw, rng, kind->bits, RSA_EXPONENT);
    return mbedtls_ecp_gen_key(kind->group, mbedtls_pk_ec(*pk), ds_rng_draw, rng);
}

// Where the mark and the key do not fit together after a power loss, the mark says "imported" of a key that was made
// here: it is set before the one, and taken back after the other.
static ds_status mark(ds_agent *a, bool imported)
{
    bool is = false;
    ds_status s = ds_store_mark(a, DS_AREA_PLAIN, DS_VALUE_IMPORTED, &is);
    if (s != DS_STATUS_OK || is == imported)
        return s;
    ds_value v = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_IMPORTED, DS_VALUE_U8, (const uint8_t[]){imported}, 1);
    return ds_store_put(a, DS_AREA_PLAIN, &v);
}

ds_status ds_key_store(ds_agent *a, mbedtls_pk_context *pk, bool imported)
{
    int len = mbedtls_pk_write_key_der(pk, a->frame, DS_AGENT_KEY_MAX);
    ds_status s = len > 0 ? DS_STATUS_OK : DS_STATUS(KEY, CRYPTO);
    if (s == DS_STATUS_OK && imported)
        s = mark(a, true);
    if (s == DS_STATUS_OK) {
        const uint8_t *der = a->frame + DS_AGENT_KEY_MAX - len;
        ds_value v = ds_value_of(DS_AGENT_NAMESPACE, DS_VALUE_KEY, DS_VALUE_BLOB, der, (size_t)len);
        s = ds_store_put(a, DS_AREA_PLAIN, &v);
    }
    mbedtls_platform_zeroize(a->frame, DS_AGENT_KEY_MAX);
    return s == DS_STATUS_OK && !imported ? mark(a, false) : s;
}

static ds_status make_and_store(ds_agent *a, const key_kind *kind)
{
    ds_rng rng = {.a = a};
    ds_agent_progress(a);
    a->port->key_delay(a->port->ctx, (int)kind->type);
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    ds_status s = DS_STATUS_OK;
    if (generate(kind, &rng, &pk) != 0)
        s = rng.failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, CRYPTO);
    if (s == DS_STATUS_OK)
        s = ds_key_store(a, &pk, false);
    mbedtls_pk_free(&pk);
    return s;
}

// Whether a new key is to be made: never where a certificate is stored, never where one of the type is there, unless
// replace demands it - and a repeated demand is the same demand, its answer was lost.
static ds_status must_make(ds_agent *a, const Devstamp__MakeKey *q, bool *ret)
{
    bool has_chain = false, has_key = false;
    ds_status s = ds_store_has(a, DS_VALUE_CHAIN, &has_chain);
    if (s == DS_STATUS_OK)
        s = ds_store_has(a, DS_VALUE_KEY, &has_key);
    if (s != DS_STATUS_OK)
        return s;
    if (has_chain && (q->replace || !has_key))
        return DS_STATUS(KEY, EXISTS);
    *ret = !has_key || (q->replace && !a->repeated);
    return DS_STATUS_OK;
}

ds_status ds_key_refuse_if_moved(ds_agent *a)
{
    ds_security security = {0};
    a->port->security(a->port->ctx, &security);
    if (!security.flash_encryption)
        return DS_STATUS_OK;
    bool moved = false;
    ds_status s = ds_store_mark(a, DS_AREA_ENCRYPTED, DS_VALUE_MOVED, &moved);
    if (s != DS_STATUS_OK && !DS_STATUS_IS(s, UNSUPPORTED))
        return s;
    return moved ? DS_STATUS(KEY, EXISTS) : DS_STATUS_OK;
}

ds_status ds_key_reply(ds_agent *a, int type, bool made, ds_reply *r)
{
    devstamp__key_reply__init(&r->body.key);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_KEY;
    r->response.key = &r->body.key;
    r->body.key.type = (Devstamp__KeyType)type;
    r->body.key.made = made;
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    ds_status s = ds_key_load(a, &rng, &pk);
    if (s == DS_STATUS_OK && ds_key_type(&pk) != type)
        s = DS_STATUS(KEY, EXISTS);
    size_t len = 0;
    uint8_t *spki = s == DS_STATUS_OK ? ds_key_public(&pk, a->frame, &len) : NULL;
    if (s == DS_STATUS_OK && spki == NULL)
        s = DS_STATUS(KEY, CRYPTO);
    mbedtls_pk_free(&pk);
    r->body.key.public_key = (ProtobufCBinaryData){.data = spki, .len = len};
    return s;
}

ds_status ds_handle_make_key(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    const key_kind *kind = kind_of_type((int)q->make_key->type);
    if (kind == NULL)
        return DS_STATUS(KEY, BAD_REQUEST);
    bool make = false;
    ds_status s = ds_key_refuse_if_moved(a);
    if (s == DS_STATUS_OK)
        s = must_make(a, q->make_key, &make);
    if (s == DS_STATUS_OK && make) {
        s = make_and_store(a, kind);
        if (s == DS_STATUS_OK)
            a->port->log(a->port->ctx, "agent: key pair made");
    }
    return s == DS_STATUS_OK ? ds_key_reply(a, (int)kind->type, make, r) : s;
}
