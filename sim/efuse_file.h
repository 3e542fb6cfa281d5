// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The eFuse file of efuse.h: fuses that only ever go from 0 to 1, block by block, whole or not at all. Knows nothing of
// protection. For sim/efuse.c and sim/efuse_regs.c.
#ifndef DS_SIM_EFUSE_FILE_H
#define DS_SIM_EFUSE_FILE_H

#include "src/base/buf.h"
#include "src/esp/efuse.h"

#define DS_SIM_EFUSE_CHECK_WORDS 3
#define DS_SIM_EFUSE_ROW (DS_EFUSE_WORDS + DS_SIM_EFUSE_CHECK_WORDS)

typedef struct ds_sim_efuse_file {
    uint8_t *mem;
    size_t len, window;
} ds_sim_efuse_file;

// Data words, then check words of one block.
typedef struct ds_sim_efuse_row {
    uint32_t w[DS_SIM_EFUSE_ROW];
} ds_sim_efuse_row;

enum ds_class ds_sim_efuse_file_open(const char *path, const ds_chip *chip, const ds_efuse_words *fresh,
                                     ds_sim_efuse_file *ret, ds_err *e) DS_MUST;
void ds_sim_efuse_file_close(ds_sim_efuse_file *f);

void ds_sim_efuse_file_row(const ds_sim_efuse_file *f, unsigned block, ds_sim_efuse_row *ret);
void ds_sim_efuse_file_burn(ds_sim_efuse_file *f, unsigned block, const ds_sim_efuse_row *bits);

// The check words that belong to a row's data.
void ds_sim_efuse_row_encode(ds_sim_efuse_row *row);

// One register of the window; off inside it, a multiple of 4.
uint32_t ds_sim_efuse_file_reg(const ds_sim_efuse_file *f, uint32_t off);
void ds_sim_efuse_file_set_reg(ds_sim_efuse_file *f, uint32_t off, uint32_t value);

#endif
