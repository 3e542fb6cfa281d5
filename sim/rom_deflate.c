// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// ROM commands for a compressed flash write: one zlib stream (RFC 1950) over all packets, inflated as it comes.
#include "sim/rom.h"

#include <string.h>

// Write what was inflated; the last piece of an encrypted write is filled up with FF.
static bool out_flush(ds_sim_rom *rom)
{
    ds_sim_rom_write *w = &rom->write;
    uint32_t len = w->out_len, align = rom->c->chip->encrypt_align;
    while (w->encrypted && len % align)
        w->out[len++] = 0xFF;
    bool ok = len == 0 || ds_sim_rom_write_program(rom, w->offset, w->out, len);
    w->offset += len;
    w->out_len = 0;
    return ok;
}

static uint8_t inflate_some(ds_sim_rom *rom)
{
    ds_sim_rom_write *w = &rom->write;
    w->z.next_out = w->out + w->out_len;
    w->z.avail_out = (uInt)(sizeof w->out - w->out_len);
    int rc = inflate(&w->z, Z_NO_FLUSH);
    uint32_t got = (uint32_t)(sizeof w->out - w->z.avail_out) - w->out_len;
    if (rc == Z_DATA_ERROR && w->z.msg && !strcmp(w->z.msg, "incorrect data check"))
        return DS_SIM_ROM_ADLER;
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return DS_SIM_ROM_INFLATE;
    if (got > w->left)
        return DS_SIM_ROM_DEFLATE;
    w->out_len += got;
    w->left -= got;
    w->z_ended = rc == Z_STREAM_END;
    if ((w->out_len == sizeof w->out || w->z_ended) && !out_flush(rom))
        return DS_SIM_ROM_FAILED;
    return DS_SIM_ROM_OK;
}

uint8_t ds_sim_rom_deflate_begin(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    ds_sim_rom_write *w = &rom->write;
    (void)ret;
    uint8_t error = ds_sim_rom_write_begin(rom, q);
    if (error)
        return error;
    w->deflate = true;
    w->left = ds_le32(q->data.ptr);
    w->z_open = inflateInit(&w->z) == Z_OK;
    return w->z_open ? DS_SIM_ROM_OK : DS_SIM_ROM_FAILED;
}

uint8_t ds_sim_rom_deflate_data(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    ds_sim_rom_write *w = &rom->write;
    uint32_t seq;
    ds_view data;
    (void)ret;
    if (!w->open || !w->deflate)
        return DS_SIM_ROM_INVALID;
    uint8_t error = ds_sim_rom_packet(q, &seq, &data);
    if (error)
        return error;
    if (w->next_seq > 0 && seq == w->next_seq - 1)
        return DS_SIM_ROM_OK; // sent again: its reply was lost
    if (seq != w->next_seq || seq >= w->packets || data.len > w->packet_size || (w->z_ended && data.len > 0))
        return DS_SIM_ROM_DEFLATE;
    w->next_seq++;
    DS_CLEANUP_BUF ds_buf in = {0};
    ds_buf_add(&in, data.ptr, data.len);
    w->z.next_in = in.ptr;
    w->z.avail_in = (uInt)in.len;
    do {
        error = inflate_some(rom);
    } while (!error && !w->z_ended && (w->z.avail_in > 0 || w->z.avail_out == 0));
    if (error)
        ds_sim_rom_write_close(w);
    return error;
}

uint8_t ds_sim_rom_deflate_end(ds_sim_rom *rom, const ds_sim_rom_request *q, ds_sim_rom_reply *ret)
{
    if (!rom->write.deflate || !rom->write.z_ended)
        return DS_SIM_ROM_DEFLATE;
    return ds_sim_rom_flash_end(rom, q, ret);
}
