// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The virtual eFuse controller from within: shared by sim/efuse.c and sim/efuse_regs.c alone.
#ifndef DS_SIM_EFUSE_INT_H
#define DS_SIM_EFUSE_INT_H

#include "sim/efuse.h"
#include "sim/efuse_file.h"

#define DS_SIM_EFUSE_WINDOW_MAX 512

struct ds_sim_efuse {
    const ds_chip *chip;
    ds_sim_fault *fault;
    ds_sim_efuse_file file;
    uint32_t regs[DS_SIM_EFUSE_WINDOW_MAX / 4]; // PGM, CONF, timing: volatile, gone with the CPU run
};

// Load the read registers from the fuses, as reset and the controller's read command do.
void ds_sim_efuse_refresh(ds_sim_efuse *f);

// The write-protected bits of a block.
void ds_sim_efuse_write_mask(const ds_sim_efuse *f, unsigned block, uint32_t mask[DS_EFUSE_WORDS]);

#endif
