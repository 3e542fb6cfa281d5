// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// RSA keys in the chip's digital-signature peripheral: encrypting one for it, and signing with one as mbedTLS does with
// any other. What the peripheral takes: the chips' technical reference manuals, chapter Digital Signature; ESP-IDF
// esp_ds.h (esp_ds_data_t, v5.4). Padding: RFC 8017, 9.2.
//
// Data: u32 bits/32-1 | IV 16 | C, all numbers little-endian; C = AES-256-CBC(HMAC-SHA256(secret, 32 bytes FF), IV, P);
// P = Y | M | Rb | MD | M' | L | 8 bytes 08, Y, M and Rb zero-padded to the chip's longest key.
#include "agent/core/internal.h"

#include <mbedtls/aes.h>
#include <mbedtls/md.h>
#include <mbedtls/rsa.h>

#include <string.h>

enum {
    IV_AT = 4,
    IV_LEN = 16,
    P_AT = IV_AT + IV_LEN,
    MD_LEN = 32,
    PADDING = 8,
    TAIL = MD_LEN + 4 + 4 + PADDING,
    MODULUS_MAX = 512,
    MESSAGE_AT = DS_DSIG_MAX, // in ds_agent_work(), behind the data
};

static void put_le32(uint8_t *to, uint32_t v)
{
    for (size_t i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_le32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static size_t data_len(const ds_agent *a)
{
    return P_AT + 3u * (a->port->dsig_bits / 8u) + TAIL;
}

// --- signing

// The data to ds_agent_work(); its key's modulus is *ret_modulus bytes long.
static ds_status load_data(ds_agent *a, size_t *ret_modulus)
{
    if (a->port->dsig == NULL || data_len(a) > DS_DSIG_MAX)
        return DS_STATUS(KEY, UNSUPPORTED);
    uint8_t *data = ds_agent_work(a);
    size_t len = 0;
    ds_status s = ds_store_get(a, DS_VALUE_DSIG, data, DS_DSIG_MAX, &len);
    if (s != DS_STATUS_OK)
        return s;
    uint32_t words = len == data_len(a) ? get_le32(data) : UINT32_MAX;
    if (words >= a->port->dsig_bits / 32u)
        return DS_STATUS(KEY, FLASH);
    *ret_modulus = 4u * (words + 1u);
    return DS_STATUS_OK;
}

// EMSA-PKCS1-v1_5. The DigestInfos of the SHA-2 family differ in one byte of the identifier and in lengths.
static bool pad(mbedtls_md_type_t md, const uint8_t *hash, uint8_t *to, size_t len)
{
    uint8_t info[] = {0x30, 0, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 0, 5, 0, 4, 0};
    uint8_t hash_len = md == MBEDTLS_MD_SHA256 ? 32 : md == MBEDTLS_MD_SHA384 ? 48 : 64;
    if ((md != MBEDTLS_MD_SHA256 && md != MBEDTLS_MD_SHA384 && md != MBEDTLS_MD_SHA512) ||
        len < sizeof info + hash_len + 11u)
        return false;
    info[1] = (uint8_t)(sizeof info - 2 + hash_len);
    info[14] = md == MBEDTLS_MD_SHA256 ? 1 : md == MBEDTLS_MD_SHA384 ? 2 : 3;
    info[18] = hash_len;
    memset(to, 0xFF, len);
    to[0] = 0;
    to[1] = 1;
    uint8_t *at = to + len - hash_len - sizeof info;
    at[-1] = 0;
    memcpy(at, info, sizeof info);
    memcpy(at + sizeof info, hash, hash_len);
    return true;
}

static int alt_sign(void *ctx, int (*f_rng)(void *, unsigned char *, size_t), void *p_rng,
                    DS_RSA_ALT_MODE mbedtls_md_type_t md, unsigned int hash_len, const unsigned char *hash,
                    unsigned char *sig)
{
    ds_agent *a = ctx;
    uint8_t *message = ds_agent_work(a) + MESSAGE_AT;
    size_t len = 0;
    (void)f_rng, (void)p_rng, (void)hash_len;
#if MBEDTLS_VERSION_MAJOR < 3
    (void)mode;
#endif
    ds_status s = load_data(a, &len);
    if (s == DS_STATUS_OK && !pad(md, hash, message, len))
        s = DS_STATUS(KEY, UNSUPPORTED);
    if (s == DS_STATUS_OK)
        s = a->port->dsig(a->port->ctx, ds_agent_work(a), data_len(a), message, sig, len);
    mbedtls_platform_zeroize(ds_agent_work(a), MESSAGE_AT + MODULUS_MAX);
    a->dsig_status = s;
    return s == DS_STATUS_OK ? 0 : MBEDTLS_ERR_RSA_PRIVATE_FAILED;
}

// The device signs and is never sent anything encrypted.
static int alt_decrypt(void *ctx, DS_RSA_ALT_MODE size_t *ret_len, const unsigned char *in, unsigned char *out,
                       size_t cap)
{
    (void)ctx, (void)ret_len, (void)in, (void)out, (void)cap;
#if MBEDTLS_VERSION_MAJOR < 3
    (void)mode;
#endif
    return MBEDTLS_ERR_RSA_PRIVATE_FAILED;
}

static size_t alt_len(void *ctx)
{
    return ((const ds_agent *)ctx)->dsig_len;
}

ds_status ds_dsig_load(ds_agent *a, mbedtls_pk_context *pk)
{
    size_t len = 0;
    if (a->port->dsig == NULL)
        return DS_STATUS(KEY, NOT_FOUND);
    ds_status s = load_data(a, &len);
    mbedtls_platform_zeroize(ds_agent_work(a), DS_DSIG_MAX);
    if (s != DS_STATUS_OK)
        return s;
    a->dsig_len = (uint16_t)len;
    return mbedtls_pk_setup_rsa_alt(pk, a, alt_decrypt, alt_sign, alt_len) == 0 ? DS_STATUS_OK : DS_STATUS(KEY, CRYPTO);
}

ds_status ds_dsig_prove(ds_agent *a, ds_rng *rng, mbedtls_pk_context *key, mbedtls_pk_context *public_key)
{
    uint8_t challenge[32], *signature = ds_agent_work(a) + DS_AGENT_KEY_MAX;
    size_t len = 0;
    if (mbedtls_pk_get_type(public_key) != MBEDTLS_PK_RSA || mbedtls_pk_get_bitlen(public_key) != 8u * a->dsig_len)
        return DS_STATUS(KEY, MISMATCH);
    if (ds_rng_draw(rng, challenge, sizeof challenge) != 0)
        return DS_STATUS(KEY, RANDOM);
    ds_agent_progress(a);
    a->dsig_status = DS_STATUS(KEY, CRYPTO);
    if (DS_PK_SIGN(key, MBEDTLS_MD_SHA256, challenge, sizeof challenge, signature, MBEDTLS_PK_SIGNATURE_MAX_SIZE, &len,
                   ds_rng_draw, rng) != 0)
        return DS_STATUS_IS(a->dsig_status, NOT_FOUND) ? DS_STATUS(KEY, MISMATCH) : a->dsig_status;
    if (mbedtls_pk_verify(public_key, MBEDTLS_MD_SHA256, challenge, sizeof challenge, signature, len) != 0)
        return DS_STATUS(KEY, MISMATCH);
    return DS_STATUS_OK;
}

// --- encrypting

// -m^-1 mod 2^32 by Newton's iteration; m is odd, and its own inverse mod 8.
static uint32_t negated_inverse(uint32_t m)
{
    uint32_t x = m;
    for (int i = 0; i < 4; i++)
        x *= 2u - m * x;
    return 0u - x;
}

// Y, M and Rb = 2^(2*bits) mod M, each of param bytes.
static bool write_numbers(mbedtls_pk_context *pk, uint8_t *to, size_t param)
{
    mbedtls_mpi n, d, rb;
    mbedtls_mpi_init(&n);
    mbedtls_mpi_init(&d);
    mbedtls_mpi_init(&rb);
    bool ok = mbedtls_rsa_export(mbedtls_pk_rsa(*pk), &n, NULL, NULL, &d, NULL) == 0 && mbedtls_mpi_lset(&rb, 1) == 0 &&
              mbedtls_mpi_shift_l(&rb, 2 * mbedtls_pk_get_bitlen(pk)) == 0 && mbedtls_mpi_mod_mpi(&rb, &rb, &n) == 0 &&
              mbedtls_mpi_write_binary_le(&d, to, param) == 0 &&
              mbedtls_mpi_write_binary_le(&n, to + param, param) == 0 &&
              mbedtls_mpi_write_binary_le(&rb, to + 2 * param, param) == 0;
    mbedtls_mpi_free(&rb);
    mbedtls_mpi_free(&d);
    mbedtls_mpi_free(&n);
    return ok;
}

// MD = SHA-256(Y | M | Rb | M' | L | IV), where the last two follow MD itself in P.
static bool write_digest(const uint8_t *p, const uint8_t *iv, uint8_t *tail)
{
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    bool ok = mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) == 0 &&
              mbedtls_md_starts(&md) == 0 && mbedtls_md_update(&md, p, (size_t)(tail - p)) == 0 &&
              mbedtls_md_update(&md, tail + MD_LEN, 8) == 0 && mbedtls_md_update(&md, iv, IV_LEN) == 0 &&
              mbedtls_md_finish(&md, tail) == 0;
    mbedtls_md_free(&md);
    return ok;
}

static bool encrypt(const uint8_t secret[32], const uint8_t *iv, uint8_t *p, size_t len)
{
    uint8_t ones[32], key[32], chain[IV_LEN];
    memset(ones, 0xFF, sizeof ones);
    memcpy(chain, iv, sizeof chain);
    mbedtls_aes_context aes;
    mbedtls_aes_init(&aes);
    bool ok = mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), secret, 32, ones, sizeof ones, key) == 0 &&
              mbedtls_aes_setkey_enc(&aes, key, 256) == 0 &&
              mbedtls_aes_crypt_cbc(&aes, MBEDTLS_AES_ENCRYPT, len, chain, p, p) == 0;
    mbedtls_aes_free(&aes);
    mbedtls_platform_zeroize(key, sizeof key);
    return ok;
}

ds_status ds_dsig_encrypt(ds_agent *a, ds_rng *rng, mbedtls_pk_context *pk, const uint8_t secret[32], uint8_t *ret,
                          size_t *ret_len)
{
    size_t bits = mbedtls_pk_get_bitlen(pk), param = a->port->dsig_bits / 8u;
    if (mbedtls_pk_get_type(pk) != MBEDTLS_PK_RSA || bits > a->port->dsig_bits || bits % 32 != 0 ||
        data_len(a) > DS_DSIG_MAX)
        return DS_STATUS(KEY, UNSUPPORTED);
    uint8_t *iv = ret + IV_AT, *p = ret + P_AT, *tail = p + 3 * param;
    if (ds_rng_draw(rng, iv, IV_LEN) != 0)
        return DS_STATUS(KEY, RANDOM);
    put_le32(ret, (uint32_t)(bits / 32 - 1));
    bool ok = write_numbers(pk, p, param);
    put_le32(tail + MD_LEN, negated_inverse(get_le32(p + param)));
    put_le32(tail + MD_LEN + 4, (uint32_t)(bits / 32 - 1));
    memset(tail + MD_LEN + 8, PADDING, PADDING);
    ok = ok && write_digest(p, iv, tail) && encrypt(secret, iv, p, 3 * param + TAIL);
    if (!ok) {
        mbedtls_platform_zeroize(ret, DS_DSIG_MAX);
        return DS_STATUS(KEY, CRYPTO);
    }
    *ret_len = data_len(a);
    return DS_STATUS_OK;
}
