// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Virtual NOR flash in a file: programming only clears bits, erase sets 4 KiB sectors or 64 KiB blocks to FF. Every
// 4-byte word programmed and every sector erased passes the fault plan first, so that power can be cut at any of them.
#ifndef DS_SIM_FLASH_H
#define DS_SIM_FLASH_H

#include "sim/fault.h"
#include "sim/timing.h"
#include "src/base/buf.h"

typedef struct ds_sim_flash ds_sim_flash;

// Make path a flash of size bytes (as below) that was programmed with content from address 0 on; content is padded to
// the whole of it.
enum ds_class ds_sim_flash_create(const char *path, uint32_t size, ds_buf *content, ds_err *e) DS_MUST;

// Open (or create, all FF) path as a flash of size bytes (1 MiB..16 MiB, power of two). The file is mapped shared: what
// was programmed is there whatever happens to the process. fault and timing outlive the flash.
enum ds_class ds_sim_flash_open(const char *path, uint32_t size, ds_sim_fault *fault, ds_sim_timing *timing,
                                ds_sim_flash **ret, ds_err *e) DS_MUST;
void ds_sim_flash_close(ds_sim_flash *f);

uint32_t ds_sim_flash_size(const ds_sim_flash *f);
uint32_t ds_sim_flash_jedec_id(const ds_sim_flash *f); // manufacturer | type << 8 | capacity << 16

// False on a range outside the flash (nothing done).
bool ds_sim_flash_read(ds_sim_flash *f, uint32_t addr, void *buf, uint32_t len);
bool ds_sim_flash_program(ds_sim_flash *f, uint32_t addr, const void *data, uint32_t len);
bool ds_sim_flash_erase(ds_sim_flash *f, uint32_t addr, uint32_t len); // multiples of 4096

#endif
