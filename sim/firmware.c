// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Firmware on a virtual chip; see firmware.h. Gives the agent's posix port the chip as its hardware layer.
#include "sim/firmware.h"

#include "agent/port/posix/hal.h"
#include "sim/keyed.h"

#include <string.h>

static bool hal_flash_read(void *ctx, uint32_t addr, void *buf, uint32_t len, bool crypt)
{
    ds_sim_chip *c = ctx;
    return crypt ? ds_sim_cache_read(c, addr, buf, len) : ds_sim_flash_read(c->flash, addr, buf, len);
}

static bool hal_flash_program(void *ctx, uint32_t addr, const void *data, uint32_t len, bool crypt)
{
    ds_sim_chip *c = ctx;
    if (crypt && ds_sim_flash_encryption_on(c))
        return ds_sim_crypt_program(c, addr, data, len);
    return ds_sim_flash_program(c->flash, addr, data, len);
}

static bool hal_flash_erase(void *ctx, uint32_t addr, uint32_t len)
{
    ds_sim_chip *c = ctx;
    return ds_sim_flash_erase(c->flash, addr, len);
}

static void hal_efuses(void *ctx, ds_efuse_words *ret)
{
    ds_sim_chip *c = ctx;
    ds_sim_efuse_read(c->efuse, ret);
}

static bool hal_efuse_burn(void *ctx, unsigned block, const ds_efuse_words *bits)
{
    ds_sim_chip *c = ctx;
    return ds_sim_efuse_burn(c->efuse, block, bits);
}

static bool hal_hmac(void *ctx, unsigned block, const void *message, size_t len, uint8_t ret[32])
{
    const ds_sim_chip *c = ctx;
    return ds_sim_hmac(c, block, message, len, ret);
}

static bool hal_dsig(void *ctx, unsigned block, ds_view data, const uint8_t *in, uint8_t *ret, size_t len)
{
    const ds_sim_chip *c = ctx;
    return ds_sim_dsig(c, block, data, in, ret, len);
}

static int hal_console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    ds_sim_chip *c = ctx;
    return c->wire->read(c->wire->ctx, buf, cap, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);
}

static void hal_console_write(void *ctx, const uint8_t *buf, size_t len)
{
    ds_sim_chip *c = ctx;
    c->wire->write(c->wire->ctx, buf, len);
}

static void hal_key_delay(void *ctx, int key_type)
{
    ds_sim_chip *c = ctx;
    ds_sim_timing_key(c->timing, key_type);
}

static void hal_restart(void *ctx)
{
    ds_sim_reset_now(ctx);
}

void ds_sim_firmware_run(ds_sim_chip *c, const ds_ptable *table, const ds_part *running, const ds_image_info *info)
{
    ds_hal hal = {
        .ctx = c,
        .chip = c->chip,
        .table = table,
        .running = running,
        .flash_size = ds_sim_flash_size(c->flash),
        .flash_read = hal_flash_read,
        .flash_program = hal_flash_program,
        .flash_erase = hal_flash_erase,
        .efuses = hal_efuses,
        .efuse_burn = hal_efuse_burn,
        .hmac = c->chip->has_hmac ? hal_hmac : NULL,
        .dsig = c->chip->dsig_bits ? hal_dsig : NULL,
        .console_read = hal_console_read,
        .console_write = hal_console_write,
        .key_delay = hal_key_delay,
        .restart = hal_restart,
    };
    hal.secure_version = info->app.secure_version;
    memcpy(hal.project, info->app.project, sizeof hal.project);
    memcpy(hal.version, info->app.version, sizeof hal.version);
    if (strcmp(hal.project, DS_SIM_PROJECT_MFG) == 0)
        ds_posix_mfg_main(&hal);
    else
        ds_posix_app_main(&hal);
}
