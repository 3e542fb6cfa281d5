// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The checksums of the ESP32 family and of our own frames.
#ifndef DS_BASE_CRC_H
#define DS_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

// CRC-32/ISO-HDLC (zlib's): poly 0xEDB88320 reflected, init and final XOR 0xFFFFFFFF; "123456789" -> 0xCBF43926.
// Used by Secure Boot V2 blocks and by the agent's frames.
uint32_t ds_crc32(const void *data, size_t len);

// The ESP ROM's esp_rom_crc32_le(seed, ...): chain by passing the previous result as seed; start with 0xFFFFFFFF.
// "123456789" -> 0xD202D277. Used by NVS, the NVS key partition, otadata and esp_secure_cert.
uint32_t ds_crc32_esp(uint32_t seed, const void *data, size_t len);

// XOR of every byte, seed 0xEF: serial loader data packets and the image footer. Chain by passing the result as seed.
#define DS_XOR8_SEED 0xEF
uint8_t ds_xor8(uint8_t seed, const void *data, size_t len);

// CRC-8 of an ESP32's MAC: init 0, poly 0x8C reflected, no final XOR (Dallas/Maxim).
uint8_t ds_crc8_mac(const uint8_t mac[6]);

#endif
