// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The struct ds_port of a chip with a ds_hal, and the main functions of the two firmwares.
#include "agent/app/app.h"
#include "agent/app/owner.h"
#include "agent/port/posix/posix.h"
#include "src/base/clock.h"
#include "src/base/secret.h"

#include <stdlib.h>
#include <string.h>

static int console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    const ds_posix *p = ctx;
    return p->hal->console_read(p->hal->ctx, buf, cap, timeout_ms);
}

static void console_write(void *ctx, const uint8_t *buf, size_t len)
{
    const ds_posix *p = ctx;
    p->hal->console_write(p->hal->ctx, buf, len);
}

// Log text shares the console with frames, so nothing in it may look like one: printable ASCII only.
static void log_line(void *ctx, const char *line)
{
    char text[160];
    size_t len = 0;
    for (; line[len] && len < sizeof text - 2; len++)
        text[len] = line[len] >= ' ' && line[len] <= '~' ? line[len] : '?';
    memcpy(text + len, "\r\n", 2);
    console_write(ctx, (const uint8_t *)text, len + 2);
}

// A process has no watchdog to feed; whoever runs it has deadlines. The owner's session has one too.
static void alive(void *ctx)
{
    const ds_posix *p = ctx;
    if (p->owner != NULL)
        ds_owner_tick(p->owner, (uint32_t)ds_now_ms());
}

static void key_delay(void *ctx, int key_type)
{
    const ds_posix *p = ctx;
    p->hal->key_delay(p->hal->ctx, key_type);
}

static void reboot(void *ctx)
{
    const ds_posix *p = ctx;
    p->hal->restart(p->hal->ctx);
}

void ds_posix_init(ds_posix *p, const ds_hal *hal)
{
    *p = (ds_posix){.hal = hal};
    p->port = (ds_port){
        .ctx = p,
        .value_get = ds_posix_value_get,
        .value_set = ds_posix_value_set,
        .value_each = ds_posix_value_each,
        .area_erase = ds_posix_area_erase,
        .area_is_blank = ds_posix_area_is_blank,
        .area_free = ds_posix_area_free,
        .random = ds_posix_random,
        .image_capacity = ds_posix_image_capacity,
        .image_erase = ds_posix_image_erase,
        .image_write = ds_posix_image_write,
        .image_read = ds_posix_image_read,
        .boot_select = ds_posix_boot_select,
        .identity = ds_posix_identity,
        .security = ds_posix_security,
        .self_test = ds_posix_self_test,
        .console_read = console_read,
        .console_write = console_write,
        .log = log_line,
        .alive = alive,
        .key_delay = key_delay,
        .reboot = reboot,
        .download_close = ds_posix_download_close,
        .trial_end = ds_posix_trial_end,
        .anchor_get = ds_posix_anchor_get,
        .anchor_set = ds_posix_anchor_set,
        .publish = ds_posix_publish,
        .values_clear = ds_posix_values_clear,
        .key_burn = hal->hmac != NULL || hal->dsig != NULL ? ds_posix_key_burn : NULL,
        .hmac = hal->hmac != NULL ? ds_posix_hmac : NULL,
        .dsig_bits = hal->dsig != NULL ? hal->chip->dsig_bits : 0,
        .dsig = hal->dsig != NULL ? ds_posix_dsig : NULL,
    };
}

void ds_posix_deinit(ds_posix *p)
{
    for (int area = 0; area < DS_POSIX_AREAS; area++)
        ds_posix_area_close(p, (enum ds_area)area);
    ds_wipe(p, sizeof *p);
}

static void run(const ds_hal *hal, int role)
{
    size_t len = DS_AGENT_FRAME_MAX + 16;
    uint8_t *frame = ds_alloc(len), *scratch = ds_alloc(len);
    ds_posix p;
    ds_agent agent;
    ds_posix_init(&p, hal);
    p.is_app = role == DS_AGENT_APP;
    ds_agent_init(&agent, &p.port, role, frame, scratch);
    ds_owner owner;
    ds_owner_init(&owner, &agent, ds_owner_store_wifi, &agent);
    agent.owner = ds_owner_handle;
    agent.owner_arg = &owner;
    p.owner = &owner;
    if (role == DS_AGENT_APP)
        ds_app_run(&agent);
    else
        ds_agent_run(&agent);
    ds_owner_close(&owner);
    ds_posix_deinit(&p);
    ds_wipe(frame, len);
    ds_wipe(scratch, len);
    free(frame);
    free(scratch);
}

void ds_posix_mfg_main(const ds_hal *hal)
{
    run(hal, DS_AGENT_MFG);
}

void ds_posix_app_main(const ds_hal *hal)
{
    run(hal, DS_AGENT_APP);
}
