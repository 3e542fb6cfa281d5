// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The station's side of the wire, fed by a hostile device: the ROM loader's client, and the agent's.
#include "src/base/clock.h"
#include "src/link/agent_client.h"
#include "src/link/rom.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct wire {
    ds_transport t;
    const uint8_t *data;
    size_t left;
} wire;

static enum ds_class wire_read(ds_transport *t, uint8_t *buf, size_t cap, int timeout_ms, size_t *ret_len, ds_err *e)
{
    (void)timeout_ms;
    wire *w = (wire *)t;
    if (w->left == 0)
        return ds_fail(e, DS_DEVICE, "port vanished");
    size_t n = w->left < cap ? w->left : cap;
    n = n > 64 ? 64 : n;
    memcpy(buf, w->data, n);
    w->data += n;
    w->left -= n;
    *ret_len = n;
    return DS_OK;
}

static enum ds_class wire_write(ds_transport *t, ds_view data, ds_err *e)
{
    (void)t, (void)data, (void)e;
    return DS_OK;
}

static enum ds_class wire_baud(ds_transport *t, uint32_t baud, ds_err *e)
{
    (void)t, (void)baud, (void)e;
    return DS_OK;
}

static enum ds_class wire_lines(ds_transport *t, bool dtr, bool rts, ds_err *e)
{
    (void)t, (void)dtr, (void)rts, (void)e;
    return DS_OK;
}

static enum ds_class wire_flush(ds_transport *t, ds_err *e)
{
    (void)t, (void)e;
    return DS_OK;
}

static void wire_close(ds_transport *t)
{
    (void)t;
}

static void ask_rom(ds_transport *t)
{
    ds_rom *rom = NULL;
    ds_buf out = {0};
    uint8_t md5[16];
    if (ds_rom_open(t, NULL, 4 << 20, ds_now_ms() + 200, &rom, NULL))
        return;
    (void)!ds_rom_md5(rom, 0, 4096, md5, NULL);
    (void)!ds_rom_read(rom, 0, 256, &out, NULL);
    ds_buf_free(&out);
    ds_rom_close(rom);
}

static void ask_agent(ds_transport *t)
{
    ds_agent_client *c = ds_agent_client_new(t, NULL, NULL);
    Devstamp__Hello hello = DEVSTAMP__HELLO__INIT;
    Devstamp__Request req = DEVSTAMP__REQUEST__INIT;
    req.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    req.hello = &hello;
    Devstamp__Response *r = NULL;
    if (ds_agent_call(c, &req, ds_now_ms() + 200, 100, &r, NULL) == DS_OK)
        devstamp__response__free_unpacked(r, NULL);
    ds_agent_client_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    wire w = {.t = {.read = wire_read,
                    .write = wire_write,
                    .set_baud = wire_baud,
                    .set_lines = wire_lines,
                    .flush_input = wire_flush,
                    .close = wire_close},
              .data = data + 1,
              .left = size - 1};
    if (data[0] & 1)
        ask_rom(&w.t);
    else
        ask_agent(&w.t);
    return 0;
}
