// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One signature block of Secure Boot V2, RSA-3072 (PSS, SHA-256) or ECDSA P-256. Numbers in it are little-endian.
// Source: ESP-IDF secure-boot-v2.rst, "Signature Block Format".
#include "agent/core/frame.h"
#include "agent/port/esp-idf/image_scan.h"

#include <mbedtls/ecdsa.h>
#include <mbedtls/rsa.h>
#include <mbedtls/sha256.h>

#include <stdlib.h>
#include <string.h>

enum {
    MAGIC = 0xE7,
    VERSION_RSA = 2,
    VERSION_ECDSA = 3,
    CURVE_P256 = 2,
    DIGEST_AT = 4,
    KEY_AT = 36,
    CRC_AT = 1196,
    RSA_LEN = 384,
    RSA_KEY_LEN = 2 * RSA_LEN + 8, // n, e, R, M'
    RSA_E_AT = KEY_AT + RSA_LEN,
    POINT_LEN = 32,
    EC_KEY_LEN = 1 + 2 * POINT_LEN, // curve, X, Y
};

static uint32_t le32(const uint8_t *b)
{
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool ds_esp_sbv2_read(const uint8_t block[DS_ESP_SBV2_BLOCK], uint8_t ret_key[32])
{
    static const uint8_t zeros[16];
    bool rsa = block[1] == VERSION_RSA, ec = block[1] == VERSION_ECDSA && block[KEY_AT] == CURVE_P256;
    if (block[0] != MAGIC || (!rsa && !ec) || le32(block + CRC_AT) != ds_frame_crc(0, block, CRC_AT) ||
        memcmp(block + CRC_AT + 4, zeros, sizeof zeros) != 0)
        return false;
    return mbedtls_sha256(block + KEY_AT, rsa ? RSA_KEY_LEN : EC_KEY_LEN, ret_key, 0) == 0;
}

static bool rsa_key(const uint8_t *block, mbedtls_rsa_context *rsa)
{
    mbedtls_mpi n, e;
    mbedtls_mpi_init(&n);
    mbedtls_mpi_init(&e);
    bool ok = mbedtls_mpi_read_binary_le(&n, block + KEY_AT, RSA_LEN) == 0 &&
              mbedtls_mpi_read_binary_le(&e, block + RSA_E_AT, 4) == 0 &&
              mbedtls_rsa_import(rsa, &n, NULL, NULL, NULL, &e) == 0 && mbedtls_rsa_complete(rsa) == 0 &&
              mbedtls_rsa_get_len(rsa) == RSA_LEN &&
              mbedtls_rsa_set_padding(rsa, MBEDTLS_RSA_PKCS_V21, MBEDTLS_MD_SHA256) == 0;
    mbedtls_mpi_free(&n);
    mbedtls_mpi_free(&e);
    return ok;
}

static bool verify_rsa(const uint8_t *block)
{
    uint8_t *signature = malloc(RSA_LEN); // RSA_LEN bytes are much for a stack
    if (signature == NULL)
        return false;
    for (size_t i = 0; i < RSA_LEN; i++)
        signature[i] = block[KEY_AT + RSA_KEY_LEN + RSA_LEN - 1 - i];
    mbedtls_rsa_context rsa;
    mbedtls_rsa_init(&rsa);
    bool ok = rsa_key(block, &rsa) && mbedtls_rsa_rsassa_pss_verify_ext(&rsa, MBEDTLS_MD_SHA256, 32, block + DIGEST_AT,
                                                                        MBEDTLS_MD_SHA256, 32, signature) == 0;
    mbedtls_rsa_free(&rsa);
    free(signature);
    return ok;
}

// An uncompressed point (SEC 1, 2.3.4) of X and Y.
static bool read_point(const mbedtls_ecp_group *group, const uint8_t *xy, mbedtls_ecp_point *ret)
{
    uint8_t raw[1 + 2 * POINT_LEN] = {4};
    for (size_t i = 0; i < POINT_LEN; i++) {
        raw[1 + i] = xy[POINT_LEN - 1 - i];
        raw[1 + POINT_LEN + i] = xy[2 * POINT_LEN - 1 - i];
    }
    return mbedtls_ecp_point_read_binary(group, ret, raw, sizeof raw) == 0 && mbedtls_ecp_check_pubkey(group, ret) == 0;
}

static bool verify_ec(const uint8_t *block)
{
    const uint8_t *signature = block + KEY_AT + EC_KEY_LEN;
    mbedtls_ecp_group group;
    mbedtls_ecp_point q;
    mbedtls_mpi r, s;
    mbedtls_ecp_group_init(&group);
    mbedtls_ecp_point_init(&q);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    bool ok = mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) == 0 &&
              read_point(&group, block + KEY_AT + 1, &q) && mbedtls_mpi_read_binary_le(&r, signature, POINT_LEN) == 0 &&
              mbedtls_mpi_read_binary_le(&s, signature + POINT_LEN, POINT_LEN) == 0 &&
              mbedtls_ecdsa_verify(&group, block + DIGEST_AT, 32, &q, &r, &s) == 0;
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&r);
    mbedtls_ecp_point_free(&q);
    mbedtls_ecp_group_free(&group);
    return ok;
}

bool ds_esp_sbv2_verify(const uint8_t block[DS_ESP_SBV2_BLOCK], const uint8_t content_digest[32])
{
    if (memcmp(block + DIGEST_AT, content_digest, 32) != 0)
        return false;
    return block[1] == VERSION_RSA ? verify_rsa(block) : verify_ec(block);
}
