// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The boot chain from reset on: ROM, second-stage bootloader, app. Where the ROM refuses, its watchdog resets the chip
// and it tries again, about once a second.
#include "sim/boot.h"

#include "src/base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MS 1000

void ds_sim_boot_log(ds_sim_stage *b, char level, const char *tag, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ds_sim_print(b->c, "%c (%lld) %s: %s\n", level, (long long)(ds_now_ms() - b->started_ms), tag, text);
}

void ds_sim_boot_refresh(ds_sim_stage *b)
{
    ds_sim_efuse_read(b->c->efuse, &b->efuses);
    ds_efuse_security_get(b->c->chip, &b->efuses, &b->security);
}

// Wait about a second. False when the console is gone.
static bool pause_boot(ds_sim_chip *c)
{
    int64_t until = ds_now_ms() + PAUSE_MS;
    for (int left; (left = ds_ms_left(until)) > 0;) {
        uint8_t ignored[64]; // what is sent to a chip that does not listen
        if (c->wire->read(c->wire->ctx, ignored, sizeof ignored, left) < 0)
            return false;
    }
    return true;
}

void ds_sim_boot_trusted(const ds_sim_stage *b, ds_sim_digests *ret)
{
    *ret = (ds_sim_digests){.count = b->security.digest_count};
    for (unsigned i = 0; i < ret->count; i++)
        for (unsigned k = 0; k < 32; k++)
            ret->digest[i][k] = b->security.digests[i][k];
}

void ds_sim_boot(ds_sim_chip *c)
{
    ds_sim_stage *b = ds_alloc(sizeof *b);
    for (bool watchdog = false;; watchdog = true) {
        *b = (ds_sim_stage){.c = c, .started_ms = ds_now_ms()};
        ds_sim_boot_refresh(b);
        if (ds_sim_boot_rom(b, watchdog)) {
            if (ds_sim_boot_app(b) || !pause_boot(c))
                break;
            ds_sim_reset_now(c);
        }
        if (!pause_boot(c))
            break;
    }
    free(b);
}
