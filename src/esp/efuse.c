// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Finding, reading and setting eFuse fields; see efuse.h. What differs by chip is in the tables alone.
#include "src/esp/efuse.h"

#include "src/base/crc.h"
#include "src/esp/efuse_table.h"

#include <string.h>

typedef struct {
    const ds_efuse_block *blocks;
    const ds_efuse_field *fields;
    unsigned block_count, field_count;
} tables;

static tables tables_of(const ds_chip *chip)
{
    if (chip->id == DS_CHIP_ESP32)
        return (tables){ds_efuse_esp32_blocks, ds_efuse_esp32_fields, ds_efuse_esp32_block_count,
                        ds_efuse_esp32_field_count};
    return (tables){ds_efuse_esp32c3_blocks, ds_efuse_esp32c3_fields, ds_efuse_esp32c3_block_count,
                    ds_efuse_esp32c3_field_count};
}

unsigned ds_efuse_block_count(const ds_chip *chip)
{
    return tables_of(chip).block_count;
}

const ds_efuse_block *ds_efuse_block_at(const ds_chip *chip, unsigned index)
{
    tables t = tables_of(chip);
    return index < t.block_count ? &t.blocks[index] : NULL;
}

const ds_efuse_field *ds_efuse_field_at(const ds_chip *chip, unsigned index)
{
    tables t = tables_of(chip);
    return index < t.field_count ? &t.fields[index] : NULL;
}

const ds_efuse_field *ds_efuse_field_find(const ds_chip *chip, const char *name)
{
    const ds_efuse_field *f;
    for (unsigned i = 0; (f = ds_efuse_field_at(chip, i)); i++)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

uint32_t ds_efuse_get(const ds_chip *chip, const ds_efuse_words *e, const char *field)
{
    const ds_efuse_field *f = ds_efuse_field_find(chip, field);
    if (!f)
        return 0;
    const uint32_t *w = e->w[f->block];
    uint32_t v = 0;
    for (unsigned i = 0; i < f->bits && i < 32; i++) {
        unsigned bit = f->first_bit + i;
        v |= (w[bit / 32] >> bit % 32 & 1) << i;
    }
    return v;
}

bool ds_efuse_set(const ds_chip *chip, ds_efuse_words *e, const char *field, uint32_t value)
{
    const ds_efuse_field *f = ds_efuse_field_find(chip, field);
    if (!f)
        return false;
    uint32_t *w = e->w[f->block];
    for (unsigned i = 0; i < f->bits && i < 32; i++) {
        unsigned bit = f->first_bit + i;
        w[bit / 32] |= (value >> i & 1) << bit % 32;
    }
    return true;
}

void ds_efuse_get_block(const ds_efuse_words *e, unsigned block, uint8_t ret[32])
{
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        ds_put_le32(ret + 4 * i, e->w[block][i]);
}

void ds_efuse_set_block(ds_efuse_words *e, unsigned block, const uint8_t data[32])
{
    for (unsigned i = 0; i < DS_EFUSE_WORDS; i++)
        e->w[block][i] = ds_le32(data + 4 * i);
}

// Both chips keep the last four bytes in the field's first word, the first byte highest.
void ds_efuse_get_mac(const ds_chip *chip, const ds_efuse_words *e, uint8_t ret[6])
{
    const ds_efuse_field *f = ds_efuse_field_find(chip, "MAC");
    const uint32_t *w = &e->w[f->block][f->first_bit / 32];
    ret[0] = (uint8_t)(w[1] >> 8);
    ret[1] = (uint8_t)w[1];
    for (unsigned i = 0; i < 4; i++)
        ret[2 + i] = (uint8_t)(w[0] >> (24 - 8 * i));
}

void ds_efuse_set_mac(const ds_chip *chip, ds_efuse_words *e, const uint8_t mac[6])
{
    const ds_efuse_field *f = ds_efuse_field_find(chip, "MAC");
    uint32_t *w = &e->w[f->block][f->first_bit / 32];
    w[0] |= (uint32_t)mac[2] << 24 | (uint32_t)mac[3] << 16 | (uint32_t)mac[4] << 8 | mac[5];
    w[1] |= (uint32_t)mac[0] << 8 | mac[1];
    ds_efuse_set(chip, e, "MAC_CRC", ds_crc8_mac(mac)); // the ESP32 alone has one
}

// The ESP32 tells revisions 2 and 3 apart by a register; eFuses of both read the same, and no 2 was ever sold in
// number.
static unsigned esp32_major(const ds_chip *chip, const ds_efuse_words *e)
{
    if (!ds_efuse_get(chip, e, "CHIP_VER_REV1"))
        return 0;
    return ds_efuse_get(chip, e, "CHIP_VER_REV2") ? 3 : 1;
}

uint16_t ds_efuse_revision(const ds_chip *chip, const ds_efuse_words *e)
{
    if (chip->id == DS_CHIP_ESP32)
        return (uint16_t)(esp32_major(chip, e) * 100 + ds_efuse_get(chip, e, "WAFER_VERSION_MINOR"));
    uint32_t minor =
        ds_efuse_get(chip, e, "WAFER_VERSION_MINOR_HI") << 3 | ds_efuse_get(chip, e, "WAFER_VERSION_MINOR_LO");
    return (uint16_t)(ds_efuse_get(chip, e, "WAFER_VERSION_MAJOR") * 100 + minor);
}

void ds_efuse_set_revision(const ds_chip *chip, ds_efuse_words *e, uint16_t revision)
{
    unsigned major = revision / 100, minor = revision % 100;
    if (chip->id == DS_CHIP_ESP32) {
        ds_efuse_set(chip, e, "CHIP_VER_REV1", major >= 1);
        ds_efuse_set(chip, e, "CHIP_VER_REV2", major >= 2);
        ds_efuse_set(chip, e, "WAFER_VERSION_MINOR", minor);
        return;
    }
    ds_efuse_set(chip, e, "WAFER_VERSION_MAJOR", major);
    ds_efuse_set(chip, e, "WAFER_VERSION_MINOR_LO", minor & 7);
    ds_efuse_set(chip, e, "WAFER_VERSION_MINOR_HI", minor >> 3);
}
