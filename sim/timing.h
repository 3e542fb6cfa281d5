// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The timing model of a virtual device; all zero = off. Adds up debts and sleeps when they reach a few milliseconds.
#ifndef DS_SIM_TIMING_H
#define DS_SIM_TIMING_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ds_sim_timing {
    bool on;
    uint32_t baud;                           // of the wire now; 10 bits a byte
    uint32_t word_ns;                        // program 4 bytes (W25Q: 0.7 ms a 256-byte page -> 11000)
    uint32_t sector_us;                      // erase 4 KiB (45000)
    uint32_t block_us;                       // erase 64 KiB (150000)
    uint32_t encrypt_sector_us;              // in-place encryption of 4 KiB (78000)
    uint32_t rsa2048_ms_min, rsa2048_ms_max; // 7000..12000
    uint32_t ecdsa_ms;
    uint64_t rng;
    uint64_t debt_us;
} ds_sim_timing;

void ds_sim_timing_default(ds_sim_timing *t, uint64_t seed); // the figures above, on
void ds_sim_timing_spend_us(ds_sim_timing *t, uint64_t us);
void ds_sim_timing_bytes(ds_sim_timing *t, uint64_t bytes); // on the wire
void ds_sim_timing_key(ds_sim_timing *t, int key_type);     // Devstamp__KeyType

#endif
