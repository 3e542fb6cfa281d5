// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ROM's serial download mode: banner, frames, and which command goes where.
#include "sim/rom.h"

#include "src/base/clock.h"

#include <stdlib.h>
#include <string.h>

#define HEADER 8u
#define IDLE_MS 200      // how often an idle loader looks at its watchdog
#define RESET_LOOP_MS 45 // from one refusal of download mode to the next, as users' logs of the ESP32-C3 show it
#define ROM_FLASH_SIZE (2u << 20)
#define ROM_BAUD 115200u
#define OP_SYNC 0x08
#define SYNC_REPLIES 8
#define UNSUPPORTED_REPLIES 8

enum {
    SECURE = 1,  // also in secure download mode
    NO_ESP32 = 2 // the ESP32's ROM lacks it
};

static const struct command {
    uint8_t op;
    ds_sim_rom_handler *handler;
    unsigned flags;
} commands[] = {
    {0x02, ds_sim_rom_flash_begin, SECURE}, {0x03, ds_sim_rom_flash_data, SECURE},
    {0x04, ds_sim_rom_flash_end, SECURE},   {0x05, ds_sim_rom_mem_begin, 0},
    {0x06, ds_sim_rom_mem_end, 0},          {0x07, ds_sim_rom_mem_data, 0},
    {OP_SYNC, ds_sim_rom_sync, SECURE},     {0x09, ds_sim_rom_write_reg, 0},
    {0x0A, ds_sim_rom_read_reg, 0},         {0x0B, ds_sim_rom_spi_params, SECURE},
    {0x0D, ds_sim_rom_spi_attach, SECURE},  {0x0E, ds_sim_rom_flash_read, 0},
    {0x0F, ds_sim_rom_change_baud, SECURE}, {0x10, ds_sim_rom_deflate_begin, 0},
    {0x11, ds_sim_rom_deflate_data, 0},     {0x12, ds_sim_rom_deflate_end, 0},
    {0x13, ds_sim_rom_flash_md5, 0},        {0x14, ds_sim_rom_security_info, SECURE | NO_ESP32},
};

static const struct command *command_find(ds_sim_rom *rom, uint8_t op)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *k = &commands[i];
        if (k->op != op)
            continue;
        if ((k->flags & NO_ESP32) && !rom->c->chip->has_security_info)
            return NULL;
        return (k->flags & SECURE) || !ds_sim_rom_secure_download(rom) ? k : NULL;
    }
    return NULL;
}

// Reply: header, data, then status and error byte and two reserved bytes. All of it in one write.
static void answer(ds_sim_rom *rom, uint8_t op, const ds_sim_rom_reply *r, uint8_t error, int times)
{
    DS_CLEANUP_BUF ds_buf frame = {0};
    DS_CLEANUP_BUF ds_buf wire = {0};
    size_t len = error ? 0 : r->len;
    ds_buf_add_u8(&frame, 1);
    ds_buf_add_u8(&frame, op);
    ds_buf_add_le16(&frame, (uint16_t)(len + 4));
    ds_buf_add_le32(&frame, rom->value);
    ds_buf_add(&frame, r->data, len);
    ds_buf_add_u8(&frame, error != 0);
    ds_buf_add_u8(&frame, error);
    ds_buf_add_le16(&frame, 0);
    for (int i = 0; i < times; i++)
        ds_slip_encode(&wire, ds_buf_view(&frame));
    rom->c->wire->write(rom->c->wire->ctx, wire.ptr, wire.len);
}

static void after_reply(ds_sim_rom *rom)
{
    if (rom->new_baud) {
        rom->baud = rom->new_baud;
        rom->new_baud = 0;
        if (rom->c->wire->set_baud)
            rom->c->wire->set_baud(rom->c->wire->ctx, rom->baud);
    }
    if (rom->crashed)
        ds_sim_print(rom->c, "Fatal exception (0): IllegalInstruction, epc1=0x%08x: no code runs in RAM here\n",
                     rom->crashed_at);
    rom->crashed = false;
    if (rom->then == DS_SIM_ROM_RESET)
        ds_sim_reset_now(rom->c);
}

// ROMs that know secure download mode look at the eFuses at every command, the ESP32's at boot alone.
static bool taken_away(ds_sim_rom *rom)
{
    return rom->c->chip->has_secure_download && ds_sim_rom_download_disabled(rom);
}

static void frame_in(ds_sim_rom *rom, ds_view f)
{
    static const ds_sim_rom_reply nothing = {.len = 0};
    ds_sim_rom_reply reply = {.len = 0};
    if (f.len < HEADER || f.ptr[0] != 0 || taken_away(rom))
        return;
    ds_sim_rom_request q = {f.ptr[1], ds_le32(f.ptr + 4), {f.ptr + HEADER, f.len - HEADER}};
    const struct command *k = command_find(rom, q.op);
    if (!k) {
        // Seen on ROMs: several frames that carry another command number than was asked.
        answer(rom, 0, &nothing, DS_SIM_ROM_FORMAT, UNSUPPORTED_REPLIES);
        return;
    }
    uint8_t error = DS_SIM_ROM_FORMAT;
    if (q.data.len == ds_le16(f.ptr + 2))
        error = k->handler(rom, &q, &reply);
    // The command may just have taken itself away.
    if (taken_away(rom))
        return;
    if (!command_find(rom, q.op))
        error = DS_SIM_ROM_FAILED;
    answer(rom, q.op, &reply, error, q.op == OP_SYNC && !error ? SYNC_REPLIES : 1);
    after_reply(rom);
}

static void banner(ds_sim_chip *c, bool sw, const char *last_line)
{
    ds_efuse_words w;
    ds_sim_efuse_read(c->efuse, &w);
    if (ds_efuse_get(c->chip, &w, "UART_PRINT_CONTROL") == 3)
        return;
    if (c->chip->id == DS_CHIP_ESP32)
        ds_sim_print(c, "ets Jul 29 2019 12:21:46\n\nrst:%s,boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\n",
                     sw ? "0xc (SW_CPU_RESET)" : "0x1 (POWERON_RESET)");
    else
        ds_sim_print(c, "ESP-ROM:esp32c3-api1-20210207\nBuild:Feb  7 2021\nrst:%s,boot:0x4 (DOWNLOAD(USB/UART0/1))\n",
                     sw ? "0x3 (RTC_SW_SYS_RST)" : "0x1 (POWERON)");
    ds_sim_print(c, "%s\n", last_line);
}

// False when the console is gone.
static bool hear_nothing(ds_sim_chip *c, int ms)
{
    uint8_t ignored[64];
    int64_t until = ds_now_ms() + ms;
    int n;
    do
        n = c->wire->read(c->wire->ctx, ignored, sizeof ignored, ds_ms_left(until));
    while (n > 0);
    return n == 0;
}

// Download mode is asked for by the strap and closed by eFuse. An ESP32 says so and waits for its reset. The others
// reset themselves by software, for which the strap keeps the value it had, and so again and again.
static void refuse_download(ds_sim_chip *c)
{
    if (c->chip->id == DS_CHIP_ESP32) {
        banner(c, c->reset == DS_SIM_RESET_SW, "Download mode is disabled. Restart with GPIO0 high.");
        while (hear_nothing(c, IDLE_MS))
            ;
        return;
    }
    bool sw = c->reset == DS_SIM_RESET_SW;
    do {
        banner(c, sw, "Download boot modes disabled");
        sw = true;
    } while (hear_nothing(c, RESET_LOOP_MS));
}

static void serve(ds_sim_rom *rom, ds_slip *slip)
{
    uint8_t in[512];
    while (rom->then == DS_SIM_ROM_GO_ON) {
        int n = rom->c->wire->read(rom->c->wire->ctx, in, sizeof in, IDLE_MS);
        if (n < 0)
            return;
        for (int i = 0; i < n && rom->then == DS_SIM_ROM_GO_ON; i++)
            if (ds_slip_push(slip, in[i]) == DS_SLIP_FRAME)
                frame_in(rom, ds_buf_view(&slip->frame));
        if (rom->bus.watchdog && n == 0)
            ds_sim_reset_now(rom->c);
    }
}

void ds_sim_rom_download(ds_sim_chip *c)
{
    ds_sim_rom *rom = ds_alloc(sizeof *rom);
    ds_slip slip;
    rom->c = c;
    rom->baud = ROM_BAUD;
    rom->flash_size = ROM_FLASH_SIZE;
    ds_sim_rom_bus_init(rom);
    ds_slip_init(&slip, HEADER + DS_SIM_ROM_DATA_HEADER + DS_SIM_ROM_BLOCK_MAX);
    if (ds_sim_rom_download_disabled(rom)) {
        refuse_download(c);
    } else {
        banner(c, c->reset == DS_SIM_RESET_SW, "waiting for download");
        serve(rom, &slip);
    }
    ds_slip_deinit(&slip);
    ds_sim_rom_write_close(&rom->write);
    ds_sim_rom_bus_deinit(rom);
    free(rom);
}
