// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Opening the ROM loader: reset, sync, which chip, what its security state is, its eFuses, its flash. Then registers
// and the line rate. Source: esptool serial-protocol.rst; chip detection as esptool v5.2 does it.
#include "src/link/rom.h"

#include "src/base/clock.h"
#include "src/link/reset.h"
#include "src/link/rom_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_REG 0x40001000u
// ESP32: one bit of the revision is not in eFuse; and what its ROM measured of the crystal.
#define ESP32_APB_CTL_DATE 0x3FF6607Cu
#define ESP32_RTCCALICFG1 0x3FF5F06Cu

enum {
    FLAG_SECURE_BOOT = 1u << 0,
    FLAG_SECURE_DOWNLOAD = 1u << 2,
};

enum { SYNC_MS = 100, SYNC_PAUSE_MS = 50, SYNC_TRIES = 5, SYNC_TRIES_POWER = 15 };

enum ds_class ds_rom_read_reg(ds_rom *r, uint32_t addr, uint32_t *ret, ds_err *e)
{
    if (r->info.secure_download)
        return ds_rom_refuse_restricted("read a register", e);
    uint8_t data[4];
    ds_put_le32(data, addr);
    const ds_rom_command c = {.op = DS_ROM_READ_REG, .what = "read a register", .head = {data, sizeof data}};
    ds_rom_reply reply;
    enum ds_class cls = ds_rom_run(r, &c, &reply, e);
    if (cls)
        return ds_wrap(e, "0x%08x", addr);
    *ret = reply.value;
    return DS_OK;
}

enum ds_class ds_rom_write_reg(ds_rom *r, uint32_t addr, uint32_t value, ds_err *e)
{
    if (r->info.secure_download)
        return ds_rom_refuse_restricted("write a register", e);
    uint8_t data[16] = {0};
    ds_put_le32(data, addr);
    ds_put_le32(data + 4, value);
    ds_put_le32(data + 8, 0xFFFFFFFFu);
    const ds_rom_command c = {.op = DS_ROM_WRITE_REG, .what = "write a register", .head = {data, sizeof data}};
    return ds_rom_run(r, &c, NULL, e) ? ds_wrap(e, "0x%08x", addr) : DS_OK;
}

// SYNC several times; *ret_in_sync tells.
static enum ds_class sync_some(ds_rom *r, unsigned tries, bool *ret_in_sync, ds_err *e)
{
    *ret_in_sync = false;
    for (unsigned i = 0; i < tries && ds_ms_left(r->open_deadline_ms); i++) {
        enum ds_class cls = ds_rom_sync_once(r, SYNC_MS, ret_in_sync, e);
        if (cls || *ret_in_sync)
            return cls;
        int left = ds_ms_left(r->open_deadline_ms);
        ds_sleep_ms(left < SYNC_PAUSE_MS ? left : SYNC_PAUSE_MS);
    }
    return DS_OK;
}

static void add_seen(ds_rom_seen *all, const ds_rom_seen *s)
{
    uint64_t bytes = all->bytes + s->bytes, printable = all->printable + s->printable;
    unsigned damaged = all->damaged + s->damaged;
    bool echo = all->echo || s->echo;
    if (s->tail_len)
        *all = *s;
    all->bytes = bytes;
    all->printable = printable;
    all->damaged = damaged;
    all->echo = echo;
}

static enum ds_class connect_loader(ds_rom *r, const ds_reset *reset, ds_err *e)
{
    int64_t start_ms = ds_now_ms();
    ds_rom_seen seen = {0};
    bool resets = reset && reset->kind != DS_RESET_NONE;
    unsigned tries = resets && reset->kind == DS_RESET_COMMAND ? SYNC_TRIES_POWER : SYNC_TRIES;
    unsigned attempt = 0;
    do {
        enum ds_class cls = resets ? ds_reset_attempt(reset, r->t, true, attempt++, e) : DS_OK;
        bool in_sync = false;
        if (!cls)
            cls = sync_some(r, tries, &in_sync, e);
        if (cls || in_sync)
            return cls;
        add_seen(&seen, &r->seen);
    } while (ds_ms_left(r->open_deadline_ms));
    return ds_rom_no_answer(&seen, "sync with the ROM loader", (int)(ds_now_ms() - start_ms), e);
}

static void take_security(ds_rom *r, const ds_rom_reply *reply)
{
    ds_rom_info *info = &r->info;
    info->has_security = true;
    info->flags = ds_le32(reply->data);
    info->flash_crypt_cnt = reply->data[4];
    memcpy(info->key_purposes, reply->data + 5, sizeof info->key_purposes);
    info->secure_boot = info->flags & FLAG_SECURE_BOOT;
    info->flash_encryption = __builtin_popcount(info->flash_crypt_cnt) & 1;
}

static enum ds_class unknown_chip(const char *how, uint32_t id, ds_err *e)
{
    ds_fail(e, DS_DEVICE, "a chip that is not known here (%s 0x%x)", how, id);
    return ds_hint(e, "connect one of the chips that devstamp supports");
}

static enum ds_class by_magic(ds_rom *r, ds_err *e)
{
    uint32_t magic = 0;
    enum ds_class cls = ds_rom_read_reg(r, MAGIC_REG, &magic, e);
    if (cls)
        return ds_wrap(e, "find out the chip");
    r->info.chip = ds_chip_by_magic(magic);
    return r->info.chip ? DS_OK : unknown_chip("magic", magic, e);
}

static enum ds_class by_id(ds_rom *r, const ds_rom_reply *reply, ds_err *e)
{
    if (reply->len < 20) // an ESP32-S2 tells no id
        return by_magic(r, e);
    uint32_t id = ds_le32(reply->data + 12);
    r->info.chip = id <= UINT16_MAX ? ds_chip_by_id((uint16_t)id) : NULL;
    if (!r->info.chip)
        return unknown_chip("chip id", id, e);
    r->info.secure_download = r->info.chip->has_secure_download && (r->info.flags & FLAG_SECURE_DOWNLOAD);
    return DS_OK;
}

static enum ds_class detect(ds_rom *r, ds_err *e)
{
    const ds_rom_command c = {
        .op = DS_ROM_GET_SECURITY_INFO, .what = "read the security info", .reply_len = 20, .reply_short = 12};
    ds_rom_reply reply;
    ds_err local = DS_ERR_INIT;
    enum ds_class cls = ds_rom_run(r, &c, &reply, &local);
    if (!cls) {
        take_security(r, &reply);
        return by_id(r, &reply, e);
    }
    if (local.code == DS_ROM_UNSUPPORTED) { // an ESP32 has no such command
        cls = by_magic(r, e);
        if (cls || !r->info.chip->has_security_info)
            return cls;
    }
    if (e)
        *e = local;
    return local.cls;
}

static enum ds_class read_block(ds_rom *r, unsigned block, uint32_t ret[DS_EFUSE_WORDS], ds_err *e)
{
    const ds_efuse_block *b = ds_efuse_block_at(r->info.chip, block);
    for (unsigned i = 0; i < b->words && i < DS_EFUSE_WORDS; i++) {
        enum ds_class cls = ds_rom_read_reg(r, r->info.chip->efuse_base + b->read_off + 4 * i, &ret[i], e);
        if (cls)
            return ds_wrap(e, "read eFuse %s", b->name);
    }
    return DS_OK;
}

static enum ds_class esp32_revision(ds_rom *r, ds_err *e)
{
    uint32_t date = 0;
    enum ds_class cls = ds_rom_read_reg(r, ESP32_APB_CTL_DATE, &date, e);
    if (cls)
        return ds_wrap(e, "read the revision");
    const ds_efuse_words *w = &r->info.efuses;
    static const uint8_t major_of[8] = {[1] = 1, [3] = 2, [7] = 3};
    unsigned bits = (w->w[0][3] >> 15 & 1) | (w->w[0][5] >> 20 & 1) << 1 | (date >> 31) << 2;
    r->info.revision = (uint16_t)(major_of[bits] * 100u + (w->w[0][5] >> 24 & 3));
    return DS_OK;
}

// The loader's frames carry no checksum: the blocks that say who the device is and what is locked are read twice.
static enum ds_class read_efuses_twice(ds_rom *r, bool *ret_same, ds_err *e)
{
    ds_rom_info *info = &r->info;
    unsigned blocks = ds_efuse_block_count(info->chip);
    *ret_same = true;
    for (unsigned b = 0; b < blocks && b < DS_EFUSE_BLOCKS; b++) {
        enum ds_class cls = read_block(r, b, info->efuses.w[b], e);
        if (cls)
            return cls;
    }
    for (unsigned b = 0; b < 2; b++) {
        uint32_t again[DS_EFUSE_WORDS] = {0};
        enum ds_class cls = read_block(r, b, again, e);
        if (cls)
            return cls;
        if (memcmp(again, info->efuses.w[b], sizeof again) != 0)
            *ret_same = false;
    }
    return DS_OK;
}

// Nor do replies say which register they are of: a wire that doubles bytes puts every answer one question late. Then
// each question waits for silence first.
static enum ds_class read_efuse_words(ds_rom *r, ds_err *e)
{
    bool same = false;
    enum ds_class cls = read_efuses_twice(r, &same, e);
    if (cls || same)
        return cls;
    r->careful_ms = DS_ROM_CAREFUL_MS;
    cls = read_efuses_twice(r, &same, e);
    if (cls || same)
        return cls;
    ds_fail(e, DS_DEVICE, "two reads of the eFuses differ");
    return ds_hint(e, "the line is noisy: check cable and ground, or lower the baud rate");
}

static enum ds_class read_efuses(ds_rom *r, ds_err *e)
{
    ds_rom_info *info = &r->info;
    enum ds_class cls = read_efuse_words(r, e);
    if (cls)
        return cls;
    info->has_efuses = info->has_mac = true;
    ds_efuse_get_mac(info->chip, &info->efuses, info->mac);
    info->revision = ds_efuse_revision(info->chip, &info->efuses);
    if (info->has_security)
        return DS_OK;
    ds_efuse_security sec;
    ds_efuse_security_get(info->chip, &info->efuses, &sec);
    info->has_security = true;
    info->secure_boot = sec.secure_boot;
    info->flash_encryption = sec.flash_encryption;
    info->flash_crypt_cnt = (uint8_t)ds_efuse_get(info->chip, &info->efuses, "FLASH_CRYPT_CNT");
    return info->chip->id == DS_CHIP_ESP32 ? esp32_revision(r, e) : DS_OK;
}

// An ESP32 may have its flash on other pads, which its eFuses name and its ROM ignores.
static uint32_t flash_pads(const ds_rom_info *info)
{
    if (info->chip->id != DS_CHIP_ESP32 || !info->has_efuses)
        return 0;
    uint32_t w5 = info->efuses.w[0][5], hd = info->efuses.w[0][3] >> 4 & 0x1F;
    uint32_t clk = w5 & 0x1F, q = w5 >> 5 & 0x1F, d = w5 >> 10 & 0x1F, cs = w5 >> 15 & 0x1F;
    return hd << 24 | cs << 18 | d << 12 | q << 6 | clk;
}

static enum ds_class attach_flash(ds_rom *r, uint32_t flash_size, ds_err *e)
{
    uint8_t attach[8] = {0};
    ds_put_le32(attach, flash_pads(&r->info));
    const ds_rom_command a = {.op = DS_ROM_SPI_ATTACH, .what = "attach the flash", .head = {attach, sizeof attach}};
    enum ds_class cls = ds_rom_run(r, &a, NULL, e);
    if (!cls && !flash_size && !r->info.secure_download)
        cls = ds_rom_flash_detect(r, &flash_size, e);
    return cls || !flash_size ? cls : ds_rom_set_flash_size(r, flash_size, e);
}

enum ds_class ds_rom_set_flash_size(ds_rom *r, uint32_t flash_size, ds_err *e)
{
    uint8_t params[24];
    const uint32_t values[6] = {0, flash_size, 0x10000, DS_ROM_SECTOR, 0x100, 0xFFFF};
    for (size_t i = 0; i < 6; i++)
        ds_put_le32(params + 4 * i, values[i]);
    const ds_rom_command p = {
        .op = DS_ROM_SPI_SET_PARAMS, .what = "set the flash parameters", .head = {params, sizeof params}};
    enum ds_class cls = ds_rom_run(r, &p, NULL, e);
    if (!cls)
        r->info.flash_size = flash_size;
    return cls;
}

enum ds_class ds_rom_open(ds_transport *t, const ds_reset *reset, uint32_t flash_size, int64_t deadline_ms,
                          ds_rom **ret, ds_err *e)
{
    ds_rom *r = ds_alloc(sizeof *r);
    r->t = t;
    r->open_deadline_ms = deadline_ms;
    ds_slip_init(&r->slip, DS_ROM_REPLY_MAX + 16);
    enum ds_class cls = t->flush_input(t, e);
    if (!cls)
        cls = connect_loader(r, reset, e);
    if (!cls)
        cls = detect(r, e);
    if (!cls && !r->info.secure_download)
        cls = read_efuses(r, e);
    if (!cls)
        cls = attach_flash(r, flash_size, e);
    if (cls) {
        ds_rom_close(r);
        return cls;
    }
    r->open_deadline_ms = 0;
    *ret = r;
    return DS_OK;
}

void ds_rom_close(ds_rom *r)
{
    if (!r)
        return;
    ds_slip_deinit(&r->slip);
    ds_buf_free(&r->request);
    ds_buf_free(&r->frame);
    free(r);
}

const ds_rom_info *ds_rom_get_info(const ds_rom *r)
{
    return &r->info;
}

// An ESP32's ROM divides by the crystal frequency it measured, which drifts with its 8 MHz oscillator: ask for a rate
// that comes out right. Measurements out of any reason are left alone.
static enum ds_class esp32_scale_baud(ds_rom *r, uint32_t *baud, ds_err *e)
{
    uint32_t cal = 0;
    enum ds_class cls = ds_rom_read_reg(r, ESP32_RTCCALICFG1, &cal, e);
    if (cls)
        return cls;
    uint64_t measured = (uint64_t)(cal >> 7 & 0x1FFFFFF) * 15625u * (r->info.efuses.w[0][4] & 0xFF) / 40u;
    uint64_t crystal = measured > 33000000 ? 40000000 : 26000000;
    if (measured > crystal / 2 && measured < crystal * 2)
        *baud = (uint32_t)(*baud * measured / crystal);
    return DS_OK;
}

enum ds_class ds_rom_set_baud(ds_rom *r, uint32_t baud, ds_err *e)
{
    uint32_t asked = baud;
    enum ds_class cls = DS_OK;
    if (r->info.chip->id == DS_CHIP_ESP32 && r->info.has_efuses)
        cls = esp32_scale_baud(r, &asked, e);
    uint8_t data[8] = {0};
    ds_put_le32(data, asked);
    const ds_rom_command c = {
        .op = DS_ROM_CHANGE_BAUDRATE, .what = "change the baud rate", .head = {data, sizeof data}, .no_resend = true};
    if (!cls)
        cls = ds_rom_run(r, &c, NULL, e);
    if (!cls)
        cls = r->t->set_baud(r->t, baud, e);
    if (cls)
        return ds_wrap(e, "go to %u baud", baud);
    ds_sleep_ms(50);
    cls = r->t->flush_input(r->t, e);
    if (!cls)
        cls = ds_rom_resync(r, e);
    if (cls) {
        ds_wrap(e, "go to %u baud", baud);
        return ds_hint(e, "choose a lower rate");
    }
    return DS_OK;
}
