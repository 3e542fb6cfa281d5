// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// NVS encryption: XTS-AES-256, one 32-byte entry a data unit, its offset in the partition as the tweak; and the
// nvs_keys partition, or what takes its place on chips with an HMAC peripheral. Source: ESP-IDF nvs_encryption.rst,
// nvs_encrypted_partition.cpp, nvs_sec_provider.c (v5.4).
#include "src/base/crc.h"
#include "src/base/secret.h"
#include "src/esp/nvs.h"

#include <openssl/evp.h>

#include <string.h>

static bool crypt_unit(EVP_CIPHER_CTX *ctx, uint32_t offset, uint8_t *unit)
{
    uint8_t tweak[16] = {0};
    int len = 0;
    ds_put_le32(tweak, offset);
    return EVP_CipherInit_ex(ctx, NULL, NULL, NULL, tweak, -1) == 1 &&
           EVP_CipherUpdate(ctx, unit, &len, unit, DS_NVS_ENTRY) == 1 && len == DS_NVS_ENTRY;
}

enum ds_class ds_nvs_crypt(const ds_nvs_keys *keys, bool encrypt, uint32_t offset, uint8_t *entries, size_t len,
                           ds_err *e)
{
    if (len % DS_NVS_ENTRY || offset % DS_NVS_ENTRY)
        return ds_fail(e, DS_INTERNAL, "NVS is encrypted in units of 32 bytes, not 0x%x+%zu", offset, len);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_xts(), NULL, keys->bytes, NULL, encrypt) == 1;
    for (size_t i = 0; ok && i < len; i += DS_NVS_ENTRY)
        ok = crypt_unit(ctx, offset + (uint32_t)i, entries + i);
    EVP_CIPHER_CTX_free(ctx);
    if (!ok)
        return ds_fail(e, DS_INPUT, "NVS keys are not usable by XTS-AES-256 (its two halves must differ)");
    return DS_OK;
}

void ds_nvs_keys_write(const ds_nvs_keys *keys, uint8_t ret[4096])
{
    memset(ret, 0xFF, 4096);
    memcpy(ret, keys->bytes, sizeof keys->bytes);
    ds_put_le32(ret + 64, ds_crc32_esp(0xFFFFFFFF, keys->bytes, sizeof keys->bytes));
}

enum ds_class ds_nvs_keys_read(const uint8_t *data, bool *ret_present, ds_nvs_keys *ret, ds_err *e)
{
    size_t used = 68;
    while (used && data[used - 1] == 0xFF)
        used--;
    if (!used) {
        *ret_present = false;
        return DS_OK;
    }
    if (ds_le32(data + 64) != ds_crc32_esp(0xFFFFFFFF, data, 64)) {
        ds_fail(e, DS_INPUT, "nvs_keys partition: checksum of the keys differs");
        return ds_hint(e, "the partition is damaged, or was read without flash decryption");
    }
    memcpy(ret->bytes, data, sizeof ret->bytes);
    *ret_present = true;
    return DS_OK;
}

void ds_nvs_hmac_seed(bool second, uint8_t ret[32])
{
    for (unsigned i = 0; i < 32; i += 4)
        ds_put_le32(ret + i, second ? 0xCEDEA5A5 : 0xAEBE5A5A);
}
