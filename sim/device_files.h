// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A device's files: <state>/<index>/{device,flash.bin,efuse.bin}, and the chip opened over them while it is off (what a
// programmer clipped to the flash, or a test, can do).
#ifndef DS_SIM_DEVICE_FILES_H
#define DS_SIM_DEVICE_FILES_H

#include "sim/chip.h"
#include "sim/device_spec.h"

#define DS_SIM_DEVICES_MAX 64u

typedef struct ds_sim_device_files {
    char *dir, *spec, *flash, *efuse;
} ds_sim_device_files;

void ds_sim_device_files_init(ds_sim_device_files *f, const char *state, unsigned index);
void ds_sim_device_files_free(ds_sim_device_files *f);

// Make what is not there yet: folder, flash (holding spec->image), eFuses. A device that is there already must be the
// one spec describes.
enum ds_class ds_sim_device_files_prepare(const ds_sim_device_files *f, const ds_sim_device_spec *spec,
                                          ds_err *e) DS_MUST;
// The device an earlier simulation made; DS_INPUT where there is none.
enum ds_class ds_sim_device_files_spec(const ds_sim_device_files *f, ds_sim_device_spec *ret, ds_err *e) DS_MUST;

// A chip without power supply, wire, faults or delays.
typedef struct ds_sim_offline {
    ds_sim_chip chip;
    ds_sim_fault fault;
    ds_sim_timing timing;
    ds_sim_device_spec spec;
} ds_sim_offline;

enum ds_class ds_sim_offline_open(ds_sim_offline *o, const char *state, unsigned index, ds_err *e) DS_MUST;
void ds_sim_offline_close(ds_sim_offline *o);
// Write data anywhere, keeping what shares its sectors. crypt: so that the chip's cache shows data (needs its flash
// key).
enum ds_class ds_sim_offline_write(ds_sim_offline *o, uint32_t addr, ds_view data, bool crypt, ds_err *e) DS_MUST;

#endif
