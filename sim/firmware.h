// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Runs the native code that a firmware image stands for: what "jump to the app" means on a virtual device.
#ifndef DS_SIM_FIRMWARE_H
#define DS_SIM_FIRMWARE_H

#include "sim/chip.h"
#include "src/esp/image.h"
#include "src/esp/ptable.h"

#define DS_SIM_PROJECT_MFG "devstamp-mfg"

// Run the mfg agent where the image's project says so, else the app side. table is the partition table as the
// bootloader read it, running the partition the image was loaded from. Returns only when the console is gone.
void ds_sim_firmware_run(ds_sim_chip *c, const ds_ptable *table, const ds_part *running, const ds_image_info *info);

#endif
