// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Faults; see fault.h. Everything random comes from one seeded generator (splitmix64), so that a run can be repeated.
#include "sim/fault.h"

#include "sim/chip.h"

#include <string.h>
#include <unistd.h>

#define DEFAULT_SEED 1
#define PPM 1000000u

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t ds_sim_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    return mix(*state);
}

// One "name@N" or "name=N" of the plan.
struct item {
    const char *name;
    char sep;
    uint64_t max;
};

enum { ITEM_CUT, ITEM_AGAIN, ITEM_OFF, ITEM_HANG, ITEM_DROP, ITEM_DOUBLE, ITEM_FLIP, ITEM_SEED, ITEM_COUNT };

static const struct item items[ITEM_COUNT] = {
    [ITEM_CUT] = {"cut", '@', UINT64_MAX}, [ITEM_AGAIN] = {"again", '@', UINT64_MAX},
    [ITEM_OFF] = {"off", '@', UINT64_MAX}, [ITEM_HANG] = {"hang", '@', UINT64_MAX},
    [ITEM_DROP] = {"drop", '=', PPM},      [ITEM_DOUBLE] = {"double", '=', PPM},
    [ITEM_FLIP] = {"flip", '=', PPM},      [ITEM_SEED] = {"seed", '=', UINT64_MAX},
};

static void item_apply(ds_sim_fault *f, int which, uint64_t value)
{
    switch (which) {
    case ITEM_CUT:
    case ITEM_OFF:
        f->cut_at = value;
        f->stay_off = which == ITEM_OFF;
        break;
    case ITEM_AGAIN:
        f->again_after = value;
        break;
    case ITEM_HANG:
        f->hang_at = value;
        break;
    case ITEM_DROP:
        f->drop_ppm = (uint32_t)value;
        break;
    case ITEM_DOUBLE:
        f->double_ppm = (uint32_t)value;
        break;
    case ITEM_FLIP:
        f->flip_ppm = (uint32_t)value;
        break;
    default:
        f->rng = value;
        break;
    }
}

static bool digits(const char *s, size_t len, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned d = (unsigned)(s[i] - '0');
        if (s[i] < '0' || s[i] > '9' || v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return len > 0;
}

static enum ds_class item_parse(const char *s, size_t len, ds_sim_fault *f, ds_err *e)
{
    for (int i = 0; i < ITEM_COUNT; i++) {
        size_t n = strlen(items[i].name);
        uint64_t value = 0;
        if (len <= n || memcmp(s, items[i].name, n) != 0 || s[n] != items[i].sep)
            continue;
        if (!digits(s + n + 1, len - n - 1, &value))
            return ds_fail(e, DS_USAGE, "fault plan: %.*s: not a number", (int)len, s);
        if (value > items[i].max)
            return ds_fail(e, DS_USAGE, "fault plan: %.*s: more than a million in a million", (int)len, s);
        if (value == 0 && items[i].sep == '@')
            return ds_fail(e, DS_USAGE, "fault plan: %.*s: counts from 1", (int)len, s);
        item_apply(f, i, value);
        return DS_OK;
    }
    ds_fail(e, DS_USAGE, "fault plan: %.*s: no such fault", (int)len, s);
    return ds_hint(e, "known: cut@N, off@N, again@N, hang@N, drop=P, double=P, flip=P (P per million), seed=S");
}

enum ds_class ds_sim_fault_parse(const char *plan, ds_sim_fault *ret, ds_err *e)
{
    ds_sim_fault f = {.rng = DEFAULT_SEED};
    for (const char *p = plan; p && *p;) {
        size_t len = strcspn(p, ",");
        enum ds_class rc = item_parse(p, len, &f, e);
        if (rc)
            return rc;
        p += len;
        p += *p == ',';
    }
    *ret = f;
    return DS_OK;
}

static void cut(ds_sim_fault *f)
{
    if (f->again_after) {
        f->cut_at += f->again_after;
        f->again_after = 0;
    }
    if (f->power_cut)
        f->power_cut(f->ctx);
    _exit(DS_SIM_EXIT_POWER_CUT);
}

bool ds_sim_fault_flash_due(const ds_sim_fault *f)
{
    return f && f->flash_ops && f->cut_at && __atomic_load_n(f->flash_ops, __ATOMIC_SEQ_CST) + 1 == f->cut_at;
}

uint64_t ds_sim_fault_torn(const ds_sim_fault *f)
{
    return mix(f->rng ^ mix(f->cut_at));
}

void ds_sim_fault_flash(ds_sim_fault *f)
{
    if (!f || !f->flash_ops)
        return;
    uint64_t ops = __atomic_add_fetch(f->flash_ops, 1, __ATOMIC_SEQ_CST);
    if (f->cut_at && ops == f->cut_at)
        cut(f);
}

static bool chance(ds_sim_fault *f, uint32_t ppm)
{
    return ppm && ds_sim_random(&f->rng) % PPM < ppm;
}

size_t ds_sim_fault_wire(ds_sim_fault *f, const uint8_t *in, size_t len, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (f->hang_at && f->wire_bytes >= f->hang_at)
            break;
        f->wire_bytes++;
        if (chance(f, f->drop_ppm))
            continue;
        uint8_t byte = in[i];
        if (chance(f, f->flip_ppm))
            byte ^= (uint8_t)(1u << ds_sim_random(&f->rng) % 8);
        out[n++] = byte;
        if (chance(f, f->double_ppm))
            out[n++] = byte;
    }
    return n;
}
