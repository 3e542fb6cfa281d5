// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside of the eFuse code: the tables of each chip.
#ifndef DS_ESP_EFUSE_TABLE_H
#define DS_ESP_EFUSE_TABLE_H

#include "src/esp/efuse.h"

extern const ds_efuse_block ds_efuse_esp32_blocks[], ds_efuse_esp32c3_blocks[];
extern const ds_efuse_field ds_efuse_esp32_fields[], ds_efuse_esp32c3_fields[];
extern const unsigned ds_efuse_esp32_block_count, ds_efuse_esp32c3_block_count;
extern const unsigned ds_efuse_esp32_field_count, ds_efuse_esp32c3_field_count;

#endif
