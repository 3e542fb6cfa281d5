// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ECDH over P-256, HKDF-SHA256 and AES-256-GCM for the owner handshake; see owner_crypto.h.
#include "agent/app/owner_crypto.h"

#include "agent/app/owner.h"

#include <mbedtls/ecdh.h>
#include <mbedtls/gcm.h>
#include <mbedtls/md.h>

#include <string.h>

static const char tag_text[] = "devstamp owner 1"; // its NUL counts

// The curve and one key on it.
typedef struct curve {
    mbedtls_ecp_group group;
    mbedtls_mpi secret, x;
    mbedtls_ecp_point point;
} curve;

static bool curve_init(curve *c)
{
    mbedtls_ecp_group_init(&c->group);
    mbedtls_mpi_init(&c->secret);
    mbedtls_mpi_init(&c->x);
    mbedtls_ecp_point_init(&c->point);
    return mbedtls_ecp_group_load(&c->group, MBEDTLS_ECP_DP_SECP256R1) == 0;
}

static void curve_free(curve *c)
{
    mbedtls_ecp_point_free(&c->point);
    mbedtls_mpi_free(&c->x);
    mbedtls_mpi_free(&c->secret);
    mbedtls_ecp_group_free(&c->group);
}

ds_status ds_owner_keypair(ds_rng *rng, uint8_t secret[DS_OWNER_KEY], uint8_t point[DS_OWNER_POINT])
{
    curve c;
    size_t len = 0;
    bool ok = curve_init(&c) && mbedtls_ecdh_gen_public(&c.group, &c.secret, &c.point, ds_rng_draw, rng) == 0 &&
              mbedtls_mpi_write_binary(&c.secret, secret, DS_OWNER_KEY) == 0 &&
              mbedtls_ecp_point_write_binary(&c.group, &c.point, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, point,
                                             DS_OWNER_POINT) == 0 &&
              len == DS_OWNER_POINT;
    curve_free(&c);
    if (ok)
        return DS_STATUS_OK;
    return rng->failed ? DS_STATUS(OWNER, RANDOM) : DS_STATUS(OWNER, CRYPTO);
}

ds_status ds_owner_ecdh(ds_rng *rng, const uint8_t secret[DS_OWNER_KEY], const uint8_t peer[DS_OWNER_POINT],
                        uint8_t ret[DS_OWNER_KEY])
{
    curve c;
    ds_status s = curve_init(&c) && mbedtls_mpi_read_binary(&c.secret, secret, DS_OWNER_KEY) == 0
                      ? DS_STATUS_OK
                      : DS_STATUS(OWNER, CRYPTO);
    if (s == DS_STATUS_OK && (mbedtls_ecp_point_read_binary(&c.group, &c.point, peer, DS_OWNER_POINT) != 0 ||
                              mbedtls_ecp_check_pubkey(&c.group, &c.point) != 0))
        s = DS_STATUS(OWNER, BAD_REQUEST);
    if (s == DS_STATUS_OK && (mbedtls_ecdh_compute_shared(&c.group, &c.x, &c.point, &c.secret, ds_rng_draw, rng) != 0 ||
                              mbedtls_mpi_write_binary(&c.x, ret, DS_OWNER_KEY) != 0))
        s = rng->failed ? DS_STATUS(OWNER, RANDOM) : DS_STATUS(OWNER, CRYPTO);
    curve_free(&c);
    return s;
}

static bool hmac(const uint8_t key[DS_OWNER_KEY], const void *data, size_t len, uint8_t ret[DS_OWNER_KEY])
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    return md != NULL && mbedtls_md_hmac(md, key, DS_OWNER_KEY, data, len, ret) == 0;
}

bool ds_owner_extract(const uint8_t points[2 * DS_OWNER_POINT], const uint8_t z[DS_OWNER_KEY], const uint8_t *pop,
                      size_t pop_len, uint8_t ret[DS_OWNER_KEY])
{
    uint8_t transcript[sizeof tag_text + 2 * DS_OWNER_POINT], input[DS_OWNER_KEY + DS_OWNER_POP_MAX],
        salt[DS_OWNER_KEY];
    if (pop_len > DS_OWNER_POP_MAX)
        return false;
    memcpy(transcript, tag_text, sizeof tag_text);
    memcpy(transcript + sizeof tag_text, points, 2 * DS_OWNER_POINT);
    memcpy(input, z, DS_OWNER_KEY);
    memcpy(input + DS_OWNER_KEY, pop, pop_len);
    bool ok = ds_sha256(transcript, sizeof transcript, salt) && hmac(salt, input, DS_OWNER_KEY + pop_len, ret);
    mbedtls_platform_zeroize(input, sizeof input);
    return ok;
}

bool ds_owner_expand(const uint8_t prk[DS_OWNER_KEY], const char *name, uint8_t ret[DS_OWNER_KEY])
{
    uint8_t info[32];
    size_t len = strlen(name);
    if (len >= sizeof info)
        return false;
    memcpy(info, name, len);
    info[len] = 1;
    return hmac(prk, info, len + 1, ret);
}

static const uint8_t nonce[12]; // zero: each key seals one message

bool ds_owner_seal(const uint8_t key[DS_OWNER_KEY], uint8_t *data, size_t len)
{
    mbedtls_gcm_context gcm;
    mbedtls_gcm_init(&gcm);
    bool ok = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 8 * DS_OWNER_KEY) == 0 &&
              mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, len, nonce, sizeof nonce, NULL, 0, data, data,
                                        DS_OWNER_SEAL, data + len) == 0;
    mbedtls_gcm_free(&gcm);
    return ok;
}

bool ds_owner_unseal(const uint8_t key[DS_OWNER_KEY], uint8_t *data, size_t len, size_t *ret_len)
{
    if (len < DS_OWNER_SEAL)
        return false;
    mbedtls_gcm_context gcm;
    mbedtls_gcm_init(&gcm);
    size_t text = len - DS_OWNER_SEAL;
    bool ok =
        mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 8 * DS_OWNER_KEY) == 0 &&
        mbedtls_gcm_auth_decrypt(&gcm, text, nonce, sizeof nonce, NULL, 0, data + text, DS_OWNER_SEAL, data, data) == 0;
    mbedtls_gcm_free(&gcm);
    *ret_len = text;
    return ok;
}

bool ds_owner_same(const uint8_t *a, const uint8_t *b, size_t len)
{
    uint8_t different = 0;
    for (size_t i = 0; i < len; i++)
        different = (uint8_t)(different | (a[i] ^ b[i]));
    return different == 0;
}
