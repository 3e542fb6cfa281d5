// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A batch of eFuse burns as the bootloader makes them: collected first, then key blocks, then BLOCK0 last, so that a
// key is whole before anything relies on it.
#ifndef DS_SIM_BOOT_BURN_H
#define DS_SIM_BOOT_BURN_H

#include "sim/boot.h"

typedef struct ds_sim_burn {
    ds_efuse_words bits;
    bool block[DS_EFUSE_BLOCKS]; // key blocks that are part of it
} ds_sim_burn;

// Set a field; nothing where the chip has no such field, so that one list serves all chips.
void ds_sim_burn_set(const ds_sim_stage *b, ds_sim_burn *burn, const char *field, uint32_t value);

// Write-protect what shares field's write protection.
void ds_sim_burn_lock(const ds_sim_stage *b, ds_sim_burn *burn, const char *field);

// Put a key with its purpose into the first free block that may hold it, write-protected, and read-protected too where
// secret. False where there is no such block.
bool ds_sim_burn_key(const ds_sim_stage *b, ds_sim_burn *burn, const uint8_t key[32], uint32_t purpose, bool secret);

// Burn it all; refreshes b. False where the chip refused.
bool ds_sim_burn_commit(ds_sim_stage *b, ds_sim_burn *burn);

#endif
