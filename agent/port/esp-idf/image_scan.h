// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// An image in flash, read piece by piece: is it whole, what is it, who signed it. Judged here and not by
// esp_image_verify() alone, since what that checks depends on how the running firmware was configured: the mfg one is
// built without secure boot, and must still select nothing that the secure bootloader will refuse. Sources: ESP-IDF
// app_image_format.rst, secure-boot-v2.rst ("Signature Block Format").
#ifndef DS_AGENT_ESP_IDF_IMAGE_SCAN_H
#define DS_AGENT_ESP_IDF_IMAGE_SCAN_H

#include "agent/port/esp-idf/esp_port.h"

#define DS_ESP_KEY_DIGESTS 3u

// Where an image is; part NULL: the bootloader's place.
typedef struct ds_esp_source {
    ds_esp *p;
    const esp_partition_t *part;
    uint32_t size;
} ds_esp_source;

ds_esp_source ds_esp_source_of(ds_esp *p, const esp_partition_t *part);

typedef struct ds_esp_image {
    uint32_t len; // with checksum and digest, without signature sector
    uint16_t chip_id, min_rev, max_rev;
    uint8_t content_digest[32]; // SHA-256 up to the signature sector: padding included
    bool is_app;                // has an app description:
    uint32_t secure_version;
    char version[33];
} ds_esp_image;

// BAD_IMAGE where it is not whole: header, segments, digest.
ds_status ds_esp_image_scan(const ds_esp_source *from, ds_esp_image *ret);

enum ds_esp_signature { DS_ESP_SIGNED, DS_ESP_UNSIGNED, DS_ESP_BADLY_SIGNED };

// Does a signature of the scanned image hold, by one of these keys (count 0: by the key it carries)? *ret_key (may be
// NULL) is the digest of the key that signed.
enum ds_esp_signature ds_esp_image_signature(const ds_esp_source *from, const ds_esp_image *image,
                                             const uint8_t (*keys)[32], unsigned count, uint8_t ret_key[32]);

// ---- sbv2.c
#define DS_ESP_SBV2_BLOCK 1216u

// A signature block: is it one, is its image digest this, what is its key's digest, and does its signature hold?
bool ds_esp_sbv2_read(const uint8_t block[DS_ESP_SBV2_BLOCK], uint8_t ret_key[32]);
bool ds_esp_sbv2_verify(const uint8_t block[DS_ESP_SBV2_BLOCK], const uint8_t content_digest[32]);

#endif
