// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Control lines; see device_lines.h.
#include "sim/device_lines.h"

static enum ds_sim_lines_act release(ds_sim_lines *l)
{
    l->held = false;
    l->rise_at = 0;
    return DS_SIM_LINES_RELEASE;
}

enum ds_sim_lines_act ds_sim_lines_set(ds_sim_lines *l, bool dtr, bool rts, int64_t now_ms)
{
    l->dtr = dtr;
    l->rts = rts;
    if (rts && !dtr) {
        bool was = l->held;
        l->held = true;
        l->rise_at = 0;
        return was ? DS_SIM_LINES_NOTHING : DS_SIM_LINES_HOLD;
    }
    if (!l->held)
        return DS_SIM_LINES_NOTHING;
    if (!rts)
        return release(l);
    if (!l->rise_at)
        l->rise_at = now_ms + DS_SIM_EN_RISE_MS;
    return DS_SIM_LINES_NOTHING;
}

enum ds_sim_lines_act ds_sim_lines_tick(ds_sim_lines *l, int64_t now_ms)
{
    if (!l->held || !l->rise_at || now_ms < l->rise_at)
        return DS_SIM_LINES_NOTHING;
    return release(l);
}

bool ds_sim_lines_strap_low(const ds_sim_lines *l)
{
    return l->dtr && !l->rts;
}
