// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Keys in slots: made, imported, used, described. Sources: SP 800-73-4 part 2, 3.3 and 3.2.4; SP 800-78-4 (algorithms);
// Yubico's PIV documentation (policies, import, metadata).
#include "sim/piv/card_int.h"

#include "src/base/clock.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <string.h>

static const char *curve_of(uint8_t algorithm)
{
    return algorithm == DS_PIV_P256 ? "P-256" : algorithm == DS_PIV_P384 ? "P-384" : NULL;
}

static EVP_PKEY *make_key(uint8_t algorithm)
{
    if (curve_of(algorithm))
        return EVP_EC_gen(curve_of(algorithm));
    return algorithm == DS_PIV_RSA_2048 ? EVP_RSA_gen(2048) : NULL;
}

// Policies in a command's data, or the slot's own.
static bool read_policies(ds_view data, ds_piv_key *k)
{
    ds_view v;
    k->pin_policy = ds_piv_tlv_find(data, 0xAA, &v) && v.len == 1 ? v.ptr[0] : DS_PIV_PIN_DEFAULT;
    k->touch_policy = ds_piv_tlv_find(data, 0xAB, &v) && v.len == 1 ? v.ptr[0] : DS_PIV_TOUCH_DEFAULT;
    if (k->pin_policy > DS_PIV_PIN_ALWAYS || k->touch_policy > DS_PIV_TOUCH_CACHED)
        return false;
    if (k->pin_policy == DS_PIV_PIN_DEFAULT)
        k->pin_policy = k->slot == 0x9C ? DS_PIV_PIN_ALWAYS : k->slot == 0x9E ? DS_PIV_PIN_NEVER : DS_PIV_PIN_ONCE;
    if (k->touch_policy == DS_PIV_TOUCH_DEFAULT)
        k->touch_policy = DS_PIV_TOUCH_NEVER;
    return true;
}

static void put_number(ds_buf *out, unsigned tag, const BIGNUM *n)
{
    uint8_t bytes[512];
    int len = BN_bn2bin(n, bytes);
    ds_piv_tlv_put(out, tag, (ds_view){bytes, (size_t)len});
}

// 86 point, or 81 modulus and 82 exponent.
static bool put_public(EVP_PKEY *key, ds_buf *out)
{
    uint8_t point[133];
    size_t len = 0;
    BIGNUM *n = NULL, *x = NULL;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
        if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len) != 1)
            return false;
        ds_piv_tlv_put(out, 0x86, (ds_view){point, len});
        return true;
    }
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
                EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &x) == 1;
    if (good) {
        put_number(out, 0x81, n);
        put_number(out, 0x82, x);
    }
    BN_free(n);
    BN_free(x);
    return good;
}

static int keep(ds_piv_card *c, const ds_piv_key *made)
{
    ds_piv_key *k = ds_piv_key_of(c, made->slot);
    ds_piv_key old = *k;
    *k = *made;
    if (ds_piv_store_save(c, NULL)) {
        EVP_PKEY_free(made->key);
        *k = old;
        return DS_PIV_MEMORY;
    }
    EVP_PKEY_free(old.key);
    return DS_PIV_OK;
}

int ds_piv_generate(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    ds_view all, algorithm;
    if (!c->session.administrator)
        return DS_PIV_SECURITY;
    if (cmd->p1 != 0 || !ds_piv_key_of(c, cmd->p2) || cmd->p2 == DS_PIV_SLOT_ATTESTATION)
        return DS_PIV_PARAMETER;
    ds_piv_key k = {.slot = cmd->p2, .origin = DS_PIV_GENERATED};
    if (!ds_piv_tlv_find(cmd->data, 0xAC, &all) || !ds_piv_tlv_find(all, 0x80, &algorithm) || algorithm.len != 1 ||
        !read_policies(all, &k))
        return DS_PIV_DATA;
    k.algorithm = algorithm.ptr[0];
    k.key = make_key(k.algorithm);
    if (!k.key)
        return DS_PIV_DATA;
    DS_CLEANUP_BUF ds_buf public_key = {0};
    if (!put_public(k.key, &public_key)) {
        EVP_PKEY_free(k.key);
        return DS_PIV_MEMORY;
    }
    ds_piv_tlv_put(ret, 0x7F49, ds_buf_view(&public_key));
    return keep(c, &k);
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *import_ec(const char *curve, ds_view scalar)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(OBJ_sn2nid(strcmp(curve, "P-256") == 0 ? "prime256v1" : "secp384r1"));
    BIGNUM *d = BN_bin2bn(scalar.ptr, (int)scalar.len, NULL);
    EC_POINT *point = group ? EC_POINT_new(group) : NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    uint8_t public_key[133];
    EVP_PKEY *key = NULL;
    if (d && point && build && !BN_is_zero(d) && EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1) {
        size_t len =
            EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, public_key, sizeof public_key, NULL);
        if (len && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) &&
            OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, public_key, len) &&
            OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d))
            key = from_params("EC", build);
    }
    OSSL_PARAM_BLD_free(build);
    EC_POINT_free(point);
    BN_clear_free(d);
    EC_GROUP_free(group);
    return key;
}

// The two primes say everything: n = pq, d = 65537^-1 mod (p-1)(q-1).
static EVP_PKEY *import_rsa(ds_view p_bytes, ds_view q_bytes)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *p = BN_bin2bn(p_bytes.ptr, (int)p_bytes.len, NULL), *q = BN_bin2bn(q_bytes.ptr, (int)q_bytes.len, NULL);
    BIGNUM *n = BN_new(), *e = BN_new(), *d = BN_new(), *p1 = BN_dup(p), *q1 = BN_dup(q), *phi = BN_new();
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (ctx && p && q && n && e && d && p1 && q1 && phi && build && BN_set_word(e, RSA_F4) && BN_mul(n, p, q, ctx) &&
        BN_num_bits(n) == 2048 && BN_sub_word(p1, 1) && BN_sub_word(q1, 1) && BN_mul(phi, p1, q1, ctx) &&
        BN_mod_inverse(d, e, phi, ctx) && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, d))
        key = from_params("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(e);
    BN_clear_free(p);
    BN_clear_free(q);
    BN_clear_free(p1);
    BN_clear_free(q1);
    BN_clear_free(phi);
    BN_clear_free(d);
    BN_CTX_free(ctx);
    return key;
}

int ds_piv_import(ds_piv_card *c, const ds_piv_command *cmd)
{
    ds_view p, q;
    if (!c->session.administrator)
        return DS_PIV_SECURITY;
    if (!ds_piv_key_of(c, cmd->p2))
        return DS_PIV_PARAMETER;
    ds_piv_key k = {.slot = cmd->p2, .algorithm = cmd->p1, .origin = DS_PIV_IMPORTED};
    if (!read_policies(cmd->data, &k))
        return DS_PIV_DATA;
    if (curve_of(k.algorithm) && ds_piv_tlv_find(cmd->data, 6, &p) && p.len <= 48)
        k.key = import_ec(curve_of(k.algorithm), p);
    else if (k.algorithm == DS_PIV_RSA_2048 && ds_piv_tlv_find(cmd->data, 1, &p) && p.len <= 128 &&
             ds_piv_tlv_find(cmd->data, 2, &q) && q.len <= 128)
        k.key = import_rsa(p, q);
    return k.key ? keep(c, &k) : DS_PIV_DATA;
}

static bool allowed(const ds_piv_card *c, const ds_piv_key *k)
{
    if (k->pin_policy == DS_PIV_PIN_ALWAYS ? !c->session.fresh
                                           : k->pin_policy == DS_PIV_PIN_ONCE && !c->session.verified)
        return false;
    return k->touch_policy == DS_PIV_TOUCH_NEVER || c->touch_given ||
           (k->touch_policy == DS_PIV_TOUCH_CACHED && ds_now_ms() < c->touch_end_ms);
}

int ds_piv_sign(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    const ds_piv_key *k = ds_piv_key_of(c, cmd->p2);
    ds_view all, input;
    if (!k || !k->key)
        return DS_PIV_NO_REFERENCE;
    if (cmd->p1 != k->algorithm)
        return DS_PIV_PARAMETER;
    if (!ds_piv_tlv_find(cmd->data, 0x7C, &all) || !ds_piv_tlv_find(all, 0x81, &input) || input.len == 0)
        return DS_PIV_DATA;
    if (!allowed(c, k))
        return DS_PIV_SECURITY;
    bool rsa = k->algorithm == DS_PIV_RSA_2048;
    uint8_t out[512];
    size_t len = sizeof out;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->key, NULL);
    bool good = (rsa ? input.len == 256 : input.len <= 48) && ctx && EVP_PKEY_sign_init(ctx) == 1 &&
                (!rsa || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1) &&
                EVP_PKEY_sign(ctx, out, &len, input.ptr, input.len) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (!good)
        return DS_PIV_DATA;
    c->signatures++;
    DS_CLEANUP_BUF ds_buf inner = {0};
    ds_piv_tlv_put(&inner, 0x82, (ds_view){out, len});
    ds_piv_tlv_put(ret, 0x7C, ds_buf_view(&inner));
    return DS_PIV_OK;
}

static void put_bytes(ds_buf *out, uint8_t tag, const uint8_t *bytes, size_t len)
{
    ds_piv_tlv_put(out, tag, (ds_view){bytes, len});
}

static int pin_metadata(const ds_piv_pin *pin, const char *first_value, ds_buf *ret)
{
    size_t len = strlen(first_value);
    bool unchanged = memcmp(pin->value, first_value, len) == 0 && (len == sizeof pin->value || pin->value[len] == 0xFF);
    put_bytes(ret, 1, (const uint8_t[]){0xFF}, 1);
    put_bytes(ret, 5, (const uint8_t[]){unchanged}, 1);
    put_bytes(ret, 6, (const uint8_t[]){pin->tries, pin->left}, 2);
    return DS_PIV_OK;
}

int ds_piv_metadata(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret)
{
    if (cmd->p2 == 0x80)
        return pin_metadata(&c->state.pin, "123456", ret);
    if (cmd->p2 == 0x81)
        return pin_metadata(&c->state.puk, "12345678", ret);
    if (cmd->p2 == DS_PIV_SLOT_MANAGEMENT) {
        put_bytes(ret, 1, &c->state.management_algorithm, 1);
        put_bytes(ret, 2, (const uint8_t[]){0, DS_PIV_TOUCH_NEVER}, 2);
        return DS_PIV_OK;
    }
    const ds_piv_key *k = ds_piv_key_of(c, cmd->p2);
    DS_CLEANUP_BUF ds_buf public_key = {0};
    if (!k || !k->key || !put_public(k->key, &public_key))
        return DS_PIV_NO_REFERENCE;
    put_bytes(ret, 1, &k->algorithm, 1);
    put_bytes(ret, 2, (const uint8_t[]){k->pin_policy, k->touch_policy}, 2);
    put_bytes(ret, 3, &k->origin, 1);
    put_bytes(ret, 4, public_key.ptr, public_key.len);
    return DS_PIV_OK;
}
