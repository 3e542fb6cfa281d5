// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Virtual eFuses as software and hardware see them: a fresh chip's contents, read and write protection, burning. Rules:
// ESP-IDF docs/en/api-reference/system/efuse.rst; the chips' technical reference manuals, chapter eFuse controller.
#include "sim/efuse.h"

#include "sim/efuse_int.h"
#include "src/base/secret.h"

#include <stdlib.h>
#include <string.h>

// What the factory burned beside MAC and revision, by chip name.
static void fresh_factory(const ds_chip *chip, const uint8_t mac[6], ds_efuse_words *w)
{
    uint64_t id = 0;
    for (unsigned i = 0; i < 6; i++)
        id = id << 8 | mac[i];
    ds_efuse_set(chip, w, "CHIP_CPU_FREQ_RATED", 1);
    ds_efuse_set(chip, w, "CHIP_PACKAGE", 1);
    ds_efuse_set(chip, w, "ADC_VREF", 8);
    ds_efuse_set(chip, w, "CLK8M_FREQ", 64);
    const ds_efuse_field *unique = ds_efuse_field_find(chip, "OPTIONAL_UNIQUE_ID");
    for (unsigned i = 0; unique && i < unique->bits / 32; i++)
        w->w[unique->block][unique->first_bit / 32 + i] = (uint32_t)ds_sim_random(&id);
}

enum ds_class ds_sim_efuse_open(const char *path, const ds_chip *chip, const uint8_t mac[6], uint16_t revision,
                                ds_sim_fault *fault, ds_sim_efuse **ret, ds_err *e)
{
    ds_efuse_words fresh = {0};
    fresh_factory(chip, mac, &fresh);
    ds_efuse_set_mac(chip, &fresh, mac);
    ds_efuse_set_revision(chip, &fresh, revision);
    ds_sim_efuse *f = ds_alloc(sizeof *f);
    f->chip = chip;
    f->fault = fault;
    enum ds_class rc = ds_sim_efuse_file_open(path, chip, &fresh, &f->file, e);
    if (rc) {
        free(f);
        return rc;
    }
    ds_sim_efuse_refresh(f);
    *ret = f;
    return DS_OK;
}

void ds_sim_efuse_close(ds_sim_efuse *f)
{
    if (!f)
        return;
    ds_sim_efuse_file_close(&f->file);
    ds_wipe(f, sizeof *f);
    free(f);
}

void ds_sim_efuse_read_hw(const ds_sim_efuse *f, ds_efuse_words *ret)
{
    memset(ret, 0, sizeof *ret);
    for (unsigned b = 0; b < ds_efuse_block_count(f->chip); b++) {
        ds_sim_efuse_row row;
        ds_sim_efuse_file_row(&f->file, b, &row);
        memcpy(ret->w[b], row.w, ds_efuse_block_at(f->chip, b)->words * sizeof row.w[0]);
        ds_wipe(&row, sizeof row);
    }
}

static void field_mask(const ds_efuse_field *field, uint32_t mask[DS_EFUSE_WORDS])
{
    for (unsigned bit = field->first_bit; bit < field->first_bit + field->bits; bit++)
        mask[bit / 32] |= 1u << bit % 32;
}

// Bits of a block that dis (WR_DIS or RD_DIS) takes away.
static void protected_bits(const ds_chip *chip, unsigned block, uint32_t dis, bool read, uint32_t mask[DS_EFUSE_WORDS])
{
    const ds_efuse_block *def = ds_efuse_block_at(chip, block);
    const ds_efuse_field *field;
    int whole = read ? def->rd_dis_bit : def->wr_dis_bit;
    memset(mask, whole >= 0 && dis >> whole & 1 ? 0xFF : 0, DS_EFUSE_WORDS * sizeof mask[0]);
    for (unsigned i = 0; (field = ds_efuse_field_at(chip, i)) != NULL; i++) {
        int bit = read ? field->rd_dis_bit : field->wr_dis_bit;
        if (field->block == block && bit >= 0 && dis >> bit & 1)
            field_mask(field, mask);
    }
}

void ds_sim_efuse_read(const ds_sim_efuse *f, ds_efuse_words *ret)
{
    ds_sim_efuse_read_hw(f, ret);
    uint32_t rd_dis = ds_efuse_get(f->chip, ret, "RD_DIS");
    for (unsigned b = 0; b < ds_efuse_block_count(f->chip); b++) {
        uint32_t mask[DS_EFUSE_WORDS];
        protected_bits(f->chip, b, rd_dis, true, mask);
        for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
            ret->w[b][i] &= ~mask[i];
    }
}

void ds_sim_efuse_refresh(ds_sim_efuse *f)
{
    ds_efuse_words seen;
    ds_sim_efuse_read(f, &seen);
    for (unsigned b = 0; b < ds_efuse_block_count(f->chip); b++) {
        const ds_efuse_block *block = ds_efuse_block_at(f->chip, b);
        for (unsigned i = 0; i < block->words; i++)
            ds_sim_efuse_file_set_reg(&f->file, block->read_off + 4 * i, seen.w[b][i]);
    }
    ds_wipe(&seen, sizeof seen);
}

// Write-protected bits of a block as burned now; true where the whole block is.
void ds_sim_efuse_write_mask(const ds_sim_efuse *f, unsigned block, uint32_t mask[DS_EFUSE_WORDS])
{
    ds_efuse_words now;
    ds_sim_efuse_read_hw(f, &now);
    protected_bits(f->chip, block, ds_efuse_get(f->chip, &now, "WR_DIS"), false, mask);
    ds_wipe(&now, sizeof now);
}

static bool may_burn(const ds_sim_efuse *f, unsigned block, const ds_sim_efuse_row *now, const uint32_t *fresh_bits)
{
    uint32_t mask[DS_EFUSE_WORDS];
    ds_sim_efuse_write_mask(f, block, mask);
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++) {
        if (fresh_bits[i] & mask[i])
            return false;
        if (ds_efuse_block_at(f->chip, block)->rs_coded && now->w[i])
            return false;
    }
    return true;
}

bool ds_sim_efuse_burn(ds_sim_efuse *f, unsigned block, const ds_efuse_words *bits)
{
    ds_sim_efuse_row now, burn = {0};
    uint32_t fresh_bits[DS_EFUSE_WORDS] = {0}, any = 0, differs = 0;
    if (block >= ds_efuse_block_count(f->chip))
        return false;
    const ds_efuse_block *def = ds_efuse_block_at(f->chip, block);
    ds_sim_efuse_file_row(&f->file, block, &now);
    for (unsigned i = 0; i < def->words; i++) {
        burn.w[i] = bits->w[block][i];
        fresh_bits[i] = burn.w[i] & ~now.w[i];
        any |= fresh_bits[i];
        differs |= burn.w[i] ^ now.w[i];
    }
    bool ok = !any || may_burn(f, block, &now, fresh_bits);
    if (ok && any) {
        if (def->rs_coded)
            ds_sim_efuse_row_encode(&burn);
        ds_sim_fault_flash(f->fault);
        ds_sim_efuse_file_burn(&f->file, block, &burn);
        ds_sim_efuse_refresh(f);
    }
    ds_wipe(&now, sizeof now);
    ds_wipe(&burn, sizeof burn);
    ds_wipe(fresh_bits, sizeof fresh_bits);
    return ok && !(def->rs_coded && !any && differs);
}
