// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A ROM loader for tests, by the serial protocol's document, with faults. It keeps what it was asked, so that a test
// can compare requests byte by byte.
#ifndef LINK_FAKE_ROM_H
#define LINK_FAKE_ROM_H

#include "link_peer.h"
#include "src/base/crc.h"
#include "src/base/slip.h"
#include "src/esp/efuse.h"

#include <openssl/evp.h>
#define ZLIB_CONST
#include <zlib.h>

#define FAKE_FLASH 0x100000u
#define FAKE_LOG 4096

enum fake_fault {
    FAULT_NONE,
    FAULT_DROP,     // the reply is lost
    FAULT_DOUBLE,   // the reply comes twice
    FAULT_TEXT,     // log text, with a stray END, in front of the reply
    FAULT_CLOSE,    // the port goes away instead of a reply
    FAULT_ECHO,     // the request comes back (direction byte 0)
    FAULT_LENGTH,   // the size field claims 65535 bytes
    FAULT_CHECKSUM, // error 07
    FAULT_FLOOD,    // bytes without end
    FAULT_ENDLESS,  // a frame that never ends, one GiB if it is read
    FAULT_BOOT_LOG, // an app's log instead of any reply
    FAULT_REFUSED,  // the log of a ROM whose download mode is closed by eFuse
};

typedef struct fake_request {
    uint8_t op;
    uint16_t len;
    uint32_t checksum;
    uint8_t head[40];
} fake_request;

typedef struct fake_rom {
    const ds_chip *chip;
    ds_efuse_words efuses;
    bool secure_download;
    uint32_t flags, flash_id;
    uint8_t crypt_cnt;
    enum fake_fault fault;
    uint8_t fault_op;            // 0: any
    int fault_skip, fault_times; // first let some pass, then do it so often
    uint8_t *flash;
    uint32_t at, begin_len;
    z_stream inflate;
    bool inflating;
    uint32_t spi[0x40];
    uint32_t stale; // of `value`
    fake_request log[FAKE_LOG];
    unsigned count;
} fake_rom;

static inline void fake_init(fake_rom *f, enum ds_chip_id chip)
{
    memset(f, 0, sizeof *f);
    f->chip = ds_chip_by_id((uint16_t)chip);
    assert_non_null(f->chip);
    f->flash = malloc(FAKE_FLASH);
    assert_non_null(f->flash);
    memset(f->flash, 0, FAKE_FLASH);
    f->flash_id = 0x144020; // 1 MiB
    f->stale = 0x20120707;
    static const uint8_t mac[6] = {0x24, 0x0A, 0xC4, 0x01, 0x02, 0x03};
    ds_efuse_set_mac(f->chip, &f->efuses, mac);
}

static inline void fake_deinit(fake_rom *f)
{
    if (f->inflating)
        inflateEnd(&f->inflate);
    free(f->flash);
}

static inline unsigned fake_count(const fake_rom *f, uint8_t op)
{
    unsigned n = 0;
    for (unsigned i = 0; i < f->count && i < FAKE_LOG; i++)
        n += f->log[i].op == op;
    return n;
}

static inline const fake_request *fake_find(const fake_rom *f, uint8_t op, unsigned nth)
{
    for (unsigned i = 0; i < f->count && i < FAKE_LOG; i++)
        if (f->log[i].op == op && nth-- == 0)
            return &f->log[i];
    return NULL;
}

static uint32_t fake_read_reg(fake_rom *f, uint32_t addr)
{
    if (addr == 0x40001000u)
        return f->chip->magic[0];
    for (unsigned b = 0; b < ds_efuse_block_count(f->chip); b++) {
        uint32_t first = f->chip->efuse_base + ds_efuse_block_at(f->chip, b)->read_off;
        if (addr >= first && addr < first + 4u * ds_efuse_block_at(f->chip, b)->words)
            return f->efuses.w[b][(addr - first) / 4];
    }
    uint32_t off = addr - f->chip->spi_base;
    return off < sizeof f->spi ? f->spi[off / 4] : 0;
}

static void fake_write_reg(fake_rom *f, uint32_t addr, uint32_t value)
{
    uint32_t off = addr - f->chip->spi_base;
    bool esp32 = f->chip->id == DS_CHIP_ESP32;
    if (off >= sizeof f->spi)
        return;
    f->spi[off / 4] = value;
    if (off == 0 && (value & 1u << 18)) {
        f->spi[0] = 0;
        uint32_t usr = f->spi[(esp32 ? 0x1C : 0x18) / 4], usr2 = f->spi[(esp32 ? 0x24 : 0x20) / 4];
        if ((usr & 1u << 31) && (usr & 1u << 28) && usr2 == (7u << 28 | 0x9F))
            f->spi[(esp32 ? 0x80 : 0x58) / 4] = f->flash_id;
    }
}

static void fake_begin(fake_rom *f, ds_view d, bool deflated)
{
    uint32_t erase = ds_le32(d.ptr);
    f->at = ds_le32(d.ptr + 12);
    f->begin_len = erase;
    for (uint32_t a = f->at; a < f->at + ((erase + 0xFFF) & ~0xFFFu) && a < FAKE_FLASH; a++)
        f->flash[a] = 0xFF;
    if (f->inflating)
        inflateEnd(&f->inflate);
    f->inflating = deflated;
    if (deflated) {
        memset(&f->inflate, 0, sizeof f->inflate);
        inflateInit(&f->inflate);
    }
}

static void fake_program(fake_rom *f, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len && f->at < FAKE_FLASH; i++)
        f->flash[f->at++] &= p[i]; // NOR flash only clears bits
}

// The error byte, 0 = success.
static uint8_t fake_data(fake_rom *f, ds_view d, uint32_t checksum)
{
    ds_view block = {d.ptr + 16, d.len - 16};
    if (ds_le32(d.ptr) != block.len)
        return 0x01;
    if (checksum != ds_xor8(0xEF, block.ptr, block.len))
        return 0x07;
    if (!f->inflating) {
        fake_program(f, block.ptr, block.len);
        return 0;
    }
    uint8_t out[4096];
    f->inflate.next_in = block.ptr;
    f->inflate.avail_in = (uInt)block.len;
    do {
        f->inflate.next_out = out;
        f->inflate.avail_out = sizeof out;
        int rc = inflate(&f->inflate, Z_SYNC_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return 0x0B;
        fake_program(f, out, sizeof out - f->inflate.avail_out);
    } while (f->inflate.avail_out == 0);
    return 0;
}

// All copies in one write: whether a second one comes in time for the reader to drop it must not depend on the machine.
static bool fake_reply(peer *p, int times, uint8_t direction, uint8_t op, uint32_t value, ds_view data, uint32_t size)
{
    ds_buf raw = {0}, wire = {0};
    ds_buf_add(&raw, (const uint8_t[]){direction, op}, 2);
    ds_buf_add_le16(&raw, (uint16_t)size);
    ds_buf_add_le32(&raw, value);
    ds_buf_add(&raw, data.ptr, data.len);
    for (int i = 0; i < times; i++)
        ds_slip_encode(&wire, ds_buf_view(&raw));
    bool ok = wire.len == 0 || peer_send(p, wire.ptr, wire.len);
    ds_buf_free(&raw);
    ds_buf_free(&wire);
    return ok;
}

static bool fake_unsupported(peer *p, uint8_t op)
{
    static const uint8_t status[4] = {0x01, 0x05, 0, 0};
    for (int i = 0; i < 8; i++)
        if (!fake_reply(p, 1, 1, (uint8_t)(op + 0x60), 0, (ds_view){status, 4}, 4))
            return false;
    return true;
}

static bool fake_forbidden(const fake_rom *f, uint8_t op)
{
    static const uint8_t restricted[] = {0x02, 0x03, 0x04, 0x08, 0x0B, 0x0D, 0x0F, 0x14};
    static const uint8_t all[] = {0x02, 0x03, 0x08, 0x09, 0x0A, 0x0B, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x13, 0x14};
    const uint8_t *set = f->secure_download ? restricted : all;
    size_t n = f->secure_download ? sizeof restricted : sizeof all;
    if (op == 0x14 && !f->chip->has_security_info)
        return true;
    for (size_t i = 0; i < n; i++)
        if (set[i] == op)
            return false;
    return true;
}

static void fake_md5(const fake_rom *f, ds_view d, ds_buf *data)
{
    uint8_t digest[16];
    char hex[33];
    unsigned n;
    EVP_Digest(f->flash + ds_le32(d.ptr), ds_le32(d.ptr + 4), digest, &n, EVP_md5(), NULL);
    ds_hex(digest, 16, hex);
    ds_buf_add(data, hex, 32);
}

static bool fake_flood(peer *p, enum fake_fault kind)
{
    uint8_t junk[4096];
    memset(junk, kind == FAULT_FLOOD ? 0x81 : 'x', sizeof junk);
    junk[0] = kind == FAULT_ENDLESS ? 0xC0 : 0x81;
    do {
        if (!peer_send(p, junk, sizeof junk))
            return false;
        junk[0] = junk[1];
    } while (true);
}

// False: the connection is over.
static bool fake_answer(peer *p, fake_rom *f, uint8_t op, ds_view d, uint32_t checksum)
{
    DS_CLEANUP_BUF ds_buf data = {0};
    uint8_t error = 0;
    uint32_t value = f->stale;
    enum fake_fault fault = FAULT_NONE;
    if (f->fault && (!f->fault_op || f->fault_op == op) && f->fault_skip-- <= 0 && f->fault_times > 0) {
        f->fault_times--;
        fault = f->fault;
    }
    if (fault == FAULT_CLOSE)
        return false;
    if (fault == FAULT_FLOOD || fault == FAULT_ENDLESS)
        return fake_flood(p, fault);
    if (fault == FAULT_BOOT_LOG) {
        static const char log[] =
            "ESP-ROM:esp32c3-api1-20210207\r\nboot:0x8 (SPI_FAST_FLASH_BOOT)\r\nI (30) boot: app\r\n";
        return peer_send(p, log, sizeof log - 1);
    }
    if (fault == FAULT_REFUSED) {
        static const char log[] = "rst:0x3 (RTC_SW_SYS_RST),boot:0x4 (DOWNLOAD(USB/UART0/1))\r\n"
                                  "Download boot modes disabled\r\n";
        return peer_send(p, log, sizeof log - 1);
    }
    if (fake_forbidden(f, op))
        return fake_unsupported(p, op);
    switch (op) {
    case 0x02:
    case 0x10:
        fake_begin(f, d, op == 0x10);
        break;
    case 0x03:
    case 0x11:
        error = fault == FAULT_CHECKSUM ? 0x07 : fake_data(f, d, checksum);
        break;
    case 0x09:
        fake_write_reg(f, ds_le32(d.ptr), ds_le32(d.ptr + 4));
        break;
    case 0x0A:
        value = f->stale = fake_read_reg(f, ds_le32(d.ptr));
        break;
    case 0x0E:
        ds_buf_add(&data, f->flash + ds_le32(d.ptr), 64);
        break;
    case 0x13:
        fake_md5(f, d, &data);
        break;
    case 0x14:
        ds_buf_add_le32(&data, f->flags);
        ds_buf_add(&data, (const uint8_t[]){f->crypt_cnt, 9, 4, 0, 0, 0, 0, 12}, 8);
        ds_buf_add_le32(&data, f->chip->id);
        ds_buf_add_le32(&data, 0);
        break;
    default:
        break;
    }
    ds_buf_add(&data, (const uint8_t[]){error != 0, error, 0, 0}, 4);
    static const char text[] = "I (123) wifi: \xC0 noise\r\n";
    if (fault == FAULT_TEXT && !peer_send(p, text, sizeof text - 1))
        return false;
    int times = fault == FAULT_DROP ? 0 : fault == FAULT_DOUBLE ? 2 : op == 0x08 ? 8 : 1;
    return fake_reply(p, times, fault == FAULT_ECHO ? 0 : 1, op, value, ds_buf_view(&data),
                      fault == FAULT_LENGTH ? 65535 : (uint32_t)data.len);
}

static void fake_play(peer *p)
{
    fake_rom *f = p->arg;
    ds_slip slip;
    uint8_t rx[2048];
    ds_slip_init(&slip, 8192);
    bool on = true;
    for (size_t n; on && (n = peer_recv(p, rx, sizeof rx)) > 0;) {
        for (size_t i = 0; i < n && on; i++) {
            if (ds_slip_push(&slip, rx[i]) != DS_SLIP_FRAME || slip.frame.len < 8)
                continue;
            const uint8_t *q = slip.frame.ptr;
            ds_view d = {q + 8, slip.frame.len - 8};
            if (f->count < FAKE_LOG) {
                fake_request *l = &f->log[f->count++];
                *l = (fake_request){.op = q[1], .len = ds_le16(q + 2), .checksum = ds_le32(q + 4)};
                memcpy(l->head, d.ptr, d.len < sizeof l->head ? d.len : sizeof l->head);
            }
            on = q[0] == 0 && ds_le16(q + 2) == d.len && fake_answer(p, f, q[1], d, ds_le32(q + 4));
        }
    }
    ds_slip_deinit(&slip);
}

#endif
