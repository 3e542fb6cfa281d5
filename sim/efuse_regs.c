// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The eFuse controllers' registers: ESP32 technical reference manual chapter 20, ESP32-C3 chapter 4. ESP32 has write
// registers for every block and burns all of them at once; the C3 has one set (data and check bytes) and names the
// block in the command.
#include "sim/efuse_int.h"

#include "src/base/secret.h"

#include <string.h>

#define OP_WRITE 0x5A5Au
#define OP_READ 0x5AA5u
#define CMD_READ 1u
#define CMD_PGM 2u
#define PGM_DATA_OFF 0x000u
#define RS_CORRECTABLE 6u // byte errors that 12 check bytes can mend
#define GAVE_UP 0xFu      // count 7 and the fail bit

typedef struct layout {
    uint32_t conf, cmd;
    bool one_pgm_set; // PGM_DATA/CHECK_VALUE and a block number; else write registers of each block
    uint32_t date_off, date;
    uint32_t rs_err; // first of two; 0 = none
} layout;

static const layout *layout_of(const ds_chip *chip)
{
    static const layout esp32 = {.conf = 0x0FC, .cmd = 0x104, .one_pgm_set = false};
    static const layout esp32c3 = {
        .conf = 0x1CC, .cmd = 0x1D4, .one_pgm_set = true, .date_off = 0x1FC, .date = 0x2007200, .rs_err = 0x1C0};
    return chip->id == DS_CHIP_ESP32 ? &esp32 : &esp32c3;
}

// Bits that write protection leaves; a wholly protected block takes no check bytes either.
static void unprotected(const ds_sim_efuse *f, unsigned block, ds_sim_efuse_row *row)
{
    const ds_efuse_block *def = ds_efuse_block_at(f->chip, block);
    uint32_t mask[DS_EFUSE_WORDS], open = 0;
    ds_sim_efuse_write_mask(f, block, mask);
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++) {
        row->w[i] = i < def->words ? row->w[i] & ~mask[i] : 0;
        open |= ~mask[i];
    }
    if (!def->rs_coded || !open)
        memset(row->w + DS_EFUSE_WORDS, 0, sizeof row->w - DS_EFUSE_WORDS * sizeof row->w[0]);
}

static void program(ds_sim_efuse *f, unsigned block, const uint32_t *data, const uint32_t *check)
{
    ds_sim_efuse_row row = {0};
    uint32_t any = 0;
    memcpy(row.w, data, ds_efuse_block_at(f->chip, block)->words * sizeof data[0]);
    if (check)
        memcpy(row.w + DS_EFUSE_WORDS, check, DS_SIM_EFUSE_CHECK_WORDS * sizeof check[0]);
    unprotected(f, block, &row);
    for (unsigned i = 0; i < DS_SIM_EFUSE_ROW; i++)
        any |= row.w[i];
    if (any) {
        ds_sim_fault_flash(f->fault);
        ds_sim_efuse_file_burn(&f->file, block, &row);
    }
    ds_wipe(&row, sizeof row);
}

// BLOCK0 last: its protection bits must not stop the blocks burned with them.
static void program_all(ds_sim_efuse *f)
{
    for (unsigned n = ds_efuse_block_count(f->chip); n > 0; n--)
        program(f, n - 1, &f->regs[ds_efuse_block_at(f->chip, n - 1)->write_off / 4], NULL);
}

static void command(ds_sim_efuse *f, const layout *l, uint32_t value)
{
    uint32_t op = f->regs[l->conf / 4] & 0xFFFF;
    if (op == OP_READ && (value & 3) == CMD_READ) {
        ds_sim_efuse_refresh(f);
    } else if (op == OP_WRITE && (value & 3) == CMD_PGM && !l->one_pgm_set) {
        program_all(f);
    } else if (op == OP_WRITE && (value & 3) == CMD_PGM) {
        unsigned block = value >> 2 & 0xF;
        const uint32_t *pgm = &f->regs[PGM_DATA_OFF / 4];
        if (block < ds_efuse_block_count(f->chip))
            program(f, block, pgm, pgm + DS_EFUSE_WORDS);
    }
}

void ds_sim_efuse_reg_write(ds_sim_efuse *f, uint32_t off, uint32_t value)
{
    const layout *l = layout_of(f->chip);
    if (off % 4 || off >= f->chip->efuse_window)
        return;
    if (off == l->cmd)
        command(f, l, value); // done at once: the register reads 0
    else
        f->regs[off / 4] = value;
}

// How many bytes the decoder mends, and whether it gives up. Only errors in the check bytes can be mended: data bytes
// differ from a codeword only where two codewords were burned over each other, which is far beyond repair.
static uint32_t rs_status(const ds_sim_efuse *f, unsigned block)
{
    ds_sim_efuse_row is, should;
    uint32_t wrong = 0;
    ds_sim_efuse_file_row(&f->file, block, &is);
    should = is;
    ds_sim_efuse_row_encode(&should);
    for (unsigned i = DS_EFUSE_WORDS; i < DS_SIM_EFUSE_ROW; i++)
        for (unsigned shift = 0; shift < 32; shift += 8)
            wrong += ((is.w[i] ^ should.w[i]) >> shift & 0xFF) != 0;
    ds_wipe(&is, sizeof is);
    ds_wipe(&should, sizeof should);
    return wrong > RS_CORRECTABLE ? GAVE_UP : wrong;
}

// Block n's error count sits in bits 4(n-1)..4(n-1)+2; its fail bit, by an error of the chip, at 4n+3.
static uint32_t rs_err(const ds_sim_efuse *f, unsigned which)
{
    uint64_t bits = 0;
    for (unsigned b = 1; b < ds_efuse_block_count(f->chip); b++) {
        uint64_t status = rs_status(f, b);
        bits |= (status & 7) << 4 * (b - 1) | (status >> 3) << (4 * b + 3);
    }
    return (uint32_t)(bits >> 32 * which);
}

static bool is_read_register(const ds_sim_efuse *f, uint32_t off)
{
    for (unsigned b = 0; b < ds_efuse_block_count(f->chip); b++) {
        const ds_efuse_block *block = ds_efuse_block_at(f->chip, b);
        if (off >= block->read_off && off < block->read_off + 4u * block->words)
            return true;
    }
    return false;
}

uint32_t ds_sim_efuse_reg_read(ds_sim_efuse *f, uint32_t off)
{
    const layout *l = layout_of(f->chip);
    if (off % 4 || off >= f->chip->efuse_window)
        return 0;
    if (is_read_register(f, off))
        return ds_sim_efuse_file_reg(&f->file, off);
    if (l->rs_err && (off == l->rs_err || off == l->rs_err + 4))
        return rs_err(f, (off - l->rs_err) / 4);
    if (l->date_off && off == l->date_off)
        return l->date;
    return f->regs[off / 4];
}
