// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Faults of a virtual device: a seeded plan around its wire, flash and power.
//
// Plan text, comma-separated (devstamp-sim --fault): cut@N (power is cut when the Nth flash word is programmed or
// sector erased, counted over the device's life from when the plan was set; returns by itself), off@N (as cut, stays
// off until powered on), again@N (cut a second time, N words after the first), drop=P, double=P, flip=P (each byte on
// the wire, P per million), hang@N (the wire goes silent after N bytes), seed=S. An eFuse block burned counts as one
// word. NULL and "" are the empty plan.
#ifndef DS_SIM_FAULT_H
#define DS_SIM_FAULT_H

#include "src/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ds_sim_fault {
    uint64_t cut_at;      // 0 = never
    uint64_t again_after; // after the first cut, so many words on; 0 = once is enough
    bool stay_off;
    uint32_t drop_ppm, double_ppm, flip_ppm;
    uint64_t hang_at;    // 0 = never
    uint64_t rng;        // state of the seeded generator
    uint64_t *flash_ops; // counter that survives CPU runs (shared memory or a plain variable); NULL: flash faults off
    uint64_t wire_bytes;
    void (*power_cut)(void *ctx); // does not return; default ends the process with DS_SIM_EXIT_POWER_CUT
    void *ctx;
} ds_sim_fault;

enum ds_class ds_sim_fault_parse(const char *plan, ds_sim_fault *ret, ds_err *e) DS_MUST;

// One flash word is about to be programmed / sector erased / eFuse block burned. May not return. Without a counter it
// does nothing.
void ds_sim_fault_flash(ds_sim_fault *f);

// The next ds_sim_fault_flash() cuts the power: the caller may first leave the word or sector half done, as
// ds_sim_fault_torn() (64 bits, the same for the same seed and N) decides.
bool ds_sim_fault_flash_due(const ds_sim_fault *f);
uint64_t ds_sim_fault_torn(const ds_sim_fault *f);

// The seeded generator of faults and timing: next 64 bits of *state.
uint64_t ds_sim_random(uint64_t *state);

// Pass bytes through the wire's faults: writes at most 2 * len bytes to out, returns how many. After hang@N: none.
size_t ds_sim_fault_wire(ds_sim_fault *f, const uint8_t *in, size_t len, uint8_t *out);

#endif
