// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// struct ds_port of the emulated board. One area, plain; no images, no lock: what the platform does not have is
// UNSUPPORTED.
#include "agent/port/virt/virt.h"

#include "agent/port/nor/store.h"
#include "agent/port/virt/board.h"

#include <mbedtls/entropy.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED_FLASH = 1, FAILED_RANDOM = 2, FAILED_RAM = 4 };

static struct {
    ds_nor nor;
    ds_nor_store store;
    uint32_t failed; // self-test
    uint8_t mac[6];
} board;

static ds_status value_get(void *ctx, enum ds_area area, const char *name_space, const char *key, void *buf, size_t cap,
                           size_t *ret_len)
{
    (void)ctx;
    if (area != DS_AREA_PLAIN)
        return DS_STATUS(PORT, UNSUPPORTED);
    return ds_nor_store_get(&board.store, name_space, key, buf, cap, ret_len);
}

static ds_status value_set(void *ctx, enum ds_area area, const char *name_space, const char *key,
                           enum ds_value_type type, const void *data, size_t len)
{
    (void)ctx;
    if (area != DS_AREA_PLAIN)
        return DS_STATUS(PORT, UNSUPPORTED);
    return ds_nor_store_set(&board.store, name_space, key, type, data, len);
}

static ds_status value_each(void *ctx, enum ds_area area, ds_value_fn fn, void *arg)
{
    (void)ctx;
    return area == DS_AREA_PLAIN ? ds_nor_store_each(&board.store, fn, arg) : DS_STATUS(PORT, UNSUPPORTED);
}

static ds_status area_erase(void *ctx, enum ds_area area)
{
    (void)ctx;
    return area == DS_AREA_PLAIN ? ds_nor_store_erase(&board.store) : DS_STATUS(PORT, UNSUPPORTED);
}

static bool area_is_blank(void *ctx, enum ds_area area)
{
    (void)ctx;
    return area == DS_AREA_PLAIN && ds_nor_store_is_blank(&board.store);
}

static uint32_t area_free(void *ctx, enum ds_area area)
{
    (void)ctx;
    return area == DS_AREA_PLAIN ? ds_nor_store_free(&board.store) : 0;
}

static int random_bytes(void *ctx, unsigned char *buf, size_t len)
{
    (void)ctx;
    return rng_read(buf, len) ? 0 : MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
}

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

static void identity(void *ctx, ds_identity *ret)
{
    (void)ctx;
    *ret = (ds_identity){.chip_id = DS_CHIP_ID_GENERIC, .flash_size = board.nor.block_size * board.nor.blocks};
    memcpy(ret->mac, board.mac, sizeof ret->mac);
    snprintf(ret->project, sizeof ret->project, "%s", "devstamp-virt");
    snprintf(ret->version, sizeof ret->version, "%s", "1.0.0");
}

static void security(void *ctx, ds_security *ret)
{
    (void)ctx;
    *ret = (ds_security){.secure_boot = false};
}

static uint32_t self_test(void *ctx)
{
    (void)ctx;
    return board.failed;
}

static int console_read(void *ctx, uint8_t *buf, size_t cap, uint32_t timeout_ms)
{
    (void)ctx;
    uint64_t until = board_ticks() + (uint64_t)timeout_ms * BOARD_TICKS_PER_MS;
    size_t n = 0;
    while (n < cap) {
        if (uart_get(&buf[n]))
            n++;
        else if (n > 0 || board_ticks() >= until)
            break;
        else
            board_sleep_until(until);
    }
    return (int)n;
}

static void console_write(void *ctx, const uint8_t *buf, size_t len)
{
    (void)ctx;
    uart_put(buf, len);
}

static void log_line(void *ctx, const char *line)
{
    (void)ctx;
    uart_text(line);
}

// The machine has no watchdog.
static void alive(void *ctx)
{
    (void)ctx;
}

static void key_delay(void *ctx, int key_type)
{
    (void)ctx, (void)key_type;
}

static void reboot(void *ctx)
{
    (void)ctx;
    board_reset();
}

static bool parse_mac(const char *text, uint8_t ret[6])
{
    char *end = NULL;
    for (size_t i = 0; i < 6; i++) {
        ret[i] = (uint8_t)strtoul(text, &end, 16);
        if (end != text + 2 || *end != (i < 5 ? ':' : 0))
            return false;
        text = end + 1;
    }
    return true;
}

// Every bit of a piece of RAM takes both values, and words are told apart by their addresses.
static bool ram_ok(void)
{
    static volatile uint32_t piece[256];
    enum { WORDS = sizeof piece / sizeof piece[0] };
    bool ok = true;
    for (uint32_t inverse = 0; inverse < 2; inverse++) {
        uint32_t flip = 0u - inverse;
        for (uint32_t i = 0; i < WORDS; i++)
            piece[i] = (i * 0x01010101u + 0x5A5A5A5Au) ^ flip;
        for (uint32_t i = 0; i < WORDS; i++)
            ok = ok && piece[i] == ((i * 0x01010101u + 0x5A5A5A5Au) ^ flip);
    }
    return ok;
}

static void bring_up(void)
{
    char text[24];
    board_init();
    if (!flash_present())
        board.failed |= FAILED_FLASH;
    if (!rng_init())
        board.failed |= FAILED_RANDOM;
    if (!ram_ok())
        board.failed |= FAILED_RAM;
    if (!settings_text("mac", text, sizeof text) || !parse_mac(text, board.mac))
        board.failed |= FAILED_FLASH; // a board that does not know who it is must not be stamped
    if (settings_text("cut", text, sizeof text))
        flash_cut_after((uint32_t)strtoul(text, NULL, 10));
    flash_nor(&board.nor);
    ds_nor_store_mount(&board.store, &board.nor);
}

void ds_virt_port(ds_port *ret)
{
    bring_up();
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
    };
}
