// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What a virtual device is, as text: "chip=esp32c3,mac=24:0a:c4:00:00:01,rev=0.4,flash=4MB,image=merged.bin,
// fault=cut@100+seed=3,timing=on,seed=7,power=off". Only chip is required. In fault, '+' stands for the plan's commas.
#ifndef DS_SIM_DEVICE_SPEC_H
#define DS_SIM_DEVICE_SPEC_H

#include "src/base/buf.h"
#include "src/esp/chip.h"

typedef struct ds_sim_device_spec {
    const ds_chip *chip;
    uint8_t mac[6];
    uint16_t revision; // major * 100 + minor
    uint32_t flash_size;
    bool timing;
    bool off; // starts switched off
    uint64_t seed;
    char *image; // what a fresh flash holds; NULL = nothing
    char *fault; // plan with commas; NULL = none
} ds_sim_device_spec;

// index tells devices apart that have neither mac nor seed. Freed by ds_sim_device_spec_free also after a failure.
enum ds_class ds_sim_device_spec_parse(const char *text, unsigned index, ds_sim_device_spec *ret, ds_err *e) DS_MUST;
void ds_sim_device_spec_free(ds_sim_device_spec *s);
// What stays the same over the device's life, as text for ds_sim_device_spec_parse. Caller frees.
char *ds_sim_device_spec_text(const ds_sim_device_spec *s);

// "0c:..:..", 18 bytes.
void ds_sim_mac_text(const uint8_t mac[6], char ret[18]);

#endif
