// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The recipe: what a product is. Loaded from YAML with everything it names, and checked as a whole before any device is
// touched: images, partition table, signatures and key digests must belong together, since what follows burns eFuses.
#ifndef DS_STATION_RECIPE_H
#define DS_STATION_RECIPE_H

#include "src/base/buf.h"
#include "src/esp/chip.h"
#include "src/esp/image.h"
#include "src/esp/ptable.h"
#include "src/esp/sbv2.h"
#include "src/signer/manifest.h"
#include "src/signer/signer.h"

enum ds_region_id {
    DS_REGION_BOOTLOADER,
    DS_REGION_SECURE_BOOTLOADER,
    DS_REGION_TABLE,
    DS_REGION_MFG,
    DS_REGION_APP,
    DS_REGION_COUNT,
};

// One piece of flash and what belongs there.
typedef struct ds_region {
    const char *what; // "mfg image"
    uint32_t addr;
    ds_buf data;        // whole file, padded to 4 with FF
    ds_image_info info; // images only; borrows from data
    uint8_t md5[16];
    uint8_t sha256[32];
} ds_region;

typedef struct ds_recipe_value {
    char *name_space, *key, *value;
    int type; // Devstamp__ValueType
} ds_recipe_value;

struct ds_recipe_yaml; // as the file has it; recipe.c

typedef struct ds_recipe {
    char *path;
    ds_buf text;         // of the recipe itself
    const ds_view *from; // files by enum ds_bundle_part, while it is loaded from a bundle
    struct ds_recipe_yaml *yaml;
    const char *product;
    const ds_chip *chip;
    uint32_t flash_size;
    uint32_t table_offset;
    ds_ptable table;
    ds_region regions[DS_REGION_COUNT];
    const char *mfg_partition, *app_partition; // labels
    unsigned mfg_slot, app_slot;               // ota_N
    const char *mfg_min_version, *app_min_version;
    int key_type;          // Devstamp__KeyType
    enum ds_origin origin; // who makes the key
    bool key_in_ds;        // the digital-signature peripheral is to hold the key
    bool nvs_by_hmac;      // the HMAC peripheral is to make the keys of encrypted NVS
    const char *subject;
    unsigned certificate_days; // 0 = no well-defined expiry
    const char *serial_format, *endpoint;
    ds_buf endpoint_ca; // PEM; empty where none
    unsigned pop_length;
    bool close_download;
    const ds_recipe_value *values;
    unsigned value_count;
    // A platform of one's own (chip generic): no table, no regions, no lock. What follows is of chips that can lock.
    bool release;                                // flash encryption in release mode is expected
    bool full_proof;                             // negative proof by the ROM demanded
    uint8_t key_digests[DS_SBV2_MAX_BLOCKS][32]; // secure boot keys that the secure bootloader is signed with
    unsigned key_count;
    uint8_t digest[32]; // SHA-256 of the recipe with every file it names, as they were read; or the bundle's digest
    uint64_t bundle_release; // of the bundle it is from; 0: it is from a file
} ds_recipe;

// DS_INPUT names file, line and key, or the image and what is wrong with it; DS_POLICY: a combination that must not be
// built (images signed with different keys, a signed mfg image).
enum ds_class ds_recipe_load(const char *path, ds_recipe **ret, ds_err *e) DS_MUST;
// The same from files in memory, by enum ds_bundle_part: what the recipe calls them is not looked at. name is for
// messages. See bundle_recipe.h, which compares them with a bundle's manifest.
enum ds_class ds_recipe_load_parts(const char *name, const ds_view *parts, ds_recipe **ret, ds_err *e) DS_MUST;
void ds_recipe_free(ds_recipe *r);

// What it says of certificates, for the signer to judge by; borrowed from r.
ds_signer_profile ds_recipe_profile(const ds_recipe *r);

// {serial}, {mac}, {product} replaced. DS_INPUT on an unknown placeholder.
enum ds_class ds_recipe_subject(const ds_recipe *r, const char *serial, const uint8_t mac[6], char ret[256],
                                ds_err *e) DS_MUST;

// The 8 KiB of otadata that boots ota_slot, as written onto a blank partition.
void ds_recipe_otadata(const ds_recipe *r, unsigned slot, uint8_t ret[0x2000]);

// The one file that a chip supplier pre-flashes: plain bootloader, partition table, otadata that selects the mfg app,
// mfg app, signed app; gaps FF; up to the last used byte, or the whole flash. DS_INPUT: a platform without images.
enum ds_class ds_recipe_merge(const ds_recipe *r, bool whole_flash, ds_buf *ret, ds_err *e) DS_MUST;

#endif
