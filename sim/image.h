// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Firmware images for virtual devices, in the real ESP image format. Which native code an image runs is told by its
// description: app images by project name, bootloaders by the descriptor's IDF version text.
#ifndef DS_SIM_IMAGE_H
#define DS_SIM_IMAGE_H

#include "src/base/buf.h"
#include "src/esp/chip.h"
#include "src/esp/image.h"

enum ds_sim_image_kind {
    DS_SIM_IMAGE_BOOTLOADER,        // plain: boots anything whole
    DS_SIM_IMAGE_SECURE_BOOTLOADER, // first boot: burns, encrypts (release or development)
    DS_SIM_IMAGE_MFG,               // project "devstamp-mfg": the agent
    DS_SIM_IMAGE_APP,               // any other project: the app side
};

typedef struct ds_sim_image_spec {
    const ds_chip *chip;
    enum ds_sim_image_kind kind;
    const char *project, *version; // apps
    uint32_t secure_version;       // apps
    uint32_t table_offset;         // bootloaders: where they look for the partition table
    bool release;                  // secure bootloader: flash encryption in release mode
    uint32_t body;                 // bytes of filler code, seeded by the version
    bool secure_pad;               // apps to be signed
} ds_sim_image_spec;

enum ds_class ds_sim_image_make(const ds_sim_image_spec *spec, ds_buf *ret, ds_err *e) DS_MUST;

// What a bootloader image says of itself.
typedef struct ds_sim_boot_kind {
    bool secure;           // first boot: burns, encrypts
    bool release;          // flash encryption in release mode
    uint32_t table_offset; // where it looks for the partition table
} ds_sim_boot_kind;

// False where the image is no bootloader made by ds_sim_image_make(): there is no native code for it.
bool ds_sim_image_boot_kind(const ds_image_info *info, ds_sim_boot_kind *ret);

#endif
