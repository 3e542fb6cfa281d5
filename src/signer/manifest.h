// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The manifest of a release bundle: what is signed. Canonical JSON (keys sorted, no spaces, ASCII), so that one bundle
// has one manifest. docs/bundle.md fixes it. Everything in it but release number and time follows from the recipe and
// its files (src/station/bundle_recipe.h), and is compared with them before a bundle is used.
#ifndef DS_SIGNER_MANIFEST_H
#define DS_SIGNER_MANIFEST_H

#include "src/base/buf.h"
#include "src/esp/burns.h"

enum ds_bundle_part {
    DS_PART_RECIPE,
    DS_PART_TABLE,
    DS_PART_BOOTLOADER,
    DS_PART_SECURE_BOOTLOADER,
    DS_PART_MFG,
    DS_PART_APP_IMAGE,
    DS_PART_ENDPOINT_CA,
    DS_BUNDLE_PARTS,
};
const char *ds_bundle_part_name(enum ds_bundle_part part); // "recipe", "secure_bootloader"

enum { DS_MANIFEST_MAX = 24576, DS_BUNDLE_PART_MAX = 16 << 20 };

typedef struct ds_manifest {
    uint64_t release; // counts up with each release of a product for a chip; at least 1
    int64_t created_utc;
    char product[64], chip[16];
    char lock[16]; // "release", "development", "none"
    struct {
        uint32_t size; // 0: there is none
        uint8_t sha256[32];
    } parts[DS_BUNDLE_PARTS];
    char mfg_version[33], mfg_min_version[33], app_version[33], app_min_version[33]; // empty without images
    uint32_t secure_version;                                                         // of the app
    uint8_t trusted[3][32]; // secure boot keys, by their digests
    unsigned trusted_count;
    ds_burns burns;
} ds_manifest;

// Append its text. DS_INPUT: a text in it is not printable ASCII, or it gets too long.
enum ds_class ds_manifest_write(const ds_manifest *m, ds_buf *ret, ds_err *e) DS_MUST;

// DS_INPUT: no manifest, of another format, or not in its one spelling.
enum ds_class ds_manifest_parse(ds_view text, ds_manifest *ret, ds_err *e) DS_MUST;

#endif
