// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Copy this folder and fill in the functions: each says what the agent relies on. The contract is agent/core/port.h,
// its explanation docs/porting.md. What is left as it is refuses, so that a port that is not finished cannot pass.
#include "agent/port/template/port.h"

#include <mbedtls/entropy.h>

#include <stdio.h>

// --- values: see agent/port/nor for a ready store on NOR flash

// Find the value; NOT_FOUND where there is none. *ret_len is its length even where buf is too small (NO_SPACE). A value
// that cannot be read is FLASH, never NOT_FOUND: the agent would take the device for a fresh one.
static ds_status value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len)
{
    (void)ctx, (void)area, (void)name_space, (void)key, (void)buf, (void)cap, (void)ret_len;
    return DS_STATUS(PORT, UNSUPPORTED);
}

// Store or replace, durably, before returning. Power lost at any moment leaves the old value or the new one, whole.
static ds_status value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                           enum ds_value_type type, const void *data, size_t len)
{
    (void)ctx, (void)area, (void)name_space, (void)key, (void)type, (void)data, (void)len;
    return DS_STATUS(PORT, UNSUPPORTED);
}

// Call fn for each value once, the type as it was stored, in any order; stop and return what is not 0.
static ds_status value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg)
{
    (void)ctx, (void)area, (void)fn, (void)arg;
    return DS_STATUS(PORT, UNSUPPORTED);
}

// Erase the flash itself, not an index: afterwards nobody who reads the chip finds the key.
static ds_status area_erase(void *ctx, enum ds_area area)
{
    (void)ctx, (void)area;
    return DS_STATUS(PORT, UNSUPPORTED);
}

// Look at every byte; this is evidence.
static bool area_is_blank(void *ctx, enum ds_area area)
{
    (void)ctx, (void)area;
    return false;
}

static uint32_t area_free(void *ctx, enum ds_area area)
{
    (void)ctx, (void)area;
    return 0;
}

// --- randomness: the device's key is as good as this

// Fill all of buf from a true random source, or fail. Where the hardware source is slow or biased, feed a DRBG (NIST SP
// 800-90A) from it and draw from that; never from a clock, an address or a fixed seed.
static int random_bytes(void *ctx, unsigned char *buf, size_t len)
{
    (void)ctx, (void)buf, (void)len;
    return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
}

// --- images: only where the station replaces bootloader or app through the agent; capacity 0 says that it cannot

static uint32_t image_capacity(void *ctx, enum ds_image_place place)
{
    (void)ctx, (void)place;
    return 0;
}

static ds_status image_erase(void *ctx, enum ds_image_place place, uint32_t offset, uint32_t len)
{
    (void)ctx, (void)place, (void)offset, (void)len;
    return DS_STATUS(PORT, UNSUPPORTED);
}

static ds_status image_write(void *ctx, enum ds_image_place place, uint32_t offset, const void *data, size_t len)
{
    (void)ctx, (void)place, (void)offset, (void)data, (void)len;
    return DS_STATUS(PORT, UNSUPPORTED);
}

static ds_status image_read(void *ctx, enum ds_image_place place, uint32_t offset, void *buf, size_t len)
{
    (void)ctx, (void)place, (void)offset, (void)buf, (void)len;
    return DS_STATUS(PORT, UNSUPPORTED);
}

static ds_status boot_select(void *ctx, const char *label)
{
    (void)ctx, (void)label;
    return DS_STATUS(PORT, UNSUPPORTED);
}

// --- identity

// mac: six bytes that no other device of this chip_id has, the same at every boot; the ledger knows the device by them.
static void identity(void *ctx, ds_identity *ret)
{
    (void)ctx;
    *ret = (ds_identity){.chip_id = DS_CHIP_ID_GENERIC};
    snprintf(ret->project, sizeof ret->project, "%s", "devstamp-template");
    snprintf(ret->version, sizeof ret->version, "%s", "0.0.0");
}

// What fuses and debug port say now, read from the chip. All false: nothing is locked.
static void security(void *ctx, ds_security *ret)
{
    (void)ctx;
    *ret = (ds_security){.secure_boot = false};
}

// Test flash, random source and RAM once at boot and give the result: bit 0, 1, 2 set where it failed.
static uint32_t self_test(void *ctx)
{
    (void)ctx;
    return 7;
}

// --- console: the wire to the station, 8 bits clean; log text may share it

// Wait for at least one byte, at most timeout_ms; sleep meanwhile. Bytes that come while the agent works must be kept:
// a request is up to 8 KiB long, the station sends one at a time.
static int console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    (void)ctx, (void)buf, (void)cap, (void)timeout_ms;
    return -1;
}

// Return once the bytes are on their way; it may wait for the wire.
static void console_write(void *ctx, const uint8_t *buf, size_t len)
{
    (void)ctx, (void)buf, (void)len;
}

// One line, printable ASCII, ended by CR LF: nothing in it may look like a frame.
static void log_line(void *ctx, const char *line)
{
    (void)ctx, (void)line;
}

// --- time and reset

// Feed the watchdog. It is called at least at each draw of random numbers; one modular exponentiation may lie between.
static void alive(void *ctx)
{
    (void)ctx;
}

// For platforms that model time only.
static void key_delay(void *ctx, int key_type)
{
    (void)ctx, (void)key_type;
}

// Let the answer leave the UART first, then reset. Does not return on a device.
static void reboot(void *ctx)
{
    (void)ctx;
}

void ds_template_port(ds_port *ret)
{
    *ret = (ds_port){
        .value_get = value_get,
        .value_set = value_set,
        .value_each = value_each,
        .area_erase = area_erase,
        .area_is_blank = area_is_blank,
        .area_free = area_free,
        .random = random_bytes,
        .image_capacity = image_capacity,
        .image_erase = image_erase,
        .image_write = image_write,
        .image_read = image_read,
        .boot_select = boot_select,
        .identity = identity,
        .security = security,
        .self_test = self_test,
        .console_read = console_read,
        .console_write = console_write,
        .log = log_line,
        .alive = alive,
        .key_delay = key_delay,
        .reboot = reboot,
        // The app side's own (download_close, anchor_get, anchor_set, publish) stay NULL in mfg firmware.
    };
}
