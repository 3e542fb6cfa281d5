// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Encryption in place, as ESP-IDF's flash_encrypt.c does it: bootloader, partition table, data partitions that are to
// be encrypted, then the image (not the rest) of each app partition that holds a valid one. Sector by sector: read,
// erase, write through the engine. A power cut leaves one sector lost and the rest in either state; no note is kept of
// how far it came, as the chip keeps none.
#include "sim/boot.h"

#define TAG "flash_encrypt"
#define SECTOR 0x1000u

// The model's figure is for the whole sector, of which erasing and programming count themselves.
static void spend(ds_sim_timing *t)
{
    uint64_t counted = t->sector_us + (uint64_t)t->word_ns * (SECTOR / 4) / 1000;
    if (t->on && t->encrypt_sector_us > counted)
        ds_sim_timing_spend_us(t, t->encrypt_sector_us - counted);
}

static bool encrypt_region(ds_sim_stage *b, uint32_t addr, uint32_t len)
{
    uint8_t sector[SECTOR];
    for (uint32_t done = 0; done < len; done += SECTOR) {
        if (!ds_sim_flash_read(b->c->flash, addr + done, sector, SECTOR) ||
            !ds_sim_flash_erase(b->c->flash, addr + done, SECTOR) ||
            !ds_sim_crypt_program(b->c, addr + done, sector, SECTOR)) {
            ds_sim_boot_log(b, 'E', TAG, "flash operation failed at 0x%x", addr + done);
            return false;
        }
        spend(b->c->timing);
    }
    return true;
}

// A signed image with its signature sector.
static uint32_t signed_len(const ds_sim_loaded *l)
{
    return (uint32_t)(l->content_len + DS_SBV2_SECTOR);
}

static bool encrypt_bootloader(ds_sim_stage *b)
{
    ds_sim_loaded boot;
    ds_sim_digests trusted;
    uint32_t at = b->c->chip->bootloader_offset, len = 0;
    ds_sim_boot_trusted(b, &trusted);
    if (!ds_sim_boot_load(b, at, b->kind.table_offset - at, &boot, NULL)) {
        if (ds_sim_boot_verify(b, &boot, &trusted, NULL) == DS_SBV2_OK)
            len = signed_len(&boot);
        ds_sim_loaded_free(&boot);
    }
    if (!len) {
        ds_sim_boot_log(b, 'W', TAG, "no valid bootloader was found");
        return false;
    }
    if (!encrypt_region(b, at, len))
        return false;
    ds_sim_boot_log(b, 'I', TAG, "bootloader encrypted successfully");
    return true;
}

static bool encrypt_table(ds_sim_stage *b)
{
    if (!encrypt_region(b, b->kind.table_offset, SECTOR))
        return false;
    ds_sim_boot_log(b, 'I', TAG, "partition table encrypted and loaded successfully");
    return true;
}

static bool encrypt_partition(ds_sim_stage *b, unsigned index, uint32_t len)
{
    const ds_part *p = &b->table.parts[index];
    ds_sim_boot_log(b, 'I', TAG, "Encrypting partition %u at offset 0x%x (length 0x%x)...", index, p->offset, len);
    bool ok = encrypt_region(b, p->offset, len);
    ds_sim_boot_log(b, 'I', TAG, "Done encrypting");
    return ok;
}

// An app that would not boot (not signed, damaged, none at all) stays as it is.
static bool encrypt_app(ds_sim_stage *b, unsigned index)
{
    ds_sim_loaded app;
    if (!ds_sim_boot_check_app(b, &b->table.parts[index], &app))
        return true;
    uint32_t len = signed_len(&app);
    ds_sim_loaded_free(&app);
    return encrypt_partition(b, index, len);
}

bool ds_sim_boot_encrypt(ds_sim_stage *b)
{
    if (!encrypt_bootloader(b) || !encrypt_table(b))
        return false;
    for (unsigned i = 0; i < b->table.count; i++) {
        const ds_part *p = &b->table.parts[i];
        if (p->type != DS_PART_APP && ds_part_is_encrypted(p) && !encrypt_partition(b, i, p->size))
            return false;
    }
    for (unsigned i = 0; i < b->table.count; i++)
        if (b->table.parts[i].type == DS_PART_APP && !encrypt_app(b, i))
            return false;
    return true;
}
