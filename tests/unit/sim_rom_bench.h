// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A boot ROM on a scripted wire: every request is put on it beforehand, every reply is taken apart afterwards.
#ifndef DS_TESTS_SIM_ROM_BENCH_H
#define DS_TESTS_SIM_ROM_BENCH_H

#include "sim/chip.h"
#include "src/base/crc.h"
#include "src/base/slip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FLASH_SIZE (4u << 20)

static const uint8_t mac[6] = {0x7C, 0xDF, 0xA1, 0x11, 0x22, 0x33};

// One reply frame.
struct reply {
    uint8_t op;
    uint32_t value;
    uint8_t data[80];
    size_t len; // status included
    size_t wire_len;
};

struct bench {
    char folder[32], flash_path[48], efuse_path[48];
    ds_sim_fault fault;
    ds_sim_timing timing;
    ds_sim_wire wire;
    ds_sim_chip c;
    ds_buf in, out;
    size_t at;
    unsigned idles; // reads that time out once the script is over
    uint32_t baud;
    size_t out_at_baud;
    struct reply replies[64];
    size_t count;
};

static inline int wire_read(void *ctx, uint8_t *buf, size_t cap, int timeout_ms)
{
    struct bench *b = ctx;
    size_t n = b->in.len - b->at;
    (void)timeout_ms;
    if (n == 0 && b->idles == 0)
        return -1;
    if (n == 0) {
        b->idles--;
        return 0;
    }
    // Odd pieces, as a line delivers them.
    n = n > 37 ? 37 : n;
    n = n > cap ? cap : n;
    memcpy(buf, b->in.ptr + b->at, n);
    b->at += n;
    return (int)n;
}

static inline void wire_write(void *ctx, const uint8_t *buf, size_t len)
{
    struct bench *b = ctx;
    ds_buf_add(&b->out, buf, len);
}

static inline void wire_set_baud(void *ctx, uint32_t baud)
{
    struct bench *b = ctx;
    b->baud = baud;
    b->out_at_baud = b->out.len;
}

static inline struct bench *bench_new(const char *chip, uint16_t revision)
{
    struct bench *b = ds_alloc(sizeof *b);
    snprintf(b->folder, sizeof b->folder, "%s", "/tmp/ds-rom-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->flash_path, sizeof b->flash_path, "%s/flash", b->folder);
    snprintf(b->efuse_path, sizeof b->efuse_path, "%s/efuse", b->folder);
    b->wire = (ds_sim_wire){b, wire_read, wire_write, wire_set_baud};
    b->c = (ds_sim_chip){.chip = ds_chip_by_name(chip),
                         .wire = &b->wire,
                         .fault = &b->fault,
                         .timing = &b->timing,
                         .strap_download = true};
    assert_int_equal(ds_sim_flash_open(b->flash_path, FLASH_SIZE, &b->fault, &b->timing, &b->c.flash, NULL), 0);
    assert_int_equal(ds_sim_efuse_open(b->efuse_path, b->c.chip, mac, revision, &b->fault, &b->c.efuse, NULL), 0);
    return b;
}

static inline void bench_free(struct bench *b)
{
    ds_sim_flash_close(b->c.flash);
    ds_sim_efuse_close(b->c.efuse);
    unlink(b->flash_path);
    unlink(b->efuse_path);
    rmdir(b->folder);
    ds_buf_free(&b->in);
    ds_buf_free(&b->out);
    free(b);
}

static inline void burn(struct bench *b, const char *field, uint32_t value)
{
    ds_efuse_words bits = {0};
    assert_true(ds_efuse_set(b->c.chip, &bits, field, value));
    assert_true(ds_sim_efuse_burn(b->c.efuse, ds_efuse_field_find(b->c.chip, field)->block, &bits));
}

static inline void ask_raw(struct bench *b, uint8_t op, const void *data, size_t len, uint32_t checksum)
{
    ds_buf f = {0};
    ds_buf_add_u8(&f, 0);
    ds_buf_add_u8(&f, op);
    ds_buf_add_le16(&f, (uint16_t)len);
    ds_buf_add_le32(&f, checksum);
    ds_buf_add(&f, data, len);
    ds_slip_encode(&b->in, ds_buf_view(&f));
    ds_buf_free(&f);
}

// A command of n words.
static inline void ask(struct bench *b, uint8_t op, unsigned n, ...)
{
    uint8_t data[64];
    va_list ap;
    va_start(ap, n);
    for (unsigned i = 0; i < n; i++)
        ds_put_le32(data + 4 * i, va_arg(ap, uint32_t));
    va_end(ap);
    ask_raw(b, op, data, 4 * (size_t)n, 0);
}

static inline void ask_packet(struct bench *b, uint8_t op, uint32_t seq, const uint8_t *data, size_t len)
{
    ds_buf p = {0};
    ds_buf_add_le32(&p, (uint32_t)len);
    ds_buf_add_le32(&p, seq);
    ds_buf_add_fill(&p, 0, 8);
    ds_buf_add(&p, data, len);
    ask_raw(b, op, p.ptr, p.len, ds_xor8(DS_XOR8_SEED, data, len));
    ds_buf_free(&p);
}

static inline void ask_sync(struct bench *b)
{
    uint8_t data[36];
    memcpy(data, (const uint8_t[]){0x07, 0x07, 0x12, 0x20}, 4);
    memset(data + 4, 0x55, 32);
    ask_raw(b, 0x08, data, sizeof data, 0);
}

static inline void ask_attach(struct bench *b, uint32_t size)
{
    ask(b, 0x0D, 2, 0u, 0u);
    ask(b, 0x0B, 6, 0u, size, 0x10000u, 0x1000u, 0x100u, 0xFFFFu);
}

static inline void take_replies(struct bench *b)
{
    ds_slip s;
    size_t start = 0;
    ds_slip_init(&s, 256);
    b->count = 0;
    for (size_t i = 0; i < b->out.len; i++) {
        enum ds_slip_event ev = ds_slip_push(&s, b->out.ptr[i]);
        assert_int_not_equal(ev, DS_SLIP_BAD);
        if (ev == DS_SLIP_TEXT)
            start = i + 1;
        if (ev != DS_SLIP_FRAME)
            continue;
        struct reply *r = &b->replies[b->count++];
        assert_true(b->count <= 64 && s.frame.len >= 12 && s.frame.len <= 8 + sizeof r->data);
        assert_int_equal(s.frame.ptr[0], 1);
        *r = (struct reply){.op = s.frame.ptr[1], .value = ds_le32(s.frame.ptr + 4)};
        r->len = s.frame.len - 8;
        assert_int_equal(ds_le16(s.frame.ptr + 2), r->len);
        memcpy(r->data, s.frame.ptr + 8, r->len);
        r->wire_len = i + 1 - start;
        start = i + 1;
    }
    ds_slip_deinit(&s);
}

// Serve the script; replies of it alone.
static inline void serve(struct bench *b)
{
    ds_buf_clear(&b->out);
    ds_sim_rom_download(&b->c);
    ds_buf_clear(&b->in);
    b->at = 0;
    take_replies(b);
}

// The error byte of reply i (0 = success), which must answer op.
static inline int error_of(const struct bench *b, size_t i, uint8_t op)
{
    assert_true(i < b->count);
    const struct reply *r = &b->replies[i];
    assert_int_equal(r->op, op);
    const uint8_t *status = r->data + r->len - 4;
    assert_int_equal(status[0], status[1] != 0);
    return status[1];
}

static inline void assert_unsupported(const struct bench *b, size_t from, uint8_t op)
{
    assert_true(from + 8 <= b->count);
    for (size_t i = from; i < from + 8; i++) {
        assert_int_not_equal(b->replies[i].op, op);
        assert_int_equal(b->replies[i].wire_len, 14);
        assert_memory_equal(b->replies[i].data, "\1\5", 2);
    }
}

static inline void fill(uint8_t *p, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)ds_sim_random(&seed);
}

static inline void write_reg(struct bench *b, uint32_t addr, uint32_t value)
{
    ask(b, 0x09, 4, addr, value, 0xFFFFFFFFu, 0u);
}

#endif
