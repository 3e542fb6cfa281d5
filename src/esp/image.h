// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Application and bootloader images, both directions. Source: esptool firmware-image-format.rst; ESP-IDF
// esp_app_format.h, esp_app_desc.h, esp_bootloader_desc.h (v5.4).
#ifndef DS_ESP_IMAGE_H
#define DS_ESP_IMAGE_H

#include "src/base/buf.h"
#include "src/esp/chip.h"

#define DS_IMAGE_MAX_SEGMENTS 16
#define DS_IMAGE_PAGE 0x10000u

typedef struct ds_image_segment {
    uint32_t load_addr;
    ds_view data; // length a multiple of 4
} ds_image_segment;

// esp_app_desc_t, the fields that matter here.
typedef struct ds_app_desc {
    uint32_t secure_version;
    char version[33], project[33], time[17], date[17], idf_version[33];
    uint8_t elf_sha256[32];
} ds_app_desc;

// esp_bootloader_desc_t.
typedef struct ds_boot_desc {
    uint32_t version;
    char idf_version[33], date_time[25];
} ds_boot_desc;

typedef struct ds_image_info {
    uint16_t chip_id;
    uint32_t entry;
    uint8_t spi_mode, flash_size_code, flash_freq_code;
    uint16_t min_rev_full, max_rev_full;
    unsigned segment_count;
    ds_image_segment segments[DS_IMAGE_MAX_SEGMENTS]; // borrowed from the input
    size_t len;                                       // through the checksum, or the appended hash where there is one
    bool has_hash;
    uint8_t sha256[32]; // appended hash, valid where has_hash
    bool has_app_desc, has_boot_desc;
    ds_app_desc app;
    ds_boot_desc boot;
} ds_image_info;

// Parse and verify structure, checksum and (where present) appended SHA-256. Bytes after the image (signature, FF) are
// allowed. DS_INPUT names what is wrong; a truncated image says how many bytes are missing.
enum ds_class ds_image_parse(ds_view data, ds_image_info *ret, ds_err *e) DS_MUST;

// The flash that images lie in; false where it cannot be read.
typedef struct ds_image_source {
    bool (*read)(void *ctx, uint32_t addr, void *buf, uint32_t len);
    void *ctx;
} ds_image_source;

// Read the image at addr, which may use at most room bytes, and the signature sector behind it where that fits: as much
// as its headers say, to be parsed next. ret must be empty and is the caller's to free, also after a failure.
// DS_DEVICE: it could not be read; DS_INPUT: no image.
enum ds_class ds_image_load(const ds_image_source *from, uint32_t addr, uint32_t room, ds_buf *ret, ds_err *e) DS_MUST;

// What ds_image_build makes an image of.
typedef struct ds_image_spec {
    uint16_t chip_id;
    uint32_t entry;
    uint8_t spi_mode, flash_size_code, flash_freq_code;
    uint16_t min_rev_full, max_rev_full;
    const ds_image_segment *segments;
    unsigned segment_count;
    bool secure_pad_v2; // pad so that the image with its hash ends on a 64 KiB page
} ds_image_spec;

// Build an image with checksum and appended SHA-256; appends to ret (which must be empty).
enum ds_class ds_image_build(const ds_image_spec *spec, ds_buf *ret, ds_err *e) DS_MUST;

// Serialise descriptors, to be placed at the start of the first segment.
void ds_app_desc_write(const ds_app_desc *d, uint8_t ret[256]);
void ds_boot_desc_write(const ds_boot_desc *d, uint8_t ret[80]);

// Compare dotted version texts ("1.2.0", "v1.10", git suffixes after '-' ignored): <0, 0, >0.
int ds_version_compare(const char *a, const char *b);

#endif
