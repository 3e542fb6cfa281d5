// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Flash encryption; see flashenc.h. ESP32: AES-256-ECB on reversed 16-byte blocks (decrypting to encrypt) with key bits
// flipped by the address of each 32-byte unit. Others: IEEE 1619 XTS on reversed 128-byte units, the tweak being their
// address. ESP-IDF flash-encryption.rst, "Flash Encryption Algorithm".
#include "src/esp/flashenc.h"

#include "src/base/secret.h"

#include <openssl/evp.h>
#include <string.h>

#define AES_BLOCK 16u
#define TWEAK_UNIT 32u
#define XTS_UNIT 128u

static void copy_reversed(uint8_t *dst, const uint8_t *src, size_t len)
{
    for (size_t i = 0; i < len; i++)
        dst[i] = src[len - 1 - i];
}

// The address bits that tweak key bits 0..255: four groups, each three runs 23..5 and a short run down to 5.
static void tweak_key(const uint8_t key[32], uint8_t crypt_config, uint32_t unit_addr, uint8_t ret[32])
{
    static const uint8_t short_run_first[4] = {14, 12, 10, 8};
    memcpy(ret, key, 32);
    unsigned bit = 0;
    for (unsigned group = 0; group < 4; group++) {
        for (unsigned run = 0; run < 4; run++) {
            unsigned first = run < 3 ? 23 : short_run_first[group];
            for (unsigned p = first; p >= 5; p--, bit++)
                if (crypt_config >> group & 1 && unit_addr >> p & 1)
                    ret[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
        }
    }
}

static bool esp32_block(EVP_CIPHER_CTX *ctx, const uint8_t *src, uint8_t *dst)
{
    uint8_t in[AES_BLOCK], out[AES_BLOCK];
    int n = 0;
    copy_reversed(in, src, AES_BLOCK);
    if (!EVP_CipherUpdate(ctx, out, &n, in, AES_BLOCK) || n != (int)AES_BLOCK)
        return false;
    copy_reversed(dst, out, AES_BLOCK);
    return true;
}

// The ESP32 engine encrypts by AES decryption and the other way round.
static bool esp32_crypt(EVP_CIPHER_CTX *ctx, const uint8_t *key, uint8_t config, bool encrypt, uint32_t addr,
                        const uint8_t *src, uint8_t *dst, size_t len)
{
    uint8_t tweaked[32];
    bool ok = true;
    for (size_t i = 0; i < len && ok; i += AES_BLOCK) {
        uint32_t at = addr + (uint32_t)i;
        if (i == 0 || at % TWEAK_UNIT == 0) {
            tweak_key(key, config, at & ~(TWEAK_UNIT - 1), tweaked);
            ok = EVP_CipherInit_ex2(ctx, EVP_aes_256_ecb(), tweaked, NULL, encrypt ? 0 : 1, NULL) &&
                 EVP_CIPHER_CTX_set_padding(ctx, 0);
        }
        ok = ok && esp32_block(ctx, src + i, dst + i);
    }
    ds_wipe(tweaked, sizeof tweaked);
    return ok;
}

// One unit; a part of it is padded with zeros, which do not touch the other 16-byte pieces.
static bool xts_unit(EVP_CIPHER_CTX *ctx, uint32_t unit_addr, uint32_t off, const uint8_t *src, uint8_t *dst,
                     size_t len)
{
    uint8_t in[XTS_UNIT], out[XTS_UNIT], unit[XTS_UNIT] = {0}, tweak[16] = {0};
    int n = 0;
    memcpy(unit + off, src, len);
    copy_reversed(in, unit, XTS_UNIT);
    ds_put_le32(tweak, unit_addr);
    if (!EVP_CipherInit_ex2(ctx, NULL, NULL, tweak, -1, NULL) || !EVP_CipherUpdate(ctx, out, &n, in, XTS_UNIT) ||
        n != (int)XTS_UNIT)
        return false;
    copy_reversed(unit, out, XTS_UNIT);
    memcpy(dst, unit + off, len);
    return true;
}

static bool xts_crypt(EVP_CIPHER_CTX *ctx, ds_view key, bool encrypt, uint32_t addr, const uint8_t *src, uint8_t *dst,
                      size_t len)
{
    const EVP_CIPHER *cipher = key.len == 64 ? EVP_aes_256_xts() : EVP_aes_128_xts();
    if (!EVP_CipherInit_ex2(ctx, cipher, key.ptr, NULL, encrypt, NULL))
        return false;
    for (size_t i = 0; i < len;) {
        uint32_t at = addr + (uint32_t)i;
        uint32_t off = at % XTS_UNIT;
        size_t part = XTS_UNIT - off < len - i ? XTS_UNIT - off : len - i;
        if (!xts_unit(ctx, at - off, off, src + i, dst + i, part))
            return false;
        i += part;
    }
    return true;
}

static enum ds_class flash_crypt(enum ds_flash_cipher cipher, ds_view key, uint8_t config, bool encrypt, uint32_t addr,
                                 const uint8_t *src, uint8_t *dst, size_t len, ds_err *e)
{
    bool esp32 = cipher == DS_FLASH_CIPHER_ESP32;
    if (key.len != 32 && (esp32 || key.len != 64))
        return ds_fail(e, DS_INPUT, "flash encryption key has %zu bytes, not %s", key.len, esp32 ? "32" : "32 or 64");
    if (addr % AES_BLOCK || len % AES_BLOCK)
        return ds_fail(e, DS_INPUT, "flash encryption of %zu bytes at 0x%x: not multiples of 16", len, addr);
    if (len > UINT32_MAX - addr)
        return ds_fail(e, DS_INPUT, "flash encryption of %zu bytes at 0x%x: beyond the address space", len, addr);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = ctx && (esp32 ? esp32_crypt(ctx, key.ptr, config, encrypt, addr, src, dst, len)
                            : xts_crypt(ctx, key, encrypt, addr, src, dst, len));
    EVP_CIPHER_CTX_free(ctx);
    if (!ok)
        return ds_fail(e, DS_INTERNAL, "flash encryption: the AES implementation refused (equal XTS key halves?)");
    return DS_OK;
}

enum ds_class ds_flashenc_encrypt(enum ds_flash_cipher cipher, ds_view key, uint8_t crypt_config, uint32_t addr,
                                  const uint8_t *src, uint8_t *dst, size_t len, ds_err *e)
{
    return flash_crypt(cipher, key, crypt_config, true, addr, src, dst, len, e);
}

enum ds_class ds_flashenc_decrypt(enum ds_flash_cipher cipher, ds_view key, uint8_t crypt_config, uint32_t addr,
                                  const uint8_t *src, uint8_t *dst, size_t len, ds_err *e)
{
    return flash_crypt(cipher, key, crypt_config, false, addr, src, dst, len, e);
}
