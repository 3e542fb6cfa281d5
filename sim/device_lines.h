// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// DTR and RTS to EN and the boot strap, through the two transistors that every ESP32 board carries:
//
//     DTR  RTS   EN    strap       (1 = asserted)
//      0    0    high  high
//      0    1    low   high        chip held in reset
//      1    0    high  low         strap for download mode
//      1    1    high  high        neither effective
//
// A capacitor holds EN low for a while after its transistor lets go. The classic sequence needs it: it passes from 0,1
// over 1,1 to 1,0, and over a network a round trip lies between the two steps.
#ifndef DS_SIM_DEVICE_LINES_H
#define DS_SIM_DEVICE_LINES_H

#include <stdbool.h>
#include <stdint.h>

#define DS_SIM_EN_RISE_MS 300

enum ds_sim_lines_act {
    DS_SIM_LINES_NOTHING,
    DS_SIM_LINES_HOLD,    // into reset
    DS_SIM_LINES_RELEASE, // out of reset: the strap is sampled now
};

typedef struct ds_sim_lines {
    bool dtr, rts;
    bool held;       // in reset
    int64_t rise_at; // of ds_now_ms(): EN rises then; 0 = not rising
} ds_sim_lines;

// The host set both lines.
enum ds_sim_lines_act ds_sim_lines_set(ds_sim_lines *l, bool dtr, bool rts, int64_t now_ms);
// Time went by.
enum ds_sim_lines_act ds_sim_lines_tick(ds_sim_lines *l, int64_t now_ms);
// Is the strap low now?
bool ds_sim_lines_strap_low(const ds_sim_lines *l);

#endif
