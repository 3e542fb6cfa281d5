// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A private key that was made elsewhere, where the recipe says so (docs/key-origin.md). It comes sealed to a key pair
// of this transfer, by HPKE (RFC 9180), base mode, one message: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM;
// section numbers below are of that document. Built where DS_AGENT_KEY_IMPORT is defined: firmware without it cannot be
// given a key, so that whatever key it holds was made there.
#include "agent/core/internal.h"

#ifdef DS_AGENT_KEY_IMPORT

#include <mbedtls/ecp.h>
#include <mbedtls/gcm.h>
#include <mbedtls/md.h>

#include <string.h>

enum { POINT = 65, SCALAR = 32, DIGEST = 32, TAG = 16, AEAD_KEY = 16, NONCE = 12 };

static const char info[] = "devstamp key import 1";
static const uint8_t kem[] = {'K', 'E', 'M', 0, 0x10};
static const uint8_t hpke[] = {'H', 'P', 'K', 'E', 0, 0x10, 0, 1, 0, 1};

bool ds_import_is_known(void)
{
    return true;
}

// --- the transport key

static bool make_transport(mbedtls_ecp_group *group, ds_rng *rng, ds_agent *a)
{
    mbedtls_mpi d;
    mbedtls_ecp_point q;
    size_t len = 0;
    mbedtls_mpi_init(&d);
    mbedtls_ecp_point_init(&q);
    bool ok =
        mbedtls_ecp_gen_keypair(group, &d, &q, ds_rng_draw, rng) == 0 &&
        mbedtls_mpi_write_binary(&d, a->transport, SCALAR) == 0 &&
        mbedtls_ecp_point_write_binary(group, &q, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, a->transport_public, POINT) == 0 &&
        len == POINT;
    mbedtls_ecp_point_free(&q);
    mbedtls_mpi_free(&d);
    return ok;
}

static void forget_transport(ds_agent *a)
{
    mbedtls_platform_zeroize(a->transport, sizeof a->transport);
    a->has_transport = false;
}

ds_status ds_handle_open_import(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)q;
    ds_rng rng = {.a = a};
    mbedtls_ecp_group group;
    mbedtls_ecp_group_init(&group);
    bool ok = a->has_transport;
    if (!ok) {
        ds_agent_progress(a);
        ok = mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) == 0 && make_transport(&group, &rng, a);
        a->has_transport = ok;
    }
    mbedtls_ecp_group_free(&group);
    if (!ok)
        return rng.failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, CRYPTO);
    devstamp__import_offer__init(&r->body.import_offer);
    r->response.body_case = DEVSTAMP__RESPONSE__BODY_IMPORT_OFFER;
    r->response.import_offer = &r->body.import_offer;
    r->body.import_offer.transport_key = (ProtobufCBinaryData){.data = a->transport_public, .len = POINT};
    return DS_STATUS_OK;
}

// --- HPKE

// 5.1: the x-coordinate of the shared point.
static bool shared_point(ds_agent *a, ds_rng *rng, const uint8_t *sender, uint8_t ret[SCALAR])
{
    mbedtls_ecp_group group;
    mbedtls_ecp_point q, shared;
    mbedtls_mpi d;
    uint8_t point[POINT];
    size_t len = 0;
    mbedtls_ecp_group_init(&group);
    mbedtls_ecp_point_init(&q);
    mbedtls_ecp_point_init(&shared);
    mbedtls_mpi_init(&d);
    bool ok =
        mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) == 0 &&
        mbedtls_mpi_read_binary(&d, a->transport, SCALAR) == 0 &&
        mbedtls_ecp_point_read_binary(&group, &q, sender, POINT) == 0 && mbedtls_ecp_check_pubkey(&group, &q) == 0 &&
        mbedtls_ecp_mul(&group, &shared, &d, &q, ds_rng_draw, rng) == 0 &&
        mbedtls_ecp_point_write_binary(&group, &shared, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, point, sizeof point) == 0;
    if (ok)
        memcpy(ret, point + 1, SCALAR);
    mbedtls_platform_zeroize(point, sizeof point);
    mbedtls_mpi_free(&d);
    mbedtls_ecp_point_free(&shared);
    mbedtls_ecp_point_free(&q);
    mbedtls_ecp_group_free(&group);
    return ok;
}

typedef struct part {
    const void *data;
    size_t len;
} part;

// 4: LabeledExtract (len 0), or LabeledExpand of at most one block: HMAC over [len] "HPKE-v1" suite label a b [01].
static bool labeled(part key, part suite, const char *label, part a, part b, uint8_t len, uint8_t ret[DIGEST])
{
    const uint8_t before[] = {0, len}, after[] = {1};
    const part all[] = {{before, len > 0 ? 2 : 0}, {"HPKE-v1", 7}, suite, {label, strlen(label)}, a, b,
                        {after, len > 0 ? 1 : 0}};
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    bool ok = mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 1) == 0 &&
              mbedtls_md_hmac_starts(&md, key.data, key.len) == 0;
    for (size_t i = 0; ok && i < sizeof all / sizeof all[0]; i++)
        ok = all[i].len == 0 || mbedtls_md_hmac_update(&md, all[i].data, all[i].len) == 0;
    ok = ok && mbedtls_md_hmac_finish(&md, ret) == 0;
    mbedtls_md_free(&md);
    return ok;
}

// 4.1 and 5.1: what is left of secret and the two public keys are the key and the nonce of the one message.
static bool key_schedule(uint8_t secret[DIGEST], const uint8_t *sender, const uint8_t *own, uint8_t nonce[DIGEST])
{
    const part k = {kem, sizeof kem}, h = {hpke, sizeof hpke}, none = {"", 0}, s = {secret, DIGEST};
    uint8_t context[1 + 2 * DIGEST] = {0}; // mode_base, psk_id_hash, info_hash
    const part all = {context, sizeof context};
    return labeled(none, k, "eae_prk", s, none, 0, secret) &&
           labeled(s, k, "shared_secret", (part){sender, POINT}, (part){own, POINT}, DIGEST, secret) &&
           labeled(none, h, "psk_id_hash", none, none, 0, context + 1) &&
           labeled(none, h, "info_hash", (part){info, sizeof info - 1}, none, 0, context + 1 + DIGEST) &&
           labeled(s, h, "secret", none, none, 0, secret) && labeled(s, h, "base_nonce", all, none, NONCE, nonce) &&
           labeled(s, h, "key", all, none, AEAD_KEY, secret);
}

static bool decrypt(const uint8_t *key, const uint8_t *nonce, const Devstamp__ImportKey *q, uint8_t *ret)
{
    size_t len = q->sealed.len - TAG;
    mbedtls_gcm_context gcm;
    mbedtls_gcm_init(&gcm);
    bool ok = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 8 * AEAD_KEY) == 0 &&
              mbedtls_gcm_auth_decrypt(&gcm, len, nonce, NONCE, q->public_key_digest.data, DIGEST, q->sealed.data + len,
                                       TAG, q->sealed.data, ret) == 0;
    mbedtls_gcm_free(&gcm);
    return ok;
}

// The DER of the key to ret.
static ds_status open_sealed(ds_agent *a, ds_rng *rng, const Devstamp__ImportKey *q, uint8_t *ret)
{
    uint8_t secret[DIGEST], nonce[DIGEST];
    ds_agent_progress(a);
    bool ok = shared_point(a, rng, q->encapsulated.data, secret) &&
              key_schedule(secret, q->encapsulated.data, a->transport_public, nonce) && decrypt(secret, nonce, q, ret);
    mbedtls_platform_zeroize(secret, sizeof secret);
    if (ok)
        return DS_STATUS_OK;
    return rng->failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, MISMATCH);
}

// --- the key

// Is it of that type, and the one that was announced?
static ds_status check(ds_agent *a, mbedtls_pk_context *pk, const Devstamp__ImportKey *q)
{
    uint8_t digest[DIGEST];
    size_t len = 0;
    if (ds_key_type(pk) != (int)q->type)
        return DS_STATUS(KEY, MISMATCH);
    const uint8_t *spki = ds_key_public(pk, a->frame, &len);
    if (spki == NULL || !ds_sha256(spki, len, digest))
        return DS_STATUS(KEY, CRYPTO);
    return memcmp(digest, q->public_key_digest.data, DIGEST) == 0 ? DS_STATUS_OK : DS_STATUS(KEY, MISMATCH);
}

// The device's key, or none, is what may be replaced; *ret_same: it is the one that comes.
static ds_status may_import(ds_agent *a, const Devstamp__ImportKey *q, bool *ret_same)
{
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    bool has_chain = false;
    ds_status s = ds_key_load(a, &rng, &pk);
    bool none = DS_STATUS_IS(s, NOT_FOUND);
    *ret_same = s == DS_STATUS_OK && check(a, &pk, q) == DS_STATUS_OK;
    mbedtls_pk_free(&pk);
    if (*ret_same)
        return DS_STATUS_OK;
    if (none || DS_STATUS_IS(s, CRYPTO)) // a damaged key may be replaced, as one that is whole
        s = DS_STATUS_OK;
    if (s == DS_STATUS_OK)
        s = ds_store_has(a, DS_VALUE_CHAIN, &has_chain);
    if (s == DS_STATUS_OK && (has_chain || (!none && !q->replace)))
        return DS_STATUS(KEY, EXISTS);
    return s == DS_STATUS_OK && !a->has_transport ? DS_STATUS(KEY, NOT_FOUND) : s;
}

static ds_status import(ds_agent *a, const Devstamp__ImportKey *q)
{
    ds_rng rng = {.a = a};
    mbedtls_pk_context pk;
    mbedtls_pk_init(&pk);
    ds_status s = open_sealed(a, &rng, q, a->frame);
    if (s == DS_STATUS_OK && DS_PK_PARSE_KEY(&pk, a->frame, q->sealed.len - TAG, ds_rng_draw, &rng) != 0)
        s = rng.failed ? DS_STATUS(KEY, RANDOM) : DS_STATUS(KEY, MISMATCH);
    mbedtls_platform_zeroize(a->frame, DS_AGENT_KEY_MAX);
    if (s == DS_STATUS_OK)
        s = check(a, &pk, q);
    if (s == DS_STATUS_OK)
        s = ds_key_store(a, &pk, true);
    mbedtls_pk_free(&pk);
    return s;
}

ds_status ds_handle_import_key(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    const Devstamp__ImportKey *m = q->import_key;
    bool same = false;
    if (m->public_key_digest.len != DIGEST || m->encapsulated.len != POINT || m->sealed.len <= TAG ||
        m->sealed.len > DS_AGENT_KEY_MAX + TAG || m->type == DEVSTAMP__KEY_TYPE__KEY_NONE)
        return DS_STATUS(KEY, BAD_REQUEST);
    ds_status s = ds_key_refuse_if_moved(a);
    if (s == DS_STATUS_OK)
        s = may_import(a, m, &same);
    if (s == DS_STATUS_OK && !same) {
        s = import(a, m);
        if (s == DS_STATUS_OK)
            a->port->log(a->port->ctx, "agent: key imported");
    }
    if (s != DS_STATUS_OK)
        return s;
    forget_transport(a);
    return ds_key_reply(a, (int)m->type, !same, r);
}

#else

bool ds_import_is_known(void)
{
    return false;
}

ds_status ds_handle_open_import(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)a, (void)q, (void)r;
    return DS_STATUS(KEY, UNSUPPORTED);
}

ds_status ds_handle_import_key(ds_agent *a, const Devstamp__Request *q, ds_reply *r)
{
    (void)a, (void)q, (void)r;
    return DS_STATUS(KEY, UNSUPPORTED);
}

#endif
