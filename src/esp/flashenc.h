// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Flash encryption of ESP32 (AES-256 with address-tweaked key) and of the XTS chips. Source: ESP-IDF
// flash-encryption.rst; espsecure (esptool v5.2). addr is always the absolute flash offset.
#ifndef DS_ESP_FLASHENC_H
#define DS_ESP_FLASHENC_H

#include "src/base/buf.h"
#include "src/esp/chip.h"

// key: as in a key file (not reversed): 32 bytes (XTS-128, ESP32) or 64 bytes (XTS-256). addr and len: multiples of 16.
// crypt_config: ESP32's FLASH_CRYPT_CONFIG (0xF in production), ignored elsewhere. In place: dst may equal src.
enum ds_class ds_flashenc_encrypt(enum ds_flash_cipher cipher, ds_view key, uint8_t crypt_config, uint32_t addr,
                                  const uint8_t *src, uint8_t *dst, size_t len, ds_err *e) DS_MUST;
enum ds_class ds_flashenc_decrypt(enum ds_flash_cipher cipher, ds_view key, uint8_t crypt_config, uint32_t addr,
                                  const uint8_t *src, uint8_t *dst, size_t len, ds_err *e) DS_MUST;

#endif
