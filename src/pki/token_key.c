// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys inside a token: finding them, making them, reading their public half; see token.h. Public keys become
// named-curve keys whatever the module says of the curve (ykcs11 spells the parameters out).
#include "src/pki/token_int.h"

#include "src/pki/attest.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <string.h>

void ds_token_key_free(ds_token_key *k)
{
    EVP_PKEY_free(k->public_key);
    *k = (ds_token_key){0};
}

// Handles of the objects of a class that the URI's name (or, where id is given, that id) matches.
static enum ds_class find_objects(ds_token *t, CK_OBJECT_CLASS class, const ds_view *id, CK_OBJECT_HANDLE found[2],
                                  CK_ULONG *ret_count, ds_err *e)
{
    CK_ATTRIBUTE query[3] = {{CKA_CLASS, &class, sizeof class}};
    CK_ULONG n = 1;
    uint8_t id_copy[64];
    CK_ATTRIBUTE *by_label = p11_kit_uri_get_attribute(t->uri, CKA_LABEL);
    CK_ATTRIBUTE *by_id = p11_kit_uri_get_attribute(t->uri, CKA_ID);
    if (id) {
        memcpy(id_copy, id->ptr, id->len);
        query[n++] = (CK_ATTRIBUTE){CKA_ID, id_copy, id->len};
    } else {
        if (by_label)
            query[n++] = *by_label;
        if (by_id)
            query[n++] = *by_id;
    }
    CK_RV rv = t->fn->C_FindObjectsInit(t->session, query, n);
    if (rv == CKR_OK) {
        rv = t->fn->C_FindObjects(t->session, found, 2, ret_count);
        (void)t->fn->C_FindObjectsFinal(t->session);
    }
    return rv == CKR_OK ? DS_OK : ds_token_fail(e, rv, "look for the key");
}

size_t ds_token_attribute(ds_token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *ret, size_t cap)
{
    CK_ATTRIBUTE a = {type, ret, cap};
    if (t->fn->C_GetAttributeValue(t->session, object, &a, 1) != CKR_OK || a.ulValueLen > cap)
        return 0;
    return a.ulValueLen;
}

static enum ds_class public_from_params(const char *algorithm, OSSL_PARAM *params, EVP_PKEY **ret, ds_err *e)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    bool good = ctx && params && EVP_PKEY_fromdata_init(ctx) == 1 &&
                EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good ? DS_OK : ds_ossl_fail(e, DS_TOKEN, "the token's public key is not sound");
}

static enum ds_class read_rsa(ds_token *t, CK_OBJECT_HANDLE object, EVP_PKEY **ret, ds_err *e)
{
    uint8_t modulus[1024], exponent[16];
    size_t modulus_len = ds_token_attribute(t, object, CKA_MODULUS, modulus, sizeof modulus);
    size_t exponent_len = ds_token_attribute(t, object, CKA_PUBLIC_EXPONENT, exponent, sizeof exponent);
    if (!modulus_len || !exponent_len)
        return ds_fail(e, DS_TOKEN, "the token does not show the public key");
    BIGNUM *n = BN_bin2bn(modulus, (int)modulus_len, NULL), *x = BN_bin2bn(exponent, (int)exponent_len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    if (n && x && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, x))
        params = OSSL_PARAM_BLD_to_param(build);
    enum ds_class rc = public_from_params("RSA", params, ret, e);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(x);
    return rc;
}

// CKA_EC_PARAMS: a curve's OID, or all its parameters.
static const char *curve_name(const uint8_t *params, size_t len)
{
    const unsigned char *p = params;
    EC_GROUP *group = d2i_ECPKParameters(NULL, &p, (long)len);
    int nid = group ? EC_GROUP_get_curve_name(group) : NID_undef;
    if (group && nid == NID_undef)
        nid = EC_GROUP_check_named_curve(group, 0, NULL);
    EC_GROUP_free(group);
    return nid == NID_undef ? NULL : OBJ_nid2sn(nid);
}

static enum ds_class read_ec(ds_token *t, CK_OBJECT_HANDLE object, EVP_PKEY **ret, ds_err *e)
{
    uint8_t ec_params[1024], point[256];
    size_t params_len = ds_token_attribute(t, object, CKA_EC_PARAMS, ec_params, sizeof ec_params);
    size_t point_len = ds_token_attribute(t, object, CKA_EC_POINT, point, sizeof point);
    const char *curve = params_len ? curve_name(ec_params, params_len) : NULL;
    if (!curve || point_len < 4)
        return ds_fail(e, DS_TOKEN, "the token does not show the public key");
    // The standard wraps the point into an OCTET STRING (67 and 99 bytes for our curves); some modules give it bare.
    size_t skip = (point_len == 67 || point_len == 99) && point[2] == POINT_CONVERSION_UNCOMPRESSED ? 2 : 0;
    char curve_copy[64];
    snprintf(curve_copy, sizeof curve_copy, "%s", curve);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve_copy, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point + skip, point_len - skip),
        OSSL_PARAM_construct_end(),
    };
    return public_from_params("EC", params, ret, e);
}

static enum ds_class read_public(ds_token *t, ds_token_key *k, ds_err *e)
{
    CK_KEY_TYPE kind = CKK_VENDOR_DEFINED;
    enum ds_class rc;
    if (ds_token_attribute(t, k->private_h, CKA_KEY_TYPE, &kind, sizeof kind) != sizeof kind ||
        (kind != CKK_RSA && kind != CKK_EC))
        rc = ds_fail(e, DS_TOKEN, "the token's key is neither RSA nor EC");
    else
        rc = kind == CKK_RSA ? read_rsa(t, k->public_h, &k->public_key, e) : read_ec(t, k->public_h, &k->public_key, e);
    if (!rc && ds_key_type_of(k->public_key) == DS_KEY_NONE)
        rc = ds_fail(e, DS_TOKEN, "the token's key is of a type that is not used here");
    return rc;
}

enum ds_class ds_token_describe(ds_token *t, ds_token_key *k, ds_err *e)
{
    CK_OBJECT_HANDLE found[2];
    CK_ULONG count = 0;
    k->id_len = ds_token_attribute(t, k->private_h, CKA_ID, k->id, sizeof k->id);
    size_t label_len = ds_token_attribute(t, k->private_h, CKA_LABEL, k->label, sizeof k->label - 1);
    k->label[label_len] = '\0';
    CK_BBOOL each_use = CK_FALSE;
    k->each_use =
        ds_token_attribute(t, k->private_h, CKA_ALWAYS_AUTHENTICATE, &each_use, 1) == 1 && each_use != CK_FALSE;
    ds_view id = {k->id, k->id_len};
    if (find_objects(t, CKO_PUBLIC_KEY, k->id_len ? &id : NULL, found, &count, e))
        return DS_TOKEN;
    if (count != 1)
        return ds_fail(e, DS_TOKEN, "%s public keys belong to the private key", count ? "several" : "no");
    k->public_h = found[0];
    return read_public(t, k, e);
}

// The names of the private keys that are there.
static void list_keys(ds_token *t, ds_name_list *ret)
{
    enum { KEYS = 8 };
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE query = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE found[KEYS];
    CK_ULONG count = 0;
    if (t->fn->C_FindObjectsInit(t->session, &query, 1) != CKR_OK)
        return;
    if (t->fn->C_FindObjects(t->session, found, KEYS, &count) != CKR_OK)
        count = 0;
    (void)t->fn->C_FindObjectsFinal(t->session);
    for (CK_ULONG i = 0; i < count && i < KEYS; i++) {
        uint8_t label[128];
        size_t len = ds_token_attribute(t, found[i], CKA_LABEL, label, sizeof label);
        ds_name_list_add(ret, label, len);
    }
}

static enum ds_class no_such_key(ds_token *t, ds_err *e)
{
    ds_name_list there = {.len = 0};
    list_keys(t, &there);
    (void)ds_fail(e, DS_TOKEN, "no private key of that name; the token holds %s", there.len ? there.text : "none");
    return ds_hint(e, "correct object= or id= of the key URI; list keys with: pkcs11-tool --module %s --login -O",
                   t->module);
}

enum ds_class ds_token_find(ds_token *t, ds_token_key *ret, ds_err *e)
{
    CK_OBJECT_HANDLE found[2];
    CK_ULONG count = 0;
    if (find_objects(t, CKO_PRIVATE_KEY, NULL, found, &count, e))
        return ds_wrap(e, "token \"%s\"", t->identity.label);
    ds_token_key k = {0};
    if (count == 1) {
        k.private_h = found[0];
        if (!ds_token_describe(t, &k, e)) {
            *ret = k;
            return DS_OK;
        }
    } else if (count == 0) {
        (void)no_such_key(t, e);
    } else {
        (void)ds_fail(e, DS_TOKEN, "several private keys of that name");
        (void)ds_hint(e, "name the key exactly, with object= and id=");
    }
    ds_token_key_free(&k);
    return ds_wrap(e, "token \"%s\"", t->identity.label);
}

enum ds_class ds_token_find_public(ds_token *t, ds_token_key *ret, ds_err *e)
{
    CK_OBJECT_HANDLE found[2];
    CK_ULONG count = 0;
    if (find_objects(t, CKO_PUBLIC_KEY, NULL, found, &count, e))
        return ds_wrap(e, "token \"%s\"", t->identity.label);
    ds_token_key k = {.private_h = found[0]}; // id, label and type are the same on both halves
    enum ds_class rc = DS_TOKEN;
    if (count == 1)
        rc = ds_token_describe(t, &k, e);
    else
        (void)ds_hint((ds_fail(e, DS_TOKEN, "%s of that name", count ? "several public keys" : "no public key"), e),
                      "name the key by id, as devstamp token status shows it");
    if (rc) {
        ds_token_key_free(&k);
        return ds_wrap(e, "token \"%s\"", t->identity.label);
    }
    *ret = k;
    return DS_OK;
}

// Yubico's vendor attributes of a private key, a byte each (yubico-piv-tool 2.3 and later).
enum { YUBICO_TOUCH_POLICY = 0x59554201, YUBICO_PIN_POLICY = 0x59554202 };

typedef struct templates {
    CK_ATTRIBUTE public_part[8], private_part[12];
    CK_ULONG publics, privates;
} templates;

static void put_private(templates *p, CK_ATTRIBUTE_TYPE type, void *value, CK_ULONG len)
{
    p->private_part[p->privates++] = (CK_ATTRIBUTE){type, value, len};
}

// Modules differ in what they take: ykcs11 2.2 does not know CKA_EXTRACTABLE, and lets no key out anyway, which is
// checked afterwards. What the officer demands is never left out.
static CK_RV generate_with(ds_token *t, CK_MECHANISM *mechanism, templates *p, ds_token_key *k)
{
    CK_BBOOL no = CK_FALSE;
    put_private(p, CKA_EXTRACTABLE, &no, 1);
    CK_RV rv = t->fn->C_GenerateKeyPair(t->session, mechanism, p->public_part, p->publics, p->private_part, p->privates,
                                        &k->public_h, &k->private_h);
    if (rv != CKR_ATTRIBUTE_TYPE_INVALID)
        return rv;
    return t->fn->C_GenerateKeyPair(t->session, mechanism, p->public_part, p->publics, p->private_part, p->privates - 1,
                                    &k->public_h, &k->private_h);
}

// What a YubiKey's slot does by itself need not be demanded, which older modules could not take.
static ds_token_new beyond_defaults(const ds_token *t, const ds_token_new *what, const CK_ATTRIBUTE *id)
{
    enum { SLOT_9C = 2, SLOT_9E = 4 };
    ds_token_new w = *what;
    uint8_t slot = t->yubico ? *(const uint8_t *)id->pValue : 0;
    if (t->yubico && w.pin_policy == (slot == SLOT_9C   ? DS_PIN_POLICY_ALWAYS
                                      : slot == SLOT_9E ? DS_PIN_POLICY_NEVER
                                                        : DS_PIN_POLICY_ONCE))
        w.pin_policy = 0;
    if (w.touch_policy == DS_TOUCH_POLICY_NEVER)
        w.touch_policy = 0;
    return w;
}

static CK_RV generate_pair(ds_token *t, const ds_token_new *what, CK_ATTRIBUTE *id, ds_token_key *k)
{
    const ds_key_kind *kind = ds_key_kind_of(what->type);
    CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(t->uri, CKA_LABEL);
    CK_BBOOL yes = CK_TRUE;
    CK_ULONG bits = kind->bits;
    uint8_t f4[] = {1, 0, 1}, oid[16], *oid_end = oid, pin_policy = what->pin_policy, touch_policy = what->touch_policy;
    templates p = {.public_part = {{CKA_TOKEN, &yes, 1}, {CKA_VERIFY, &yes, 1}, *id},
                   .publics = 3,
                   .private_part = {{CKA_TOKEN, &yes, 1},
                                    {CKA_PRIVATE, &yes, 1},
                                    {CKA_SENSITIVE, &yes, 1},
                                    {CKA_SIGN, &yes, 1},
                                    *id},
                   .privates = 5};
    if (label) {
        p.public_part[p.publics++] = *label;
        put_private(&p, label->type, label->pValue, label->ulValueLen);
    }
    if (t->yubico && pin_policy)
        put_private(&p, CKA_VENDOR_DEFINED | YUBICO_PIN_POLICY, &pin_policy, 1);
    if (t->yubico && touch_policy)
        put_private(&p, CKA_VENDOR_DEFINED | YUBICO_TOUCH_POLICY, &touch_policy, 1);
    if (!t->yubico && pin_policy == DS_PIN_POLICY_ALWAYS)
        put_private(&p, CKA_ALWAYS_AUTHENTICATE, &yes, 1);
    if (kind->curve) {
        int len = i2d_ASN1_OBJECT(OBJ_nid2obj(OBJ_sn2nid(kind->curve)), &oid_end);
        p.public_part[p.publics++] = (CK_ATTRIBUTE){CKA_EC_PARAMS, oid, (CK_ULONG)len};
    } else {
        p.public_part[p.publics++] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits};
        p.public_part[p.publics++] = (CK_ATTRIBUTE){CKA_PUBLIC_EXPONENT, f4, sizeof f4};
    }
    CK_MECHANISM mechanism = {kind->curve ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    return generate_with(t, &mechanism, &p, k);
}

// A demand that the module cannot know of is better refused than forgotten.
static enum ds_class check_demands(ds_token *t, const ds_token_new *what, ds_err *e)
{
    const ds_key_kind *kind = ds_key_kind_of(what->type);
    CK_MECHANISM_INFO info;
    if (!kind)
        return ds_fail(e, DS_USAGE, "no such key type");
    if (what->replace && !p11_kit_uri_get_attribute(t->uri, CKA_ID))
        return ds_hint((ds_fail(e, DS_USAGE, "a key is only replaced where its id is given"), e), "add id= to the URI");
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(t->uri, CKA_ID);
    if (t->yubico && id && (id->ulValueLen != 1 || *(const uint8_t *)id->pValue >= DS_YUBIKEY_ATTESTATION_ID))
        return ds_fail(e, DS_POLICY, "no key is made in that place of a YubiKey");
    if (t->yubico && !id)
        return ds_hint((ds_fail(e, DS_USAGE, "a YubiKey's slot is named by id"), e), "id=%%01 is 9a, id=%%02 is 9c");
    bool touch = what->touch_policy && what->touch_policy != DS_TOUCH_POLICY_NEVER;
    if (!t->yubico && (touch || what->pin_policy == DS_PIN_POLICY_NEVER))
        return ds_fail(e, DS_USAGE, "the token knows no %s policy of that kind", touch ? "touch" : "PIN");
    if (!kind->curve && t->fn->C_GetMechanismInfo(t->slot, CKM_RSA_PKCS_KEY_PAIR_GEN, &info) == CKR_OK &&
        info.ulMaxKeySize && kind->bits > info.ulMaxKeySize)
        return ds_fail(e, DS_TOKEN, "the token makes RSA keys of %lu bits at most", info.ulMaxKeySize);
    return DS_OK;
}

// The token must have kept its word: a key that could leave it again is no token key.
static enum ds_class check_guarded(ds_token *t, const ds_token_key *k, ds_err *e)
{
    CK_BBOOL sensitive = CK_FALSE, extractable = CK_TRUE;
    (void)ds_token_attribute(t, k->private_h, CKA_SENSITIVE, &sensitive, 1);
    (void)ds_token_attribute(t, k->private_h, CKA_EXTRACTABLE, &extractable, 1);
    if (!sensitive || extractable)
        return ds_fail(e, DS_TOKEN, "the token made a key that can leave it");
    return DS_OK;
}

// Both halves of what has that label or id.
static enum ds_class find_by(ds_token *t, const CK_ATTRIBUTE *by, ds_token_key *ret, CK_ULONG *ret_count, ds_err *e)
{
    CK_OBJECT_CLASS class[2] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    CK_ULONG most = 0;
    *ret = (ds_token_key){0};
    for (int half = 0; by && half < 2; half++) {
        CK_ATTRIBUTE query[2] = {{CKA_CLASS, &class[half], sizeof class[half]}, *by};
        CK_OBJECT_HANDLE found[2] = {0};
        CK_ULONG count = 0;
        CK_RV rv = t->fn->C_FindObjectsInit(t->session, query, 2);
        if (rv == CKR_OK) {
            rv = t->fn->C_FindObjects(t->session, found, 2, &count);
            (void)t->fn->C_FindObjectsFinal(t->session);
        }
        if (rv != CKR_OK)
            return ds_token_fail(e, rv, "look for the key");
        *(half ? &ret->public_h : &ret->private_h) = found[0];
        most = count > most ? count : most;
    }
    *ret_count = most;
    return DS_OK;
}

// Label and id must both be free; but for the key that is to be replaced, which is given back.
static enum ds_class check_place(ds_token *t, bool replace, ds_token_key *ret_old, ds_err *e)
{
    ds_token_key by_id, by_label;
    CK_ULONG ids = 0, labels = 0;
    if (find_by(t, p11_kit_uri_get_attribute(t->uri, CKA_ID), &by_id, &ids, e) ||
        find_by(t, p11_kit_uri_get_attribute(t->uri, CKA_LABEL), &by_label, &labels, e))
        return DS_TOKEN;
    if (replace && ids != 1)
        return ds_hint((ds_fail(e, DS_POLICY, "%s of that id", ids ? "several keys" : "no key"), e),
                       "leave --replace out where nothing is to be replaced");
    bool same = labels == 1 && by_label.private_h == by_id.private_h && by_label.public_h == by_id.public_h;
    if (replace && (labels == 0 || same)) {
        *ret_old = by_id;
        return DS_OK;
    }
    if (ids || labels)
        return ds_hint((ds_fail(e, DS_POLICY, "a key of that name exists already"), e),
                       "choose another object name, or use the key that is there (--existing, --sub-existing)");
    return DS_OK;
}

static enum ds_class not_made(const ds_token *t, const ds_token_new *what, CK_RV rv, ds_err *e)
{
    bool policies = t->yubico && (what->pin_policy || what->touch_policy);
    (void)ds_token_fail(e, rv, "make the key");
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID && policies)
        (void)ds_hint((ds_fail(e, DS_TOKEN, "this ykcs11 takes no PIN or touch policies; nothing was made"), e),
                      "make the key with yubico-piv-tool -a generate --pin-policy=… --touch-policy=…, or without "
                      "them here");
    else
        (void)ds_hint(e, "a YubiKey makes keys with its management key: devstamp token generate, then --sub-existing");
    if (e)
        e->code = (uint32_t)rv;
    return ds_wrap(e, "token \"%s\"", t->identity.label);
}

enum ds_class ds_token_generate(ds_token *t, const ds_token_new *what, ds_token_key *ret, ds_err *e)
{
    ds_token_key old = {0}, k = {0};
    enum ds_class rc = check_demands(t, what, e);
    if (!rc)
        rc = check_place(t, what->replace, &old, e);
    if (rc)
        return ds_wrap(e, "token \"%s\"", t->identity.label);
    uint8_t random_id[8];
    ds_random(random_id, sizeof random_id);
    CK_ATTRIBUTE id = {CKA_ID, random_id, sizeof random_id};
    if (p11_kit_uri_get_attribute(t->uri, CKA_ID))
        id = *p11_kit_uri_get_attribute(t->uri, CKA_ID);
    const ds_token_new beyond = beyond_defaults(t, what, &id);
    CK_RV rv = generate_pair(t, &beyond, &id, &k);
    if (rv != CKR_OK)
        return not_made(t, &beyond, rv, e);
    // A YubiKey's slot holds one key, which is overwritten; elsewhere both are there until the old one is removed.
    if (what->replace && !t->yubico)
        ds_token_destroy(t, &old);
    rc = check_guarded(t, &k, e);
    if (!rc)
        rc = ds_token_describe(t, &k, e);
    if (rc) {
        ds_token_destroy(t, &k);
        ds_token_key_free(&k);
        return ds_wrap(e, "token \"%s\"", t->identity.label);
    }
    *ret = k;
    return DS_OK;
}

void ds_token_destroy(ds_token *t, const ds_token_key *k)
{
    if (k->private_h)
        (void)t->fn->C_DestroyObject(t->session, k->private_h);
    if (k->public_h)
        (void)t->fn->C_DestroyObject(t->session, k->public_h);
}
